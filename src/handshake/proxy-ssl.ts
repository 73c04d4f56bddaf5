import { type NativeProxySsl, native } from '../native/binding.js'

// Bits of `client`.
const encryptedBit = 1
const certificateOnConnectionBit = 2
const certificateInSessionBit = 4

/** What a PROXY header says about the client's TLS: `ssl` of {@link ProxyHeader}. */
export class ProxySsl {
  /** Bits: 1 the client used TLS, 2 it showed a certificate on this connection, 4 in its session, which may be older. */
  readonly client: number
  /** 0: its certificate was verified, or there was none. Otherwise why it was not, in numbers of the proxy's own. */
  readonly verify: number
  /** E.g. `'TLSv1.3'`. */
  readonly version: string | undefined
  /** Common name of the client's certificate. */
  readonly commonName: string | undefined
  /** E.g. `'TLS_AES_128_GCM_SHA256'`. */
  readonly cipher: string | undefined
  /** What the proxy's own certificate is signed with, e.g. `'RSA-SHA256'`. */
  readonly certificateSignature: string | undefined
  /** The key of the proxy's own certificate, e.g. `'RSA2048'`. */
  readonly keyAlgorithm: string | undefined
  /** What keys were exchanged with, e.g. `'X25519'`. */
  readonly group: string | undefined
  /** What the proxy signed the handshake with. */
  readonly signatureScheme: string | undefined
  /** The client's certificate, DER. */
  readonly certificate: Buffer | undefined

  /** @internal */
  constructor(facts: NativeProxySsl) {
    this.client = facts.client
    this.verify = facts.verify
    this.version = facts.version || undefined
    this.commonName = facts.commonName || undefined
    this.cipher = facts.cipher || undefined
    this.certificateSignature = facts.certificateSignature || undefined
    this.keyAlgorithm = facts.keyAlgorithm || undefined
    this.group = facts.group || undefined
    this.signatureScheme = facts.signatureScheme || undefined
    this.certificate = facts.certificate
  }

  /** @internal From the value of a TLV; undefined when it is malformed. */
  static decode(value: Uint8Array): ProxySsl | undefined {
    const facts = native.proxy.decodeSsl(value)
    return facts && new ProxySsl(facts)
  }

  /** The client used TLS. */
  get encrypted(): boolean {
    return (this.client & encryptedBit) !== 0
  }

  /** It showed a certificate, on this connection or when its session was made. */
  get hasCertificate(): boolean {
    return (this.client & (certificateOnConnectionBit | certificateInSessionBit)) !== 0
  }

  /** It showed a certificate, and the proxy found it good. */
  get verified(): boolean {
    return this.hasCertificate && this.verify === 0
  }

  /** All of it, ready for JSON.stringify; the certificate in base64. */
  toJSON(): Record<string, unknown> {
    const { encrypted, hasCertificate, verified, certificate } = this
    return { ...(this as object), encrypted, hasCertificate, verified, certificate: certificate?.toString('base64') }
  }
}
