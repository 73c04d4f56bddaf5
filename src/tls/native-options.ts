import * as nodeTls from 'node:tls'
import { SluiceError } from '../errors.js'
import type { NativeTlsOptions } from '../native/binding.js'
import { expected, type Parsed } from '../options.js'
import { type clientShape, type serverShape, versionNumber } from './options.js'
import type { PemOrDer } from './parsers.js'
import { TlsSessions } from './sessions.js'
import { TlsTicketKeys } from './ticket-keys.js'

type ServerOptions = Parsed<typeof serverShape>
type ClientOptions = Parsed<typeof clientShape>
type PolicyOptions = Omit<ServerOptions, Exclude<keyof ServerOptions, keyof ClientOptions> | 'ocsp'>

/** Names an option of an option: `'cert'` of `'tls'` is `'tls.cert'`. */
export type NameOf = (option: string) => string

/** The policy of a server, as native code takes it. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` */
export function nativeServerOptions(options: ServerOptions, nameOf: NameOf): NativeTlsOptions {
  const { cert, pfx, psk, sni, sniStrict, requestCert, rejectUnauthorized, ocsp } = options
  if (!(cert ?? pfx ?? psk) && !(sniStrict && sni !== undefined))
    throw missing(nameOf('cert'), 'expected "cert" and "key", "pfx" or "psk"')
  const asked = requestCert ? (rejectUnauthorized ? 'require' : 'request') : 'none'
  const clientCert = options.clientCert ?? asked
  if (clientCert !== 'none' && rejectUnauthorized && options.ca === undefined && options.trust === undefined)
    throw missing(nameOf('ca'), `expected "ca" or "trust", whose certificates of clients to accept`)
  return {
    ...commonOptions(options, nameOf),
    ...trustOptions(options, undefined),
    clientAuth: ['none', 'request', 'require'].indexOf(clientCert),
    honorCipherOrder: options.honorCipherOrder,
    alpn: options.alpn ?? options.ALPNProtocols ?? [],
    ticketKeys:
      options.ticketKeys === undefined ? undefined : TlsTicketKeys.of(options.ticketKeys, nameOf('ticketKeys')).native,
    ticketCount: options.ticketCount,
    sessionCacheCount: options.sessionCacheCount,
    caNames: options.caNames,
    sessionIdContext: options.sessionIdContext ?? '',
    clientSessions: undefined,
    ocspResponse: ocsp,
    requestOcsp: false,
    pskHint: options.pskHint ?? '',
  }
}

/** The policy of a client, as native code takes it. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` */
export function nativeClientOptions(options: ClientOptions, nameOf: NameOf): NativeTlsOptions {
  return {
    ...commonOptions(options, nameOf),
    // Nobody else could be trusted, unless nobody has to be.
    ...trustOptions(
      options,
      options.ca === undefined && options.rejectUnauthorized && !options.psk ? 'node' : undefined,
    ),
    clientAuth: 0,
    honorCipherOrder: false,
    alpn: [], // of the connection
    ticketKeys: undefined,
    ticketCount: 0,
    sessionCacheCount: 0,
    caNames: true,
    sessionIdContext: '',
    clientSessions: sessionsOf(options.sessions, nameOf('sessions')),
    ocspResponse: undefined,
    requestOcsp: options.ocsp,
    pskHint: '',
  }
}

function commonOptions(options: PolicyOptions, nameOf: NameOf) {
  const { minVersion, maxVersion, psk, keylog } = options
  return {
    keys: keyPairs(options, nameOf),
    pfx: (options.pfx ?? []).map(({ buf, passphrase }) => ({
      data: buf,
      passphrase: passphrase ?? options.passphrase ?? '',
    })),
    crls: options.crl ?? [],
    rejectUnauthorized: options.rejectUnauthorized,
    verifyDepth: options.verifyDepth,
    minVersion: versionNumber(minVersion),
    maxVersion: versionNumber(maxVersion),
    ciphers: options.ciphers,
    cipherSuites: options.cipherSuites || options.ciphersuites,
    groups: options.groups || options.ecdhCurve,
    signatureAlgorithms: options.sigalgs,
    securityLevel: options.securityLevel,
    tickets: options.tickets,
    sessionTimeoutS: options.sessionTimeoutS,
    psks: psk ?? [],
    allowRenegotiation: options.allowRenegotiation,
    maxRenegotiationsPerMinute: options.maxRenegotiationsPerMinute,
    maxKeyUpdatesPerSecond: options.maxKeyUpdatesPerSecond,
    maxEmptyRecordsPerSecond: options.maxEmptyRecordsPerSecond,
    maxHandshakeBytes: options.maxHandshakeBytes,
    dynamicRecordSize: options.dynamicRecordSize,
    keylog:
      keylog === true || keylog === 'SSLKEYLOGFILE' ? process.env.SSLKEYLOGFILE || undefined : keylog || undefined,
  }
}

function keyPairs({ cert, key, passphrase }: PolicyOptions, nameOf: NameOf): NativeTlsOptions['keys'] {
  if (cert === undefined) {
    if (key !== undefined) throw missing(nameOf('cert'), '"key" needs its certificate')
    return []
  }
  if (key !== undefined && key.length !== cert.length)
    throw expected(`as many as in "${nameOf('cert')}", ${cert.length}`, key.length, nameOf('key'))
  return cert.map((certificate, i) => {
    if (key === undefined && !holdsKey(certificate)) throw missing(nameOf('key'), '"cert" needs its key')
    const own = key?.[i] ?? { pem: certificate, passphrase: undefined }
    return { certificate, key: own.pem, passphrase: own.passphrase ?? passphrase ?? '' }
  })
}

function holdsKey(certificate: PemOrDer): boolean {
  return Buffer.from(certificate).includes('PRIVATE KEY-----')
}

function trustOptions({ ca, trust }: PolicyOptions, byDefault: 'node' | undefined) {
  const chosen = trust ?? byDefault
  return { ca: [...(ca ?? []), ...(chosen === 'node' ? nodeAuthorities() : [])], systemTrust: chosen === 'system' }
}

let authorities: string[] | undefined

// One text, so that it crosses the border at once. Newer Nodes can tell what was added by NODE_EXTRA_CA_CERTS as well.
function nodeAuthorities(): string[] {
  const { getCACertificates } = nodeTls as { getCACertificates?: (type: string) => string[] }
  authorities ??= [(getCACertificates?.('default') ?? nodeTls.rootCertificates).join('\n')]
  return authorities
}

function sessionsOf(value: unknown, option: string) {
  if (value === false) return undefined
  if (value === undefined || value === true) return new TlsSessions().native
  if (value instanceof TlsSessions) return value.native
  throw expected('true, false, or TlsSessions', value, option)
}

/** The error for an option without which the others make no sense. */
function missing(option: string, why: string): SluiceError {
  return new SluiceError('INVALID_OPTION', {
    phase: 'options',
    option,
    detail: `option "${option}" is missing; ${why}`,
  })
}

/**
 * The name that a user gave what native code calls `option`: `'keys[1].key'` is `'key[1]'`, or `'key'` where there is no
 * list.
 */
export function userOption(option: string, input: Readonly<Record<string, unknown>>): string {
  const match = /^(\w+)\[(\d+)\](?:\.(\w+))?$/.exec(option)
  if (match === null) return Object.hasOwn(input, option) ? option : (aliasGiven(option, input) ?? option)
  const [, list, index, field] = match
  const item = (name: string) => (Array.isArray(input[name]) ? `${name}[${index}]` : name)
  switch (list) {
    case 'keys':
      if (field === 'key') return item('key' in input && input.key !== undefined ? 'key' : 'cert')
      if (field === 'passphrase') return ownPassphrase(input, 'key', Number(index)) ?? 'passphrase'
      return item('cert')
    case 'pfx':
      return field === 'passphrase' ? (ownPassphrase(input, 'pfx', Number(index)) ?? 'passphrase') : item('pfx')
    case 'crls':
      return item('crl')
    case 'psks':
      return field === undefined ? item('psk') : `${item('psk')}.${field}`
    case 'serverNames':
      return `sni["${Object.keys((input.sni ?? {}) as object)[Number(index)]}"]`
    default:
      return item(list!)
  }
}

function ownPassphrase(input: Readonly<Record<string, unknown>>, name: string, index: number): string | undefined {
  const value = input[name]
  const own = Array.isArray(value) ? value[index] : value
  if (typeof own !== 'object' || own === null || own instanceof Uint8Array) return undefined
  return Array.isArray(value) ? `${name}[${index}].passphrase` : `${name}.passphrase`
}

const aliasNames: Readonly<Record<string, readonly string[]>> = {
  cipherSuites: ['ciphersuites'],
  groups: ['ecdhCurve'],
  alpn: ['ALPNProtocols'],
  signatureAlgorithms: ['sigalgs'],
}

function aliasGiven(option: string, input: Readonly<Record<string, unknown>>): string | undefined {
  return aliasNames[option]?.find((name) => input[name] !== undefined)
}
