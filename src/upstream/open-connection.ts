import { connectOptions } from '../connect-options.js'
import { ConnectPlan } from '../connect-plan.js'
import type { Connection } from '../connection.js'
import { abortError } from '../errors.js'
import { expected, parse } from '../options.js'
import type { Runtime } from '../runtime.js'
import type { StopSignal } from '../stop.js'
import type { AcquireRules, ServerRules, UpstreamConnectOptions } from './options.js'
import type { UpstreamServer } from './server.js'

/** Makes a connection to a server: preface sent, TLS done. What comes waits until somebody reads it. */
export async function openConnection(
  runtime: Runtime,
  connect: UpstreamConnectOptions,
  server: UpstreamServer,
  request: AcquireRules,
  signal: StopSignal,
): Promise<Connection> {
  const { preface, beside } = request
  const tls = tlsOf(server.rules, request)
  const connection = await runtime.connectBy(planFor(connect, server, request, tls), { beside, signal })
  if (preface === undefined) return connection
  try {
    connection.write(preface)
    if (tls !== undefined) await secured(connection, connection.startTls(tls === true ? {} : (tls as object)), signal)
    return connection
  } catch (error) {
    connection.destroy()
    throw error
  }
}

// The same for all requests that bring nothing of their own. TLS waits for the preface.
function planFor(
  connect: UpstreamConnectOptions,
  server: UpstreamServer,
  { preface, localAddress, serverName }: AcquireRules,
  tls: ServerRules['tls'],
): ConnectPlan {
  const { plans, rules } = server
  const isOwn = localAddress !== undefined || (serverName !== undefined && tls !== undefined && preface === undefined)
  const known = preface === undefined ? plans.whole : plans.plain
  if (known !== undefined && !isOwn) return known
  const { host, port, path } = rules
  const where = path === undefined ? { host, port } : { path }
  const options = { ...connect, ...where, ...(preface === undefined && { tls }) }
  if (isOwn) return new ConnectPlan(localAddress === undefined ? options : { ...options, localAddress })
  const plan = new ConnectPlan(options)
  plans[preface === undefined ? 'whole' : 'plain'] = plan
  return plan
}

function tlsOf({ tls }: ServerRules, { serverName }: AcquireRules): ServerRules['tls'] {
  if (tls === undefined || tls === false) return undefined
  if (serverName === undefined) return tls
  if (tls === true) return { serverName }
  // A context, or options: both can stand under a name.
  return ('native' in tls ? { context: tls, serverName } : { ...tls, serverName, servername: undefined }) as never
}

// Ends the connection when its handshake is not wanted any more.
async function secured(connection: Connection, handshake: Promise<void>, signal: StopSignal): Promise<void> {
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
