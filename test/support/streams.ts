import type { ConnectionDuplex, ConnectOptions, ListenOptions, Runtime, RuntimeOptions } from 'sluice'
import type { Mode } from './modes.js'
import { overTls, portOf } from './pair.js'

export interface StreamPairOptions {
  listen?: Partial<ListenOptions>
  connect?: Partial<ConnectOptions>
  runtime?: RuntimeOptions
}

/** Both ends of a connection, as Node streams. Whoever looks for errors listens for them. */
export interface StreamPair extends AsyncDisposable {
  readonly runtime: Runtime
  readonly client: ConnectionDuplex
  readonly server: ConnectionDuplex
}

/** Both ends live in one runtime, so that they also meet in the simulated network. */
export async function streamPair(mode: Mode, options: StreamPairOptions = {}): Promise<StreamPair> {
  const runtime = mode.start(options.runtime)
  try {
    let accept!: (stream: ConnectionDuplex) => void
    const accepted = new Promise<ConnectionDuplex>((resolve) => {
      accept = resolve
    })
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, ...overTls.listen, ...options.listen },
      { open: (connection) => accept(connection.toDuplex() as ConnectionDuplex) },
    )
    const { path } = listener.address
    const to = path === undefined ? { host: '127.0.0.1', port: portOf(listener) } : { path }
    const connection = await runtime.connect({ ...to, ...overTls.connect, ...options.connect })
    const client = connection.toDuplex() as ConnectionDuplex
    const server = await accepted
    for (const stream of [client, server]) stream.on('error', () => {})
    return {
      ...{ runtime, client, server },
      async [Symbol.asyncDispose]() {
        await runtime.destroy()
      },
    }
  } catch (error) {
    await runtime.destroy()
    throw error
  }
}
