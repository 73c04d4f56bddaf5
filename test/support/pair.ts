import type {
  Connection,
  ConnectionHandlers,
  ConnectOptions,
  Listener,
  ListenOptions,
  Runtime,
  RuntimeOptions,
} from 'sluice'
import { secured } from './identities.js'
import type { Mode } from './modes.js'
import { Record } from './record.js'

export interface PairOptions {
  /** What the handlers of the accepted connection do besides taking notes. */
  server?: ConnectionHandlers
  client?: ConnectionHandlers
  /** Options of the listener, thus of its connection. */
  listen?: Partial<ListenOptions>
  connect?: Partial<ConnectOptions>
  runtime?: RuntimeOptions
}

/** Both ends of a connection, open, with notes of what happens to each. */
export interface Pair extends AsyncDisposable {
  readonly runtime: Runtime
  readonly listener: Listener
  readonly client: Connection
  readonly server: Connection
  /** What happened to the client. */
  readonly atClient: Record
  readonly atServer: Record
}

/** With SLUICE_TEST_TLS in the environment, tests of connections run over TLS where they do not say otherwise. */
export const overTls = process.env.SLUICE_TEST_TLS ? secured() : { listen: {}, connect: {} }

/** Both ends live in one runtime, so that they also meet in the simulated network. */
export async function connectedPair(mode: Mode, options: PairOptions = {}): Promise<Pair> {
  const runtime = mode.start(options.runtime)
  try {
    const atServer = new Record(options.server)
    const atClient = new Record(options.client)
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, ...overTls.listen, ...options.listen },
      atServer.handlers,
    )
    const to = listener.address.path ? { path: listener.address.path } : { host: '127.0.0.1', port: portOf(listener) }
    const client = await runtime.connect({ ...to, ...overTls.connect, ...options.connect }, atClient.handlers)
    await atServer.saw('open')
    return {
      ...{ runtime, listener, client, server: atServer.connection, atClient, atServer },
      async [Symbol.asyncDispose]() {
        await runtime.destroy()
      },
    }
  } catch (error) {
    await runtime.destroy()
    throw error
  }
}

/** The handlers of an echo server. */
export const echo: ConnectionHandlers = {
  data: (connection, bytes) => void connection.write(bytes),
}

export function portOf(listener: Listener): number {
  return listener.address.port!
}

/** The next turn of Node's event loop: everything that was due before is done. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Turns of the event loop until something holds that no event tells of. The test's own time limit bounds it. */
export async function eventually(holds: () => boolean): Promise<void> {
  while (!holds()) await nextTurn()
}
