// Wrong certificates: each kind gives its own code at who looks, and an alert at who showed it.

import { checkServerIdentity } from 'node:tls'
import {
  createCertificate,
  createCrl,
  parseCertificate,
  type SluiceError,
  type TlsClientOptions,
  type TlsServerOptions,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { inlineKernelModes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

const { authority, stranger } = id
const local = ['localhost', '127.0.0.1']
const day = 86_400_000
const issuedBy = (issuer: typeof authority, more: object = {}) => createCertificate({ names: local, issuer, ...more })
const middle = createCertificate({ commonName: 'Middle', isAuthority: true, issuer: authority })
const noAuthority = createCertificate({ names: ['middle.example'], issuer: authority })
const twin = createCertificate({ commonName: 'Authority', isAuthority: true })
const expiredMiddle = createCertificate({
  ...{ commonName: 'Old', isAuthority: true, issuer: authority },
  ...{ validFrom: new Date(Date.now() - 9 * day), days: 1 },
})
// The last byte belongs to the signature.
const forged = (() => {
  const der = Buffer.from(parseCertificate(id.server.cert).raw)
  der[der.length - 1]! ^= 1
  return { cert: der, key: id.server.key }
})()
const throughMiddle = issuedBy(middle)
const throughExpired = issuedBy(expiredMiddle)
const strange = issuedBy(stranger)
const self = createCertificate({ names: local })
const other = createCertificate({ names: ['other.example'], issuer: authority })
const crl = (revoked: string[] = [], days = 30) => createCrl({ authority, revoked, days })

interface Row {
  what: string
  server: TlsServerOptions
  client?: TlsClientOptions
  /** Undefined: it is accepted. */
  code?: string
  reason?: string
  alert?: number
}

const rows: Row[] = [
  { what: 'a good one', server: id.server },
  {
    what: 'a good one through another authority',
    server: { cert: throughMiddle.cert + middle.cert, key: throughMiddle.key },
  },
  { what: 'a self-signed one that is trusted', server: self, client: { ca: self.cert } },
  { what: 'a self-signed one', server: self, code: 'CERTIFICATE_SELF_SIGNED', reason: 'SSL_CRT_FAIL', alert: 48 },
  {
    what: 'one of an unknown authority, which is sent along',
    server: { cert: strange.cert + stranger.cert, key: strange.key },
    ...{ code: 'CERTIFICATE_SELF_SIGNED_IN_CHAIN', reason: 'SSL_CA_FAIL', alert: 48 },
  },
  {
    what: 'one of an unknown authority',
    server: issuedBy(stranger),
    code: 'CERTIFICATE_UNKNOWN_ISSUER',
    reason: 'SSL_CA_FAIL',
    alert: 48,
  },
  {
    what: 'one whose issuer is missing',
    server: throughMiddle,
    code: 'CERTIFICATE_UNKNOWN_ISSUER',
    reason: 'SSL_CA_FAIL',
    alert: 48,
  },
  {
    what: 'an expired one',
    server: issuedBy(authority, { validFrom: new Date(Date.now() - 9 * day), days: 1 }),
    ...{ code: 'CERTIFICATE_EXPIRED', reason: 'SSL_CRT_FAIL', alert: 45 },
  },
  {
    what: 'one of an expired authority',
    server: { cert: throughExpired.cert + expiredMiddle.cert, key: throughExpired.key },
    ...{ code: 'CERTIFICATE_EXPIRED', reason: 'SSL_CA_FAIL', alert: 45 },
  },
  {
    what: 'one of tomorrow',
    server: issuedBy(authority, { validFrom: new Date(Date.now() + day) }),
    ...{ code: 'CERTIFICATE_NOT_YET_VALID', reason: 'SSL_CRT_FAIL', alert: 42 },
  },
  {
    what: 'one for another name',
    server: other,
    code: 'CERTIFICATE_NAME_MISMATCH',
    reason: 'SSL_MISMATCH_SNI',
    alert: 42,
  },
  { what: 'one for another name, when that is asked for', server: other, client: { serverName: 'other.example' } },
  {
    what: 'one for clients',
    server: issuedBy(authority, { purpose: 'clientAuth' }),
    code: 'CERTIFICATE_BAD_PURPOSE',
    reason: 'SSL_CRT_FAIL',
    alert: 43,
  },
  {
    what: 'one signed by another authority of the same name',
    server: issuedBy(twin),
    code: 'CERTIFICATE_UNKNOWN_ISSUER',
  },
  { what: 'a forged one', server: forged, code: 'CERTIFICATE_BAD_SIGNATURE', reason: 'SSL_CRT_FAIL', alert: 51 },
  {
    what: 'one whose issuer may not sign',
    server: (() => {
      const leaf = issuedBy(noAuthority)
      return { cert: leaf.cert + noAuthority.cert, key: leaf.key }
    })(),
    ...{ code: 'CERTIFICATE_INVALID_CA', reason: 'SSL_CA_FAIL', alert: 48 },
  },
  {
    what: 'a chain that is longer than allowed',
    server: { cert: throughMiddle.cert + middle.cert, key: throughMiddle.key },
    client: { verifyDepth: 0 },
    code: 'CERTIFICATE_CHAIN_TOO_LONG',
  },
  { what: 'a good one, with a revocation list', server: id.server, client: { crl: crl() } },
  {
    what: 'a revoked one',
    server: id.server,
    client: { crl: crl([id.server.cert]) },
    code: 'CERTIFICATE_REVOKED',
    reason: 'SSL_CRT_FAIL',
    alert: 44,
  },
  {
    what: 'one without a list of its issuer',
    server: { cert: throughMiddle.cert + middle.cert, key: throughMiddle.key },
    client: { crl: crl() },
    code: 'CRL_MISSING',
    reason: 'SSL_CA_FAIL',
  },
  {
    what: 'one with an old list',
    server: id.server,
    client: { crl: crl([], -1) },
    code: 'CRL_EXPIRED',
    reason: 'SSL_CA_FAIL',
  },
  {
    what: 'one with a list that another has signed',
    server: id.server,
    client: { crl: createCrl({ authority: twin }) },
    code: 'CRL_INVALID',
    reason: 'SSL_CA_FAIL',
  },
  {
    what: 'a name that Node would take',
    server: id.server,
    client: { checkServerIdentity: checkServerIdentity as never },
  },
  {
    what: 'a name that Node would not take',
    server: other,
    client: { checkServerIdentity: checkServerIdentity as never },
    code: 'CERTIFICATE_NAME_MISMATCH',
    reason: 'SSL_MISMATCH_SNI',
  },
  {
    what: 'one that checkServerIdentity does not like',
    server: id.server,
    client: { checkServerIdentity: (name, { commonName }) => new Error(`${commonName} is not ${name}`) },
    ...{ code: 'CERTIFICATE_NAME_MISMATCH', reason: 'SSL_MISMATCH_SNI' },
  },
]

describe.each(inlineKernelModes())('a certificate of a server, on $name', (mode) => {
  it.each(rows)('$what', async ({ server, client, code, reason, alert }) => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await using runtime = mode.start()
      const failures: SluiceError[] = []
      const atServer = new Record()
      const listener = await runtime.listen(
        { host: '127.0.0.1', port: 0, tls: { ...server, maxVersion } },
        { ...atServer.handlers, handshakeError: (error) => void failures.push(error) },
      )
      const tls = { ca: authority.cert, ...client }
      const record = new Record()
      const attempt = runtime.connect({ host: '127.0.0.1', port: portOf(listener), tls }, record.handlers)
      if (code === undefined) {
        const connection = await attempt
        expect(connection.tls!.authorized).toBe(true)
        await connection.close()
        continue
      }
      const error = (await attempt.then(
        () => undefined,
        (reason) => reason,
      )) as SluiceError
      expect(error).toMatchObject({ code: `ERR_SLUICE_TLS_${code}`, phase: 'handshake', ...(reason && { reason }) })
      expect(record.events).toEqual([])
      if (alert !== undefined) {
        await eventually(() => failures.length > 0)
        expect(failures[0]).toMatchObject({ code: 'ERR_SLUICE_TLS_PEER_ALERT', alert })
      }

      // Who does not insist is told all the same.
      const lenient = await runtime.connect(
        { host: '127.0.0.1', port: portOf(listener), tls: { ...tls, rejectUnauthorized: false } },
        {},
      )
      const { authorized, authorizationError } = lenient.tls!
      expect([authorized, authorizationError?.code]).toEqual([false, `ERR_SLUICE_TLS_${code}`])
      lenient.destroy()
    }
  })
})
