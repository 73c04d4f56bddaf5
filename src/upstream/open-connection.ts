import { connectOptions } from '../connect-options.js'
import type { Connection } from '../connection.js'
import { abortError } from '../errors.js'
import { expected, parse } from '../options.js'
import type { Runtime } from '../runtime.js'
import type { AcquireRules, ServerRules, UpstreamConnectOptions } from './options.js'

/** Makes a connection to a server: preface sent, TLS done. What comes waits until somebody reads it. */
export async function openConnection(
  runtime: Runtime,
  connect: UpstreamConnectOptions,
  server: ServerRules,
  request: AcquireRules,
  signal: AbortSignal,
): Promise<Connection> {
  const { host, port, path } = server
  const { preface, localAddress, beside } = request
  const where = path === undefined ? { host, port } : { path }
  const options = { ...connect, ...where, signal }
  if (localAddress !== undefined) options.localAddress = localAddress
  const tls = tlsOf(server, request)
  if (preface === undefined) return runtime.connectBeside(beside, { ...options, tls })
  const connection = await runtime.connectBeside(beside, options)
  try {
    connection.write(preface)
    if (tls !== undefined) await secured(connection, connection.startTls(tls === true ? {} : (tls as object)), signal)
    return connection
  } catch (error) {
    connection.destroy()
    throw error
  }
}

function tlsOf({ tls }: ServerRules, { serverName }: AcquireRules): ServerRules['tls'] {
  if (tls === undefined || tls === false) return undefined
  if (serverName === undefined) return tls
  if (tls === true) return { serverName }
  // A context, or options: both can stand under a name.
  return ('native' in tls ? { context: tls, serverName } : { ...tls, serverName, servername: undefined }) as never
}

// Ends the connection when its handshake is not wanted any more.
async function secured(connection: Connection, handshake: Promise<void>, signal: AbortSignal): Promise<void> {
  const abort = () => connection.destroy(abortError(signal, { phase: 'handshake' }))
  signal.addEventListener('abort', abort)
  try {
    await handshake
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

const ofServers = ['host', 'port', 'path', 'tls', 'signal']

/** What connect() would refuse later is refused now. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkConnect(connect: unknown): void {
  if (connect === undefined) return
  if (typeof connect !== 'object' || connect === null || Array.isArray(connect))
    throw expected('an object', connect, 'connect')
  const stray = ofServers.find((name) => (connect as Record<string, unknown>)[name] !== undefined)
  if (stray !== undefined) {
    const why = stray === 'signal' ? 'absent: it belongs to acquire()' : 'absent: it belongs to a server'
    throw expected(why, (connect as Record<string, unknown>)[stray], `connect.${stray}`)
  }
  parse(connectOptions, connect, [], 'connect')
}
