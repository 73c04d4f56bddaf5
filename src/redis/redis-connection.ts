import { expected, type Parser } from '../options.js'

/** What is used of a client of the package `redis`, version 4 and newer. */
export interface RedisEvalClient {
  /** Runs a script in the server. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

export const clientParser: Parser<RedisEvalClient> = {
  allowed: 'a client of the package redis',
  parse(value, option) {
    if (typeof (value as RedisEvalClient | null)?.eval !== 'function') throw expected(this.allowed, value, option)
    return value as RedisEvalClient
  },
}

interface OwnClient extends RedisEvalClient {
  connect(): Promise<unknown>
  destroy?(): void
  disconnect?(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A client of the caller's, or one that connects by itself when it is first asked. Internal. */
export class RedisConnection {
  private connecting: Promise<RedisEvalClient> | undefined
  private own: OwnClient | undefined
  private closed = false

  /** One of `client` and `url` is given. `reconnectMs`: least time between two attempts to connect. */
  constructor(
    private client: RedisEvalClient | undefined,
    private readonly url: string | undefined,
    private readonly reconnectMs: number,
  ) {}

  /** Rejects when Redis does not answer. */
  async eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown> {
    const client = this.client ?? (await this.connect())
    return client.eval(script, options)
  }

  /** Closes the connection that it made by itself. */
  async close(): Promise<void> {
    this.closed = true
    const { own } = this
    this.own = this.client = undefined
    if (own?.destroy !== undefined) own.destroy()
    else await own?.disconnect?.()
  }

  // One attempt at a time; whoever asks meanwhile waits for it.
  private connect(): Promise<RedisEvalClient> {
    this.connecting ??= this.open().finally(() => {
      this.connecting = undefined
    })
    return this.connecting
  }

  private async open(): Promise<RedisEvalClient> {
    if (this.closed) throw new Error('the connection to Redis is closed')
    if (this.own === undefined) {
      const { createClient } = await import('redis')
      const socket = { reconnectStrategy: () => this.reconnectMs, connectTimeout: 5000 }
      this.own = createClient({ url: this.url, socket, disableOfflineQueue: true }) as unknown as OwnClient
      // Each failed question tells what is wrong; an event without a listener would end the process.
      this.own.on('error', () => {})
      const { own } = this
      // It resolves when the first attempt succeeds, however late: questions before that fail, and say so.
      own.connect().catch(() => {})
      this.client = own
    }
    return this.own
  }
}
