import { isTlsFailure, SluiceError, tlsError } from '../errors.js'
import type { NativeChannel, NativeTlsInfo } from '../native/binding.js'
import { expected, integer, oneOf } from '../options.js'
import { type CertificateInfo, parseCertificate } from './certificate.js'

/** How to bind what is said inside a connection to it. Source: RFC 5929, RFC 9266. */
export type TlsChannelBinding = 'tls-unique' | 'tls-exporter' | 'tls-server-end-point'

const bindingName = oneOf(['tls-unique', 'tls-exporter', 'tls-server-end-point'])
const exportLength = integer({ min: 1, max: 65_535 })

/** What is known of a connection's TLS: `connection.tls`, once the handshake is done. */
export class TlsInfo {
  private readonly info: NativeTlsInfo
  private readonly channel: NativeChannel
  private readonly slot: number
  private readonly tag: number
  private identityError: SluiceError | undefined
  private chain: CertificateInfo[] | undefined
  private own: CertificateInfo | undefined

  /** @internal */
  constructor(channel: NativeChannel, slot: number, tag: number, info: NativeTlsInfo) {
    this.channel = channel
    this.slot = slot
    this.tag = tag
    this.info = info
    this.identityError = info.verifyFailure && tlsError(info.verifyFailure)
  }

  /** `'TLSv1.3'`, `'TLSv1.2'` … */
  get protocol(): string {
    return this.info.protocol
  }

  /** By OpenSSL's name: `'ECDHE-RSA-AES128-GCM-SHA256'`. */
  get cipher(): string {
    return this.info.cipher
  }

  /** By the name of the standard: `'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'`. */
  get cipherStandard(): string {
    return this.info.cipherStandard
  }

  /** What keys were exchanged with, e.g. `'x25519'`; undefined where none were, or by other means. */
  get group(): string | undefined {
    return this.info.group || undefined
  }

  /** The application protocol agreed on. */
  get alpn(): string | undefined {
    return this.info.alpn || undefined
  }

  /** The name that the client asked for (SNI). */
  get serverName(): string | undefined {
    return this.info.serverName || undefined
  }

  /** Servers: which pre-shared key the client has. */
  get pskIdentity(): string | undefined {
    return this.info.pskIdentity || undefined
  }

  /** Whether an earlier session was resumed. */
  get resumed(): boolean {
    return this.info.resumed
  }

  /** Whether the peer has shown a certificate, and it verified. */
  get authorized(): boolean {
    return this.info.hasPeerCertificate && this.identityError === undefined
  }

  /** Why the peer's certificate does not verify, where `rejectUnauthorized: false` let it pass. */
  get authorizationError(): SluiceError | undefined {
    return this.identityError
  }

  /** The peer's own certificate. Read when first asked for; that has to be while the connection is open. */
  get peerCertificate(): CertificateInfo | undefined {
    return this.peerCertificates[0]
  }

  /** All that the peer sent, its own certificate first. */
  get peerCertificates(): readonly CertificateInfo[] {
    if (!this.info.hasPeerCertificate) return []
    if (this.chain !== undefined) return this.chain
    const chain = this.channel.tlsPeerCertificates(this.slot, this.tag).map((der) => parseCertificate(der))
    if (chain.length > 0) this.chain = chain
    return chain
  }

  /** Whether the peer has shown a certificate, verified or not, now or when the session was made. */
  get hasPeerCertificate(): boolean {
    return this.info.hasPeerCertificate
  }

  /** Our own, of the policy and the kind of key that were chosen. Read when first asked for, likewise. */
  get ownCertificate(): CertificateInfo | undefined {
    if (this.own !== undefined) return this.own
    const der = this.channel.tlsOwnCertificate(this.slot, this.tag)
    this.own = der && parseCertificate(der)
    return this.own
  }

  /** SHA-256 of the peer's certificate, to compare with one that is known. */
  get fingerprint256(): string | undefined {
    return this.peerCertificate?.fingerprint256
  }

  /** The session, for `session` of a later `connect()`; with TLS 1.3 there is none before the server has sent one, which
   *  it does with its first bytes. */
  get session(): Buffer | undefined {
    return this.channel.tlsSession(this.slot, this.tag)
  }

  /** The OCSP response that came along, DER. */
  get ocspResponse(): Buffer | undefined {
    return this.channel.tlsOcspResponse(this.slot, this.tag)
  }

  /**
   * Keys that only both ends know. Source: RFC 5705, RFC 8446 section 7.5.
   *
   * @throws {SluiceError} `ERR_SLUICE_CLOSED`
   */
  exportKeyingMaterial(label: string, lengthBytes: number, context?: Uint8Array): Buffer {
    if (typeof label !== 'string' || label === '') throw expected('a string that is not empty', label, 'label')
    if (context !== undefined && !(context instanceof Uint8Array)) throw expected('a Uint8Array', context, 'context')
    const length = exportLength.parse(lengthBytes, 'lengthBytes')
    return answered(this.channel.tlsExport(this.slot, this.tag, label, length, context))
  }

  /**
   * What stands for this connection, for protocols that bind a login to it.
   *
   * @throws {SluiceError} `ERR_SLUICE_TLS_INVALID_OPTION` where the version of TLS has none; `ERR_SLUICE_CLOSED`
   */
  channelBinding(kind: TlsChannelBinding): Buffer {
    return answered(this.channel.tlsBinding(this.slot, this.tag, bindingName.parse(kind, 'kind')))
  }

  /** All but keys, ready for JSON.stringify. */
  toJSON(): Record<string, unknown> {
    const { protocol, cipher, cipherStandard, group, alpn, serverName, resumed, authorized, authorizationError } = this
    return { protocol, cipher, cipherStandard, group, alpn, serverName, resumed, authorized, authorizationError }
  }

  /** @internal For checkServerIdentity with rejectUnauthorized: false. */
  refuse(error: SluiceError): void {
    this.identityError = error
  }
}

function answered(answer: Parameters<typeof isTlsFailure>[0] | Buffer): Buffer {
  if (isTlsFailure(answer)) throw tlsError(answer)
  if (answer === undefined) throw new SluiceError('CLOSED', { detail: 'the connection has ended' })
  return answer as Buffer
}
