import { SluiceError } from '../errors.js'
import { isProxyRefusal, type NativeAddress, type NativeProxyHeader, native } from '../native/binding.js'
import { expected, integer, parse, type Shape } from '../options.js'
import { type ProxySendOptions, parseProxySend, writeProxySend } from './proxy-options.js'
import { ProxySsl } from './proxy-ssl.js'

/** An IP endpoint, or the path of a Unix socket. */
export type ProxyAddress = NativeAddress

/** A piece of a PROXY header. */
export interface ProxyTlv {
  /** 0 to 255; 0xE0 to 0xEF are free for everybody's own. */
  type: number
  /** May be empty. */
  value: Buffer
}

/** How much of a PROXY header is taken. */
export interface ProxyLimits {
  /** The whole header, 16 to 65 551 bytes. Default 4 096. Source: HP-36. */
  maxHeaderBytes?: number
  /** The value of one TLV, other than SSL and NOOP, up to 65 535 bytes. Default 1 024. Source: HP-36. */
  maxTlvBytes?: number
}

/** Parsers of {@link ProxyLimits}. */
export const proxyLimits = {
  maxHeaderBytes: integer({ min: 16, max: 65_551, default: 4096 }),
  maxTlvBytes: integer({ min: 1, max: 65_535, default: 1024 }),
} satisfies Shape<ProxyLimits>

// Types of TLVs.
const alpnType = 0x01
const authorityType = 0x02
const uniqueIdType = 0x05
const sslType = 0x20
const netnsType = 0x30

const families = [undefined, 'IPv4', 'IPv6', 'unix'] as const
const transports = [undefined, 'stream', 'dgram'] as const

/**
 * A PROXY header: what a proxy in front of us says about the client. Version 1 is a line of text with addresses, version 2 is
 * binary and may say more. Source: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
 */
export class ProxyHeader {
  /** 1 or 2. */
  readonly version: 1 | 2
  /** `'LOCAL'`: the proxy speaks for itself, e.g. to check our health, and the connection's own addresses are the true ones. */
  readonly command: 'PROXY' | 'LOCAL'
  /** Undefined where the header does not say. */
  readonly family: 'IPv4' | 'IPv6' | 'unix' | undefined
  /** `'stream'` for TCP and Unix stream sockets. Undefined where the header does not say. */
  readonly transport: 'stream' | 'dgram' | undefined
  /** Whether `source` and `destination` take the place of the connection's own addresses: TCP over IPv4 or IPv6 alone. */
  readonly replacesAddresses: boolean
  /** The client's address, as the proxy says. */
  readonly source: ProxyAddress | undefined
  /** The address that the client connected to, as the proxy says. */
  readonly destination: ProxyAddress | undefined
  /** The header as it came. */
  readonly raw: Buffer
  private readonly places: readonly number[]
  private list: readonly ProxyTlv[] | undefined
  private decodedSsl: ProxySsl | null | undefined

  /** @internal */
  constructor(header: NativeProxyHeader) {
    this.version = header.version
    this.command = header.local ? 'LOCAL' : 'PROXY'
    this.family = families[header.family]
    this.transport = transports[header.transport]
    this.replacesAddresses = header.hasAddresses
    this.source = header.source
    this.destination = header.destination
    this.raw = header.raw
    this.places = header.tlvs
  }

  /**
   * Reads a header at the beginning of `bytes`; undefined while it is not complete. `bytesUsed` is its length: what follows is
   * the next layer's.
   *
   * @throws {SluiceError} `ERR_SLUICE_BAD_PROXY_HEADER`, with the `reason` of HAProxy, e.g. `'PRX_NOT_HDR'`.
   */
  static parse(bytes: Uint8Array, limits?: ProxyLimits): { header: ProxyHeader; bytesUsed: number } | undefined {
    if (!(bytes instanceof Uint8Array)) throw expected('a Uint8Array', bytes, 'bytes')
    const { maxHeaderBytes, maxTlvBytes } = parse(proxyLimits, limits)
    const answer = native.proxy.parse(bytes, maxHeaderBytes, maxTlvBytes)
    if (answer === undefined) return undefined
    if (isProxyRefusal(answer)) {
      throw new SluiceError('BAD_PROXY_HEADER', { phase: 'read', detail: answer.text, reason: answer.reason })
    }
    return { header: new ProxyHeader(answer.header), bytesUsed: answer.consumed }
  }

  /**
   * The bytes of a header. Without addresses it says that there are none: LOCAL, or UNKNOWN in version 1.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also when all together is longer than a header can be.
   */
  static write(options: ProxySendOptions): Buffer {
    return writeProxySend(parseProxySend(options, ''))
  }

  /** All of its TLVs, in order, of known types and others. */
  get tlvs(): readonly ProxyTlv[] {
    if (this.list !== undefined) return this.list
    const list: ProxyTlv[] = []
    for (let i = 0; i < this.places.length; i += 3) {
      const [type, offset, length] = this.places.slice(i, i + 3) as [number, number, number]
      list.push({ type, value: this.raw.subarray(offset, offset + length) })
    }
    this.list = list
    return list
  }

  /** The value of the first TLV of this type. */
  value(type: number): Buffer | undefined {
    return this.tlvs.find((tlv) => tlv.type === type)?.value
  }

  /** The application protocol that the client agreed on with the proxy. */
  get alpn(): string | undefined {
    return this.value(alpnType)?.toString()
  }

  /** The name that the client asked for: its SNI. */
  get authority(): string | undefined {
    return this.value(authorityType)?.toString()
  }

  /** By what the proxy calls this connection; up to 128 bytes of any kind. */
  get uniqueId(): Buffer | undefined {
    return this.value(uniqueIdType)
  }

  /** The network namespace at the proxy. */
  get netns(): string | undefined {
    return this.value(netnsType)?.toString()
  }

  /** What the proxy says about the client's TLS; undefined where it says nothing, or nothing that can be read. */
  get ssl(): ProxySsl | undefined {
    if (this.decodedSsl === undefined) {
      const value = this.value(sslType)
      this.decodedSsl = (value && ProxySsl.decode(value)) ?? null
    }
    return this.decodedSsl ?? undefined
  }

  /** All but `raw`, ready for JSON.stringify; bytes in hexadecimal. */
  toJSON(): Record<string, unknown> {
    const { version, command, family, transport, replacesAddresses, source, destination, alpn, authority, netns } = this
    const tlvs = this.tlvs.map(({ type, value }) => ({ type, value: value.toString('hex') }))
    const facts = { version, command, family, transport, replacesAddresses, source, destination }
    return { ...facts, alpn, authority, uniqueId: this.uniqueId?.toString('hex'), netns, ssl: this.ssl, tlvs }
  }
}
