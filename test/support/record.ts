import { createHash } from 'node:crypto'
import type { Connection, ConnectionHandlers, SluiceError } from 'sluice'

/** Handlers that write down what happens to one connection, and let a test wait for it. */
export class Record {
  /** In order: `'open'`, `'data'` once for any number of pieces in a row, `'drain'`, `'end'`, `'timeout read'`,
   *  `'error ERR_SLUICE_…'`, `'close'`. */
  readonly events: string[] = []
  readonly chunks: Buffer[] = []
  sizeBytes = 0
  error: SluiceError | undefined
  /** The connection that the first event was about. */
  connection!: Connection
  /** The handlers to pass to listen() or connect(). */
  readonly handlers: ConnectionHandlers
  private readonly waiting: { when: () => boolean; resolve: () => void }[] = []

  /** `also` runs after each event has been noted. */
  constructor(also: ConnectionHandlers = {}) {
    const note = (connection: Connection, event: string) => {
      this.connection ??= connection
      if (event !== 'data' || this.events.at(-1) !== 'data') this.events.push(event)
    }
    this.handlers = {
      open: (connection) =>
        this.after(
          () => note(connection, 'open'),
          () => also.open?.(connection),
        ),
      data: (connection, bytes) =>
        this.after(
          () => {
            note(connection, 'data')
            this.chunks.push(Buffer.from(bytes))
            this.sizeBytes += bytes.length
          },
          () => also.data?.(connection, bytes),
        ),
      drain: (connection) =>
        this.after(
          () => note(connection, 'drain'),
          () => also.drain?.(connection),
        ),
      end: (connection) =>
        this.after(
          () => note(connection, 'end'),
          () => also.end?.(connection),
        ),
      error: (connection, error) =>
        this.after(
          () => {
            note(connection, `error ${error.code}`)
            this.error = error
          },
          () => also.error?.(connection, error),
        ),
      close: (connection, error) =>
        this.after(
          () => note(connection, 'close'),
          () => also.close?.(connection, error),
        ),
    }
    const { timeout } = also
    // Its mere presence changes what a timeout does.
    if (timeout !== undefined) {
      this.handlers.timeout = (connection, kind) =>
        this.after(
          () => note(connection, `timeout ${kind}`),
          () => timeout(connection, kind),
        )
    }
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }

  get text(): string {
    return this.bytes.toString()
  }

  get hash(): string {
    return hashOf(...this.chunks)
  }

  count(event: string): number {
    return this.events.filter((known) => known === event).length
  }

  /** Resolves at once, or within the event that makes it true. */
  until(when: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      if (when()) resolve()
      else this.waiting.push({ when, resolve })
    })
  }

  /** Resolves when `event` has happened, `times` times. */
  saw(event: string, times = 1): Promise<void> {
    return this.until(() => this.count(event) >= times)
  }

  received(sizeBytes: number): Promise<void> {
    return this.until(() => this.sizeBytes >= sizeBytes)
  }

  /** Resolves with the connection's end. */
  async closed(): Promise<SluiceError | undefined> {
    await this.saw('close')
    return this.error
  }

  private after(note: () => void, then: () => void): void {
    note()
    try {
      then()
    } finally {
      for (const waiter of this.waiting.splice(0)) {
        if (waiter.when()) waiter.resolve()
        else this.waiting.push(waiter)
      }
    }
  }
}

/** Short, so that a failed comparison does not print megabytes. */
export function hashOf(...chunks: Uint8Array[]): string {
  const hash = createHash('sha1')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

/** Bytes in which every position tells where it is. */
export function pattern(lengthBytes: number, start = 0): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes)
  for (let i = 0; i < lengthBytes; i++) bytes[i] = ((start + i) * 131 + ((start + i) >> 8)) & 0xff
  return bytes
}
