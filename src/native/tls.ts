import type { NativeTlsFailure } from '../errors.js'

// TLS: native/tls/ as the addon shows it.

/** Handles of shared native objects; opaque. */
export type NativeTlsContext = object & { readonly tlsContext?: never }
export type NativeTicketKeys = object & { readonly ticketKeys?: never }
export type NativeClientSessions = object & { readonly clientSessions?: never }

/** PEM text, or the bytes of PEM or DER. */
export type NativePem = string | Uint8Array

/** Who serves clients that no name of a table is for: nobody, another context, or the one that has the table. */
export interface NativeTlsFallback {
  refuse: boolean
  context: NativeTlsContext | undefined
  entry: number
}
export interface NativeTlsFallbacks {
  unknown: NativeTlsFallback
  nameless: NativeTlsFallback
}

/** A policy, complete; fields are those of TlsOptions in native/tls/options.h. */
export interface NativeTlsOptions {
  keys: { certificate: NativePem; key: NativePem; passphrase: string }[]
  pfx: { data: Uint8Array; passphrase: string }[]
  ca: NativePem[]
  systemTrust: boolean
  crls: NativePem[]
  rejectUnauthorized: boolean
  /** 0 none, 1 request, 2 require. */
  clientAuth: number
  verifyDepth: number
  /** 0 for TLS 1.0 to 3 for TLS 1.3. */
  minVersion: number
  maxVersion: number
  ciphers: string
  cipherSuites: string
  groups: string
  signatureAlgorithms: string
  securityLevel: number
  honorCipherOrder: boolean
  alpn: string[]
  tickets: boolean
  ticketKeys: NativeTicketKeys | undefined
  ticketCount: number
  sessionTimeoutS: number
  sessionCacheCount: number
  sessionIdContext: string
  clientSessions: NativeClientSessions | undefined
  ocspResponse: Uint8Array | undefined
  requestOcsp: boolean
  psks: { identity: string; key: Uint8Array }[]
  pskHint: string
  allowRenegotiation: boolean
  maxRenegotiationsPerMinute: number
  maxKeyUpdatesPerSecond: number
  maxEmptyRecordsPerSecond: number
  maxHandshakeBytes: number
  dynamicRecordSize: boolean
  /** A path to append to, or a function for lines. */
  keylog: string | ((line: string) => void) | undefined
}

/** What a listener, connect() or startTls() needs to know of TLS: TlsConfig in native/net/tls_config.h. */
export interface NativeTlsConfig {
  context: NativeTlsContext
  serverName: string
  verifyName: string
  checkCommonName: boolean
  /** Replaces that of the context, unless empty. */
  alpn: string[]
  sessionKey: string
  session: Uint8Array | undefined
  handshakeTimeoutMs: number
  maxHandshakes: number
  maxHandshakesWaiting: number
  maxHandshakesPerSecond: number
  allowTruncation: boolean
  discardPlaintext: boolean
}

/** TlsInfo in native/tls/session.h; '' means "none". */
export interface NativeTlsInfo {
  protocol: string
  cipher: string
  cipherStandard: string
  group: string
  alpn: string
  serverName: string
  pskIdentity: string
  resumed: boolean
  hasPeerCertificate: boolean
  /** Of a SniPolicy; 0 for none. */
  entry: number
  /** Present when the peer's certificate did not verify. */
  verifyFailure?: NativeTlsFailure
}

/** CertificateRequest in native/tls/certificate.h. */
export interface NativeCertificateRequest {
  names: string[]
  commonName: string
  keyType: number
  notBeforeS: number
  days: number
  authority: boolean
  purpose: string
  issuerCertificate: NativePem
  issuerKey: NativePem
}

export interface NativeCertificate {
  subject: string
  issuer: string
  subjectCommonName: string
  dnsNames: string[]
  ipAddresses: string[]
  uris: string[]
  emails: string[]
  serialNumber: string
  notBeforeS: number
  notAfterS: number
  fingerprint: string
  fingerprint256: string
  fingerprint512: string
  keyType: string
  keyBits: number
  signatureAlgorithm: string
  isAuthority: boolean
  der: Buffer
}

/** Everything of TLS that is no connection. Nothing but check() may be called before check() has answered undefined. */
export interface NativeTls {
  check(): NativeTlsFailure | undefined
  features(): { version: string; hasMlKem: boolean }
  failureNames(): string[]
  createContext(isServer: boolean, options: NativeTlsOptions): NativeTlsContext | NativeTlsFailure
  reloadContext(context: NativeTlsContext, options: NativeTlsOptions): NativeTlsFailure | undefined
  setServerNames(
    context: NativeTlsContext,
    names: { pattern: string; context: NativeTlsContext; entry: number }[],
    fallbacks: NativeTlsFallbacks,
  ): NativeTlsFailure | undefined
  /** The entry that serves who asks for this name; 0 for the context itself, -1 for nobody. */
  chooseServerName(context: NativeTlsContext, name: string): number
  contextTicketKeys(context: NativeTlsContext): NativeTicketKeys | undefined
  createTicketKeys(): NativeTicketKeys | NativeTlsFailure
  setTicketKeys(keys: NativeTicketKeys, list: Uint8Array[], encryptIndex: number): NativeTlsFailure | undefined
  rotateTicketKeys(keys: NativeTicketKeys, keep: number): Buffer | NativeTlsFailure
  ticketKeyList(keys: NativeTicketKeys): { keys: Buffer[]; encryptIndex: number }
  /** A number by which other threads of the process find them. */
  shareTicketKeys(keys: NativeTicketKeys): number
  findTicketKeys(shared: number): NativeTicketKeys | undefined
  createClientSessions(maxKeys: number): NativeClientSessions
  clientSessionsSize(sessions: NativeClientSessions): number
  clearClientSessions(sessions: NativeClientSessions): void
  createCertificate(request: NativeCertificateRequest): { cert: string; key: string } | NativeTlsFailure
  createCrl(
    authority: { cert: NativePem; key: NativePem },
    revoked: NativePem[],
    days: number,
  ): string | NativeTlsFailure
  parseCertificate(pemOrDer: NativePem): NativeCertificate | NativeTlsFailure
  splitCertificates(pemOrDer: NativePem): Buffer[] | NativeTlsFailure
}
