import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { SluiceError } from '../errors.js'
import { parseCertificate } from '../tls/certificate.js'
import type { TlsServerOptions } from '../tls/options.js'
import { createSelfSigned } from '../tls/self-signed.js'
import { choice, integer, text, toggle, UsageError, type Values } from './arguments.js'

export const tlsFlags = {
  tls: toggle('serve TLS; without --cert, by a certificate made now for localhost'),
  cert: text('PEM file of the certificate and its chain', { placeholder: 'FILE' }),
  key: text('PEM file of its key, unless --cert holds it too', { placeholder: 'FILE' }),
  ca: text('PEM file of the authorities of clients', { placeholder: 'FILE' }),
  'client-cert': choice('what is wanted of clients (default none)', ['none', 'request', 'require']),
  'handshake-threads': integer('threads for handshakes; 0 does them on the loop', { min: 0, max: 64, default: 0 }),
}

type TlsValues = Values<typeof tlsFlags>

/** What the options of the command line mean for `listen()`, and what the first line tells of it. */
export interface TlsOfCommand {
  options: TlsServerOptions
  told: { selfSigned: boolean; fingerprint256: string }
}

/** @throws {UsageError} for options that make no sense together, and files that cannot be read or are of another kind. */
export function readTls(values: TlsValues): TlsOfCommand | undefined {
  const { tls, cert, key, ca, 'client-cert': clientCert = 'none' } = values
  if (!tls) {
    const given = (['cert', 'key', 'ca', 'client-cert'] as const).find((name) => values[name] !== undefined)
    const alone = given ?? (values['handshake-threads'] > 0 ? 'handshake-threads' : undefined)
    if (alone !== undefined) throw new UsageError(`option "--${alone}" needs "--tls" as well`)
    return undefined
  }
  if (key !== undefined && cert === undefined) throw new UsageError('option "--key" needs "--cert" as well')
  if (clientCert !== 'none' && ca === undefined) throw new UsageError('option "--client-cert" needs "--ca" as well')
  const own = cert === undefined ? createSelfSigned() : { cert: read('cert', cert), key: key && read('key', key) }
  const options = { ...own, key: own.key || undefined, ca: ca === undefined ? undefined : read('ca', ca), clientCert }
  const { fingerprint256 } = own as { fingerprint256?: string }
  const told = { selfSigned: cert === undefined, fingerprint256: fingerprint256 ?? fingerprintOf(values, own.cert) }
  return { options, told }
}

function read(option: 'cert' | 'key' | 'ca', file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UsageError(`option "--${option}": cannot read ${resolve(file)} (${code})`)
  }
}

function fingerprintOf(values: TlsValues, cert: string): string {
  try {
    return parseCertificate(cert).fingerprint256
  } catch (error) {
    throw named(values, error)
  }
}

/** Errors about an option of TLS, told by the option and file of the command line. */
export async function naming<T>(values: TlsValues, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw named(values, error)
  }
}

const flagOf: Readonly<Record<string, 'cert' | 'key' | 'ca'>> = {
  ...{ certificate: 'cert', 'tls.cert': 'cert', 'tls.key': 'key', 'tls.passphrase': 'key', 'tls.ca': 'ca' },
}

function named(values: TlsValues, error: unknown): unknown {
  if (!(error instanceof SluiceError) || error.option === undefined) return error
  const flag = flagOf[error.option]
  if (flag === undefined) return error
  const file = values[flag]
  const where = file === undefined ? `option "--${flag}"` : `option "--${flag}", ${resolve(file)}`
  return new UsageError(error.message.replace(`option "${error.option}"`, where))
}
