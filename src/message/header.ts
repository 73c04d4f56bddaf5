import { compactLength, putCompact, readCompact } from './compact.js'
import { messageError } from './failure.js'

// The header of a message, in front of its body. Source: SF-08, docs/wire-format.md.

export const awaitsAnswer = 0x01
export const isAnswer = 0x02
export const partOfAnswer = 0x04
export const isFailureAnswer = 0x08
export const synchronousFlag = 0x10
export const idempotentFlag = 0x20
const extendedFlag = 0x40
const unknownFlags = 0x80

const hasDeadline = 0x01
const hasTrace = 0x02
const isRelayed = 0x04
const hasSize = 0x08
const unknownExtensions = 0xf0

export const traceBytes = 26
/** The longest header: both flags, and all that they may announce. */
export const maxHeaderBytes = 2 + 9 + (9 + 4) + 9 + 9 + traceBytes + 6 + 9

/** A header, read or to be written. Used again for the next message: keep what you need of it. */
export class MessageHeader {
  /** Those of the first byte, without that which announces the second. */
  flags = 0
  /** In the numbering of the receiver. */
  type = 0
  /** Of the request that is made or, in an answer, answered. */
  index = 0
  unique = 0
  /** Of synchronous messages. */
  epoch = 0
  /** Milliseconds left; -1 for none. */
  deadlineMs = -1
  /** {@link traceBytes} bytes, or undefined. */
  trace: Uint8Array | undefined = undefined
  /** Group it is relayed to; -1 for none. */
  group = -1
  replica = 0
  /** Bytes of the body; -1 where that is not known. */
  sizeBytes = -1

  /** As after construction. */
  clear(): void {
    this.flags = 0
    this.type = 0
    this.index = 0
    this.unique = 0
    this.epoch = 0
    this.deadlineMs = -1
    this.trace = undefined
    this.group = -1
    this.replica = 0
    this.sizeBytes = -1
  }
}

/** Bytes that {@link putHeader} will write. */
export function headerLength(header: MessageHeader): number {
  const { flags } = header
  let length = 1
  const extensions = extensionsOf(header)
  if (extensions !== 0) length++
  if ((flags & isAnswer) === 0) length += compactLength(header.type)
  if ((flags & (awaitsAnswer | isAnswer)) !== 0) length += compactLength(header.index) + 4
  if ((flags & synchronousFlag) !== 0) length += compactLength(header.epoch)
  if (extensions === 0) return length
  if ((extensions & hasDeadline) !== 0) length += compactLength(header.deadlineMs)
  if ((extensions & hasTrace) !== 0) length += traceBytes
  if ((extensions & isRelayed) !== 0) length += 6
  if ((extensions & hasSize) !== 0) length += compactLength(header.sizeBytes)
  return length
}

function extensionsOf(header: MessageHeader): number {
  return (
    (header.deadlineMs >= 0 ? hasDeadline : 0) |
    (header.trace !== undefined ? hasTrace : 0) |
    (header.group >= 0 ? isRelayed : 0) |
    (header.sizeBytes >= 0 ? hasSize : 0)
  )
}

/** Writes `header` at `at`, and answers where it ends. */
export function putHeader(bytes: Uint8Array, at: number, header: MessageHeader): number {
  const { flags } = header
  const extensions = extensionsOf(header)
  bytes[at++] = extensions === 0 ? flags : flags | extendedFlag
  if (extensions !== 0) bytes[at++] = extensions
  if ((flags & isAnswer) === 0) at = putCompact(bytes, at, header.type)
  if ((flags & (awaitsAnswer | isAnswer)) !== 0) {
    at = putCompact(bytes, at, header.index)
    at = putU32(bytes, at, header.unique)
  }
  if ((flags & synchronousFlag) !== 0) at = putCompact(bytes, at, header.epoch)
  if (extensions === 0) return at
  if ((extensions & hasDeadline) !== 0) at = putCompact(bytes, at, header.deadlineMs)
  if ((extensions & hasTrace) !== 0) {
    bytes.set(header.trace!, at)
    at += traceBytes
  }
  if ((extensions & isRelayed) !== 0) {
    at = putU32(bytes, at, header.group)
    bytes[at++] = header.replica & 0xff
    bytes[at++] = header.replica >>> 8
  }
  if ((extensions & hasSize) !== 0) at = putCompact(bytes, at, header.sizeBytes)
  return at
}

/** Writes 32 bits at `at`, and answers where they end. */
export function putU32(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value & 0xff
  bytes[at + 1] = (value >>> 8) & 0xff
  bytes[at + 2] = (value >>> 16) & 0xff
  bytes[at + 3] = value >>> 24
  return at + 4
}

/** 32 bits at `at`. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

const cursor = { at: 0 }

/**
 * Reads a header between `from` and `to` into `header`, and answers where its body begins.
 *
 * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_COMMAND`.
 */
export function readHeader(bytes: Uint8Array, from: number, to: number, header: MessageHeader): number {
  header.clear()
  if (from >= to) throw cutOff()
  const first = bytes[from]!
  cursor.at = from + 1
  if ((first & unknownFlags) !== 0) throw invalid(`flags ${first}`)
  const flags = first & ~extendedFlag
  header.flags = flags
  const answers = (flags & isAnswer) !== 0
  if (answers ? (flags & awaitsAnswer) !== 0 : (flags & (partOfAnswer | isFailureAnswer)) !== 0)
    throw invalid(`flags ${first}`)
  let extensions = 0
  if ((first & extendedFlag) !== 0) {
    if (cursor.at >= to) throw cutOff()
    extensions = bytes[cursor.at++]!
    if ((extensions & unknownExtensions) !== 0) throw invalid(`further flags ${extensions}`)
  }
  if (!answers) header.type = number(bytes, to)
  if ((flags & (awaitsAnswer | isAnswer)) !== 0) {
    header.index = number(bytes, to)
    header.unique = u32(bytes, to)
  }
  if ((flags & synchronousFlag) !== 0) header.epoch = number(bytes, to)
  if (extensions === 0) return cursor.at
  if ((extensions & hasDeadline) !== 0) header.deadlineMs = number(bytes, to)
  if ((extensions & hasTrace) !== 0) {
    if (cursor.at + traceBytes > to) throw cutOff()
    header.trace = bytes.slice(cursor.at, cursor.at + traceBytes)
    cursor.at += traceBytes
  }
  if ((extensions & isRelayed) !== 0) {
    header.group = u32(bytes, to)
    if (cursor.at + 2 > to) throw cutOff()
    header.replica = bytes[cursor.at]! | (bytes[cursor.at + 1]! << 8)
    cursor.at += 2
  }
  if ((extensions & hasSize) !== 0) header.sizeBytes = number(bytes, to)
  return cursor.at
}

function number(bytes: Uint8Array, to: number): number {
  const value = readCompact(bytes, cursor, to)
  if (value < 0) throw invalid('a number in the header of a message')
  return value
}

function u32(bytes: Uint8Array, to: number): number {
  const { at } = cursor
  if (at + 4 > to) throw cutOff()
  cursor.at = at + 4
  return readU32(bytes, at)
}

function cutOff() {
  return invalid('the header of a message is cut off')
}

function invalid(what: string) {
  return messageError('MESSAGE_INVALID_COMMAND', what)
}
