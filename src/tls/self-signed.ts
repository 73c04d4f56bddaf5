import { integer, oneOf, parse, string } from '../options.js'
import {
  type CertificateAndKey,
  type CertificateOptions,
  createCertificate,
  keyTypes,
  parseCertificate,
} from './certificate.js'
import { oneOrMore } from './parsers.js'

/** Options of {@link createSelfSigned}. */
export interface SelfSignedOptions extends Pick<CertificateOptions, 'keyType' | 'days'> {
  /** Names and addresses it is for. Default: `localhost`, `127.0.0.1` and `::1`. */
  names?: string | string[]
}

/** A certificate that vouches for itself, and its key. */
export interface SelfSigned extends CertificateAndKey {
  /** SHA-256, to compare by eye. Not enumerable, so that the rest passes for options. */
  readonly fingerprint256: string
}

const shape = {
  names: oneOrMore(string({ maxLength: 253 })),
  keyType: oneOf(keyTypes, { default: 'P-256' }),
  days: integer({ min: -36_500, max: 36_500, default: 365 }),
} satisfies { [K in keyof Required<SelfSignedOptions>]: unknown }

/**
 * Makes a certificate that vouches for itself, for tests and first steps: `listen({ tls: createSelfSigned() })` works, and
 * then `connect({ tls: { ca: cert } })`.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_UNAVAILABLE`
 */
export function createSelfSigned(options?: SelfSignedOptions): SelfSigned {
  const { names = ['localhost', '127.0.0.1', '::1'], keyType, days } = parse(shape, options)
  const made = createCertificate({ names, keyType, days })
  const { fingerprint256 } = parseCertificate(made.cert)
  return Object.defineProperty(made, 'fingerprint256', { value: fingerprint256 }) as SelfSigned
}
