// What TLS is to be like, between both ends of a connection, on every engine: sessions, names, protocols, certificates of
// clients, policies that change.
import {
  createCertificate,
  type Listener,
  type TlsClientOptions,
  TlsContext,
  type TlsServerOptions,
  TlsSessions,
  TlsTicketKeys,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { echo, eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'
import { TlsService } from '../support/tls-service.js'

const versions = ['TLSv1.2', 'TLSv1.3'] as const

describe.each(modes())('a TLS policy on $name', (mode) => {
  const serve = (tls: TlsServerOptions | TlsContext = id.serving) => TlsService.start(mode.start(), tls)

  describe('resumes a session', () => {
    it.each([
      ['by ticket, TLS 1.3', {}, 'TLSv1.3'],
      ['by ticket, TLS 1.2', { maxVersion: 'TLSv1.2' }, 'TLSv1.2'],
      ['that the server remembers, TLS 1.2', { maxVersion: 'TLSv1.2', tickets: false }, 'TLSv1.2'],
      ['that the server remembers, TLS 1.3', { tickets: false }, 'TLSv1.3'],
    ] as const)('%s', async (_, options, protocol) => {
      await using service = await serve({ ...id.serving, ...options })
      const tls = TlsContext.client(id.trusting)
      expect(await service.visit(tls)).toMatchObject({ protocol, resumed: false })
      expect(await service.visit(tls)).toMatchObject({ protocol, resumed: true, subject: 'CN=localhost' })
      expect(await service.visit(tls)).toMatchObject({ protocol, resumed: true })
    })

    it('of a cache that several share, and of none', async () => {
      await using service = await serve()
      const sessions = new TlsSessions()
      await service.visit({ ...id.trusting, sessions })
      expect(sessions.size).toBeGreaterThan(0)
      expect((await service.visit({ ...id.trusting, sessions })).resumed).toBe(true)
      sessions.clear()
      expect((await service.visit({ ...id.trusting, sessions })).resumed).toBe(false)
      for (const resumed of [false, false])
        expect((await service.visit({ ...id.trusting, sessions: false })).resumed).toBe(resumed)
    })

    it('given by hand', async () => {
      await using service = await serve()
      const { session } = await service.visit({ ...id.trusting, sessions: false })
      expect(session).toBeInstanceOf(Buffer)
      expect((await service.visit({ ...id.trusting, sessions: false, session })).resumed).toBe(true)
      const nonsense = { ...id.trusting, session: Buffer.from('nonsense') }
      expect(await service.refused(nonsense)).toMatchObject({ code: 'ERR_SLUICE_TLS_BAD_SESSION' })
    })

    it('for the name it was made for alone', async () => {
      await using service = await serve()
      const tls = TlsContext.client(id.trusting)
      await service.visit(tls)
      expect((await service.visit({ context: tls, serverName: 'localhost' })).resumed).toBe(false)
      expect((await service.visit({ context: tls, sessionKey: 'another' })).resumed).toBe(false)
      expect((await service.visit(tls)).resumed).toBe(true)
    })

    it('at another server with the same ticket keys, and at none with others', async () => {
      const ticketKeys = new TlsTicketKeys()
      await using service = await serve({ ...id.serving, ticketKeys })
      const second = await service.runtime.listen(
        { host: '127.0.0.1', port: 0, tls: { ...id.serving, ticketKeys } },
        echo,
      )
      const third = await service.runtime.listen({ host: '127.0.0.1', port: 0, tls: id.serving }, echo)
      const tls = TlsContext.client({ ...id.trusting, sessionKey: 'all the same' })
      await service.visit(tls)
      const visit = async (listener: Listener) => {
        const record = new Record()
        const port = portOf(listener)
        const connection = await service.runtime.connect({ host: '127.0.0.1', port, tls }, record.handlers)
        connection.write('x')
        await record.received(1)
        const { resumed } = connection.tls!
        await connection.close()
        return resumed
      }
      expect(await visit(second)).toBe(true)
      expect(await visit(third)).toBe(false)
    })

    it('after two rotations of the ticket keys, and not after three', async () => {
      await using service = await serve()
      const keys = service.listener.tls!.ticketKeys!
      const trip = async () => (await service.visit({ ...id.trusting, sessions: false })).session!
      const back = async (session: Buffer) =>
        (await service.visit({ ...id.trusting, sessions: false, session })).resumed
      const sessions = [await trip(), await trip()]
      keys.rotate()
      keys.rotate()
      expect(await back(sessions[0]!)).toBe(true)
      keys.rotate()
      expect(await back(sessions[1]!)).toBe(false)
    })

    it('not with a stricter policy than the one it was made under', async () => {
      const ticketKeys = new TlsTicketKeys()
      await using service = await serve({ ...id.serving, ticketKeys })
      const { session } = await service.visit({ ...id.trusting, sessions: false })
      service.listener.tls!.reload({ clientCert: 'require' })
      const error = await service.refused({ ...id.trusting, sessions: false, session })
      expect(error.code).toMatch(/^ERR_SLUICE_(TLS_|CONNECTION_RESET)/)
      await eventually(() => service.failures.length > 0)
      expect(service.failures[0]!.code).toBe('ERR_SLUICE_TLS_CERTIFICATE_MISSING')
      expect((await service.visit({ ...id.trusting, ...id.client, sessions: false, session })).resumed).toBe(false)
    })
  })

  describe('serves by name', () => {
    const named = (name: string) => createCertificate({ names: [name], issuer: id.authority })
    const [a, wild, special] = [named('a.example'), named('*.b.example'), named('c.b.example')]
    const asking = (serverName: string, more: TlsClientOptions = {}): TlsClientOptions => ({
      ...{ ...id.trusting, sessions: false, serverName },
      ...more,
    })
    const subjectOf = async (service: TlsService, serverName: string) => {
      const verifyName = serverName === '' ? 'localhost' : undefined
      return (await service.visit(asking(serverName, { verifyName, rejectUnauthorized: false }))).subject
    }

    it('exact names first, wildcards of one label, and itself to all others', async () => {
      await using service = await serve({
        ...id.serving,
        sni: { 'A.example': a, '*.b.example': wild, '!d.b.example': wild, 'c.b.example': special },
      })
      expect(await subjectOf(service, 'a.example')).toBe('CN=a.example')
      expect(await subjectOf(service, 'A.EXAMPLE')).toBe('CN=a.example')
      expect(await subjectOf(service, 'x.b.example')).toBe('CN=*.b.example')
      expect(await subjectOf(service, 'c.b.example')).toBe('CN=c.b.example')
      expect(await subjectOf(service, 'd.b.example')).toBe('CN=localhost')
      expect(await subjectOf(service, 'x.y.b.example')).toBe('CN=localhost')
      expect(await subjectOf(service, 'b.example')).toBe('CN=localhost')
      expect(await subjectOf(service, '')).toBe('CN=localhost')
    })

    it('nobody else, when strict', async () => {
      await using service = await serve({ sni: { 'a.example': a }, sniStrict: true })
      expect(await subjectOf(service, 'a.example')).toBe('CN=a.example')
      for (const name of ['z.example', '']) {
        const error = await service.refused(asking(name, { verifyName: 'z.example' }))
        expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_PEER_ALERT', alert: 112 })
      }
      await eventually(() => service.failures.length === 2)
      expect(service.failures.map(({ code }) => code)).toEqual(Array(2).fill('ERR_SLUICE_TLS_UNRECOGNIZED_NAME'))
    })

    it('with all of the policy: versions, protocols, certificates of clients', async () => {
      const policy: TlsServerOptions = {
        ...a,
        maxVersion: 'TLSv1.2',
        alpn: ['a'],
        clientCert: 'require',
        ca: id.authority.cert,
      }
      await using service = await serve({ ...id.serving, alpn: ['default', 'a'], sni: { 'a.example': policy } })
      const visit = await service.visit(asking('a.example', { alpn: ['default', 'a'], ...id.client }))
      expect(visit).toMatchObject({ protocol: 'TLSv1.2', alpn: 'a', subject: 'CN=a.example' })
      expect(await service.visit(asking('localhost', { alpn: ['default', 'a'] }))).toMatchObject({
        protocol: 'TLSv1.3',
        alpn: 'default',
      })
      expect((await service.refused(asking('a.example', { alpn: ['a'] }))).code).toMatch(/^ERR_SLUICE_TLS_/)
    })

    it('never by a session that was made under another name', async () => {
      const strict = TlsContext.server({ ...a, clientCert: 'require', ca: id.authority.cert })
      for (const maxVersion of versions) {
        await using service = await serve({ ...id.serving, maxVersion, sni: { 'a.example': strict } })
        const { session } = await service.visit(asking('localhost'))
        const error = await service.refused(asking('a.example', { session }))
        expect(error.code).toMatch(/^ERR_SLUICE_(TLS_|CONNECTION_RESET)/)
        const resumed = service.visit(asking('a.example', { session, ...id.client }))
        expect(await resumed).toMatchObject({ resumed: false, subject: 'CN=a.example' })
      }
    })

    it('other names after serverNames()', async () => {
      await using service = await serve({ ...id.serving, sni: { 'a.example': a } })
      service.listener.tls!.serverNames({ 'c.b.example': special })
      expect(await subjectOf(service, 'a.example')).toBe('CN=localhost')
      expect(await subjectOf(service, 'c.b.example')).toBe('CN=c.b.example')
    })
  })

  describe('reloads its policy', () => {
    it('for new connections, while old ones go on', async () => {
      await using service = await serve()
      const record = new Record()
      const before = await service.connect({ ...id.trusting, sessions: false }, {}, record)
      const next = createCertificate({ names: ['127.0.0.1'], commonName: 'renewed', issuer: id.authority })
      service.listener.tls!.reload(next)
      expect((await service.visit({ ...id.trusting, sessions: false })).subject).toBe('CN=renewed')
      before.write('still there')
      await record.received(11)
      expect(before.tls!.peerCertificate!.subject).toBe('CN=localhost')
    })
  })

  describe('agrees on a protocol', () => {
    it('that both know, by the wish of the server, or fails', async () => {
      await using service = await serve({ ...id.serving, alpn: ['x', 'y'] })
      expect((await service.visit({ ...id.trusting, alpn: ['y', 'x'] })).alpn).toBe('x')
      expect((await service.visit(id.trusting)).alpn).toBeUndefined()
      expect(await service.refused({ ...id.trusting, alpn: ['z'] })).toMatchObject({
        ...{ code: 'ERR_SLUICE_TLS_PEER_ALERT', alert: 120 },
      })
      await eventually(() => service.failures.length > 0)
      expect(service.failures[0]!.code).toBe('ERR_SLUICE_TLS_NO_COMMON_PROTOCOL')
    })
  })

  describe('asks clients for a certificate', () => {
    const expired = createCertificate({
      names: ['alice'],
      issuer: id.authority,
      days: -1,
      validFrom: new Date(Date.now() - 9e8),
    })
    const foreign = createCertificate({ names: ['alice'], issuer: id.stranger })
    type Row = ['none' | 'request' | 'require', string, object, string | undefined]
    it.each<Row>([
      ['none', 'good', id.client, undefined],
      ['none', 'absent', {}, undefined],
      ['request', 'good', id.client, 'CN=alice'],
      ['request', 'absent', {}, undefined],
      ['request', 'expired', expired, 'ERR_SLUICE_TLS_CERTIFICATE_EXPIRED'],
      ['request', 'foreign', foreign, 'ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER'],
      ['require', 'good', id.client, 'CN=alice'],
      ['require', 'absent', {}, 'ERR_SLUICE_TLS_CERTIFICATE_MISSING'],
      ['require', 'expired', expired, 'ERR_SLUICE_TLS_CERTIFICATE_EXPIRED'],
      ['require', 'foreign', foreign, 'ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER'],
    ])('%s, and it is %s', async (clientCert, _, own, outcome) => {
      for (const maxVersion of versions) {
        await using service = await serve({ ...id.serving, clientCert, maxVersion })
        const tls = { ...id.trusting, ...own, sessions: false }
        if (!outcome?.startsWith('ERR_')) {
          await service.visit(tls)
          continue
        }
        await service.refused(tls)
        await eventually(() => service.failures.length > 0)
        expect(service.failures.map(({ code }) => code)).toEqual([outcome])
        expect(service.record.events).toEqual([])
      }
    })

    it('and tells who it is, or why it was not believed', async () => {
      const seen: [boolean, string | undefined, string | undefined][] = []
      const runtime = mode.start()
      const listener = await runtime.listen(
        { host: '127.0.0.1', port: 0, tls: { ...id.serving, clientCert: 'request', rejectUnauthorized: false } },
        {
          ...echo,
          open: ({ tls }) => seen.push([tls!.authorized, tls!.peerCertificate?.subject, tls!.authorizationError?.code]),
        },
      )
      for (const own of [id.client, foreign, {}]) {
        const record = new Record()
        const tls = { ...id.trusting, ...own, sessions: false }
        const connection = await runtime.connect({ host: '127.0.0.1', port: portOf(listener), tls }, record.handlers)
        connection.write('x')
        await record.received(1)
        connection.destroy()
      }
      await runtime.destroy()
      expect(seen).toEqual([
        [true, 'CN=alice', undefined],
        [false, 'CN=alice', 'ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER'],
        [false, undefined, undefined],
      ])
    })
  })
})
