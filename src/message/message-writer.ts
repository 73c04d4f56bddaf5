import {
  commandCancelRequest,
  commandContinue,
  commandGiveUp,
  commandGrant,
  commandMoreParts,
  commandNew,
  commandRefuse,
  lastChunkBit,
  maxChunkBytes,
} from './commands.js'
import { compactLength, putCompact } from './compact.js'
import { messageError } from './failure.js'
import { headerLength, isAnswer, maxHeaderBytes, putHeader, putU32, synchronousFlag } from './header.js'
import { MessageQueue } from './message-queue.js'
import type { BodySource, Outgoing } from './outgoing.js'
import { maxPayloadBytes, packetHeaderBytes } from './packet.js'
import { PacketBuffer, type PacketCompressor, type PacketPort } from './packet-buffer.js'

/** Packets in a row that one message may fill while others wait. Source: SF-16. */
const packetsPerTurn = 4
/** The same for those of the lowest priority. */
const packetsPerLowTurn = 1
/** Messages that wait and are begun before those under way have a packet again. */
const startsPerTurn = 64
/** Pieces of bodies from here on are sent from where they are. */
const lentFromBytes = 16_384
// What a chunk has besides the bytes of its body and the header.
const chunkOverheadBytes = 1 + 9 + 2
/** A packet with less room than that begins no further piece of a body. Source: SF-09. */
const leastRoomBytes = 16

const { utf8Write } = Buffer.prototype as unknown as {
  utf8Write: (this: Uint8Array, text: string, at: number, length: number) => number
}

/** What a writer writes to, and tells. */
export interface WriterPort extends PacketPort {
  /** False while so much is queued that nothing may be added. */
  readonly hasRoom: boolean
  /** The last byte of a message is on its way: the system has it, or what was lent is not looked at any more. */
  written(outgoing: Outgoing): void
  /** The body of a message cannot be read to its end; the receiver has been told that it is given up. */
  bodyFailed(outgoing: Outgoing): void
}

/**
 * Cuts messages into packets, several at once, each in its turn: a machine without I/O. Small messages go into the packet
 * that is being filled; what is long has a slot, and at most four packets in a row while others wait (SF-15…18).
 */
export class MessageWriter {
  private readonly packet: PacketBuffer
  private readonly queue = new MessageQueue()
  /** Those that have been begun and may go on, in the order of their turns. */
  private readonly ring: Outgoing[] = []
  private readonly slots: (Outgoing | undefined)[] = []
  private readonly freeSlots: number[] = []
  /** Per slot, how often a message has begun there. */
  private readonly rounds: Uint8Array
  /** Written into the packet that is not on its way yet; told when it is. */
  private packed: Outgoing[] = []
  /** Whole in packets, and their memory is still being looked at. */
  private readonly lentOut = new Set<Outgoing>()
  private synchronous: Outgoing | undefined
  private over = false

  /**
   * @param slots messages at once, at most 64 (SF-17) and what the receiver takes.
   * @param windowBytes bytes of a body that the receiver takes unasked.
   */
  constructor(
    private readonly port: WriterPort,
    slots: number,
    private readonly windowBytes: number,
    compressor?: PacketCompressor,
  ) {
    this.packet = new PacketBuffer(port, compressor)
    const count = Math.min(slots, 64)
    this.rounds = new Uint8Array(count)
    for (let slot = count - 1; slot >= 0; slot--) this.freeSlots.push(slot)
  }

  /** Whether another message would begin at once. */
  get isReady(): boolean {
    return this.queue.length === 0 && this.freeSlots.length > 0 && this.port.hasRoom
  }

  /** Messages that have not been begun. */
  get waiting(): number {
    return this.queue.length
  }

  /** Of these, those that answer. */
  get waitingAnswers(): number {
    return this.queue.answers
  }

  /** Whether nothing is on its way through it. */
  get isIdle(): boolean {
    return (
      this.queue.length === 0 &&
      this.packet.isEmpty &&
      this.lentOut.size === 0 &&
      this.slots.every((slot) => slot === undefined)
    )
  }

  /** Whether a synchronous message is still being written, so that the next one waits. */
  get isSynchronousBusy(): boolean {
    return this.synchronous !== undefined
  }

  /** Packets so far: a message whose `packet` is this one has not left. */
  get packetNumber(): number {
    return this.packet.number
  }

  // ---- Messages

  /** Begins the message, or keeps it until it can begin. `flush()` has to follow. */
  put(outgoing: Outgoing): void {
    if (this.isReady && this.mayBegin(outgoing)) this.begin(outgoing)
    else this.queue.push(outgoing)
  }

  private mayBegin(outgoing: Outgoing): boolean {
    return this.synchronous === undefined || (outgoing.flags & synchronousFlag) === 0
  }

  private begin(outgoing: Outgoing): void {
    outgoing.moveTo('writing')
    const { body } = outgoing
    const headBytes = headerLength(outgoing)
    const { packet } = this
    // A character has up to three bytes in UTF-8.
    const most = typeof body === 'string' ? body.length * 3 : body instanceof Uint8Array ? body.length : maxPayloadBytes
    const needed = chunkOverheadBytes + headBytes + most
    if (needed <= packet.payloadBytes && most <= this.windowBytes) {
      this.packWhole(outgoing, packet.reserve(needed), body as string | Uint8Array)
      return
    }
    if (typeof body === 'string') outgoing.body = Buffer.from(body)
    if (outgoing.body instanceof Uint8Array) outgoing.sizeBytes = outgoing.body.length
    else (body as BodySource).wake = () => this.wake(outgoing)
    const slot = this.freeSlots.pop()!
    outgoing.slot = slot
    outgoing.creditBytes = this.windowBytes
    outgoing.turn = 0
    this.slots[slot] = outgoing
    if ((outgoing.flags & synchronousFlag) !== 0) this.synchronous = outgoing
    this.ring.push(outgoing)
  }

  /** A small answer at once, if nothing is before it; otherwise false, and it goes the way of all messages. */
  putAnswer(flags: number, index: number, unique: number, body: string | Uint8Array): boolean {
    const most = typeof body === 'string' ? body.length * 3 : body.length
    const needed = chunkOverheadBytes + 1 + 9 + 4 + most
    const { packet } = this
    if (!this.isReady || needed > packet.payloadBytes || most > this.windowBytes) return false
    const bytes = packet.reserve(needed)
    const slot = this.freeSlots[this.freeSlots.length - 1]!
    this.rounds[slot]!++
    let at = packet.at
    bytes[at++] = commandNew | lastChunkBit
    bytes[at++] = slot
    const lengthAt = at
    bytes[at + 2] = isAnswer | flags
    at = putU32(bytes, putCompact(bytes, at + 3, index), unique)
    this.packBody(bytes, at, lengthAt, body)
    return true
  }

  private packBody(bytes: Uint8Array, at: number, lengthAt: number, body: string | Uint8Array): void {
    if (typeof body === 'string') {
      at += utf8Write.call(bytes, body, at, bytes.length - at)
    } else {
      bytes.set(body, at)
      at += body.length
    }
    const length = at - lengthAt - 2
    bytes[lengthAt] = length & 0xff
    bytes[lengthAt + 1] = length >>> 8
    this.packet.at = at
  }

  private packWhole(outgoing: Outgoing, bytes: Uint8Array, body: string | Uint8Array): void {
    const { packet } = this
    const slot = this.freeSlots[this.freeSlots.length - 1]!
    this.rounds[slot]!++
    outgoing.packet = packet.number
    let at = packet.at
    bytes[at++] = commandNew | lastChunkBit
    bytes[at++] = slot
    const lengthAt = at
    at = putHeader(bytes, at + 2, outgoing)
    this.packBody(bytes, at, lengthAt, body)
    const length = packet.at - at
    outgoing.sentBytes = length
    if (outgoing.counters !== undefined) outgoing.counters.sentBytes += length
    this.packed.push(outgoing)
  }

  /** Writes what can be written now. To be called at the end of a turn, and when the port has room again. */
  pump(): void {
    const { port, ring } = this
    while (port.hasRoom && !this.over) {
      const started = this.startWaiting(ring.length > 0 ? startsPerTurn : 1024)
      if (ring.length > 0) this.step(ring[0]!)
      else if (!started) break
    }
    this.flush()
  }

  /** Writes the packet that is being filled. */
  flush(): void {
    if (this.packet.isEmpty) return
    this.packet.flush()
    this.tellPacked()
  }

  private tellPacked(): void {
    const { packed } = this
    if (packed.length === 0) return
    this.packed = []
    for (const outgoing of packed) {
      if (outgoing.state === 'writing') this.port.written(outgoing)
    }
  }

  private startWaiting(most: number): boolean {
    let started = false
    for (let i = 0; i < most && this.queue.length > 0 && this.freeSlots.length > 0; i++) {
      const next = this.queue.peek()!
      if (!this.mayBegin(next)) {
        if (!this.startAsynchronous()) break
        started = true
        continue
      }
      this.begin(this.queue.shift()!)
      started = true
      if (!this.port.hasRoom) break
    }
    return started
  }

  // A synchronous message that has to wait holds up those behind it only if they are synchronous too.
  private startAsynchronous(): boolean {
    const found = this.queue.find(({ flags }) => (flags & synchronousFlag) === 0)
    if (found === undefined) return false
    this.queue.remove(found)
    this.begin(found)
    return true
  }

  // One packet's worth of the message whose turn it is.
  private step(outgoing: Outgoing): void {
    const { ring } = this
    const isBegun = outgoing.packet >= 0
    const { body } = outgoing
    if (body instanceof Uint8Array) this.stepBytes(outgoing, body, isBegun)
    else this.stepSource(outgoing, body as BodySource, isBegun)
    if (ring[0] !== outgoing) return
    outgoing.turn++
    const turns = outgoing.level === 2 ? packetsPerLowTurn : packetsPerTurn
    const goesOn = mayGoOn(outgoing)
    if (outgoing.turn < turns && goesOn) return
    outgoing.turn = 0
    ring.shift()
    // Without credit it waits outside, for grant().
    if (goesOn) ring.push(outgoing)
  }

  private stepBytes(outgoing: Outgoing, body: Uint8Array, isBegun: boolean): void {
    const { packet } = this
    const rest = body.length - outgoing.sentBytes
    const headBytes = isBegun ? 0 : maxHeaderBytes
    const overhead = chunkOverheadBytes + headBytes
    const allowed = Math.min(rest, outgoing.creditBytes)
    if (allowed >= lentFromBytes && packet.takesLent) {
      const bytes = packet.reserve(overhead)
      const room = maxPayloadBytes - (packet.at - packetHeaderBytes) - overhead
      const length = Math.min(allowed, room, maxChunkBytes - headBytes)
      const isLast = length === rest
      this.putChunkHead(outgoing, bytes, isBegun, isLast, length)
      const from = outgoing.sentBytes
      this.account(outgoing, length)
      if (isLast) {
        this.finish(outgoing)
        this.lentOut.add(outgoing)
      }
      packet.flushWith(body.subarray(from, from + length), isLast ? () => this.lentBack(outgoing) : nothing)
      this.tellPacked()
      return
    }
    if (packet.room < Math.min(overhead + rest, overhead + leastRoomBytes)) packet.flush()
    const bytes = packet.reserve(Math.min(overhead + leastRoomBytes, packet.payloadBytes))
    const length = Math.min(allowed, packet.room - overhead, maxChunkBytes - headBytes)
    const isLast = length === rest
    this.putChunkHead(outgoing, bytes, isBegun, isLast, length)
    bytes.set(body.subarray(outgoing.sentBytes, outgoing.sentBytes + length), packet.at)
    packet.at += length
    this.account(outgoing, length)
    if (isLast) {
      this.finish(outgoing)
      this.packed.push(outgoing)
    }
  }

  private stepSource(outgoing: Outgoing, source: BodySource, isBegun: boolean): void {
    const { packet } = this
    const overhead = chunkOverheadBytes + (isBegun ? 0 : maxHeaderBytes)
    const bytes = packet.reserve(Math.min(overhead + lentFromBytes / 4, packet.payloadBytes))
    const lentRoom = maxPayloadBytes - (packet.at - packetHeaderBytes) - overhead
    const copiedRoom = Math.min(packet.room - overhead, maxChunkBytes - maxHeaderBytes)
    const piece = source.read(Math.min(outgoing.creditBytes, packet.takesLent ? lentRoom - maxHeaderBytes : copiedRoom))
    if (source.failure !== undefined) {
      this.giveUp(outgoing)
      this.port.bodyFailed(outgoing)
      return
    }
    if (piece === undefined) {
      this.leaveRing(outgoing)
      // Its header goes ahead: the receiver may begin.
      if (isBegun) return
    }
    const length = piece?.length ?? 0
    const isLast = piece === null
    this.putChunkHead(outgoing, bytes, isBegun, isLast, length)
    this.account(outgoing, length)
    if (length > copiedRoom || (length >= lentFromBytes && packet.takesLent)) {
      packet.flushWith(piece!, nothing)
      this.tellPacked()
      return
    }
    if (length > 0) bytes.set(piece!, packet.at)
    packet.at += length
    if (isLast) {
      this.finish(outgoing)
      this.packed.push(outgoing)
    }
  }

  private putChunkHead(outgoing: Outgoing, bytes: Uint8Array, isBegun: boolean, isLast: boolean, length: number): void {
    const { packet } = this
    const { slot } = outgoing
    let at = packet.at
    bytes[at++] = (isBegun ? commandContinue : commandNew) | (isLast ? lastChunkBit : 0)
    bytes[at++] = slot
    const lengthAt = at
    at += 2
    if (!isBegun) {
      this.rounds[slot]!++
      outgoing.packet = packet.number
      at = putHeader(bytes, at, outgoing)
    }
    const chunk = at - lengthAt - 2 + length
    bytes[lengthAt] = chunk & 0xff
    bytes[lengthAt + 1] = chunk >>> 8
    packet.at = at
  }

  private account(outgoing: Outgoing, length: number): void {
    outgoing.sentBytes += length
    outgoing.creditBytes -= length
    if (outgoing.counters !== undefined) outgoing.counters.sentBytes += length
  }

  // All of it is in packets.
  private finish(outgoing: Outgoing): void {
    this.leaveRing(outgoing)
    this.release(outgoing)
  }

  private release(outgoing: Outgoing): void {
    this.slots[outgoing.slot] = undefined
    this.freeSlots.push(outgoing.slot)
    outgoing.slot = -1
    if (this.synchronous === outgoing) this.synchronous = undefined
  }

  private leaveRing(outgoing: Outgoing): void {
    const at = this.ring.indexOf(outgoing)
    if (at >= 0) this.ring.splice(at, 1)
  }

  private wake(outgoing: Outgoing): void {
    if (this.over || outgoing.slot < 0 || this.slots[outgoing.slot] !== outgoing) return
    if (mayGoOn(outgoing) && !this.ring.includes(outgoing)) this.ring.push(outgoing)
    if (this.port.hasRoom) this.pump()
  }

  private lentBack(outgoing: Outgoing): void {
    if (this.lentOut.delete(outgoing) && outgoing.state === 'writing') this.port.written(outgoing)
  }

  // ---- Ending messages early

  /** Sends no more of it. Answers whether the receiver has seen a part, which it is told to forget. */
  giveUp(outgoing: Outgoing): boolean {
    if (this.queue.remove(outgoing)) return false
    const { slot } = outgoing
    if (slot < 0 || this.slots[slot] !== outgoing) return false
    this.leaveRing(outgoing)
    const isBegun = outgoing.packet >= 0
    if (isBegun && !this.over) {
      const bytes = this.packet.reserve(2)
      bytes[this.packet.at++] = commandGiveUp
      bytes[this.packet.at++] = slot
    }
    this.release(outgoing)
    // Others are told by their end.
    if (outgoing.state === 'done') outgoing.cancelBody(messageError('MESSAGE_CANCELED'))
    return isBegun
  }

  /** Takes out what has not been begun, in order. */
  takeWaiting(): Outgoing[] {
    return this.queue.drain()
  }

  // ---- What the receiver says

  /** It takes so many bytes more. Answers false for a message that is over. */
  grant(slot: number, round: number, bytes: number): boolean {
    const outgoing = this.slots[slot]
    if (outgoing === undefined || this.rounds[slot] !== round || outgoing.packet < 0) return false
    outgoing.creditBytes += bytes
    if (!this.ring.includes(outgoing)) this.ring.push(outgoing)
    return true
  }

  /** The message in a slot, if it is still that of the round. */
  messageAt(slot: number, round: number): Outgoing | undefined {
    const outgoing = this.slots[slot]
    // One that has not begun counts for the next round: what is said is about the one before.
    return this.rounds[slot] === round && outgoing !== undefined && outgoing.packet >= 0 ? outgoing : undefined
  }

  // ---- Further commands

  /** Grants bytes of a message that comes in. */
  putGrant(slot: number, round: number, bytes: number): void {
    const to = this.packet.reserve(3 + 9 + compactLength(slot))
    let at = this.packet.at
    to[at++] = commandGrant
    at = putCompact(to, at, slot)
    to[at++] = round
    this.packet.at = putCompact(to, at, bytes)
  }

  /** Wants no more of a message that comes in; `number` is that of an error. */
  putRefuse(slot: number, round: number, number: number): void {
    const to = this.packet.reserve(4 + compactLength(slot))
    let at = this.packet.at
    to[at++] = commandRefuse
    at = putCompact(to, at, slot)
    to[at++] = round
    to[at++] = number & 0xff
    to[at++] = number >>> 8
    this.packet.at = at
  }

  /** Does not want the answer any more. */
  putCancelRequest(index: number, unique: number): void {
    const to = this.packet.reserve(5 + compactLength(index))
    to[this.packet.at] = commandCancelRequest
    this.packet.at = putU32(to, putCompact(to, this.packet.at + 1, index), unique)
  }

  /** Takes more parts of an answer. */
  putMoreParts(index: number, unique: number, parts: number): void {
    const to = this.packet.reserve(5 + compactLength(index) + compactLength(parts))
    to[this.packet.at] = commandMoreParts
    const at = putU32(to, putCompact(to, this.packet.at + 1, index), unique)
    this.packet.at = putCompact(to, at, parts)
  }

  // ---- The end

  /** The connection is gone. Answers the messages that were not on their way, in order; others are the caller's to know. */
  end(): { unsent: Outgoing[]; begun: Outgoing[] } {
    this.over = true
    const current = this.packet.number
    const unsent = this.packed.filter(({ packet }) => packet === current)
    const begun: Outgoing[] = [...this.lentOut, ...this.packed.filter(({ packet }) => packet !== current)]
    for (const outgoing of this.slots) {
      if (outgoing === undefined) continue
      if (outgoing.state === 'done') outgoing.cancelBody(messageError('MESSAGE_CONNECTION'))
      else if (outgoing.packet < 0 || outgoing.packet === current) unsent.push(outgoing)
      else begun.push(outgoing)
    }
    this.packed = []
    this.lentOut.clear()
    this.ring.length = 0
    this.slots.length = 0
    this.packet.drop()
    unsent.push(...this.queue.drain())
    return { unsent, begun }
  }
}

function nothing(): void {}

// Its end takes no bytes.
function mayGoOn({ creditBytes, body }: Outgoing): boolean {
  return creditBytes > 0 || (typeof body === 'object' && !(body instanceof Uint8Array) && body.isAtEnd)
}
