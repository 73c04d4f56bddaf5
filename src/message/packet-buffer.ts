import { maxPayloadBytes, packetData, packetHeaderBytes, putPacketHeader } from './packet.js'

/** What a packet is written to. `write` copies what is not larger than {@link copiedBytes}. */
export interface PacketPort {
  write(bytes: Uint8Array): void
  /** Bytes that are used where they are, until `released` is called. */
  writeLent(bytes: Uint8Array, released: () => void): void
}

/** Compresses payloads; undefined: it does not get smaller. */
export interface PacketCompressor {
  compress(payload: Uint8Array): Uint8Array | undefined
}

/** `Connection.write()` copies so much; larger pieces must stay as they are until they are sent. */
export const copiedBytes = 16_384
/** Only larger payloads are compressed, and only if they get so much smaller. Source: SF-20. */
const compressedAboveBytes = 1024
const leastSavedBytes = 32

const compressedFlag = 0x02
const maxFreeBuffers = 64
const free: Uint8Array[] = []
const freeLarge: Uint8Array[] = []

/**
 * The data packet that is being filled. Its memory comes from a pool, and goes back when the packet is written, so that
 * idle connections have none.
 */
export class PacketBuffer {
  /** Undefined while the packet is empty; commands are written from `at` on, and `at` is moved. */
  bytes: Uint8Array | undefined
  at = packetHeaderBytes
  /** Counts packets. */
  number = 0
  private readonly capacity: number

  constructor(
    private readonly port: PacketPort,
    private readonly compressor: PacketCompressor | undefined,
  ) {
    this.capacity = compressor === undefined ? copiedBytes : packetHeaderBytes + maxPayloadBytes
  }

  /** Bytes that a packet holds. */
  get payloadBytes(): number {
    return this.capacity - packetHeaderBytes
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.capacity - this.at
  }

  get isEmpty(): boolean {
    return this.at === packetHeaderBytes
  }

  /** Whether bytes may be added by reference. */
  get takesLent(): boolean {
    return this.compressor === undefined
  }

  /** Memory with room for so many bytes more, at most `payloadBytes`; a packet that lacks it is written first. */
  reserve(lengthBytes: number): Uint8Array {
    if (this.room < lengthBytes) this.flush()
    this.bytes ??= (this.compressor === undefined ? free : freeLarge).pop() ?? new Uint8Array(this.capacity)
    return this.bytes
  }

  /** Writes the packet, unless it is empty. */
  flush(): void {
    const { bytes, at } = this
    if (bytes === undefined || at === packetHeaderBytes) return
    this.at = packetHeaderBytes
    this.bytes = undefined
    this.number++
    const size = at - packetHeaderBytes
    const compressed =
      size > compressedAboveBytes ? this.compressor?.compress(bytes.subarray(packetHeaderBytes, at)) : undefined
    if (compressed !== undefined && compressed.length + leastSavedBytes <= size) {
      const packet = new Uint8Array(packetHeaderBytes + compressed.length)
      putPacketHeader(packet, 0, packetData, compressedFlag, compressed.length)
      packet.set(compressed, packetHeaderBytes)
      this.port.write(packet)
      this.giveBack(bytes)
      return
    }
    putPacketHeader(bytes, 0, packetData, 0, size)
    if (at <= copiedBytes) {
      this.port.write(bytes.subarray(0, at))
      this.giveBack(bytes)
    } else {
      this.port.writeLent(bytes.subarray(0, at), () => this.giveBack(bytes))
    }
  }

  /** Writes the packet with `tail` as its last bytes, which are used where they are. */
  flushWith(tail: Uint8Array, released: () => void): void {
    const { bytes, at } = this
    this.at = packetHeaderBytes
    this.bytes = undefined
    this.number++
    putPacketHeader(bytes!, 0, packetData, 0, at - packetHeaderBytes + tail.length)
    this.port.write(bytes!.subarray(0, at))
    this.giveBack(bytes!)
    this.port.writeLent(tail, released)
  }

  /** What has been filled in is not sent. */
  drop(): void {
    if (this.bytes !== undefined) this.giveBack(this.bytes)
    this.bytes = undefined
    this.at = packetHeaderBytes
  }

  private giveBack(bytes: Uint8Array): void {
    const pool = this.compressor === undefined ? free : freeLarge
    if (pool.length < maxFreeBuffers) pool.push(bytes)
  }
}
