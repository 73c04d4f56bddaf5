import { read } from 'node:fs'
import { ByteQueue } from '../byte-queue/queue.js'
import { SluiceError } from '../errors.js'
import type { FlushMode } from '../filter/filter.js'
import type { Step, StepResult } from '../filter/step.js'
import type { FileSegment } from './segment.js'

// Read at once, and ahead of what is taken.
const readBytes = 65_536

interface Item {
  segment: FileSegment
  /** After so many bytes written. */
  atBytes: number
  positionBytes: number
  endBytes: number
}

/**
 * Sends a part of a file to the socket by the system itself. Answers how many bytes of it the socket has been given,
 * 0 when it has no room; undefined where files have to be read.
 */
export type SendFile = (segment: FileSegment, positionBytes: number, lengthBytes: number) => number | undefined

/** The uppermost step of a connection that sends files: keeps what is written after a file behind it. */
export class FileStep implements Step {
  private readonly items: Item[] = []
  /** What has been read and not taken. */
  private readonly out = new ByteQueue()
  private passedBytes = 0
  private isReading = false
  private failure: SluiceError | undefined
  private isDestroyed = false

  constructor(
    private readonly wake: () => void,
    private readonly sendFile: SendFile,
  ) {}

  /** Where nothing is being read, the next part can be asked for. */
  get readyBytes(): number {
    return this.out.sizeBytes === 0 && !this.isReading && this.items.length > 0 ? 1 : this.out.sizeBytes
  }

  get heldBytes(): number {
    return this.out.sizeBytes
  }

  get movingBytes(): number {
    return this.items.reduce((sum, { positionBytes, endBytes }) => sum + endBytes - positionBytes, this.out.sizeBytes)
  }

  get isIdle(): boolean {
    return this.items.length === 0 && this.failure === undefined
  }

  /** Comes after what is in `source` now. */
  add(segment: FileSegment, fromBytes: number, lengthBytes: number, source: ByteQueue): void {
    segment.take()
    const positionBytes = segment.offsetBytes + fromBytes
    const atBytes = this.passedBytes + source.sizeBytes
    this.items.push({ segment, atBytes, positionBytes, endBytes: positionBytes + lengthBytes })
  }

  run(source: ByteQueue, destination: ByteQueue, limitBytes: number, _mode: FlushMode): StepResult {
    let room = limitBytes
    while (room > 0) {
      if (this.failure !== undefined) throw this.failure
      const [item] = this.items
      const before = item === undefined ? source.sizeBytes : item.atBytes - this.passedBytes
      if (before > 0) {
        const moved = destination.appendFrom(source, Math.min(before, room))
        this.passedBytes += moved
        room -= moved
      } else if (item === undefined) {
        return 'needMore'
      } else if (this.out.sizeBytes > 0) {
        room -= destination.appendFrom(this.out, room)
      } else if (item.positionBytes === item.endBytes) {
        this.items.shift()
        item.segment.drop()
      } else if (this.isReading || !this.send(item, destination)) {
        return 'waiting'
      }
    }
    return 'ok'
  }

  destroy(): void {
    this.isDestroyed = true
    this.out.clear()
    // A file must stay open while it is being read.
    const [first, ...others] = this.items.splice(0)
    for (const { segment } of others) segment.drop()
    if (first === undefined) return
    if (this.isReading) this.items.push(first)
    else first.segment.drop()
  }

  // Whether it went, at least in part, without waiting.
  private send(item: Item, destination: ByteQueue): boolean {
    const { segment, positionBytes, endBytes } = item
    const sent = destination.sizeBytes > 0 ? undefined : this.sendFile(segment, positionBytes, endBytes - positionBytes)
    if (sent === undefined) this.read(item)
    else item.positionBytes += sent
    return sent !== undefined && sent > 0
  }

  private read(item: Item): void {
    const { segment, positionBytes, endBytes } = item
    const buffer = Buffer.allocUnsafeSlow(Math.min(readBytes, endBytes - positionBytes))
    this.isReading = true
    read(segment.fd, buffer, 0, buffer.length, positionBytes, (error, count) => {
      this.isReading = false
      if (this.isDestroyed) {
        for (const { segment: last } of this.items.splice(0)) last.drop()
        return
      }
      if (error) this.failure = fileError(`cannot read the file: ${error.message}`, error)
      else if (count === 0) this.failure = fileError(`the file ends before ${endBytes} bytes`)
      else this.out.appendReference(buffer.subarray(0, count))
      item.positionBytes += count
      this.wake()
    })
  }
}

function fileError(detail: string, cause?: Error): SluiceError {
  return new SluiceError('FILE_FAILED', { phase: 'write', detail, ...(cause && { cause }) })
}
