import { refusal, toBytes } from '../byte-queue/arguments.js'
import { ByteQueue } from '../byte-queue/queue.js'

/** How the length before a frame is written: a number of that size, big-endian unless it ends in `le`, or LEB128. */
export type LengthPrefix = 'u8' | 'u16' | 'u16le' | 'u32' | 'u32le' | 'u64' | 'u64le' | 'varint'

const scratch = Buffer.alloc(16)

/**
 * Puts numbers and frames into a {@link ByteQueue}, its own or a given one; `queue.writeTo(connection)` sends them. What
 * is out of range is refused, and nothing of it written.
 */
export class FrameWriter {
  /** Where everything goes. */
  readonly queue: ByteQueue

  /** Writes into `queue`, or a new one. */
  constructor(queue: ByteQueue = new ByteQueue()) {
    this.queue = queue
  }

  /** 0 to 255. */
  u8(value: number): this {
    return this.append(scratch.writeUInt8(requireNumber(value, 8)))
  }

  /** 16 bits, big-endian. */
  u16(value: number): this {
    return this.append(scratch.writeUInt16BE(requireNumber(value, 16)))
  }

  /** 16 bits, little-endian. */
  u16le(value: number): this {
    return this.append(scratch.writeUInt16LE(requireNumber(value, 16)))
  }

  /** 32 bits, big-endian. */
  u32(value: number): this {
    return this.append(scratch.writeUInt32BE(requireNumber(value, 32)))
  }

  /** 32 bits, little-endian. */
  u32le(value: number): this {
    return this.append(scratch.writeUInt32LE(requireNumber(value, 32)))
  }

  /** 64 bits, big-endian. */
  u64(value: bigint | number): this {
    return this.append(scratch.writeBigUInt64BE(requireBigint(value)))
  }

  /** 64 bits, little-endian. */
  u64le(value: bigint | number): this {
    return this.append(scratch.writeBigUInt64LE(requireBigint(value)))
  }

  /** Unsigned LEB128, as in protobuf: seven bits per byte, the low ones first; up to 64 bits. */
  varint(value: bigint | number): this {
    let rest = requireBigint(value)
    let length = 0
    for (; rest > 0x7fn; rest >>= 7n) scratch[length++] = Number(rest & 0x7fn) | 0x80
    scratch[length++] = Number(rest)
    return this.append(length)
  }

  /** As they are; strings as UTF-8. */
  bytes(bytes: Uint8Array | string): this {
    this.queue.append(bytes)
    return this
  }

  /** The length, then the bytes. */
  lengthPrefixed(bytes: Uint8Array | string, prefix: LengthPrefix = 'u32'): this {
    const content = toBytes(bytes, 'lengthPrefixed')
    requirePrefix(prefix)
    this[prefix](content.length)
    return this.bytes(content)
  }

  /** `5:hello,` */
  netstring(bytes: Uint8Array | string): this {
    const content = toBytes(bytes, 'netstring')
    return this.bytes(`${content.length}:`).bytes(content).bytes(',')
  }

  /** The text and an end of line, `'\r\n'` by default. A text that holds that end itself is refused. */
  line(text: string, endOfLine: '\r\n' | '\n' | '\0' = '\r\n'): this {
    if (typeof text !== 'string') throw refusal('line() takes a string')
    if (!['\r\n', '\n', '\0'].includes(endOfLine)) throw refusal('"endOfLine" must be CR LF, LF or NUL')
    // A reader may take LF alone for an end, too.
    if (text.includes(endOfLine === '\0' ? '\0' : '\n')) throw refusal('the text holds an end of line')
    return this.bytes(text + endOfLine)
  }

  private append(length: number): this {
    this.queue.append(scratch.subarray(0, length))
    return this
  }
}

export function requirePrefix(prefix: LengthPrefix): void {
  const known: LengthPrefix[] = ['u8', 'u16', 'u16le', 'u32', 'u32le', 'u64', 'u64le', 'varint']
  if (!known.includes(prefix)) throw refusal(`"prefix" must be one of ${known.join(', ')}, not ${String(prefix)}`)
}

function requireNumber(value: number, bits: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return value
  throw refusal(`${String(value)} is not an unsigned integer of ${bits} bits`)
}

function requireBigint(value: bigint | number): bigint {
  const big = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value
  if (typeof big === 'bigint' && big >= 0n && big < 1n << 64n) return big
  throw refusal(`${String(value)} is not an unsigned integer of 64 bits`)
}
