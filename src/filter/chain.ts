import { ByteQueue } from '../byte-queue/queue.js'
import type { SluiceError } from '../errors.js'
import { FileStep, type SendFile } from '../file/file-step.js'
import type { FileSegment } from '../file/segment.js'
import { defaultMaxExpansion, type Filter, type FlushMode } from './filter.js'
import { FunctionStep, filterError, type Step } from './step.js'
import { TransformStep } from './transform-step.js'

// What waits between two filters, and behind the last one, before those in front of it rest.
const queueLimitBytes = 65_536
// So much may come out of a filter whatever went in.
const freeExpansionBytes = 1_048_576

const files: Filter = { name: 'files', maxExpansion: Number.POSITIVE_INFINITY }

const strength: Record<FlushMode, number> = { normal: 0, flush: 1, finished: 2 }

/** One step at its place in the chain. */
class Link {
  readonly source = new ByteQueue()
  readonly step: Step
  mode: FlushMode = 'normal'
  /** The flush it is doing; those before it are included. */
  wave = 0
  /** Nothing to do until something changes. */
  blocked = true
  /** Its step has news. */
  woken = false
  /** It has left what is in `source`, and wants more. */
  starved = false
  isDone = false
  consumedBytes = 0
  producedBytes = 0

  constructor(
    readonly filter: Filter,
    readonly direction: 'input' | 'output',
    make: (wake: () => void) => Step,
    wake: () => void,
  ) {
    this.step = make(() => {
      this.blocked = false
      this.woken = true
      wake()
    })
  }

  get isDue(): boolean {
    if (this.blocked) return false
    return this.woken || this.source.sizeBytes > 0 || this.step.readyBytes > 0 || this.mode !== 'normal'
  }

  /** Bytes that will move on by themselves: what a filter has left to itself is its own affair. */
  get movingBytes(): number {
    return (this.starved ? 0 : this.source.sizeBytes) + this.step.movingBytes
  }

  /** It has been for files, and they are gone. */
  get isSpent(): boolean {
    return (this.step as FileStep).isIdle && this.source.sizeBytes === 0 && this.mode === 'normal'
  }

  raise(mode: FlushMode, wave: number): void {
    if (strength[mode] > strength[this.mode]) this.mode = mode
    this.wave = wave
    this.unblock()
  }

  unblock(): void {
    this.blocked = false
    this.starved = false
  }

  fail(name: 'FAILED' | 'EXPANSION', what: string): never {
    throw filterError(name, this.filter, this.direction, what)
  }
}

/**
 * The filters of one direction, in the order in which bytes pass them, with a queue before each and one behind the last.
 * Knows nothing of connections: bytes go in, filters run, bytes are fetched.
 */
export class FilterChain {
  /** What has passed all filters. */
  readonly out = new ByteQueue()
  /** Why no more will come, if that was not the end of the stream. */
  failure: SluiceError | undefined = undefined
  /** The last flush that has come out at the end. */
  flushedWave = 0
  private readonly links: Link[] = []
  private lastWave = 0
  private finishedIn = false
  private over = false
  private isRunning = false
  private isStepping = false
  private runAgain = false
  private isWoken = false
  private isDestroyed = false

  constructor(
    private readonly direction: 'input' | 'output',
    /** A filter is left with so much and still wants more: it will never have enough. */
    private readonly hoardLimitBytes: number,
    /** Something can be done, outside of run(). */
    private readonly onWake: () => void,
  ) {}

  get isEmpty(): boolean {
    return this.links.length === 0
  }

  /** Whether nothing will be added to `out` any more. */
  get isOver(): boolean {
    return this.over
  }

  /** Whether a filter is being called, which must not change the chain. */
  get isInFilter(): boolean {
    return this.isStepping
  }

  /** Bytes on their way to the end of the chain, or there. */
  get movingBytes(): number {
    let sum = this.out.sizeBytes
    for (const link of this.links) sum += link.movingBytes
    return sum
  }

  /** The same, with what filters keep until more has come. */
  get heldBytes(): number {
    let sum = this.out.sizeBytes
    for (const { source, step } of this.links) sum += source.sizeBytes + step.heldBytes
    return sum
  }

  /** Whether so much waits in front that no more should be put in. */
  get isFull(): boolean {
    const [first] = this.links
    if (first === undefined) return this.out.sizeBytes >= queueLimitBytes
    return !first.starved && first.source.sizeBytes + first.step.heldBytes >= queueLimitBytes
  }

  /** A filter in front of the others: it gets what is put in from now on. */
  addFirst(filter: Filter): void {
    this.links.unshift(this.linkOf(filter))
  }

  /** A filter behind the others: it gets all that has not been fetched yet, and `head` before that. */
  addLast(filter: Filter, head: Uint8Array | undefined): void {
    const link = this.linkOf(filter)
    link.source.appendFrom(this.out)
    if (head !== undefined) link.source.prepend(head)
    link.unblock()
    this.links.push(link)
    if (!this.over) return
    this.over = false
    link.raise(this.failure === undefined ? 'finished' : 'flush', ++this.lastWave)
  }

  /** A part of a file, in its place among what is put in. */
  putFile(segment: FileSegment, fromBytes: number, lengthBytes: number, sendFile: SendFile): void {
    let [first] = this.links
    if (!(first?.step instanceof FileStep)) {
      // Only where nothing has to be done with the bytes can the system send them by itself.
      const isAlone = first === undefined
      const send: SendFile = (...part) => (isAlone && this.links.length === 1 ? sendFile(...part) : undefined)
      first = new Link(
        files,
        'output',
        (wake) => new FileStep(wake, send),
        () => this.wake(),
      )
      this.links.unshift(first)
    }
    ;(first.step as FileStep).add(segment, fromBytes, lengthBytes, first.source)
    first.unblock()
    first.woken = true
  }

  /** The far end has room again, of which a filter may make use by itself. */
  retry(): void {
    const [first] = this.links
    if (first === undefined || !(first.step instanceof FileStep)) return
    first.unblock()
    first.woken = true
  }

  /** Bytes to filter; what is lent is given back when they have been. */
  put(bytes: Uint8Array, released?: () => void): void {
    const [first] = this.links
    const queue = first === undefined ? this.out : first.source
    if (this.over || first?.isDone) {
      released?.()
      return
    }
    if (released === undefined) queue.append(bytes)
    else queue.appendReference(bytes, released)
    first?.unblock()
  }

  /** Has everything that was put in come out. @returns what `flushedWave` will be then, at least. */
  flush(): number {
    if (this.finishedIn) return this.lastWave
    this.raise(0, 'flush', ++this.lastWave)
    return this.lastWave
  }

  /** Nothing more will be put in. */
  finish(): void {
    if (this.finishedIn) return
    this.finishedIn = true
    this.raise(0, 'finished', ++this.lastWave)
  }

  /**
   * Runs filters as long as that moves anything, each time followed by `fetch`, which takes from `out` what it can and
   * tells whether it did. Within itself it only takes note.
   */
  run(fetch: () => boolean): void {
    this.runAgain = true
    if (this.isRunning) return
    this.isRunning = true
    try {
      while (this.runAgain && !this.isDestroyed) {
        this.runAgain = false
        const moved = this.pass()
        const before = this.out.sizeBytes
        const fetched = fetch()
        // What was fetched made room.
        if (fetched && before > 0) this.links.at(-1)?.unblock()
        if (moved || fetched) this.runAgain = true
      }
    } finally {
      this.isRunning = false
    }
    // Once the files are sent nothing stands in the way of what is written.
    const [first] = this.links
    if (first?.step instanceof FileStep && first.isSpent) this.links.shift()
  }

  /** Nothing more comes out, for a reason that lies behind the last filter. */
  abort(error: SluiceError): void {
    this.failure ??= error
    this.drop()
  }

  destroy(): void {
    this.isDestroyed = true
    this.drop()
  }

  // ---- Inside

  private drop(): void {
    for (const { step, source } of this.links.splice(0)) {
      step.destroy()
      source.clear()
    }
    this.out.clear()
    this.finishedIn = true
    this.over = true
  }

  private linkOf(filter: Filter): Link {
    const { direction } = this
    const own = filter[direction]!
    const make = (wake: () => void): Step => {
      if (typeof own === 'function') return new FunctionStep(filter, direction)
      return new TransformStep(own, filter, direction, wake)
    }
    return new Link(filter, direction, make, () => this.wake())
  }

  // Several reasons to wake come one after the other, within one callback of a stream.
  private wake(): void {
    if (this.isWoken || this.isDestroyed) return
    this.isWoken = true
    queueMicrotask(() => {
      this.isWoken = false
      if (!this.isDestroyed) this.onWake()
    })
  }

  private raise(index: number, mode: FlushMode, wave: number): void {
    const link = this.links[index]
    if (link !== undefined && !link.isDone) {
      link.raise(mode, wave)
      return
    }
    if (link !== undefined) return // it has ended before its input did
    this.flushedWave = Math.max(this.flushedWave, wave)
    if (mode === 'finished' || this.failure !== undefined) this.over = true
  }

  // From the first to the last, so that in the simplest case one pass does it all.
  private pass(): boolean {
    let moved = false
    for (let i = 0; i < this.links.length; i++) {
      const link = this.links[i]!
      if (link.isDone || !link.isDue) continue
      const next = this.links[i + 1]
      const waiting = next === undefined ? this.out.sizeBytes : next.starved ? 0 : next.source.sizeBytes
      if (waiting >= queueLimitBytes) continue
      try {
        if (this.runLink(i, link, next, queueLimitBytes - waiting)) moved = true
      } catch (error) {
        this.fail(i, error as SluiceError)
        return true
      }
    }
    return moved
  }

  private runLink(index: number, link: Link, next: Link | undefined, limitBytes: number): boolean {
    const { source, step, mode, wave } = link
    const destination = next === undefined ? this.out : next.source
    const sourceBefore = source.sizeBytes
    const destinationBefore = destination.sizeBytes
    link.blocked = true
    link.woken = false
    link.starved = false
    this.isStepping = true
    let result: ReturnType<Step['run']>
    try {
      result = step.run(source, destination, limitBytes, mode)
    } finally {
      this.isStepping = false
    }
    if (this.isDestroyed) return false
    const consumed = Math.max(0, sourceBefore - source.sizeBytes)
    const produced = Math.max(0, destination.sizeBytes - destinationBefore)
    this.check(link, consumed, produced)
    if (next?.isDone) next.source.clear()
    else if (produced > 0) next?.unblock()
    const moved = consumed > 0 || produced > 0
    if (result === 'ok' && moved) {
      link.blocked = false
      return true
    }
    if (result === 'ended') {
      this.endEarly(index, link)
    } else if (result !== 'waiting') {
      link.starved = source.sizeBytes > 0
      if (source.sizeBytes > this.hoardLimitBytes) {
        link.fail('FAILED', `wants more than the ${source.sizeBytes} bytes it has, past "hardLimitBytes"`)
      }
      if (mode !== 'normal') this.passOn(index, link, mode, wave)
    }
    return moved
  }

  private check(link: Link, consumed: number, produced: number): void {
    link.consumedBytes += consumed
    link.producedBytes += produced
    const most = link.filter.maxExpansion ?? defaultMaxExpansion
    const excess = link.producedBytes - freeExpansionBytes
    if (excess <= 0 || most === Number.POSITIVE_INFINITY || excess <= most * link.consumedBytes) return
    const sizes = `${link.producedBytes} bytes of ${link.consumedBytes}`
    link.fail('EXPANSION', `made ${sizes}, more than "maxExpansion", ${most}, allows`)
  }

  // It has done what a flush asks for: now the next one.
  private passOn(index: number, link: Link, mode: FlushMode, wave: number): void {
    if (mode === 'finished') {
      const left = link.source.sizeBytes
      if (left > 0) link.fail('FAILED', `left ${left} bytes at the end of the stream`)
      link.isDone = true
    } else if (link.mode === mode && link.wave === wave) {
      link.mode = 'normal'
    } else {
      link.unblock()
    }
    this.raise(index + 1, mode, wave)
  }

  // What arrives may have its own end; what is written must not get lost behind it.
  private endEarly(index: number, link: Link): void {
    if (this.direction === 'output') link.fail('FAILED', 'ended before what goes in')
    link.isDone = true
    link.source.clear()
    this.raise(index + 1, 'finished', this.lastWave)
  }

  // What has passed the filter before it failed still passes those behind it.
  private fail(index: number, error: SluiceError): void {
    this.failure ??= error
    for (const { step, source } of this.links.splice(0, index + 1)) {
      step.destroy()
      source.clear()
    }
    this.finishedIn = true
    this.raise(0, 'flush', ++this.lastWave)
  }
}
