import { allocate, type Chunk, Segment } from './chunk.js'

/** Callbacks that are still to be called. */
export type Releases = (() => void)[] | undefined

/** The pieces of a queue: how they hang together, without any rule about who may do what when. */
export abstract class SegmentList {
  protected head: Segment | undefined = undefined
  protected tail: Segment | undefined = undefined
  protected size = 0
  /** So many bytes in front are known to hold no end of line of the style looked for last. */
  protected scanned = 0

  /** Copies behind what there is, into the last chunk as far as there is room. */
  protected copyIn(bytes: Uint8Array): void {
    const length = bytes.length
    const { tail } = this
    if (tail !== undefined && tail.end === tail.chunk.filled && length <= tail.chunk.memory.length - tail.end) {
      tail.chunk.memory.set(bytes, tail.end)
      tail.end += length
      tail.chunk.filled = tail.end
    } else if (length > 0) {
      this.copyIntoNewChunk(bytes)
    }
    this.size += length
  }

  private copyIntoNewChunk(bytes: Uint8Array): void {
    let rest = bytes
    const { tail } = this
    const room = tail !== undefined && tail.end === tail.chunk.filled ? tail.chunk.memory.length - tail.end : 0
    if (tail !== undefined && room > 0) {
      const { chunk } = tail
      chunk.memory.set(rest.subarray(0, room), tail.end)
      chunk.filled = tail.end = chunk.memory.length
      rest = rest.subarray(room)
    }
    const chunk = allocate(rest.length, this.size)
    chunk.memory.set(rest)
    chunk.filled = rest.length
    const segment = new Segment(chunk, 0, rest.length)
    this.linkLast(segment, segment)
  }

  /** Copies to before what there is. */
  protected copyInFront(bytes: Uint8Array): void {
    const { head } = this
    const length = bytes.length
    if (head !== undefined && length <= head.start && head.chunk.isExclusive) {
      head.start -= length
      head.chunk.memory.set(bytes, head.start)
    } else {
      // At the chunk's end, so that more can follow before it.
      const chunk = allocate(length, this.size)
      const end = chunk.memory.length
      chunk.memory.set(bytes, end - length)
      chunk.filled = end
      const segment = new Segment(chunk, end - length, end)
      this.linkFirst(segment, segment)
    }
    this.size += length
    this.scanned = 0
  }

  protected linkLast(first: Segment, last: Segment): void {
    if (this.tail === undefined) this.head = first
    else this.tail.next = first
    this.tail = last
  }

  protected linkFirst(first: Segment, last: Segment): void {
    last.next = this.head
    if (this.head === undefined) this.tail = last
    this.head = first
  }

  /** Takes the first `length` bytes, more than 0, off, as a row of segments. */
  protected cutFront(length: number): [first: Segment, last: Segment] {
    let first = this.head!
    let last = this.tail!
    if (length === this.size) {
      this.head = this.tail = undefined
    } else {
      let previous: Segment | undefined
      last = first
      let rest = length
      while (rest > last.end - last.start) {
        rest -= last.end - last.start
        previous = last
        last = last.next!
      }
      if (rest < last.end - last.start) {
        // What stays keeps its segment, since somebody may have reserved room behind it.
        last.chunk.references++
        const front = new Segment(last.chunk, last.start, last.start + rest)
        last.start = front.end
        this.head = last
        if (previous === undefined) first = front
        else previous.next = front
        last = front
      } else {
        this.head = last.next
      }
      last.next = undefined
    }
    this.size -= length
    this.scanned = Math.max(0, this.scanned - length)
    return [first, last]
  }

  /** Drops the first `length` bytes. */
  protected removeFront(length: number): Releases {
    let head = this.head
    let rest = length
    let releases: Releases
    this.size -= length
    if (this.scanned !== 0) this.scanned = Math.max(0, this.scanned - length)
    while (rest > 0) {
      const segment: Segment = head!
      const inSegment = segment.end - segment.start
      if (rest < inSegment) {
        segment.start += rest
        break
      }
      rest -= inSegment
      const release = segment.chunk.drop()
      if (release !== undefined) {
        releases ??= []
        releases.push(release)
      }
      head = segment.next
    }
    this.head = head
    if (head === undefined) this.tail = undefined
    return releases
  }

  /** Makes the first segment so long that it holds `length` bytes, of which there are enough. */
  protected gatherFront(length: number): Releases {
    const head = this.head!
    const inHead = head.end - head.start
    if (length <= inHead) return undefined
    const more = length - inHead
    let first: Segment
    if (head.end === head.chunk.filled && more <= head.chunk.memory.length - head.end) {
      // There is room behind the first piece.
      const { chunk } = head
      this.copyTo(chunk.memory.subarray(head.end, head.end + more), inHead)
      chunk.filled = head.end + more
      chunk.references++
      first = new Segment(chunk, head.start, chunk.filled)
    } else {
      // Half as much again: the next call may want a little more.
      const chunk = allocate(length + (length >>> 1), 0)
      this.copyTo(chunk.memory.subarray(0, length), 0)
      chunk.filled = length
      first = new Segment(chunk, 0, length)
    }
    const { scanned } = this
    const releases = this.removeFront(length)
    this.linkFirst(first, first)
    this.size += length
    this.scanned = scanned
    return releases
  }

  protected copyTo(target: Uint8Array, from: number): number {
    let skip = from
    let copied = 0
    for (let segment = this.head; segment !== undefined && copied < target.length; segment = segment.next) {
      const length = segment.end - segment.start
      if (skip >= length) {
        skip -= length
        continue
      }
      copied += segment.chunk.memory.copy(target, copied, segment.start + skip, segment.end)
      skip = 0
    }
    return copied
  }

  protected viewsOf(from: number, length: number, mustCopy: (chunk: Chunk) => boolean): Buffer[] {
    const views: Buffer[] = []
    let skip = from
    let rest = Math.min(length, this.size - from)
    for (let segment = this.head; segment !== undefined && rest > 0; segment = segment.next) {
      const { chunk, start, end } = segment
      if (skip >= end - start) {
        skip -= end - start
        continue
      }
      const view = chunk.memory.subarray(start + skip, Math.min(end, start + skip + rest))
      rest -= view.length
      skip = 0
      if (mustCopy(chunk)) {
        views.push(Buffer.from(view))
      } else {
        chunk.exposed = true
        views.push(view)
      }
    }
    return views
  }
}
