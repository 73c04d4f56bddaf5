import type { Duplex } from 'node:stream'

/** Writes down what a stream tells. */
export class StreamLog {
  /** In order: `'data'` once for any number of chunks in a row, `'end'`, `'finish'`, `'drain'`, `'timeout'`,
   *  `'error'`, `'close'`, `'close after an error'`, and whatever else was noted. */
  readonly events: string[] = []
  readonly errors: (Error & { code?: string })[] = []
  private readonly chunks: Buffer[] = []
  private readonly waiting: { when: () => boolean; resolve: () => void }[] = []

  /** With `reads: false`, reading is left to the test. */
  constructor(
    readonly stream: Duplex,
    { reads = true } = {},
  ) {
    if (reads) {
      stream.on('data', (chunk: Buffer | string) => {
        this.chunks.push(Buffer.from(chunk as string))
        if (this.events.at(-1) !== 'data') this.events.push('data')
        this.wake()
      })
    }
    for (const event of ['end', 'finish', 'drain', 'timeout']) stream.on(event, () => this.note(event))
    stream.on('error', (error) => {
      this.errors.push(error)
      this.note('error')
    })
    stream.on('close', (hadError: boolean) => this.note(hadError ? 'close after an error' : 'close'))
  }

  note(event: string): void {
    this.events.push(event)
    this.wake()
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }

  get text(): string {
    return this.bytes.toString()
  }

  /** Resolves when `when` holds, at once or within the event that makes it true. */
  until(when: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      if (when()) resolve()
      else this.waiting.push({ when, resolve })
    })
  }

  saw(event: string): Promise<void> {
    return this.until(() => this.events.includes(event))
  }

  received(sizeBytes: number): Promise<void> {
    return this.until(() => this.chunks.reduce((sum, { length }) => sum + length, 0) >= sizeBytes)
  }

  closed(): Promise<void> {
    return this.until(() => this.events.some((event) => event.startsWith('close')))
  }

  private wake(): void {
    for (const waiter of this.waiting.splice(0)) {
      if (waiter.when()) waiter.resolve()
      else this.waiting.push(waiter)
    }
  }
}
