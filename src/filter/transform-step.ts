import type { Duplex } from 'node:stream'
import { ByteQueue } from '../byte-queue/queue.js'
import type { SluiceError } from '../errors.js'
import { type Filter, type FlushMode, isTransform, type TransformSource } from './filter.js'
import { filterError, type Step, type StepResult } from './step.js'

// What a transform gets at once, and what it may be ahead of whoever takes its output.
const pieceBytes = 65_536

/**
 * A step that is a Node stream: gets what there is once per turn, in one piece where it lies so, and is read no faster
 * than its output is taken.
 */
export class TransformStep implements Step {
  private readonly source: TransformSource | undefined
  private stream: Duplex | undefined
  /** What has come out and has not been taken. */
  private readonly out = new ByteQueue()
  private isFull = false // the stream wants no more for now
  private isScheduled = false // what comes in this turn goes at its end
  private isDue = false // which is now
  private writesUnderWay = 0
  private flushing: 'no' | 'underWay' | 'done' = 'no'
  private isEnding = false
  private hasEnded = false
  private failure: SluiceError | undefined
  private isDestroyed = false

  constructor(
    from: Duplex | TransformSource,
    private readonly filter: Filter,
    private readonly direction: 'input' | 'output',
    /** Has it run again, soon. */
    private readonly wake: () => void,
  ) {
    this.source = isTransform(from) ? undefined : from
    if (isTransform(from)) this.stream = this.attach(from)
  }

  get readyBytes(): number {
    return this.out.sizeBytes
  }

  get heldBytes(): number {
    const { stream, out } = this
    return out.sizeBytes + (stream === undefined ? 0 : stream.writableLength + stream.readableLength)
  }

  get movingBytes(): number {
    return this.heldBytes
  }

  run(source: ByteQueue, destination: ByteQueue, limitBytes: number, mode: FlushMode): StepResult {
    if (this.failure !== undefined) throw this.failure
    const { stream, out } = this
    const moved = destination.appendFrom(out, limitBytes)
    if (out.sizeBytes > 0) return 'ok'
    if (stream?.isPaused()) stream.resume()
    if (this.hasEnded) return this.isEnding ? 'needMore' : 'ended'
    this.feed(source, mode)
    if (this.failure !== undefined) throw this.failure
    if (source.sizeBytes > 0) return 'waiting'
    if (mode === 'finished') return this.finish()
    if (mode === 'flush') return this.flush()
    return moved > 0 ? 'ok' : 'needMore'
  }

  destroy(): void {
    this.isDestroyed = true
    this.stream?.destroy()
    this.out.clear()
  }

  // Not at once: what is written in one turn costs one pass through the transform, often on another thread.
  private feed(source: ByteQueue, mode: FlushMode): void {
    if (source.sizeBytes === 0 || this.isFull) return
    if (!this.isDue && mode === 'normal') {
      this.schedule()
      return
    }
    this.isDue = false
    this.stream ??= this.make()
    if (this.stream === undefined) return
    while (source.sizeBytes > 0 && !this.isFull) {
      for (const piece of source.take(pieceBytes)) this.put(this.stream, piece)
    }
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    queueMicrotask(() => {
      this.isScheduled = false
      this.isDue = true
      this.wake()
    })
  }

  private put(stream: Duplex, piece: Buffer): void {
    this.flushing = 'no'
    this.writesUnderWay++
    const hasRoom = stream.write(piece, () => {
      if (--this.writesUnderWay === 0) this.wake()
    })
    if (!hasRoom) this.isFull = true
  }

  // Done when everything has come out, and has been taken.
  private flush(): StepResult {
    const { stream, source } = this
    if (stream === undefined) return 'needMore'
    if (this.flushing === 'no') {
      this.flushing = 'underWay'
      const done = () => {
        if (this.flushing === 'underWay') this.flushing = 'done'
        this.wake()
      }
      if (source?.flush === undefined) this.flushing = 'done'
      else this.guarded(() => source.flush!(stream, done))
    }
    const isOut = this.flushing === 'done' && this.writesUnderWay === 0 && this.heldBytes === 0
    if (!isOut) return 'waiting'
    this.flushing = 'no'
    return 'needMore'
  }

  private finish(): StepResult {
    if (this.stream === undefined && this.source?.keepsEmpty) return 'needMore'
    this.stream ??= this.make()
    if (!this.isEnding) {
      this.isEnding = true
      this.stream?.end()
    }
    if (this.failure !== undefined) throw this.failure
    return 'waiting'
  }

  private make(): Duplex | undefined {
    return this.guarded(() => this.attach(this.source!.create()))
  }

  private guarded<T>(work: () => T): T | undefined {
    try {
      return work()
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown)
      this.failure = filterError('THREW', this.filter, this.direction, `threw: ${text}`, thrown)
      return undefined
    }
  }

  private attach(stream: Duplex): Duplex {
    stream.on('data', (chunk: unknown) => this.take(stream, chunk))
    stream.on('drain', () => {
      this.isFull = false
      this.wake()
    })
    stream.on('end', () => {
      this.hasEnded = true
      this.wake()
    })
    stream.on('error', (error: Error) => this.fail(`failed: ${error.message}`, error))
    stream.on('close', () => {
      if (!this.hasEnded) this.fail('was destroyed before its end')
    })
    return stream
  }

  private take(stream: Duplex, chunk: unknown): void {
    if (this.isDestroyed) return
    if (chunk instanceof Uint8Array) this.out.appendReference(chunk)
    else if (typeof chunk === 'string') this.out.append(chunk)
    else this.fail('puts out something other than bytes')
    if (this.out.sizeBytes >= pieceBytes) stream.pause()
    this.wake()
  }

  private fail(what: string, cause?: Error): void {
    if (this.isDestroyed) return
    this.failure ??= filterError('FAILED', this.filter, this.direction, what, cause)
    this.wake()
  }
}
