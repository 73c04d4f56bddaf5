import type { NativeFailure } from '../errors.js'
import type { NativeAddress } from './address.js'

// PROXY headers as the addon shows them.

/** ProxyHeader in native/handshake/proxy_header.h. */
export interface NativeProxyHeader {
  version: 1 | 2
  local: boolean
  /** 0 unknown, 1 IPv4, 2 IPv6, 3 Unix. */
  family: number
  /** 0 unknown, 1 stream, 2 datagrams. */
  transport: number
  hasAddresses: boolean
  source?: NativeAddress
  destination?: NativeAddress
  raw: Buffer
  /** Type, offset in `raw` and length, of one after another. */
  tlvs: number[]
}

/** ProxySsl likewise; '' for what is not told. */
export interface NativeProxySsl {
  client: number
  verify: number
  version: string
  commonName: string
  cipher: string
  certificateSignature: string
  keyAlgorithm: string
  group: string
  signatureScheme: string
  certificate: Buffer | undefined
}

/** What is to be sent in a header: ProxySend in native/binding/proxy_values.h. */
export interface NativeProxySend {
  version: 1 | 2
  local: boolean
  crc32c: boolean
  source: NativeAddress | undefined
  destination: NativeAddress | undefined
  tlvs: { type: number; value: Uint8Array }[]
  alpn: string | undefined
  authority: string | undefined
  uniqueId: string | Uint8Array | undefined
  netns: string | undefined
  ssl: NativeProxySsl | undefined
}

/** PROXY headers as such; connections have their own ways. */
export interface NativeProxy {
  /** Undefined while bytes are missing. */
  parse(
    bytes: Uint8Array,
    maxHeaderBytes: number,
    maxTlvBytes: number,
  ): { header: NativeProxyHeader; consumed: number } | { reason: string; text: string } | undefined
  /** The parts of an `ssl` TLV; undefined when it is malformed. */
  decodeSsl(value: Uint8Array): NativeProxySsl | undefined
  write(send: NativeProxySend): Buffer | NativeFailure
}
