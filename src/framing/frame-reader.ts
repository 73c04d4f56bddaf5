import { requireCount } from '../byte-queue/arguments.js'
import type { ByteQueue } from '../byte-queue/queue.js'
import type { EndOfLine } from '../byte-queue/search.js'
import { SluiceError } from '../errors.js'
import { type LengthPrefix, requirePrefix } from './frame-writer.js'

/** What a peer may send at most. */
export interface FrameLimits {
  /** Longest content of a frame, without its length or end. Default 1 048 576. */
  maxBytes?: number
}

/** Options of `line()`. */
export interface LineOptions extends FrameLimits {
  /** See `ByteQueue.readLine`. Default `'crlf'`. */
  endOfLine?: EndOfLine
}

const scratch = Buffer.alloc(16)
const defaultMaxBytes = 1_048_576
const colon = 0x3a
const comma = 0x2c
const zero = 0x30

/**
 * Takes numbers and frames out of a {@link ByteQueue}. What is not there as a whole yet is answered with undefined, and
 * nothing is taken; so it can be asked again when more has come.
 *
 * What is wrong throws `ERR_SLUICE_FRAME_INVALID`, and takes nothing either.
 */
export class FrameReader {
  private at = 0
  private within = false

  /** Reads from `queue`. */
  constructor(
    /** Where everything comes from. */
    readonly queue: ByteQueue,
  ) {}

  /**
   * Several reads as one: if `parse` answers with undefined or throws, nothing of what it has read is taken.
   *
   * `reader.frame((r) => { const type = r.u8(); const body = r.lengthPrefixed(); return body && { type, body } })`
   */
  frame<T>(parse: (reader: this) => T | undefined): T | undefined {
    const { at, within } = this
    let result: T | undefined
    this.within = true
    try {
      result = parse(this)
      if (result !== undefined && !within) this.queue.drain(this.at)
      return result
    } finally {
      this.within = within
      if (!within) this.at = 0
      else if (result === undefined) this.at = at
    }
  }

  /** 8 bits. */
  u8(): number | undefined {
    return this.load(1) ? this.took(1, scratch[0]!) : undefined
  }

  /** 16 bits, big-endian. */
  u16(): number | undefined {
    return this.load(2) ? this.took(2, scratch.readUInt16BE()) : undefined
  }

  /** 16 bits, little-endian. */
  u16le(): number | undefined {
    return this.load(2) ? this.took(2, scratch.readUInt16LE()) : undefined
  }

  /** 32 bits, big-endian. */
  u32(): number | undefined {
    return this.load(4) ? this.took(4, scratch.readUInt32BE()) : undefined
  }

  /** 32 bits, little-endian. */
  u32le(): number | undefined {
    return this.load(4) ? this.took(4, scratch.readUInt32LE()) : undefined
  }

  /** 64 bits, big-endian. */
  u64(): bigint | undefined {
    return this.load(8) ? this.took(8, scratch.readBigUInt64BE()) : undefined
  }

  /** 64 bits, little-endian. */
  u64le(): bigint | undefined {
    return this.load(8) ? this.took(8, scratch.readBigUInt64LE()) : undefined
  }

  /** Unsigned LEB128 of up to 64 bits. */
  varint(): bigint | undefined {
    const there = this.queue.copyOut(scratch.subarray(0, 10), this.at)
    let value = 0n
    for (let i = 0; i < there; i++) {
      const byte = scratch[i]!
      if (i === 9 && byte > 1) throw invalid('a varint of more than 64 bits')
      value |= BigInt(byte & 0x7f) << BigInt(7 * i)
      if (byte < 0x80) return this.took(i + 1, value)
    }
    return undefined
  }

  /** So many bytes, as a copy. */
  bytes(lengthBytes: number): Buffer | undefined {
    requireCount(lengthBytes, 'lengthBytes')
    if (this.rest < lengthBytes) return undefined
    const bytes = Buffer.allocUnsafe(lengthBytes)
    this.queue.copyOut(bytes, this.at)
    return this.took(lengthBytes, bytes)
  }

  /** The content of a frame that begins with its length. */
  lengthPrefixed(prefix: LengthPrefix = 'u32', limits: FrameLimits = {}): Buffer | undefined {
    requirePrefix(prefix)
    const maxBytes = maxBytesOf(limits)
    return this.frame(() => {
      const length = this[prefix]()
      if (length === undefined) return undefined
      if (length > maxBytes) throw tooLong(`${length}`, maxBytes)
      return this.bytes(Number(length))
    })
  }

  /** The content of a netstring. */
  netstring(limits: FrameLimits = {}): Buffer | undefined {
    const maxBytes = maxBytesOf(limits)
    return this.frame(() => {
      let length = 0
      for (let digits = 0; ; digits++) {
        const byte = this.u8()
        if (byte === undefined) return undefined
        if (byte === colon && digits > 0) break
        const isDigit = byte >= zero && byte <= zero + 9
        if (!isDigit || (digits > 0 && length === 0)) throw invalid('a netstring must begin with its length')
        length = 10 * length + byte - zero
        if (length > maxBytes) throw tooLong(`${length} or more`, maxBytes)
      }
      const end = this.queue.byteAt(this.at + length)
      if (end === undefined) return undefined
      if (end !== comma) throw invalid('a netstring must end in a comma')
      const content = this.bytes(length)
      this.u8()
      return content
    })
  }

  /** The next line as text, without its end. */
  line(options: LineOptions = {}): string | undefined {
    const maxBytes = maxBytesOf(options)
    const found = this.queue.findEndOfLine(options.endOfLine, this.at)
    const length = found === undefined ? this.rest : found.atBytes - this.at
    // One byte more may be the CR of an end that is not complete.
    if (length > maxBytes + (found === undefined ? 1 : 0)) throw tooLong(`${length} or more`, maxBytes)
    if (found === undefined) return undefined
    const line = Buffer.allocUnsafe(length)
    this.queue.copyOut(line, this.at)
    return this.took(length + found.lengthBytes, line.toString())
  }

  private get rest(): number {
    return this.queue.sizeBytes - this.at
  }

  private load(length: number): boolean {
    if (this.rest < length) return false
    for (let i = 0; i < length; i++) scratch[i] = this.queue.byteAt(this.at + i)!
    return true
  }

  private took<T>(length: number, value: T): T {
    if (this.within) this.at += length
    else this.queue.drain(length)
    return value
  }
}

/** The error for bytes that are no frame. */
export function invalid(detail: string): SluiceError {
  return new SluiceError('FRAME_INVALID', { phase: 'read', detail })
}

function tooLong(length: string, maxBytes: number): SluiceError {
  return invalid(`a frame of ${length} bytes, maxBytes is ${maxBytes}`)
}

function maxBytesOf({ maxBytes = defaultMaxBytes }: FrameLimits): number {
  requireCount(maxBytes, 'maxBytes')
  return maxBytes
}
