import {
  compressedFlag,
  maxPayloadBytes,
  packetData,
  packetHeaderBytes,
  payloadSizeOf,
  putPacketHeader,
} from './packet.js'

// Memory for packets that are cut, which large ones often are; it goes from one to the next.
const pooledFromBytes = 4096
const maxFree = 16
// With less of it here, a packet waits for its rest.
const leastPartBytes = 2048
const free: Uint8Array[] = []

function memoryFor(sizeBytes: number): Uint8Array {
  if (sizeBytes < pooledFromBytes) return new Uint8Array(sizeBytes)
  return free.pop() ?? Buffer.allocUnsafeSlow(packetHeaderBytes + maxPayloadBytes)
}

function giveBack(bytes: Uint8Array): void {
  if (bytes.length >= packetHeaderBytes + maxPayloadBytes && free.length < maxFree) free.push(bytes)
}

/** What becomes of packets. The payload lies from `from` to `to` in `bytes`, until this returns. */
export interface PacketSink {
  /** A whole packet. Answers whether bytes behind it are packets too; if not, the reader stops there. */
  packet(type: number, flags: number, bytes: Uint8Array, from: number, to: number): boolean
  /** The beginning of the payload of a data packet, or what follows; `rest` bytes of it are still to come. Answers up to
   *  where it was of use: what is behind comes again, as the beginning of a packet, with all of the rest. */
  part(bytes: Uint8Array, from: number, to: number, rest: number): number
}

/**
 * Finds the packets in a stream of bytes: a machine without I/O. Packets that lie in one piece are shown where they are, and
 * so are large data packets in their parts; others that are cut by the border of two pieces are put together.
 */
export class PacketReader {
  private carry: Uint8Array | undefined
  private carried = 0
  /** Of a packet that was shown in parts, the bytes to come. */
  private rest = 0

  /** Packets go to `sink`. */
  constructor(private readonly sink: PacketSink) {}

  /** Bytes of a packet that is not complete. */
  get unfinishedBytes(): number {
    return this.carried + this.rest
  }

  /**
   * Takes what has come in, and answers how many bytes it has used: all of them unless the sink stopped it.
   *
   * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_PACKET`, and what the sink throws.
   */
  feed(bytes: Uint8Array): number {
    const end = bytes.length
    let at = 0
    if (this.rest > 0) {
      const { rest } = this
      if (rest > end) {
        this.showPart(bytes, 0, end, rest - end)
        return end
      }
      this.rest = 0
      at = rest
      if (!this.sink.packet(packetData, 0, bytes, 0, rest)) return at
    } else if (this.carried > 0) {
      at = this.complete(bytes)
      if (at < 0) return -at
      if (this.carried > 0) return end
    }
    const sink = this.sink
    while (end - at >= packetHeaderBytes) {
      const from = at + packetHeaderBytes
      const to = from + payloadSizeOf(bytes, at)
      if (to > end) break
      const goesOn = sink.packet(bytes[at]!, bytes[at + 1]!, bytes, from, to)
      at = to
      if (!goesOn) return at
    }
    if (at === end) return end
    const from = at + packetHeaderBytes
    const isParted = end - at >= leastPartBytes && bytes[at] === packetData && (bytes[at + 1]! & compressedFlag) === 0
    if (isParted) this.showPart(bytes, from, end, from + payloadSizeOf(bytes, at) - end)
    else this.keep(bytes, at, end)
    return end
  }

  private showPart(bytes: Uint8Array, from: number, to: number, rest: number): void {
    const at = this.sink.part(bytes, from, to, rest)
    if (at === to) {
      this.rest = rest
      return
    }
    this.rest = 0
    const size = to - at + rest
    this.carry = memoryFor(packetHeaderBytes + size)
    putPacketHeader(this.carry, 0, packetData, 0, size)
    this.carried = packetHeaderBytes
    this.keep(bytes, at, to)
  }

  // Answers where in `bytes` the carried packet ends; negative if the sink stopped behind it.
  private complete(bytes: Uint8Array): number {
    let at = 0
    if (this.carried < packetHeaderBytes) {
      at = Math.min(packetHeaderBytes - this.carried, bytes.length)
      this.keep(bytes, 0, at)
      if (this.carried < packetHeaderBytes) return at
    }
    const size = packetHeaderBytes + payloadSizeOf(this.carry!, 0)
    const rest = Math.min(size - this.carried, bytes.length - at)
    this.keep(bytes, at, at + rest)
    at += rest
    if (this.carried < size) return at
    const packet = this.carry!
    this.carry = undefined
    this.carried = 0
    const goesOn = this.sink.packet(packet[0]!, packet[1]!, packet, packetHeaderBytes, size)
    giveBack(packet)
    return goesOn ? at : -at
  }

  private keep(bytes: Uint8Array, from: number, to: number): void {
    const needed = this.carried + to - from
    if (this.carry === undefined || this.carry.length < needed) {
      // As much as the whole packet takes, once that is known.
      const head = this.carried >= packetHeaderBytes ? this.carry! : bytes
      const at = this.carried >= packetHeaderBytes ? 0 : from
      const isKnown = this.carried >= packetHeaderBytes || (this.carried === 0 && to - from >= packetHeaderBytes)
      const size = isKnown ? packetHeaderBytes + payloadSizeOf(head, at) : packetHeaderBytes
      const grown = memoryFor(Math.max(size, needed))
      if (this.carry !== undefined) grown.set(this.carry.subarray(0, this.carried))
      this.carry = grown
    }
    this.carry.set(bytes.subarray(from, to), this.carried)
    this.carried = needed
  }
}
