import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import { type FileRange, FileSegment } from '../file/segment.js'
import { boolean, parse, type Shape } from '../options.js'
import { oneByte, refusal, requireCount, toBytes } from './arguments.js'
import { type ChangeHook, type ChangeHookOptions, ChangeHooks, callSafely, type QueueChange } from './change-hooks.js'
import { allocate, type Chunk, FileChunk, foreignChunk, Segment } from './chunk.js'
import { byteAt, type EndOfLine, type EndOfLinePosition, find, findEither, runOfEither } from './search.js'
import { type Releases, SegmentList } from './segment-list.js'

/** Either end of a {@link ByteQueue}. */
export type QueueEnd = 'front' | 'back'

/** Where {@link ByteQueue.search} looks; positions are counted from the front. */
export interface SearchRange {
  /** What is found begins here or later. Default 0. */
  fromBytes?: number
  /** What is found ends here or earlier. Default: the end of the queue. */
  toBytes?: number
}

const changeHookOptions = { deferred: boolean({ default: false }) } satisfies Shape<ChangeHookOptions>

// Larger pieces are lent to a connection in parts, so that it can say when it has enough.
const writePieceBytes = 262_144
// So much of a file is read at once when somebody looks at it.
const filePieceBytes = 262_144
// Connections copy up to this size anyway.
const writeCopyBytes = 16_384
const carriageReturn = 13
const lineFeed = 10
const endsOfLine: readonly EndOfLine[] = ['any', 'crlf', 'crlfStrict', 'lf', 'nul']
const marks = {
  crlf: Buffer.from('\n'),
  crlfStrict: Buffer.from('\r\n'),
  lf: Buffer.from('\n'),
  nul: Buffer.from('\0'),
}

/**
 * Bytes in a row, put in at the back (or the front) and taken out at the front. What is small is copied together, what is
 * referred to stays where it is; moving between queues copies nothing.
 *
 * Views that a queue gives out never change, not even after their bytes have left it, with one exception: those of
 * memory that somebody lent with a release callback are valid until that is called.
 *
 * Wrong arguments, a frozen end and an ended queue are refused with an error before anything has happened.
 */
export class ByteQueue extends SegmentList implements Iterable<Uint8Array>, AsyncIterable<Uint8Array[]>, Disposable {
  private frontFrozen = false
  private backClosed = false // frozen or ended
  private backFrozen = false
  private hasEnded = false
  private endError: Error | undefined = undefined
  private watched = false // by hooks or waiters
  private hooks: ChangeHooks | undefined = undefined
  private waiters: { lengthBytes: number; resolve: (enough: boolean) => void; reject: (error: Error) => void }[] = []
  private reservation: { chunk: Chunk; start: number; lengthBytes: number; tail: Segment | undefined } | undefined =
    undefined
  private scannedFor: EndOfLine = 'crlf'

  /** How many bytes there are. */
  get sizeBytes(): number {
    return this.size
  }

  /** @internal The same without parts of files. */
  get memoryBytes(): number {
    let sum = 0
    for (let segment = this.head; segment !== undefined; segment = segment.next) {
      if (!(segment.chunk instanceof FileChunk)) sum += segment.end - segment.start
    }
    return sum
  }

  // ---- Putting in

  /** Copies `bytes` behind the others; strings as UTF-8. They may be changed afterwards. */
  append(bytes: Uint8Array | string): void {
    if (!(bytes instanceof Uint8Array)) bytes = toBytes(bytes, 'append')
    if (this.backClosed) this.refuseBack()
    const sizeBefore = this.size
    this.copyIn(bytes)
    if (this.watched) this.settle(undefined, sizeBefore, bytes.length, 0)
  }

  /** Copies `bytes` before the others. */
  prepend(bytes: Uint8Array | string): void {
    if (!(bytes instanceof Uint8Array)) bytes = toBytes(bytes, 'prepend')
    if (this.frontFrozen) this.refuseFront()
    if (bytes.length === 0) return
    const sizeBefore = this.size
    this.copyInFront(bytes)
    if (this.watched) this.settle(undefined, sizeBefore, bytes.length, 0)
  }

  /**
   * Appends `bytes` without copying: they must not be changed until `release` is called, once, when the last of them has
   * left this queue and every other one that has come to share them. It is not called when this throws.
   */
  appendReference(bytes: Uint8Array, release?: () => void): void {
    const segment = referenceTo(bytes, release, 'appendReference')
    if (this.backClosed) this.refuseBack()
    if (segment.end > 0) this.linkLast(segment, segment)
    this.linked(segment.end, release)
  }

  /** The same, before the other bytes. */
  prependReference(bytes: Uint8Array, release?: () => void): void {
    const segment = referenceTo(bytes, release, 'prependReference')
    if (this.frontFrozen) this.refuseFront()
    this.scanned = 0
    if (segment.end > 0) this.linkFirst(segment, segment)
    this.linked(segment.end, release)
  }

  /**
   * Appends a part of a file, by default all of the segment. Sent by {@link writeTo} or `Connection.write()` its bytes do
   * not come into memory where `Connection.writeFile()` can do without; looked at here, they are read, synchronously and
   * 256 KiB at a time. The segment may be closed afterwards.
   *
   * @throws {SluiceError} of what looks at it: `ERR_SLUICE_FILE_FAILED` when it cannot be read.
   */
  appendFile(segment: FileSegment, range: FileRange = {}): void {
    if (!(segment instanceof FileSegment)) throw refusal('appendFile() takes a FileSegment')
    const { fromBytes, lengthBytes } = segment.partOf(range)
    segment.requireOpen()
    if (this.backClosed) this.refuseBack()
    const sizeBefore = this.size
    const end = fromBytes + lengthBytes
    for (let at = fromBytes; at < end; at += filePieceBytes) {
      const length = Math.min(filePieceBytes, end - at)
      const piece = new Segment(new FileChunk(segment, at, length), 0, length)
      this.linkLast(piece, piece)
    }
    this.size += lengthBytes
    if (this.watched) this.settle(undefined, sizeBefore, lengthBytes, 0)
  }

  /**
   * Appends all that `source` holds, without copying and without taking it away: both queues, and any number of others,
   * share the same memory. What either does afterwards, the other does not see.
   */
  appendShared(source: ByteQueue): void {
    requireQueue(source)
    if (source === this) throw refusal('a queue cannot share its bytes with itself')
    if (this.backClosed) this.refuseBack()
    const sizeBefore = this.size
    for (let from = source.head; from !== undefined; from = from.next) {
      from.chunk.references++
      const segment = new Segment(from.chunk, from.start, from.end)
      this.linkLast(segment, segment)
    }
    this.size += source.size
    if (this.watched) this.settle(undefined, sizeBefore, source.size, 0)
  }

  /**
   * Moves the first `lengthBytes` of `source`, by default all, behind the bytes of this queue without copying. All takes
   * the same time however much it is. @returns how many were moved; more than there are is all.
   */
  appendFrom(source: ByteQueue, lengthBytes: number = Number.MAX_SAFE_INTEGER): number {
    requireQueue(source)
    requireCount(lengthBytes, 'lengthBytes')
    if (this.backClosed) this.refuseBack()
    if (source.frontFrozen) source.refuseFront()
    return this.moveFrom(source, lengthBytes, (first, last) => this.linkLast(first, last))
  }

  /** The same, to before the bytes of this queue. */
  prependFrom(source: ByteQueue, lengthBytes: number = Number.MAX_SAFE_INTEGER): number {
    requireQueue(source)
    requireCount(lengthBytes, 'lengthBytes')
    if (this.frontFrozen) this.refuseFront()
    if (source.frontFrozen) source.refuseFront()
    return this.moveFrom(source, lengthBytes, (first, last) => {
      this.scanned = 0
      this.linkFirst(first, last)
    })
  }

  /**
   * Room for at least `lengthBytes` behind the others, to be filled by the caller and then made part of the queue by
   * {@link commit}. What it holds before is undefined. Appending anything else, or
   * makeContiguous(), makes it void.
   */
  reserve(lengthBytes: number): Uint8Array {
    requireCount(lengthBytes, 'lengthBytes')
    if (this.backClosed) this.refuseBack()
    const { tail } = this
    const hasRoom =
      tail !== undefined &&
      tail.end === tail.chunk.filled &&
      lengthBytes > 0 &&
      lengthBytes <= tail.chunk.memory.length - tail.end
    const chunk = hasRoom ? tail.chunk : allocate(Math.max(1, lengthBytes), this.size)
    const start = hasRoom ? tail.end : 0
    chunk.exposed = true
    this.reservation = { chunk, start, lengthBytes: chunk.memory.length - start, tail }
    return chunk.memory.subarray(start)
  }

  /** Appends the first `lengthBytes` of what the last {@link reserve} gave; it is used up by that. */
  commit(lengthBytes: number): void {
    requireCount(lengthBytes, 'lengthBytes')
    const { reservation } = this
    if (this.backClosed) this.refuseBack()
    if (reservation === undefined) throw refusal('commit() without reserve()')
    const { chunk, start, tail } = reservation
    // Draining does no harm, unless something has been appended since.
    const isVoid = chunk.filled !== start || (this.tail !== tail && this.tail !== undefined)
    if (isVoid) throw refusal('something has been appended since reserve()')
    if (lengthBytes > reservation.lengthBytes) {
      throw refusal(`only ${reservation.lengthBytes} bytes have been reserved, not ${lengthBytes}`)
    }
    this.reservation = undefined
    if (lengthBytes === 0) return
    const sizeBefore = this.size
    chunk.filled = start + lengthBytes
    if (this.tail !== undefined && this.tail.chunk === chunk) {
      this.tail.end = chunk.filled
    } else {
      // A chunk of our own that no segment has used yet counts its first one already.
      if (start > 0) chunk.references++
      const segment = new Segment(chunk, start, chunk.filled)
      this.linkLast(segment, segment)
    }
    this.size += lengthBytes
    if (this.watched) this.settle(undefined, sizeBefore, lengthBytes, 0)
  }

  // ---- Taking out

  /** Drops the first `lengthBytes`, by default all. @returns how many; more than there are is all. */
  drain(lengthBytes: number = this.size): number {
    requireCount(lengthBytes, 'lengthBytes')
    if (this.frontFrozen) this.refuseFront()
    const sizeBefore = this.size
    const length = lengthBytes < sizeBefore ? lengthBytes : sizeBefore
    const releases = this.removeFront(length)
    if (this.watched || releases !== undefined) this.settle(releases, sizeBefore, 0, length)
    return length
  }

  /** Takes out the first `lengthBytes` as a copy that belongs to the caller; by default, and at most, all there are. */
  read(lengthBytes: number = this.size): Buffer {
    requireCount(lengthBytes, 'lengthBytes')
    if (this.frontFrozen) this.refuseFront()
    const bytes = Buffer.allocUnsafe(Math.min(lengthBytes, this.size))
    this.copyOut(bytes)
    this.drain(bytes.length)
    return bytes
  }

  /**
   * Takes out the first `lengthBytes`, by default and at most all, as they lie: in pieces and without copying, but for
   * pieces of memory that was lent with a release callback.
   */
  take(lengthBytes: number = this.size): Buffer[] {
    requireCount(lengthBytes, 'lengthBytes')
    if (this.frontFrozen) this.refuseFront()
    const length = Math.min(lengthBytes, this.size)
    const pieces = this.viewsOf(0, length, (chunk) => chunk.release !== undefined)
    this.drain(length)
    return pieces
  }

  /**
   * Takes out the next line, without its end; undefined as long as there is no whole one.
   *
   * `'crlf'` (the default) is LF with or without CR before it, `'crlfStrict'` is CR LF, `'lf'` and `'nul'` are one byte,
   * and `'any'` is any run of CR and LF: where such a run arrives in two parts, the second one is another, empty line.
   */
  readLine(endOfLine: EndOfLine = 'crlf'): Buffer | undefined {
    if (this.frontFrozen) this.refuseFront()
    const found = this.findEndOfLine(endOfLine)
    if (found === undefined) return undefined
    const line = Buffer.allocUnsafe(found.atBytes)
    this.copyOut(line)
    this.drain(found.atBytes + found.lengthBytes)
    return line
  }

  /** Drops everything. Releases what was lent. */
  clear(): void {
    this.drain()
  }

  [Symbol.dispose](): void {
    this.frontFrozen = false
    this.drain()
  }

  /**
   * Writes what is in front, `lengthBytes` at most, into a connection as long as that has room below its high-water
   * mark, and takes out what was written; call it again at `drain`. Large pieces are used where they are, and released
   * when the connection is done with them. What the connection refuses stays, and its error is thrown.
   *
   * @returns how many bytes were written.
   */
  writeTo(connection: Connection, lengthBytes: number = this.size): number {
    requireCount(lengthBytes, 'lengthBytes')
    if (typeof connection?.writeLent !== 'function') throw refusal('writeTo() takes a Connection')
    if (this.frontFrozen) this.refuseFront()
    const sizeBefore = this.size
    const releases: (() => void)[] = []
    let rest = Math.min(lengthBytes, sizeBefore)
    let written = 0
    try {
      for (let hasRoom = true; hasRoom && rest > 0; ) {
        const { chunk, start, end } = this.head!
        const length = Math.min(end - start, rest, writePieceBytes)
        if (chunk instanceof FileChunk) {
          hasRoom = connection.writeFilePart(chunk.file, chunk.fromBytes + start, length)
        } else {
          const view = chunk.memory.subarray(start, start + length)
          hasRoom = length > writeCopyBytes ? lend(connection, chunk, view) : connection.write(view)
        }
        rest -= length
        written += length
        releases.push(...(this.removeFront(length) ?? []))
      }
    } finally {
      if (written > 0) this.settle(releases, sizeBefore, 0, written)
    }
    return written
  }

  /**
   * @internal Takes out the first piece and lends it to `use` for the time of that call; where it is longer than
   * `copiedBytes`, its memory stays as it is afterwards, too. @returns how long it is.
   */
  lendFirst(use: (bytes: Buffer) => void, copiedBytes: number): number {
    const { chunk, start, end } = this.head!
    const length = end - start
    const sizeBefore = this.size
    if (length > copiedBytes) chunk.exposed = true
    chunk.references++
    const releases = this.removeFront(length)
    if (this.watched || releases !== undefined) this.settle(releases, sizeBefore, 0, length)
    try {
      use(chunk.memory.subarray(start, end))
    } finally {
      const release = chunk.drop()
      if (release !== undefined) callSafely(release)
    }
    return length
  }

  // ---- Looking

  /** Fills `target` with a copy of what lies from `fromBytes` on. @returns how many bytes were copied. */
  copyOut(target: Uint8Array, fromBytes = 0): number {
    if (!(target instanceof Uint8Array)) throw refusal('copyOut() takes a Uint8Array')
    requireCount(fromBytes, 'fromBytes')
    return this.copyTo(target, fromBytes)
  }

  /** Views of `lengthBytes`, by default and at most of all, from `fromBytes` on, as they lie. Nothing is copied. */
  peek(lengthBytes: number = this.size, fromBytes = 0): Buffer[] {
    requireCount(lengthBytes, 'lengthBytes')
    requireCount(fromBytes, 'fromBytes')
    return this.viewsOf(fromBytes, lengthBytes, () => false)
  }

  /** Views of the pieces. The queue may be changed meanwhile: those seen are the ones there were at the start. */
  [Symbol.iterator](): IterableIterator<Buffer> {
    return this.peek().values()
  }

  /**
   * Puts the first `lengthBytes`, by default all, into one piece, copying only if they are not, and returns a view of
   * them; undefined if there are fewer.
   */
  makeContiguous(lengthBytes: number = this.size): Buffer | undefined {
    requireCount(lengthBytes, 'lengthBytes')
    if (lengthBytes > this.size) return undefined
    if (lengthBytes === 0) return Buffer.alloc(0)
    const releases = this.gatherFront(lengthBytes)
    const { chunk, start } = this.head!
    chunk.exposed = true
    const view = chunk.memory.subarray(start, start + lengthBytes)
    if (releases !== undefined) this.settle(releases, this.size, 0, 0)
    return view
  }

  /** The byte at a position, counted from the front; undefined past the end. */
  byteAt(positionBytes: number): number | undefined {
    requireCount(positionBytes, 'positionBytes')
    return byteAt(this.head, positionBytes)
  }

  /**
   * Position of the first occurrence of `what` (bytes, text as UTF-8, or one byte as a number), wherever it is cut into
   * pieces; −1 if there is none. Positions count from the front, so they hold until something is taken out or prepended.
   */
  search(what: Uint8Array | string | number, range: SearchRange = {}): number {
    const needle = typeof what === 'number' ? oneByte(what) : toBytes(what, 'search')
    const { fromBytes = 0, toBytes: to = this.size } = range
    requireCount(fromBytes, 'fromBytes')
    requireCount(to, 'toBytes')
    const limit = Math.min(to, this.size)
    if (needle.length === 0) return fromBytes <= limit ? fromBytes : -1
    return find(this.head, needle, fromBytes, limit)
  }

  /** The first end of line of that style from `fromBytes` on; see {@link readLine}. */
  findEndOfLine(endOfLine: EndOfLine = 'crlf', fromBytes = 0): EndOfLinePosition | undefined {
    requireCount(fromBytes, 'fromBytes')
    if (!endsOfLine.includes(endOfLine)) throw refusal(`there is no end of line ${JSON.stringify(endOfLine)}`)
    const at = this.findMark(endOfLine, fromBytes)
    if (at < 0) return undefined
    if (endOfLine === 'any') {
      return { atBytes: at, lengthBytes: runOfEither(this.head, carriageReturn, lineFeed, at) }
    }
    if (endOfLine === 'crlfStrict') return { atBytes: at, lengthBytes: 2 }
    if (endOfLine === 'crlf' && at > fromBytes && byteAt(this.head, at - 1) === carriageReturn) {
      return { atBytes: at - 1, lengthBytes: 2 }
    }
    return { atBytes: at, lengthBytes: 1 }
  }

  // ---- Both sides of it

  /** From now on operations at that end are refused. */
  freeze(end: QueueEnd): void {
    this.setFrozen(end, true)
  }

  /** Undoes {@link freeze}. */
  unfreeze(end: QueueEnd): void {
    this.setFrozen(end, false)
  }

  /** Whether {@link freeze} is in force. */
  isFrozen(end: QueueEnd): boolean {
    requireEnd(end)
    return end === 'front' ? this.frontFrozen : this.backFrozen
  }

  /**
   * Calls `hook` after each operation that has changed the size, when that is complete. A hook may change the queue; all
   * are told of that afterwards. What a hook throws becomes an uncaught exception.
   */
  onChange(hook: (change: QueueChange) => void, options?: ChangeHookOptions): ChangeHook {
    if (typeof hook !== 'function') throw refusal('onChange() takes a function')
    const { deferred } = parse(changeHookOptions, options)
    this.hooks ??= new ChangeHooks()
    this.watched = true
    return this.hooks.add(hook, deferred)
  }

  /** Nothing will be appended any more; who waits for more is told, after the bytes that are there. */
  end(error?: Error): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.endError = error
    this.backClosed = true
    this.wake()
  }

  /** Whether {@link end} has been called. */
  get ended(): boolean {
    return this.hasEnded
  }

  /**
   * Resolves with true as soon as there are `lengthBytes`, and with false if the queue ends before. Rejects if it ends
   * with an error.
   */
  available(lengthBytes = 1): Promise<boolean> {
    requireCount(lengthBytes, 'lengthBytes')
    return new Promise((resolve, reject) => {
      this.waiters.push({ lengthBytes, resolve, reject })
      this.watched = true
      this.wake()
    })
  }

  /** Takes out all there is, as {@link take} does, and waits for more, until the end. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer[], void, undefined> {
    while (await this.available()) {
      // Somebody else may have been faster.
      if (this.size > 0) yield this.take()
    }
  }

  // ---- Inside

  // Empty memory goes back at once.
  private linked(length: number, release: (() => void) | undefined): void {
    const sizeBefore = this.size
    const releases = length === 0 && release !== undefined ? [release] : undefined
    this.size += length
    if (this.watched || releases !== undefined) this.settle(releases, sizeBefore, length, 0)
  }

  private moveFrom(source: ByteQueue, lengthBytes: number, link: (first: Segment, last: Segment) => void): number {
    const length = Math.min(lengthBytes, source.size)
    if (source === this || length === 0) return 0
    const sizeBefore = this.size
    const sourceBefore = source.size
    const [first, last] = source.cutFront(length)
    link(first, last)
    this.size += length
    // Neither is told before both know.
    if (this.watched) this.note(sizeBefore, length, 0)
    if (source.watched) source.settle(undefined, sourceBefore, 0, length)
    if (this.watched) this.tell(undefined)
    return length
  }

  // A long line that comes in many pieces is looked through once, not once per piece.
  private findMark(endOfLine: EndOfLine, from: number): number {
    const start = from === 0 && this.scannedFor === endOfLine ? this.scanned : from
    let at: number
    if (endOfLine === 'any') at = findEither(this.head, carriageReturn, lineFeed, start)
    else at = find(this.head, marks[endOfLine], start, this.size)
    if (from === 0) {
      this.scannedFor = endOfLine
      this.scanned = at >= 0 ? at : Math.max(0, this.size - (endOfLine === 'crlfStrict' ? 1 : 0))
    }
    return at
  }

  private setFrozen(end: QueueEnd, frozen: boolean): void {
    requireEnd(end)
    if (end === 'front') {
      this.frontFrozen = frozen
    } else {
      this.backFrozen = frozen
      this.backClosed = frozen || this.hasEnded
    }
  }

  private refuseFront(): never {
    throw refusal('the front of the queue is frozen')
  }

  private refuseBack(): never {
    if (this.backFrozen) throw refusal('the back of the queue is frozen')
    throw new SluiceError('WRITE_AFTER_END', { detail: 'the queue has ended' })
  }

  // The last step of every operation: strangers are called when all is in order.
  private settle(releases: Releases, sizeBefore: number, added: number, removed: number): void {
    this.note(sizeBefore, added, removed)
    this.tell(releases)
  }

  private note(sizeBefore: number, added: number, removed: number): void {
    if (added === 0 && removed === 0) return
    if (this.waiters.length > 0) this.wake()
    this.hooks?.note(sizeBefore, added, removed)
  }

  private tell(releases: Releases): void {
    this.hooks?.tell()
    if (releases !== undefined) for (const release of releases) callSafely(release)
  }

  private wake(): void {
    const { waiters } = this
    this.waiters = []
    for (const waiter of waiters) {
      if (this.size >= waiter.lengthBytes) waiter.resolve(true)
      else if (!this.hasEnded) this.waiters.push(waiter)
      else if (this.endError !== undefined) waiter.reject(this.endError)
      else waiter.resolve(false)
    }
    this.watched = this.waiters.length > 0 || this.hooks !== undefined
  }
}

function lend(connection: Connection, chunk: Chunk, view: Buffer): boolean {
  chunk.references++
  try {
    return connection.writeLent(view, () => {
      const release = chunk.drop()
      if (release !== undefined) callSafely(release)
    })
  } catch (error) {
    chunk.references--
    throw error
  }
}

function referenceTo(bytes: Uint8Array, release: (() => void) | undefined, method: string): Segment {
  if (!(bytes instanceof Uint8Array)) throw refusal(`${method}() takes a Uint8Array`)
  if (release !== undefined && typeof release !== 'function') throw refusal('"release" must be a function')
  return new Segment(foreignChunk(bytes, release), 0, bytes.length)
}

function requireEnd(end: QueueEnd): void {
  if (end !== 'front' && end !== 'back') throw refusal(`"end" must be 'front' or 'back', not ${String(end)}`)
}

function requireQueue(source: ByteQueue): void {
  if (!(source instanceof ByteQueue)) throw refusal('the source must be a ByteQueue')
}
