import { isTlsFailure, tlsError } from '../errors.js'
import type { NativeCertificate } from '../native/binding.js'
import { boolean, expected, integer, nested, oneOf, optional, type Parser, parse, string } from '../options.js'
import { tlsLibrary } from './library.js'
import { oneOrMore, type PemOrDer, pem } from './parsers.js'

/** What a certificate says. */
export interface CertificateInfo {
  /** As RFC 2253 writes it: `'CN=example.com,O=Example'`. */
  subject: string
  /** Who signed it. */
  issuer: string
  /** Undefined where there is none. */
  commonName: string | undefined
  /** Names it is for, `'*.example.com'` among them. */
  dnsNames: string[]
  /** Addresses it is for. */
  ipAddresses: string[]
  /** URIs it is for. */
  uris: string[]
  /** Mail addresses it is for. */
  emails: string[]
  /** As `node:tls` has it: `'DNS:example.com, IP Address:127.0.0.1'`. */
  subjectaltname: string
  /** Hexadecimal, in capitals. */
  serialNumber: string
  /** Not valid before. */
  validFrom: Date
  /** Not valid after. */
  validTo: Date
  /** SHA-1: `'AB:CD:…'`. */
  fingerprint: string
  /** SHA-256. */
  fingerprint256: string
  /** SHA-512. */
  fingerprint512: string
  /** `'RSA'`, `'EC'`, `'ED25519'` … */
  keyType: string
  /** Size of its key. */
  keyBits: number
  /** What it is signed with, e.g. `'ecdsa-with-SHA256'`. */
  signatureAlgorithm: string
  /** Whether it may sign others. */
  isAuthority: boolean
  /** All of it, DER; `new X509Certificate(raw)` of Node takes it. */
  raw: Buffer
}

/**
 * Reads one certificate, PEM (the first of several) or DER.
 *
 * @throws {SluiceError} `ERR_SLUICE_TLS_BAD_CERTIFICATE_DATA`
 */
export function parseCertificate(certificate: PemOrDer): CertificateInfo {
  const parsed = tlsLibrary().parseCertificate(pem().parse(certificate, 'certificate'))
  if (isTlsFailure(parsed)) throw tlsError(parsed, { option: 'certificate' })
  return certificateInfo(parsed)
}

/** @internal */
export function certificateInfo(parsed: NativeCertificate): CertificateInfo {
  const { subjectCommonName, notBeforeS, notAfterS, der, ...same } = parsed
  const { dnsNames, ipAddresses, uris, emails } = same
  const alternatives = [
    ...dnsNames.map((name) => `DNS:${name}`),
    ...ipAddresses.map((address) => `IP Address:${address}`),
    ...uris.map((uri) => `URI:${uri}`),
    ...emails.map((email) => `email:${email}`),
  ]
  return {
    ...same,
    commonName: subjectCommonName || undefined,
    subjectaltname: alternatives.join(', '),
    validFrom: new Date(notBeforeS * 1000),
    validTo: new Date(notAfterS * 1000),
    raw: der,
  }
}

/** A certificate and its key, both PEM: options of `listen({ tls })` as they are. */
export interface CertificateAndKey {
  /** PEM. */
  cert: string
  /** PEM, PKCS#8. */
  key: string
}

/** A certificate to be made. */
export interface CertificateOptions {
  /** DNS names, also `'*.example.com'`, and IP addresses. The first is the common name as well. At least one, unless it is
   *  an authority with a `commonName`. */
  names?: string[]
  /** In place of the first name. */
  commonName?: string
  /** Default `'P-256'`. RSA takes tens of milliseconds to make. */
  keyType?: 'P-256' | 'RSA-2048' | 'Ed25519'
  /** Default: an hour ago, for clocks that are late. */
  validFrom?: Date
  /** How long it is valid; negative for one that has expired. Default 365. */
  days?: number
  /** Whether it may sign others. Default false. */
  isAuthority?: boolean
  /** For servers or for clients alone. Default: for both. */
  purpose?: 'serverAuth' | 'clientAuth'
  /** The authority that signs. Default: it signs itself. */
  issuer?: { cert: PemOrDer; key: PemOrDer }
}

/** @internal */
export const keyTypes = ['P-256', 'RSA-2048', 'Ed25519'] as const

const date: Parser<Date> = {
  allowed: 'a Date',
  parse(value, option) {
    if (value instanceof Date && Number.isFinite(value.getTime())) return value
    throw expected('a Date', value, option)
  },
}

const issuerShape = { cert: pem(), key: pem() }

const certificateShape = {
  names: oneOrMore(string({ maxLength: 253 })),
  commonName: optional(string({ maxLength: 64 })),
  keyType: oneOf(keyTypes, { default: 'P-256' }),
  validFrom: optional(date),
  days: integer({ min: -36_500, max: 36_500, default: 365 }),
  isAuthority: boolean({ default: false }),
  purpose: optional(oneOf(['serverAuth', 'clientAuth'])),
  issuer: optional(nested(issuerShape)),
} satisfies { [K in keyof Required<CertificateOptions>]: unknown }

/**
 * Makes a key and a certificate for it, signed by `issuer` or by itself: for tests and private networks.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_INVALID_OPTION`, and others of `issuer`.
 */
export function createCertificate(options: CertificateOptions): CertificateAndKey {
  const parsed = parse(certificateShape, options)
  const { names, commonName, keyType, validFrom, days, isAuthority, purpose, issuer } = parsed
  if (names === undefined && !(isAuthority && commonName !== undefined))
    throw expected('given, unless it is an authority with a "commonName"', names, 'names')
  const made = tlsLibrary().createCertificate({
    names: names ?? [],
    commonName: commonName ?? '',
    keyType: keyTypes.indexOf(keyType),
    notBeforeS: validFrom === undefined ? 0 : Math.floor(validFrom.getTime() / 1000),
    days,
    authority: isAuthority,
    purpose: purpose ?? '',
    issuerCertificate: issuer?.cert ?? '',
    issuerKey: issuer?.key ?? '',
  })
  if (isTlsFailure(made)) throw tlsError(made)
  return made
}

/** What an authority revokes. */
export interface CrlOptions {
  /** Who signs the list. */
  authority: { cert: PemOrDer; key: PemOrDer }
  /** The certificates that are good no more. Default: none. */
  revoked?: PemOrDer | PemOrDer[]
  /** How long the list is valid; negative for one that is out of date. Default 30. */
  days?: number
}

const crlShape = {
  authority: nested(issuerShape),
  revoked: oneOrMore(pem(), 0),
  days: integer({ min: -36_500, max: 36_500, default: 30 }),
} satisfies { [K in keyof Required<CrlOptions>]: unknown }

/** Makes a certificate revocation list, PEM. @throws {SluiceError} `ERR_SLUICE_TLS_…` of certificates and keys. */
export function createCrl(options: CrlOptions): string {
  const { authority, revoked, days } = parse(crlShape, options)
  const made = tlsLibrary().createCrl(authority, revoked ?? [], days)
  if (isTlsFailure(made)) throw tlsError(made)
  return made
}
