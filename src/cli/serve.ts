import type { Duplex } from 'node:stream'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import type { ListenerAddress, ListenOptions } from '../listener.js'
import { Runtime } from '../runtime.js'
import type { ConnectionOptions } from '../settings.js'
import {
  type CommandHelp,
  choice,
  count,
  helpPage,
  integer,
  parseArguments,
  text,
  UsageError,
  type Values,
} from './arguments.js'
import { naming, readTls, tlsFlags } from './tls.js'

/** What a command serves, for both ways to use a connection. */
export interface Service {
  help: CommandHelp
  options?: ConnectionOptions
  handlers: ConnectionHandlers
  /** The same over a Node stream. Errors of the stream are reported already. */
  overDuplex(stream: Duplex): void
  /** Called once, when everything is closed. */
  finished?(): void
}

const flags = {
  port: integer('port to listen on; 0 lets the system pick one (default 0)', { min: 0, max: 65_535 }),
  host: text('address to listen on (default 127.0.0.1)', { placeholder: 'ADDRESS' }),
  path: text("Unix socket instead; @name stands in Linux's abstract namespace", { placeholder: 'PATH' }),
  engine: choice('how to talk to the kernel (default auto, or SLUICE_ENGINE)', [
    'auto',
    'io_uring',
    'epoll',
    'kqueue',
    'poll',
  ]),
  threads: integer("I/O threads; 0 works on Node's own event loop", { min: 0, max: 64, default: 0 }),
  ...tlsFlags,
  via: choice('use connections by handlers, or as Node streams', ['handlers', 'duplex'], 'handlers'),
}

// How long connections may go on after the first signal.
const closeTimeoutMs = 2000

/** Listens, prints one JSON line, and serves until SIGINT or SIGTERM; a second one ends everything at once. */
export async function serve(service: Service, argv: string[]): Promise<number> {
  const values = parseArguments(flags, argv)
  if (!values) {
    process.stdout.write(helpPage(service.help, flags))
    return 0
  }
  const { engine, threads, via } = values
  const where = endpoint(values)
  const tls = readTls(values)
  const runtime = new Runtime({ engine, threads, handshakeThreads: values['handshake-threads'] })
  try {
    if (runtime.engine === 'sim')
      throw new UsageError("SLUICE_ENGINE is 'sim', a network that no other process can reach")
    const handlers = via === 'duplex' ? duplexHandlers(service) : { ...service.handlers, error: reportConnection }
    const options = { ...service.options, ...where, tls: tls?.options }
    const listener = await naming(values, runtime.listen(options, { ...handlers, handshakeError: report }))
    // Whoever reads the line may send a signal at once.
    const stopped = closeOnSignal(runtime)
    const line = {
      listening: told(listener.address),
      engine: runtime.engine,
      threads,
      pid: process.pid,
      tls: tls?.told,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
    await stopped
    service.finished?.()
    return 0
  } finally {
    runtime.destroy()
  }
}

function endpoint({ port, host, path }: Values<typeof flags>): Pick<ListenOptions, 'port' | 'host' | 'path'> {
  if (path === undefined) return { port: port ?? 0, host: host ?? '127.0.0.1' }
  const clash = port !== undefined ? '--port' : host !== undefined ? '--host' : undefined
  if (clash) throw new UsageError(`option "${clash}" cannot be given together with "--path"`)
  return { path: path.replace(/^@/, '\0') }
}

// As --path takes it: the NUL of an abstract name is hard to see and to type.
function told(address: ListenerAddress): ListenerAddress {
  return address.path === undefined ? address : { path: address.path.replace(/^\0/, '@') }
}

function duplexHandlers(service: Service): ConnectionHandlers {
  return {
    open(connection) {
      const stream = connection.toDuplex()
      stream.on('error', report)
      service.overDuplex(stream)
    },
  }
}

function closeOnSignal(runtime: Runtime): Promise<void> {
  return new Promise((resolve, reject) => {
    let asked = false
    const stop = () => {
      if (asked) {
        void runtime.destroy()
        return
      }
      asked = true
      const { connections } = runtime.stats()
      runtime.close({ timeoutMs: closeTimeoutMs }).then(() => finish(), finish)
      if (connections > 0) process.stderr.write(`${closingNotice(connections)}\n`)
    }
    const finish = (error?: unknown) => {
      process.off('SIGINT', stop).off('SIGTERM', stop)
      // Connections that had to be cut are what the bound, or the second signal, is for.
      if (error === undefined || error instanceof SluiceError) resolve()
      else reject(error)
    }
    process.on('SIGINT', stop).on('SIGTERM', stop)
  })
}

function closingNotice(connections: number): string {
  const whom = count(connections, 'connection')
  return `waiting ${closeTimeoutMs / 1000} s for ${whom} to finish; a second signal ends everything at once`
}

function reportConnection(_connection: Connection, error: SluiceError): void {
  report(error)
}

// Peers come and go as they like; the rest is worth a line.
const everyday: ReadonlySet<unknown> = new Set([
  ...['ERR_SLUICE_CONNECTION_RESET', 'ERR_SLUICE_BROKEN_PIPE', 'ERR_SLUICE_TLS_EMPTY', 'ERR_SLUICE_TLS_ABORTED'],
])

function report(error: Error): void {
  if (!everyday.has((error as Partial<SluiceError>).code)) process.stderr.write(`${error.message}\n`)
}
