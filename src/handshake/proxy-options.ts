import { isIP } from 'node:net'
import type { Connection } from '../connection.js'
import type { RuleMarks } from '../connection-facts.js'
import { nativeError } from '../errors.js'
import { isFailure, type NativeAddress, type NativeProxySend, type NativeProxySsl, native } from '../native/binding.js'
import {
  boolean,
  excludes,
  expected,
  integer,
  nested,
  type OptionalParser,
  oneOf,
  optional,
  type Parsed,
  type Parser,
  parse,
  string,
} from '../options.js'
import type { TlsInfo } from '../tls/info.js'
import type { ProxyHeader } from './proxy-header.js'

/** What the `ssl` part of a header may say besides flags, outcome and version; HAProxy's names for them do as well. */
export type ProxySslField =
  | 'commonName'
  | 'cipher'
  | 'certificateSignature'
  | 'keyAlgorithm'
  | 'group'
  | 'certificate'
  | 'cert-cn'
  | 'ssl-cipher'
  | 'cert-sig'
  | 'cert-key'

/** What to say about a client's TLS. {@link ProxyHeader.ssl} of a header received fits. */
export interface ProxySslFacts {
  /** Bits: 1 the client used TLS, 2 it showed a certificate on this connection, 4 in its session. Default 1. */
  client?: number
  /** 0: its certificate was verified, or there was none. Default 0. */
  verify?: number
  /** E.g. `'TLSv1.3'`. */
  version?: string
  /** Common name of the client's certificate. */
  commonName?: string
  /** Name of the cipher. */
  cipher?: string
  /** What our own certificate is signed with. */
  certificateSignature?: string
  /** The key of our own certificate. */
  keyAlgorithm?: string
  /** What keys were exchanged with. */
  group?: string
  /** What we signed the handshake with. */
  signatureScheme?: string
  /** The client's certificate, DER. */
  certificate?: Uint8Array
}

/** An IP endpoint, or a Unix socket, about which a header can say nothing. */
export type ProxySendAddress = { address: string; port: number; family?: 'IPv4' | 'IPv6' } | { path: string }

/**
 * Which PROXY header to send. Parts that take `true` say what is known of `onBehalfOf`; what is not known is left out.
 * Source: HP-45 to HP-48.
 */
export interface ProxySendOptions {
  /** Version 1 says addresses and nothing else. Default 2. */
  version?: 1 | 2
  /** The client's connection: its addresses, claimed ones before real ones, its TLS, and the header that it came with. */
  onBehalfOf?: Connection
  /** Says that we speak for ourselves, as health checks do: LOCAL, or UNKNOWN in version 1. Default false. */
  local?: boolean
  /** The client's address, in place of that of `onBehalfOf`. Default: that of the socket. */
  source?: ProxySendAddress
  /** The address that the client connected to, likewise. */
  destination?: ProxySendAddress
  /** A checksum over the header. Default false. */
  crc32c?: boolean
  /** The application protocol. Default false. */
  alpn?: boolean | string
  /** The name that the client asked for; one received in a header comes before the SNI of its TLS. At most 255 bytes. Default
   *  false. */
  authority?: boolean | string
  /** By what the connection is called; at most 128 bytes. `true` passes on that of the header received. Default false. */
  uniqueId?: boolean | string | Uint8Array
  /** The network namespace. `true` passes on that of the header received. Default false. */
  netns?: boolean | string
  /** What there is to say about the client's TLS. `true`: flags, outcome and version; with a list, those and the fields named.
   *  Where its connection to us is in the clear, what the header received says. Default false. */
  ssl?: boolean | readonly ProxySslField[] | ProxySslFacts
  /** Further parts, before all others and in this order. Values may be empty. */
  tlvs?: readonly { type: number; value: string | Uint8Array }[]
}

// ---- Parsers

const endpointAllowed = '{ address, port } with an IP address, or { path }'
const endpoint: OptionalParser<NativeAddress | undefined> = {
  allowed: endpointAllowed,
  absent: undefined,
  parse(value, option) {
    const { address, port, path } = (value ?? {}) as { address?: unknown; port?: unknown; path?: unknown }
    if (typeof path === 'string' && address === undefined) return { path }
    const family = typeof address === 'string' && !address.includes('%') ? isIP(address) : 0
    if (family === 0 || !Number.isInteger(port) || (port as number) < 0 || (port as number) > 65_535)
      throw expected(endpointAllowed, value, option)
    return { address: address as string, port: port as number, family: family === 4 ? 'IPv4' : 'IPv6' }
  },
}

/** True, false, or bytes up to a limit; text is UTF-8. */
function part(maxBytes: number): OptionalParser<boolean | string | undefined>
function part(maxBytes: number, options: { bytes: true }): OptionalParser<boolean | string | Uint8Array | undefined>
function part(maxBytes: number, options?: { bytes: true }): OptionalParser<boolean | string | Uint8Array | undefined> {
  const allowed = `true, false, or ${options ? 'text or bytes' : 'text'} of 1 to ${maxBytes} bytes`
  return {
    allowed,
    absent: undefined,
    parse(value, option) {
      if (typeof value === 'boolean') return value
      const isGiven = typeof value === 'string' || (options !== undefined && value instanceof Uint8Array)
      const size = isGiven ? Buffer.byteLength(value) : 0
      if (size === 0 || size > maxBytes) throw expected(allowed, value, option)
      return value as string | Uint8Array
    },
  }
}

const byHaproxyName: Readonly<Record<string, keyof NativeProxySsl>> = {
  'cert-cn': 'commonName',
  'ssl-cipher': 'cipher',
  'cert-sig': 'certificateSignature',
  'cert-key': 'keyAlgorithm',
}
const fieldName = oneOf<ProxySslField>([
  ...(['commonName', 'cipher', 'certificateSignature', 'keyAlgorithm', 'group', 'certificate'] as const),
  ...(['cert-cn', 'ssl-cipher', 'cert-sig', 'cert-key'] as const),
])

const longestTlv = 65_535
const word = () => optional(string({ maxLength: 1024 }))
const sslFacts = {
  client: integer({ min: 0, max: 255, default: 1 }),
  verify: integer({ min: 0, max: 0xffffffff, default: 0 }),
  version: word(),
  commonName: word(),
  cipher: word(),
  certificateSignature: word(),
  keyAlgorithm: word(),
  group: word(),
  signatureScheme: word(),
  certificate: optional(tlvBytes()),
}
// What a parser makes of its option is its own affair.
const checkedFacts: Readonly<Record<keyof ProxySslFacts, unknown>> = sslFacts
void checkedFacts

type SslChoice = boolean | (keyof NativeProxySsl)[] | NativeProxySsl
const sslAllowed = 'true, false, a list of fields, or { client, verify, version, … }'
const ssl: OptionalParser<SslChoice | undefined> = {
  allowed: sslAllowed,
  absent: undefined,
  parse(value, option) {
    if (typeof value === 'boolean') return value
    if (Array.isArray(value)) {
      return value.map((item, i) => {
        const name = fieldName.parse(item, `${option}[${i}]`)
        return byHaproxyName[name] ?? (name as keyof NativeProxySsl)
      })
    }
    if (typeof value !== 'object' || value === null) throw expected(sslAllowed, value, option)
    const facts = parse(sslFacts, value, [], option)
    return {
      ...noSsl,
      ...Object.fromEntries(Object.entries(facts).filter(([, fact]) => fact !== undefined)),
    } as NativeProxySsl
  },
}

function tlvBytes(): Parser<Uint8Array> {
  const allowed = `text or bytes, at most ${longestTlv} of them`
  return {
    allowed,
    parse(value, option) {
      const isBytes = value instanceof Uint8Array || typeof value === 'string'
      if (!isBytes || Buffer.byteLength(value) > longestTlv) throw expected(allowed, value, option)
      return typeof value === 'string' ? Buffer.from(value) : value
    },
  }
}

const checksumType = 0x03
const tlvType: Parser<number> = {
  ...integer({ min: 0, max: 255 }),
  parse(value, option) {
    const type = integer({ min: 0, max: 255 }).parse(value, option)
    if (type === checksumType) throw expected('another type than 3, which is that of "crc32c"', value, option)
    return type
  },
}
const tlv = nested({ type: tlvType, value: tlvBytes() })
const tlvs: OptionalParser<{ type: number; value: Uint8Array }[] | undefined> = {
  allowed: 'a list of { type, value }',
  absent: undefined,
  parse(value, option) {
    if (!Array.isArray(value)) throw expected('a list of { type, value }', value, option)
    return value.map((item, i) => tlv.parse(item, `${option}[${i}]`))
  },
}

const connection: OptionalParser<ProxyClient | undefined> = {
  allowed: 'a connection',
  absent: undefined,
  parse(value, option) {
    const isConnection = typeof value === 'object' && value !== null && 'remoteAddress' in value && 'write' in value
    if (!isConnection) throw expected('a connection', value, option)
    return value as unknown as ProxyClient
  },
}

/** Parsers of {@link ProxySendOptions}. */
export const proxySendShape = {
  version: oneOf([1, 2], { default: 2 }),
  onBehalfOf: connection,
  local: boolean({ default: false }),
  source: endpoint,
  destination: endpoint,
  crc32c: boolean({ default: false }),
  alpn: part(255),
  authority: part(255),
  uniqueId: part(128, { bytes: true }),
  netns: part(255),
  ssl,
  tlvs,
}
const checkedShape: Readonly<Record<keyof ProxySendOptions, unknown>> = proxySendShape
void checkedShape

type Checked = Parsed<typeof proxySendShape>
const addressNames = ['source', 'destination'] as const
const partNames = ['alpn', 'authority', 'uniqueId', 'netns', 'ssl'] as const

/**
 * What native code sends, of what a user asks for.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`
 */
export function parseProxySend(input: unknown, within: string): NativeProxySend {
  const checked = parse(proxySendShape, input, [excludes('local', addressNames)], within)
  const nameOf = (option: string) => (within === '' ? option : `${within}.${option}`)
  const { version, local, crc32c, onBehalfOf } = checked
  for (const name of partNames) {
    if (version === 1 && checked[name] !== undefined && checked[name] !== false)
      throw expected('absent in version 1', checked[name], nameOf(name))
    if (onBehalfOf === undefined && (checked[name] === true || Array.isArray(checked[name])))
      throw expected('false or a value, without "onBehalfOf"', checked[name], nameOf(name))
  }
  if (version === 1 && (crc32c || checked.tlvs !== undefined))
    throw expected('absent in version 1', crc32c || checked.tlvs, nameOf(crc32c ? 'crc32c' : 'tlvs'))
  if ((checked.source === undefined) !== (checked.destination === undefined) && onBehalfOf === undefined) {
    const [given, missing] = checked.source === undefined ? ['destination', 'source'] : addressNames
    throw expected(`given together with "${nameOf(given!)}"`, undefined, nameOf(missing!))
  }
  const claimed = onBehalfOf?.proxy?.replacesAddresses ? onBehalfOf.proxy : undefined
  return {
    version,
    local,
    crc32c,
    source: local
      ? undefined
      : (checked.source ?? byRule(onBehalfOf, 'source') ?? claimed?.source ?? endpointOf(onBehalfOf, 'remote')),
    destination: local
      ? undefined
      : (checked.destination ??
        byRule(onBehalfOf, 'destination') ??
        claimed?.destination ??
        endpointOf(onBehalfOf, 'local')),
    tlvs: checked.tlvs ?? [],
    ...partsOf(checked),
  }
}

/** The bytes of a header. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when it is too long. */
export function writeProxySend(send: NativeProxySend): Buffer {
  const written = native.proxy.write(send)
  if (isFailure(written)) {
    throw nativeError({ ...written, codeName: 'INVALID_OPTION', phase: 'options', detail: 'the header is too long' })
  }
  return written
}

// ---- What is known of a connection

/** What a header can say of a connection. */
export interface ProxyClient {
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly tls: TlsInfo | undefined
  readonly proxy?: ProxyHeader | undefined
  readonly marks?: RuleMarks | undefined
}

function byRule(of: ProxyClient | undefined, side: 'source' | 'destination'): NativeAddress | undefined {
  const set = of?.marks?.[side]
  return set && { ...set, family: isIP(set.address) === 4 ? 'IPv4' : 'IPv6' }
}

function endpointOf(of: ProxyClient | undefined, side: 'local' | 'remote'): NativeAddress | undefined {
  const address = of?.[`${side}Address`]?.replace(/%.*$/, '')
  if (of === undefined || address === undefined) return undefined
  return { address, port: of[`${side}Port`] ?? 0, family: isIP(address) === 4 ? 'IPv4' : 'IPv6' }
}

function partsOf({ alpn, authority, uniqueId, netns, ssl, onBehalfOf }: Checked) {
  const [tls, proxy] = [onBehalfOf?.tls, onBehalfOf?.proxy]
  // Given, or asked for and known.
  const chosen = <T>(wish: boolean | T | undefined, known: () => T | undefined): T | undefined => {
    if (typeof wish !== 'boolean') return wish
    return wish ? known() : undefined
  }
  return {
    alpn: chosen(alpn, () => tls?.alpn ?? proxy?.alpn),
    authority: chosen(authority, () => proxy?.authority ?? tls?.serverName),
    uniqueId: chosen<string | Uint8Array>(uniqueId, () => proxy?.uniqueId),
    netns: chosen(netns, () => proxy?.netns),
    ssl: sslOf(ssl, tls, proxy),
  }
}

const noSsl: NativeProxySsl = {
  client: 0,
  verify: 0,
  version: '',
  commonName: '',
  cipher: '',
  certificateSignature: '',
  keyAlgorithm: '',
  group: '',
  signatureScheme: '',
  certificate: undefined,
}

function sslOf(wish: SslChoice | undefined, tls: TlsInfo | undefined, proxy: ProxyHeader | undefined) {
  if (wish === undefined || wish === false) return undefined
  if (wish !== true && !Array.isArray(wish)) return wish
  const known = tls !== undefined ? ownSsl(tls) : proxy?.ssl
  const facts: NativeProxySsl = { ...noSsl }
  if (known === undefined) return facts
  const names: (keyof NativeProxySsl)[] = ['client', 'verify', 'version', ...(wish === true ? [] : wish)]
  for (const name of names) Object.assign(facts, { [name]: known[name] ?? noSsl[name] })
  return facts
}

// Read when asked for: certificates are only parsed for those fields that need them.
function ownSsl(tls: TlsInfo): { readonly [Name in keyof NativeProxySsl]: NativeProxySsl[Name] | undefined } {
  const shown = tls.hasPeerCertificate
  return {
    client: 1 | (shown ? 4 : 0) | (shown && !tls.resumed ? 2 : 0),
    verify: tls.authorizationError?.verifyCode ?? 0,
    version: tls.protocol,
    cipher: tls.cipher,
    group: tls.group,
    signatureScheme: undefined,
    get commonName() {
      return tls.peerCertificate?.commonName
    },
    get certificate() {
      return tls.peerCertificate?.raw
    },
    get certificateSignature() {
      return tls.ownCertificate?.signatureAlgorithm
    },
    get keyAlgorithm() {
      const own = tls.ownCertificate
      return own && `${own.keyType}${own.keyBits}`
    },
  }
}
