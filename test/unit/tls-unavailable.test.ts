import { expect, it, vi } from 'vitest'

// What the addon answers where the process carries no OpenSSL 3, as in Bun.
vi.mock('../../src/native/binding.js', () => ({
  native: {
    tls: {
      check: () => ({
        ...{
          failure: 'UNAVAILABLE',
          stage: 'library',
          reason: '',
          option: '',
          libraryCode: 0,
          verifyCode: 0,
          alert: -1,
        },
        text: 'this process has no OpenSSL 3: BoringSSL was found',
      }),
    },
  },
}))

const { TlsContext } = await import('../../src/tls/context.js')
const { TlsSessions } = await import('../../src/tls/sessions.js')
const { TlsTicketKeys } = await import('../../src/tls/ticket-keys.js')
const { createSelfSigned } = await import('../../src/tls/self-signed.js')
const { parseCertificate } = await import('../../src/tls/certificate.js')
const { tlsFeatures } = await import('../../src/tls/library.js')

it.each([
  ['a context of servers', () => TlsContext.server({})],
  ['a context of clients', () => TlsContext.client()],
  ['sessions', () => new TlsSessions()],
  ['ticket keys', () => new TlsTicketKeys()],
  ['a certificate', () => createSelfSigned()],
  ['a look at one', () => parseCertificate('x')],
  ['features', () => tlsFeatures()],
])('without OpenSSL 3 the first use of TLS says so, each time: %s', (_, use) => {
  for (let i = 0; i < 2; i++)
    expect(use).toThrow(
      expect.objectContaining({
        code: 'ERR_SLUICE_TLS_UNAVAILABLE',
        message: 'this process has no OpenSSL 3: BoringSSL was found',
      }),
    )
})
