import type {
  ConnectOptions,
  Listener,
  Runtime,
  SluiceError,
  TlsClientOptions,
  TlsContext,
  TlsServerOptions,
} from 'sluice'
import { echo, portOf } from './pair.js'
import { Record } from './record.js'

/** What a visitor of a {@link TlsService} has seen. */
export interface Visit {
  protocol: string
  resumed: boolean
  alpn: string | undefined
  subject: string | undefined
  session: Buffer | undefined
}

/** A listener, and connections to it that are told apart by their options. */
export class TlsService implements AsyncDisposable {
  readonly failures: SluiceError[] = []
  private constructor(
    readonly runtime: Runtime,
    readonly listener: Listener,
    readonly record: Record,
  ) {}

  static async start(runtime: Runtime, tls: TlsServerOptions | TlsContext): Promise<TlsService> {
    const failures: SluiceError[] = []
    const record = new Record(echo)
    const handlers = { ...record.handlers, handshakeError: (error: SluiceError) => void failures.push(error) }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, handlers)
    const service = new TlsService(runtime, listener, record)
    Object.assign(service, { failures })
    return service
  }

  connect(tls: TlsClientOptions | TlsContext, more: Partial<ConnectOptions> = {}, record = new Record()) {
    const to = { host: '127.0.0.1', port: portOf(this.listener) }
    return this.runtime.connect({ ...to, tls, ...more }, record.handlers)
  }

  /** Connects, sends something there and back, so that sessions have come, and ends. */
  async visit(tls: TlsClientOptions | TlsContext): Promise<Visit> {
    const record = new Record()
    const connection = await this.connect(tls, {}, record)
    connection.write('hello')
    // With TLS 1.3 a server may still refuse when the client's handshake is done.
    await record.until(() => record.sizeBytes >= 5 || record.count('close') > 0)
    if (record.error !== undefined) throw record.error
    const { protocol, resumed, alpn, peerCertificate } = connection.tls!
    const visit = { protocol, resumed, alpn, subject: peerCertificate?.subject, session: connection.tls!.session }
    await connection.close()
    return visit
  }

  /** How a connection is refused that should be. */
  async refused(tls: TlsClientOptions | TlsContext): Promise<SluiceError> {
    try {
      await this.visit(tls)
    } catch (error) {
      return error as SluiceError
    }
    throw new Error('the connection was not refused')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}
