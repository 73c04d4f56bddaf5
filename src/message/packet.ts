import { messageError } from './failure.js'

// Packets: 4 bytes of header and a payload. Source: SF-01, docs/wire-format.md.

export const packetHeaderBytes = 4
export const maxPayloadBytes = 65_536

export const packetData = 1
export const packetKeepAlive = 2
export const packetHello = 3
export const packetSecure = 4
export const packetGoodbye = 5

/** Bit 16 of the size. */
const sizeFlag = 0x01
/** The payload is compressed. */
export const compressedFlag = 0x02

/** Writes a header at `at`, for a payload of at most {@link maxPayloadBytes}. */
export function putPacketHeader(bytes: Uint8Array, at: number, type: number, flags: number, sizeBytes: number): void {
  bytes[at] = type
  bytes[at + 1] = flags | (sizeBytes >>> 16)
  bytes[at + 2] = sizeBytes & 0xff
  bytes[at + 3] = (sizeBytes >>> 8) & 0xff
}

/** A packet of its own. */
export function packetOf(type: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(packetHeaderBytes + payload.length)
  putPacketHeader(packet, 0, type, 0, payload.length)
  packet.set(payload, packetHeaderBytes)
  return packet
}

/**
 * The size of the payload that follows the header at `at`.
 *
 * @throws {SluiceError} `ERR_SLUICE_MESSAGE_INVALID_PACKET`.
 */
export function payloadSizeOf(bytes: Uint8Array, at: number): number {
  const type = bytes[at]!
  const flags = bytes[at + 1]!
  const low = bytes[at + 2]! | (bytes[at + 3]! << 8)
  if (type === packetData && flags === 0) return low
  if (type < packetData || type > packetGoodbye) throw messageError('MESSAGE_INVALID_PACKET', `type ${type}`)
  if ((flags & ~(sizeFlag | compressedFlag)) !== 0) throw messageError('MESSAGE_INVALID_PACKET', `flags ${flags}`)
  if ((flags & compressedFlag) !== 0 && type !== packetData)
    throw messageError('MESSAGE_INVALID_PACKET', `a packet of type ${type} is compressed`)
  const size = low + ((flags & sizeFlag) << 16)
  if (size > maxPayloadBytes) throw messageError('MESSAGE_INVALID_PACKET', `${size} bytes of payload`)
  if (size > 0 && (type === packetKeepAlive || type === packetSecure))
    throw messageError('MESSAGE_INVALID_PACKET', `a packet of type ${type} has a payload`)
  return size
}
