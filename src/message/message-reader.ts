import type { SluiceError } from '../errors.js'
import {
  commandCancelRequest,
  commandContinue,
  commandGiveUp,
  commandGrant,
  commandMoreParts,
  commandNew,
  commandRefuse,
  lastChunkBit,
} from './commands.js'
import { readCompact } from './compact.js'
import { messageError } from './failure.js'
import { MessageHeader, maxHeaderBytes, readHeader, readU32 } from './header.js'

/** Where the body of a message goes that comes in pieces. The bytes are valid until a call returns. */
export interface IncomingBody {
  chunk(bytes: Uint8Array, from: number, to: number): void
  /** All of it is there. */
  end(): void
  /** The sender has given it up or, with an error, is gone. */
  abort(error?: SluiceError): void
}

/** What becomes of messages. */
export interface MessageSink {
  /** A message in one piece; its body lies from `from` to `to`. The header is used again afterwards. */
  message(header: MessageHeader, bytes: Uint8Array, from: number, to: number): void
  /** A message begins that comes in pieces; undefined: its body is not wanted. */
  begin(header: MessageHeader, slot: number, round: number): IncomingBody | undefined
  /** The peer takes more of a message of ours. */
  granted(slot: number, round: number, bytes: number): void
  /** The peer does not want the rest of a message of ours. */
  refused(slot: number, round: number, number: number): void
  /** The peer does not want our answer any more. */
  requestCanceled(index: number, unique: number): void
  /** The peer takes more parts of our answer. */
  morePartsTaken(index: number, unique: number, parts: number): void
}

// The longest that may stand in front of the bytes of a body: command, slot, length, header.
const longestHeadBytes = 1 + 9 + 2 + maxHeaderBytes

interface Slot {
  /** Undefined where it is not wanted. */
  body: IncomingBody | undefined
  receivedBytes: number
  allowedBytes: number
  round: number
  isTaken: boolean
}

/**
 * Puts messages together from the commands of data packets: a machine without I/O. Knows how many messages there are and
 * how many bytes of each are allowed; bodies are kept by whoever wants them.
 */
export class MessageReader {
  private readonly slots: (Slot | undefined)[] = []
  private readonly header = new MessageHeader()
  private readonly cursor = { at: 0 }
  private over = false
  /** The chunk that the last part of a packet has ended in: its slot, and the bytes to come. */
  private cut: Slot | undefined = undefined
  private cutBytes = 0
  private isCutLast = false

  /**
   * @param maxSlots messages at once, as told in the hello.
   * @param windowBytes bytes of each body that may come unasked, likewise.
   */
  constructor(
    private readonly sink: MessageSink,
    private readonly maxSlots: number,
    private readonly windowBytes: number,
  ) {}

  /** Messages of which a part is there. */
  get unfinished(): number {
    return this.slots.reduce((sum, slot) => sum + (slot?.isTaken ? 1 : 0), 0)
  }

  /**
   * Takes the payload of a data packet, decompressed, or a part of it: then `rest` bytes of it are still to come. Answers
   * how far it got; what is behind is to be given again, with all of the rest.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_COMMAND`, `…_TOO_MANY_SLOTS`, `…_FLOW`, and what the sink throws.
   */
  data(bytes: Uint8Array, from: number, to: number, rest = 0): number {
    const { cursor } = this
    let at = this.cut === undefined ? from : this.goOn(this.cut, bytes, from, to)
    while (at < to && !this.over) {
      if (rest > 0 && to - at < longestHeadBytes) return at
      const command = bytes[at]!
      cursor.at = at + 1
      if (command >= commandNew && command <= (commandContinue | lastChunkBit)) {
        const slot = this.slotNumber(bytes, to)
        const lengthAt = cursor.at
        if (lengthAt + 2 > to) throw invalid('a chunk is cut off')
        const begin = lengthAt + 2
        const end = begin + (bytes[lengthAt]! | (bytes[lengthAt + 1]! << 8))
        if (end > to + rest) throw invalid('a chunk is longer than its packet')
        if (command === (commandNew | lastChunkBit)) {
          if (end > to) return at
          this.whole(slot, bytes, begin, end)
        } else {
          this.chunk(command, slot, bytes, begin, Math.min(end, to), Math.max(0, end - to))
        }
        at = Math.min(end, to)
        continue
      }
      this.control(command, bytes, to)
      at = cursor.at
    }
    return to
  }

  // Answers where the chunk ends, or what there is of it.
  private goOn(slot: Slot, bytes: Uint8Array, from: number, to: number): number {
    const end = Math.min(to, from + this.cutBytes)
    this.cutBytes -= end - from
    if (this.cutBytes === 0) this.cut = undefined
    if (!this.over) this.take(slot, bytes, from, end, this.cutBytes === 0 && this.isCutLast)
    return end
  }

  private whole(number: number, bytes: Uint8Array, from: number, to: number): void {
    const slot = this.slots[number] ?? this.open(number)
    if (slot.isTaken) this.giveUp(slot)
    slot.round = (slot.round + 1) & 0xff
    const bodyAt = readHeader(bytes, from, to, this.header)
    if (to - bodyAt > this.windowBytes)
      throw messageError('MESSAGE_FLOW', `${to - bodyAt} bytes of ${this.windowBytes}`)
    this.sink.message(this.header, bytes, bodyAt, to)
  }

  private open(number: number): Slot {
    const slot: Slot = { body: undefined, receivedBytes: 0, allowedBytes: 0, round: 0, isTaken: false }
    // Slots are taken from the lowest on; whoever does not pays with holes in this array, up to the bound.
    this.slots[number] = slot
    return slot
  }

  // `rest` bytes of it come later.
  private chunk(command: number, number: number, bytes: Uint8Array, from: number, to: number, rest: number): void {
    const slot = this.slots[number] ?? this.open(number)
    let bodyAt = from
    if ((command & ~lastChunkBit) === commandNew) {
      if (slot.isTaken) this.giveUp(slot)
      slot.round = (slot.round + 1) & 0xff
      bodyAt = readHeader(bytes, from, to, this.header)
      slot.receivedBytes = 0
      slot.allowedBytes = this.windowBytes
      slot.isTaken = true
      slot.body = this.sink.begin(this.header, number, slot.round)
    } else if (!slot.isTaken) {
      throw invalid(`slot ${number} has no message to go on with`)
    }
    const isLast = (command & lastChunkBit) !== 0
    if (rest > 0) {
      this.cut = slot
      this.cutBytes = rest
      this.isCutLast = isLast
    }
    this.take(slot, bytes, bodyAt, to, isLast && rest === 0)
  }

  private take(slot: Slot, bytes: Uint8Array, from: number, to: number, isLast: boolean): void {
    slot.receivedBytes += to - from
    if (slot.receivedBytes > slot.allowedBytes)
      throw messageError('MESSAGE_FLOW', `${slot.receivedBytes} bytes of ${slot.allowedBytes}`)
    const { body } = slot
    if (body !== undefined && to > from) body.chunk(bytes, from, to)
    if (!isLast) return
    slot.isTaken = false
    slot.body = undefined
    body?.end()
  }

  private giveUp(slot: Slot, error?: SluiceError): void {
    const { body } = slot
    slot.isTaken = false
    slot.body = undefined
    body?.abort(error)
  }

  private control(command: number, bytes: Uint8Array, to: number): void {
    const { sink } = this
    switch (command) {
      case commandGiveUp: {
        const slot = this.slots[this.slotNumber(bytes, to)]
        if (slot?.isTaken) this.giveUp(slot)
        return
      }
      case commandGrant: {
        const slot = this.number(bytes, to)
        const round = this.byte(bytes, to)
        sink.granted(slot, round, this.number(bytes, to))
        return
      }
      case commandRefuse: {
        const slot = this.number(bytes, to)
        const round = this.byte(bytes, to)
        const low = this.byte(bytes, to)
        sink.refused(slot, round, low | (this.byte(bytes, to) << 8))
        return
      }
      case commandCancelRequest: {
        const index = this.number(bytes, to)
        sink.requestCanceled(index, this.u32(bytes, to))
        return
      }
      case commandMoreParts: {
        const index = this.number(bytes, to)
        const unique = this.u32(bytes, to)
        sink.morePartsTaken(index, unique, this.number(bytes, to))
        return
      }
    }
    throw invalid(`command ${command}`)
  }

  /** The receiver allows so many bytes more. Answers whether the message is still coming in. */
  allow(number: number, round: number, bytes: number): boolean {
    const slot = this.slots[number]
    if (slot === undefined || !slot.isTaken || slot.round !== round) return false
    slot.allowedBytes += bytes
    return true
  }

  /** What comes of it is dropped. Answers whether it was still coming in. */
  ignore(number: number, round: number): boolean {
    const slot = this.slots[number]
    if (slot === undefined || !slot.isTaken || slot.round !== round) return false
    slot.body = undefined
    return true
  }

  /** The connection is gone: nothing more comes. */
  end(error: SluiceError): void {
    this.over = true
    for (const slot of this.slots) {
      if (slot?.isTaken) this.giveUp(slot, error)
    }
  }

  private slotNumber(bytes: Uint8Array, to: number): number {
    const { cursor } = this
    const first = bytes[cursor.at]
    let slot: number
    if (first !== undefined && cursor.at < to && first < 0x80) {
      cursor.at++
      slot = first
    } else {
      slot = this.number(bytes, to)
    }
    if (slot >= this.maxSlots) throw messageError('MESSAGE_TOO_MANY_SLOTS', `slot ${slot} of ${this.maxSlots}`)
    return slot
  }

  private number(bytes: Uint8Array, to: number): number {
    const value = readCompact(bytes, this.cursor, to)
    if (value < 0) throw invalid('a number is cut off, or not in its shortest form')
    return value
  }

  private byte(bytes: Uint8Array, to: number): number {
    if (this.cursor.at >= to) throw invalid('a command is cut off')
    return bytes[this.cursor.at++]!
  }

  private u32(bytes: Uint8Array, to: number): number {
    const { at } = this.cursor
    if (at + 4 > to) throw invalid('a command is cut off')
    this.cursor.at = at + 4
    return readU32(bytes, at)
  }
}

function invalid(what: string) {
  return messageError('MESSAGE_INVALID_COMMAND', what)
}
