import {
  type Connection,
  type ConnectOptions,
  type Listener,
  type ListenOptions,
  ProxyHeader,
  type Runtime,
  type RuntimeOptions,
  type SluiceError,
} from 'sluice'
import type { Mode } from './modes.js'
import { echo, eventually, portOf } from './pair.js'
import { Record } from './record.js'

/** A PROXY header of each version, and whom they name. */
export const line = 'PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n'
export const client = { address: '192.0.2.1', port: 56324 }
export const block = ProxyHeader.write({ source: client, destination: { address: '198.51.100.5', port: 443 } })

/** An echo server with steps, and who failed at them. */
export class HandshakeService implements AsyncDisposable {
  readonly failures: SluiceError[] = []
  readonly record = new Record(echo)
  private constructor(
    readonly runtime: Runtime,
    public listener: Listener,
  ) {}

  static async start(
    mode: Mode,
    handshake: ListenOptions['handshake'],
    more: Partial<ListenOptions> = {},
    runtimeOptions: RuntimeOptions = {},
  ): Promise<HandshakeService> {
    const runtime = mode.start(runtimeOptions)
    const service = new HandshakeService(runtime, undefined as never)
    const handlers = {
      ...service.record.handlers,
      handshakeError: (error: SluiceError) => void service.failures.push(error),
    }
    service.listener = await runtime.listen({ host: '127.0.0.1', port: 0, handshake, ...more }, handlers)
    return service
  }

  get to(): { host: string; port: number } {
    return { host: '127.0.0.1', port: portOf(this.listener) }
  }

  async connect(options: Partial<ConnectOptions> = {}): Promise<{ connection: Connection; record: Record }> {
    const record = new Record()
    return { connection: await this.runtime.connect({ ...this.to, ...options }, record.handlers), record }
  }

  /** Connects, sends this, and resolves with how that failed. */
  async refusal(bytes: string | Uint8Array): Promise<SluiceError> {
    const known = this.failures.length
    const { connection } = await this.connect()
    if (bytes.length > 0) connection.write(bytes)
    else connection.end()
    await eventually(() => this.failures.length > known)
    connection.destroy()
    return this.failures.at(-1)!
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}
