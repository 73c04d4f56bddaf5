import {
  anything,
  boolean,
  excludes,
  expected,
  fn,
  integer,
  milliseconds,
  nested,
  type OptionalParser,
  oneOf,
  optional,
  type Parser,
  type Shape,
  string,
} from '../options.js'
import type { CertificateInfo } from './certificate.js'
import type { TlsContext } from './context.js'
import { bytes, names, oneOrMore, type PemOrDer, pem } from './parsers.js'
import type { TlsSessions } from './sessions.js'
import type { TlsTicketKeys } from './ticket-keys.js'

/** A version of TLS, as `node:tls` writes it. */
export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'

/** A private key in an encrypted PEM, with its passphrase. */
export interface TlsEncryptedKey {
  /** PEM or DER. */
  pem: PemOrDer
  /** What decrypts it. */
  passphrase?: string
}

/** A PKCS#12 file with its passphrase. */
export interface TlsEncryptedPfx {
  /** The bytes of the file. */
  buf: Uint8Array
  /** What decrypts it. */
  passphrase?: string
}

/** A key that both sides know. */
export interface TlsPreSharedKey {
  /** Which key it is; 1 to 128 bytes. */
  identity: string
  /** The secret; 1 to 256 bytes. */
  key: Uint8Array
}

/**
 * What servers and clients have in common. Names are those of `node:tls` where it has the option. Defaults follow Mozilla's
 * guideline 5.7, intermediate. Sizes are bytes, times milliseconds unless the name says seconds.
 */
export interface TlsOptions {
  /** Own certificate: PEM, the own one first and then its chain, or one in DER. Several, one per key type, in a list. */
  cert?: PemOrDer | PemOrDer[]
  /** The key of each `cert`, in the same order: PEM (PKCS#8, PKCS#1, SEC1) or DER. May be left out where the PEM of the
   *  certificate holds its key too. */
  key?: PemOrDer | TlsEncryptedKey | (PemOrDer | TlsEncryptedKey)[]
  /** Keys with certificates and chains, as PKCS#12. */
  pfx?: Uint8Array | TlsEncryptedPfx | (Uint8Array | TlsEncryptedPfx)[]
  /** For each `key` and `pfx` that has none of its own. */
  passphrase?: string
  /** Authorities to trust: PEM with any number of certificates, or one in DER. With it, nobody else is trusted, unless
   *  `trust` says so. */
  ca?: PemOrDer | PemOrDer[]
  /** Public authorities to trust: those that Node brings, or those of the operating system. Default for clients without
   *  `ca`: `'node'`; else none. */
  trust?: 'node' | 'system'
  /** Revocation lists, PEM or DER. With any, each certificate of a chain needs a current list of its issuer. */
  crl?: PemOrDer | PemOrDer[]
  /** Whether a peer whose certificate does not verify fails the handshake. Default true. Otherwise
   *  `connection.tls.authorizationError` tells. */
  rejectUnauthorized?: boolean
  /** How long a chain may be above the peer's own certificate. Default 10. */
  verifyDepth?: number
  /** Oldest version. Default `'TLSv1.2'`; the older ones need `securityLevel: 0`. */
  minVersion?: TlsVersion
  /** Newest version. Default `'TLSv1.3'`. */
  maxVersion?: TlsVersion
  /** Ciphers up to TLS 1.2, as `openssl ciphers` takes them; names of TLS 1.3 among them count as `cipherSuites`. */
  ciphers?: string
  /** Ciphers of TLS 1.3, by name. */
  cipherSuites?: string | string[]
  /** The same as `cipherSuites`. */
  ciphersuites?: string | string[]
  /** Groups for key exchange, most wanted first. Default X25519MLKEM768 where OpenSSL has it, X25519, P-256, P-384. */
  groups?: string | string[]
  /** As `node:tls` calls `groups`. */
  ecdhCurve?: string | string[]
  /** Signature algorithms, e.g. `'ECDSA+SHA256:rsa_pss_rsae_sha256'`. Default: OpenSSL's. */
  sigalgs?: string | string[]
  /** OpenSSL's security level, 0 to 5. Default 2: RSA of 2048 bits at least, no SHA-1. */
  securityLevel?: number
  /** Application protocols, most wanted first. A server that shares none with a client who offers some refuses it.
   *  Source: RFC 7301. */
  alpn?: string[]
  /** As `node:tls` calls `alpn`. */
  ALPNProtocols?: string[]
  /** Whether tickets are given out, or asked for. Default true. */
  tickets?: boolean
  /** How long sessions can be resumed, in seconds. Default 300. Source: HP-89. */
  sessionTimeoutS?: number
  /** Keys that both sides know, in place of certificates or beside them; a client uses the first. */
  psk?: TlsPreSharedKey | TlsPreSharedKey[]
  /** TLS 1.2: let the peer negotiate again. Default false. */
  allowRenegotiation?: boolean
  /** How often, then. Default 3. */
  maxRenegotiationsPerMinute?: number
  /** Default 100; 0 for no limit. Source: HP-92. */
  maxKeyUpdatesPerSecond?: number
  /** Records without data. Default 1 000; 0 for no limit. */
  maxEmptyRecordsPerSecond?: number
  /** What a peer may send until the handshake is done. Default 131 072. */
  maxHandshakeBytes?: number
  /** Small records first and after a second of idling, large ones in a stream. Default true. Source: HP-91. */
  dynamicRecordSize?: boolean
  /** Who is told the secrets of sessions, for Wireshark: `true` or `'SSLKEYLOGFILE'` appends to the file which that
   *  variable of the environment names, if it does; a function gets each line. Default: nobody. */
  keylog?: boolean | 'SSLKEYLOGFILE' | ((line: string) => void)
  /** Bound on the handshake from beginning to end. Default 10 000; 0 for none. Source: IC-23. */
  handshakeTimeoutMs?: number
  /** Takes a FIN without close_notify for an end in good order. Default false: `ERR_SLUICE_TLS_TRUNCATED`. Source: LE-85. */
  allowTruncation?: boolean
  /** A policy made before, instead of the options that make one. */
  context?: TlsContext
}

/** Options of `listen({ tls })` and {@link TlsContext.server}. */
export interface TlsServerOptions extends TlsOptions {
  /** What is wanted of clients. `'request'` tolerates that there is no certificate, but not a bad one; `'require'`
   *  does not. Default `'none'`. Source: SV-04, HP-87. */
  clientCert?: 'none' | 'request' | 'require'
  /** Whether clients are told the names of `ca`, from which they pick a certificate. Default true; false keeps long or private lists
   *  to oneself. Source: HP-85, `no-ca-names`. */
  caNames?: boolean
  /** As in `node:tls`: true means `'require'`, or `'request'` with `rejectUnauthorized: false`. */
  requestCert?: boolean
  /** Own order of ciphers counts. Default false: the client's. */
  honorCipherOrder?: boolean
  /** Keys of tickets, shared with other contexts and threads; or their bytes. Default: random ones of its own. */
  ticketKeys?: TlsTicketKeys | Uint8Array | Uint8Array[]
  /** TLS 1.3: tickets given out after a full handshake, each good for one connection. Default 2. */
  ticketCount?: number
  /** Sessions that the server remembers itself, for clients without tickets. Default 20 000. Source: HP-89. */
  sessionCacheCount?: number
  /** Sessions are good for contexts with the same one. Default: derived from what decides about clients. */
  sessionIdContext?: string
  /** OCSP response to staple, DER. */
  ocsp?: Uint8Array
  /** Hint for clients with several keys; TLS 1.2. */
  pskHint?: string
  /** Contexts, or their options, by the name that the client asks for: `'a.example'`, `'*.b.example'` for one label more,
   *  `'!x.b.example'` to take a name out of the wildcard of the same context. Everybody else gets this context. */
  sni?: Record<string, TlsContext | TlsServerOptions>
  /** Refuses clients that ask for no name of `sni`. Default false. Source: HP-86. */
  sniStrict?: boolean
  /** Handshakes under way at once, per loop. Default 0: no limit. Source: IC-32. */
  maxHandshakes?: number
  /** How many may wait for their turn behind these. Default 0: no limit. */
  maxHandshakesWaiting?: number
  /** Handshakes that may begin per second, per loop; the limit comes before any work of TLS. Default 0: no limit.
   *  Source: HP-74. */
  maxHandshakesPerSecond?: number
}

/** Options of `connect({ tls })` and {@link TlsContext.client}. */
export interface TlsClientOptions extends TlsOptions {
  /** The name to ask for (SNI), and to verify. Default: `host`, where it is no IP address; `''` for none. */
  serverName?: string
  /** As `node:tls` calls `serverName`. */
  servername?: string
  /** Whom the certificate must name. Default: `serverName`, else `host`. Source: RFC 6125. */
  verifyName?: string
  /** Decides by itself whether the certificate is that of `name`, in place of RFC 6125: an error refuses it. Not asked
   *  when the certificate does not verify anyway. `tls.checkServerIdentity` of Node fits. */
  checkServerIdentity?: (name: string, certificate: CertificateInfo) => Error | undefined
  /** Also takes the common name of a certificate without alternative names. Default false. Source: IC-16. */
  checkCommonName?: boolean
  /** Asks for an OCSP response; `connection.tls.ocspResponse` has it. Default false. */
  ocsp?: boolean
  /** Where sessions are kept, to resume them. Default true: in a cache of the context. */
  sessions?: boolean | TlsSessions
  /** A session to resume: what `connection.tls.session` was. */
  session?: Uint8Array
  /** Under which name sessions are kept. Default: host and port. */
  sessionKey?: string
}

/** Options of `connection.startTls()`, besides those of its role. */
export interface StartTlsRoleOptions {
  /** Default: `'client'` on connections made by `connect()`, else `'server'`. */
  role?: 'server' | 'client'
  /** Drops plaintext that came in before the handshake. Default false: it ends the connection, as somebody may have
   *  injected it. Source: CVE-2011-0411. */
  discardPlaintext?: boolean
}

/** Options of `connection.startTls()`. */
export type StartTlsOptions = (TlsServerOptions | TlsClientOptions) & StartTlsRoleOptions

// ---- Parsers of single options

const keyShape = { pem: pem(), passphrase: optional(text()) } satisfies Shape<TlsEncryptedKey>
const pfxShape = { buf: bytes(), passphrase: optional(text()) } satisfies Shape<TlsEncryptedPfx>
const pskShape = { identity: string({ maxLength: 128 }), key: bytes() } satisfies Shape<TlsPreSharedKey>

// An empty passphrase is one.
function text(): Parser<string> {
  const allowed = 'a string'
  return {
    allowed,
    parse(value, option) {
      if (typeof value === 'string') return value
      throw expected(allowed, value, option)
    },
  }
}

const isPlainObject = (value: unknown) =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && !Array.isArray(value)

function keyInput(): Parser<{ pem: PemOrDer; passphrase: string | undefined }> {
  const [whole, plain] = [nested(keyShape), pem()]
  const allowed = `${plain.allowed}, or { pem, passphrase }`
  return {
    allowed,
    parse(value, option) {
      if (isPlainObject(value)) return whole.parse(value, option)
      if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw expected(allowed, value, option)
      return { pem: plain.parse(value, option), passphrase: undefined }
    },
  }
}

function pfxInput(): Parser<{ buf: Uint8Array; passphrase: string | undefined }> {
  const [whole, plain] = [nested(pfxShape), bytes()]
  const allowed = `${plain.allowed}, or { buf, passphrase }`
  return {
    allowed,
    parse(value, option) {
      if (isPlainObject(value)) return whole.parse(value, option)
      if (!(value instanceof Uint8Array)) throw expected(allowed, value, option)
      return { buf: plain.parse(value, option), passphrase: undefined }
    },
  }
}

const versions = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const

/** The number that native code has for a version. */
export function versionNumber(version: TlsVersion): number {
  return versions.indexOf(version)
}

const keylogAllowed = "true, 'SSLKEYLOGFILE', false, or a function"
const keylog: OptionalParser<TlsOptions['keylog']> = {
  allowed: keylogAllowed,
  absent: undefined,
  parse(value, option) {
    if (typeof value === 'boolean' || value === 'SSLKEYLOGFILE') return value
    if (typeof value === 'function') return value as (line: string) => void
    throw expected(keylogAllowed, value, option)
  },
}

const protocolAllowed = 'a list of strings of 1 to 255 bytes'
const protocols: OptionalParser<string[] | undefined> = {
  allowed: protocolAllowed,
  absent: undefined,
  parse(value, option) {
    if (!Array.isArray(value) || value.length === 0) throw expected(protocolAllowed, value, option)
    value.forEach((item, i) => {
      const isName = typeof item === 'string' && item !== '' && Buffer.byteLength(item) <= 255
      if (!isName) throw expected('a string of 1 to 255 bytes', item, `${option}[${i}]`)
    })
    return value as string[]
  },
}

/** A DNS name as TLS sends it, or '' for none. */
const nameAllowed = "a DNS name, or '' for none"
const dnsName: OptionalParser<string | undefined> = {
  allowed: nameAllowed,
  absent: undefined,
  parse(value, option) {
    const isName = typeof value === 'string' && value.length <= 254 && !/[\0\s/:]/.test(value)
    if (!isName) throw expected(nameAllowed, value, option)
    return value
  },
}

const count = (value: number) => integer({ min: 0, max: 1_000_000_000, default: value })
// An object of ours: which class, src/tls/context.ts and its neighbours look at.
const object = () => anything() as OptionalParser<undefined>

// ---- Shapes

/** What makes a policy, of either role. */
const policyShape = {
  cert: oneOrMore(pem()),
  key: oneOrMore(keyInput()),
  pfx: oneOrMore(pfxInput()),
  passphrase: optional(text()),
  ca: oneOrMore(pem()),
  trust: optional(oneOf(['node', 'system'])),
  crl: oneOrMore(pem()),
  rejectUnauthorized: boolean({ default: true }),
  verifyDepth: integer({ min: 0, max: 100, default: 10 }),
  minVersion: oneOf(versions, { default: 'TLSv1.2' }),
  maxVersion: oneOf(versions, { default: 'TLSv1.3' }),
  ciphers: names(),
  cipherSuites: names(),
  ciphersuites: names(),
  groups: names(),
  ecdhCurve: names(),
  sigalgs: names(),
  securityLevel: integer({ min: 0, max: 5, default: 2 }),
  tickets: boolean({ default: true }),
  sessionTimeoutS: integer({ min: 1, max: 604_800, default: 300 }),
  psk: oneOrMore(nested(pskShape)),
  allowRenegotiation: boolean({ default: false }),
  maxRenegotiationsPerMinute: integer({ min: 1, max: 1_000_000, default: 3 }),
  maxKeyUpdatesPerSecond: count(100),
  maxEmptyRecordsPerSecond: count(1000),
  maxHandshakeBytes: integer({ min: 1024, max: 16_777_216, default: 131_072 }),
  dynamicRecordSize: boolean({ default: true }),
  keylog,
}

const serverPolicyShape = {
  ...policyShape,
  clientCert: optional(oneOf(['none', 'request', 'require'])),
  requestCert: optional(boolean()),
  honorCipherOrder: boolean({ default: false }),
  ticketKeys: anything(),
  ticketCount: integer({ min: 0, max: 100, default: 2 }),
  sessionCacheCount: count(20_000),
  caNames: boolean({ default: true }),
  sessionIdContext: optional(string({ maxLength: 1024 })),
  ocsp: optional(bytes()),
  pskHint: optional(string({ maxLength: 128 })),
  sni: anything(),
  sniStrict: boolean({ default: false }),
}

const clientPolicyShape = {
  ...policyShape,
  ocsp: boolean({ default: false }),
  sessions: anything(),
}

/** What differs between connections of one policy. */
const connectionShape = {
  alpn: protocols,
  ALPNProtocols: protocols,
  handshakeTimeoutMs: milliseconds({ default: 10_000 }),
  allowTruncation: boolean({ default: false }),
}

const serverConnectionShape = {
  ...connectionShape,
  maxHandshakes: count(0),
  maxHandshakesWaiting: count(0),
  maxHandshakesPerSecond: count(0),
}

const clientConnectionShape = {
  ...connectionShape,
  serverName: dnsName,
  servername: dnsName,
  verifyName: optional(string({ maxLength: 254 })),
  checkServerIdentity: optional(fn<NonNullable<TlsClientOptions['checkServerIdentity']>>()),
  checkCommonName: boolean({ default: false }),
  session: optional(bytes()),
  sessionKey: optional(string({ maxLength: 1024 })),
}

export const serverShape = { ...serverPolicyShape, ...serverConnectionShape, context: object() }
export const clientShape = { ...clientPolicyShape, ...clientConnectionShape, context: object() }

// Each option has a parser and each parser an option; what a parser makes of its option is its own affair.
type Difference<A, B> = Exclude<keyof A, keyof B> | Exclude<keyof B, keyof A>
type Complete<A, B> = [Difference<A, B>] extends [never] ? true : Difference<A, B>
const complete: [Complete<TlsServerOptions, typeof serverShape>, Complete<TlsClientOptions, typeof clientShape>] = [
  true,
  true,
]
void complete

const aliases = [
  excludes('cipherSuites', ['ciphersuites']),
  excludes('groups', ['ecdhCurve']),
  excludes('alpn', ['ALPNProtocols']),
]

export const serverRules = [
  ...aliases,
  excludes('clientCert', ['requestCert']),
  excludes('context', Object.keys(serverPolicyShape)),
]

export const clientRules = [
  ...aliases,
  excludes('serverName', ['servername']),
  excludes('context', Object.keys(clientPolicyShape)),
]

const connectionOptionNames: ReadonlySet<string> = new Set([
  ...Object.keys(serverConnectionShape),
  ...Object.keys(clientConnectionShape),
])

const rivals = [
  ['cipherSuites', 'ciphersuites'],
  ['groups', 'ecdhCurve'],
  ['alpn', 'ALPNProtocols'],
  ['serverName', 'servername'],
  ['clientCert', 'requestCert'],
]

type Input = Readonly<Record<string, unknown>>

/** Options `base` with `changes` in place of the same ones, also where these go by their other name. */
export function overlay(base: Input, changes: Input): Input {
  const given = Object.entries(changes).filter(([, value]) => value !== undefined)
  const merged: Record<string, unknown> = { ...base }
  for (const pair of rivals) {
    if (given.some(([name]) => pair.includes(name))) for (const rival of pair) delete merged[rival]
  }
  for (const [name, value] of given) merged[name] = value
  return merged
}

/** What of `input` differs between connections of one policy. */
export function connectionPart(input: Input): Input {
  return Object.fromEntries(Object.entries(input).filter(([name]) => connectionOptionNames.has(name)))
}

export const startTlsShape = {
  role: optional(oneOf(['server', 'client'])),
  discardPlaintext: boolean({ default: false }),
} satisfies Shape<StartTlsRoleOptions>
