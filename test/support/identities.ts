import { createCertificate, type TlsClientOptions, type TlsServerOptions } from 'sluice'

/** Who signs, and whom all trust that `trusting` or `trusted` are given to. */
export const authority = createCertificate({ commonName: 'Authority', isAuthority: true })
/** An authority that nobody trusts. */
export const stranger = createCertificate({ commonName: 'Stranger', isAuthority: true })

/** A server of this machine. */
export const server = createCertificate({ names: ['localhost', '127.0.0.1', '::1'], issuer: authority })
/** The same with an RSA key, which all versions and old ciphers can use. */
export const rsaServer = createCertificate({
  names: ['localhost', '127.0.0.1', '::1'],
  issuer: authority,
  keyType: 'RSA-2048',
})
/** Somebody who logs in by a certificate. */
export const client = createCertificate({ names: ['alice'], issuer: authority })

/** Options of a server and of a client that trusts it. */
export const serving: TlsServerOptions = { ...server, ca: authority.cert }
export const trusting: TlsClientOptions = { ca: authority.cert }

/** Options of both sides, for `connectedPair()`. */
export function secured(listen: TlsServerOptions = {}, connect: TlsClientOptions = {}) {
  return { listen: { tls: { ...serving, ...listen } }, connect: { tls: { ...trusting, ...connect } } }
}
