import type { Segment } from './chunk.js'

/** Where a line ends: see `ByteQueue.findEndOfLine`. */
export type EndOfLine = 'any' | 'crlf' | 'crlfStrict' | 'lf' | 'nul'

/** An end of line that was found. */
export interface EndOfLinePosition {
  /** Length of the line before it, as counted from the front of the queue. */
  atBytes: number
  /** Length of the end of line itself. */
  lengthBytes: number
}

/** First position of `needle` (not empty) that lies within `from` and `to` as a whole, or −1. */
export function find(head: Segment | undefined, needle: Uint8Array, from: number, to: number): number {
  const last = to - needle.length
  let base = 0
  for (let segment = head; segment !== undefined && base <= last; segment = segment.next) {
    const length = segment.end - segment.start
    if (from < base + length) {
      const first = Math.max(0, from - base)
      const found = findWithin(segment, needle, first, Math.min(length, to - base))
      if (found >= 0) return base + found
      // What starts here and ends in a later segment; what would pass `to` is left out.
      const borderEnd = Math.min(length, last - base + 1)
      for (let at = Math.max(first, length - needle.length + 1); at < borderEnd; at++) {
        if (matches(segment, at, needle)) return base + at
      }
    }
    base += length
  }
  return -1
}

function findWithin(segment: Segment, needle: Uint8Array, from: number, to: number): number {
  if (to - from < needle.length) return -1
  const found = segment.chunk.memory.subarray(segment.start + from, segment.start + to).indexOf(needle)
  return found < 0 ? -1 : from + found
}

function matches(segment: Segment, at: number, needle: Uint8Array): boolean {
  let here: Segment | undefined = segment
  let position = segment.start + at
  for (const byte of needle) {
    while (here !== undefined && position === here.end) {
      here = here.next
      if (here !== undefined) position = here.start
    }
    if (here === undefined || here.chunk.memory[position++] !== byte) return false
  }
  return true
}

/** First position from `from` on of a byte that is one of two, or −1. */
export function findEither(head: Segment | undefined, a: number, b: number, from: number): number {
  let base = 0
  for (let segment = head; segment !== undefined; segment = segment.next) {
    const { start, end } = segment
    const { memory } = segment.chunk
    for (let at = start + Math.max(0, from - base); at < end; at++) {
      const byte = memory[at]
      if (byte === a || byte === b) return base + at - start
    }
    base += end - start
  }
  return -1
}

/** Length of the run of bytes, from `from` on, each of which is one of two. */
export function runOfEither(head: Segment | undefined, a: number, b: number, from: number): number {
  let base = 0
  let length = 0
  for (let segment = head; segment !== undefined; segment = segment.next) {
    const { start, end } = segment
    const { memory } = segment.chunk
    for (let at = start + Math.max(0, from - base); at < end; at++) {
      const byte = memory[at]
      if (byte !== a && byte !== b) return length
      length++
    }
    base += end - start
  }
  return length
}

/** The byte at a position, undefined past the end. */
export function byteAt(head: Segment | undefined, position: number): number | undefined {
  let rest = position
  for (let segment = head; segment !== undefined; segment = segment.next) {
    const length = segment.end - segment.start
    if (rest < length) return segment.chunk.memory[segment.start + rest]
    rest -= length
  }
  return undefined
}
