// TLS between both ends of a connection, on every engine: bytes, ends, facts, bounds, startTls().
import type { Connection, TlsContext, TlsServerOptions } from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { secured } from '../support/identities.js'
import { modes } from '../support/modes.js'
import { connectedPair, echo, eventually, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'
import { TlsService } from '../support/tls-service.js'

const versions = ['TLSv1.2', 'TLSv1.3'] as const

describe.each(modes())('a TLS connection on $name', (mode) => {
  const serve = (tls: TlsServerOptions | TlsContext = id.serving) => TlsService.start(mode.start(), tls)

  describe('carries bytes', () => {
    it.each(versions)('of every size there and back, by %s', async (maxVersion) => {
      await using pair = await connectedPair(mode, { ...secured({ maxVersion }), server: echo })
      expect(pair.client.tls!.protocol).toBe(maxVersion)
      const sizes = [1, 2, 63, 64, 65, 1399, 1400, 1401, 16_383, 16_384, 16_385, 65_536, 300_001]
      const sent: Buffer[] = []
      let total = 0
      for (const size of sizes) {
        sent.push(pattern(size, total))
        total += size
        pair.client.write(sent.at(-1)!)
        await pair.atClient.received(total)
      }
      expect(pair.atClient.hash).toBe(hashOf(...sent))
      expect(pair.atServer.hash).toBe(hashOf(...sent))
    })

    it('in both directions at once, by megabytes', async () => {
      await using pair = await connectedPair(mode, secured())
      const [up, down] = [pattern(4_000_000), pattern(5_000_000, 77)]
      pair.client.write(up)
      pair.server.write(down)
      await Promise.all([pair.atServer.received(up.length), pair.atClient.received(down.length)])
      expect(pair.atServer.hash).toBe(hashOf(up))
      expect(pair.atClient.hash).toBe(hashOf(down))
    })

    it('in the order written, whatever the pieces', async () => {
      await using pair = await connectedPair(mode, secured())
      const parts = Array.from({ length: 500 }, (_, i) => pattern((i * 7919) % 40_000, i))
      for (const part of parts) pair.client.write(part)
      pair.client.end()
      await pair.atServer.saw('end')
      expect(pair.atServer.hash).toBe(hashOf(...parts))
    })

    it('to a peer that pauses, with back-pressure', async () => {
      await using pair = await connectedPair(mode, secured())
      pair.server.pause()
      const piece = pattern(100_000)
      let sent = 0
      while (pair.client.write(piece)) sent++
      sent++
      expect(pair.client.queuedBytes).toBeGreaterThan(0)
      pair.server.resume()
      await pair.client.drained()
      await pair.atServer.received(sent * piece.length)
      expect(pair.atServer.hash).toBe(hashOf(...Array.from({ length: sent }, () => piece)))
      expect(pair.client.queuedBytes).toBe(0)
    })

    it.each([
      1000, 65_536, 1_048_576,
    ])('there and back with pauses for want of room, %d bytes of it', async (highWaterBytes) => {
      await using pair = await connectedPair(mode, {
        listen: { tls: id.serving, highWaterBytes },
        connect: { tls: id.trusting },
        server: {
          data: (connection, bytes) => void (connection.write(bytes) || connection.pause()),
          drain: (connection) => connection.resume(),
        },
      })
      const bytes = pattern(3_000_000)
      pair.client.write(bytes)
      await pair.atClient.received(bytes.length)
      expect(pair.atClient.hash).toBe(hashOf(bytes))
    })

    it('that were written as soon as the connection opened', async () => {
      await using pair = await connectedPair(mode, { ...secured(), server: { open: (c) => void c.write('welcome') } })
      await pair.atClient.received(7)
      expect(pair.atClient.text).toBe('welcome')
    })

    it('to who reads by for await', async () => {
      await using service = await serve()
      const connection = await service.runtime.connect({
        ...{ host: '127.0.0.1', port: portOf(service.listener), tls: id.trusting },
      })
      connection.write('there and back')
      connection.end()
      const chunks: Uint8Array[] = []
      for await (const batch of connection) chunks.push(...batch)
      expect(Buffer.concat(chunks).toString()).toBe('there and back')
    })

    it('through TLS within TLS', async () => {
      await using pair = await connectedPair(mode, { ...secured(), server: echo })
      await Promise.all([
        pair.server.startTls(id.serving),
        pair.client.startTls({ ...id.trusting, maxVersion: 'TLSv1.2' }),
      ])
      expect(pair.client.tls!.protocol).toBe('TLSv1.2')
      const bytes = pattern(1_000_000)
      pair.client.write(bytes)
      await pair.atClient.received(bytes.length)
      expect(pair.atClient.hash).toBe(hashOf(bytes))
    })
  })

  describe('ends', () => {
    it('each direction by itself, where half-open is allowed', async () => {
      const both = { allowHalfOpen: true }
      const tls = secured()
      await using pair = await connectedPair(mode, {
        listen: { ...tls.listen, ...both },
        connect: { ...tls.connect, ...both },
      })
      pair.client.end('last words')
      await pair.atServer.saw('end')
      expect(pair.atServer.text).toBe('last words')
      pair.server.write('still here')
      await pair.atClient.received(10)
      pair.server.end('bye')
      await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
      expect(pair.atClient.text).toBe('still herebye')
      expect(pair.atClient.events).toEqual(['open', 'data', 'end', 'close'])
      expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
    })

    it('by close(), with all that was written', async () => {
      await using pair = await connectedPair(mode, secured())
      const bytes = pattern(3_000_000)
      pair.client.write(bytes)
      await pair.client.close()
      await pair.atServer.closed()
      expect(pair.atServer.hash).toBe(hashOf(bytes))
      expect([pair.atServer.error, pair.atClient.error]).toEqual([undefined, undefined])
    })

    it('truncated, when the peer goes without a word', async () => {
      await using pair = await connectedPair(mode, { ...secured(), connect: { tls: id.trusting, allowHalfOpen: true } })
      pair.server.write('half a mess')
      await pair.atClient.received(11)
      pair.server.destroy()
      const error = await pair.atClient.closed()
      // Where the system sends RST for bytes that nobody read, that is what is seen.
      expect(error?.code).toMatch(/^ERR_SLUICE_(TLS_TRUNCATED|CONNECTION_RESET|TLS_RESET)$/)
      expect(pair.atClient.count('end')).toBe(0)
    })

    it('reset, told as such', async () => {
      await using pair = await connectedPair(mode, secured())
      pair.server.reset()
      expect((await pair.atClient.closed())?.code).toMatch(/^ERR_SLUICE_(TLS_RESET|CONNECTION_RESET)$/)
    })

    it('whatever waits for it', async () => {
      await using pair = await connectedPair(mode, secured())
      pair.client.write('a')
      pair.client.end()
      await pair.client.finished()
      await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    })
  })

  describe('knows', () => {
    it.each(versions)('what was agreed on, by %s, the same at both ends', async (maxVersion) => {
      await using pair = await connectedPair(mode, {
        listen: { tls: { ...id.serving, maxVersion, alpn: ['h2', 'http/1.1'], groups: 'P-256' } },
        connect: { host: '127.0.0.1', tls: { ...id.trusting, alpn: ['http/1.1'], serverName: 'localhost' } },
      })
      const [client, server] = [pair.client.tls!, pair.server.tls!]
      for (const tls of [client, server]) {
        expect(tls.protocol).toBe(maxVersion)
        expect(tls.alpn).toBe('http/1.1')
        expect(tls.serverName).toBe('localhost')
        expect(tls.group).toMatch(/^(prime256v1|P-256|secp256r1)$/)
        expect(tls.cipherStandard).toMatch(/^TLS_/)
        expect(tls.resumed).toBe(false)
        expect(tls.pskIdentity).toBeUndefined()
        expect(tls.ocspResponse).toBeUndefined()
      }
      expect(server.cipher).toBe(client.cipher)
      expect([client.authorized, client.authorizationError]).toEqual([true, undefined])
      expect(client.peerCertificate!.dnsNames).toEqual(['localhost'])
      expect(client.peerCertificates.map(({ subject }) => subject)[0]).toBe('CN=localhost')
      expect(client.fingerprint256).toBe(client.peerCertificate!.fingerprint256)
      expect([server.authorized, server.peerCertificate]).toEqual([false, undefined])
      expect(JSON.parse(JSON.stringify(client))).toMatchObject({ protocol: maxVersion, authorized: true })
    })

    it('keys that only both ends know', async () => {
      await using pair = await connectedPair(mode, secured())
      const [client, server] = [pair.client.tls!, pair.server.tls!]
      const key = client.exportKeyingMaterial('EXPORTER-test', 32)
      expect(key).toHaveLength(32)
      expect(server.exportKeyingMaterial('EXPORTER-test', 32)).toEqual(key)
      expect(server.exportKeyingMaterial('EXPORTER-test', 32, Buffer.from('x'))).not.toEqual(key)
      expect(server.exportKeyingMaterial('EXPORTER-other', 32)).not.toEqual(key)
      expect(() => client.exportKeyingMaterial('', 32)).toThrow(/"label"/)
      expect(() => client.exportKeyingMaterial('x', 0)).toThrow(/"lengthBytes"/)
    })

    it('what binds a login to it', async () => {
      await using pair = await connectedPair(mode, secured())
      const [client, server] = [pair.client.tls!, pair.server.tls!]
      for (const kind of ['tls-exporter', 'tls-server-end-point'] as const)
        expect(server.channelBinding(kind)).toEqual(client.channelBinding(kind))
      expect(() => client.channelBinding('tls-unique')).toThrow(/TLS 1.3/)
      await using old = await connectedPair(mode, secured({ maxVersion: 'TLSv1.2' }))
      expect(old.client.tls!.channelBinding('tls-unique')).toEqual(old.server.tls!.channelBinding('tls-unique'))
    })

    it('nothing of TLS without it, and what was asked before when it has ended', async () => {
      await using plain = await connectedPair(mode)
      expect(plain.client.tls).toBeUndefined()
      await using pair = await connectedPair(mode, secured())
      const { tls } = pair.client
      await pair.client.close()
      expect(pair.client.tls).toBe(tls)
      expect(tls!.protocol).toBe('TLSv1.3')
      expect(tls!.session).toBeUndefined()
      expect(() => tls!.exportKeyingMaterial('x', 1)).toThrow()
      expect(pair.server.tls).toBeUndefined()
    })

    it('the OCSP response that the server staples', async () => {
      const ocsp = Buffer.from('30030a0106', 'hex') // "try later"
      await using pair = await connectedPair(mode, secured({ ocsp }, { ocsp: true }))
      expect(pair.client.tls!.ocspResponse).toEqual(ocsp)
    })

    it('which pre-shared key the client has', async () => {
      const psk = { identity: 'alice', key: Buffer.alloc(32, 7) }
      for (const maxVersion of versions) {
        const listen = { tls: { psk: [{ identity: 'bob', key: Buffer.alloc(32, 8) }, psk], maxVersion } }
        await using pair = await connectedPair(mode, { listen, connect: { tls: { psk, maxVersion } } })
        expect(pair.server.tls!.pskIdentity).toBe('alice')
        expect(pair.client.tls!.protocol).toBe(maxVersion)
      }
    })
  })

  describe('is bounded', () => {
    it('by a deadline of the whole handshake, which a trickle of bytes does not move', async () => {
      await using service = await serve({ ...id.serving, handshakeTimeoutMs: 60 })
      const record = new Record()
      const to = { host: '127.0.0.1', port: portOf(service.listener) }
      const slow: Connection = await service.runtime.connect(to, record.handlers)
      // The beginning of a ClientHello of 4 KB: nothing wrong with it, but that it never comes to an end.
      const hello = Buffer.concat([Buffer.from('160301100001000ffc0303', 'hex'), Buffer.alloc(4000)])
      let sent = 0
      const trickle = () => {
        if (slow.state !== 'open') return
        slow.write(hello.subarray(sent, ++sent))
        service.runtime.after(10, trickle)
      }
      trickle()
      await eventually(() => service.failures.length > 0)
      expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_TLS_TIMEOUT', reason: 'SSL_TIMEOUT' })
      await record.closed()
    })

    it('at the client too', async () => {
      await using service = await serve()
      const silent = await service.runtime.listen({ host: '127.0.0.1', port: 0 }, { data() {} })
      const tls = { ...id.trusting, handshakeTimeoutMs: 30 }
      const attempt = service.runtime.connect({ host: '127.0.0.1', port: portOf(silent), tls })
      await expect(attempt).rejects.toMatchObject({ code: 'ERR_SLUICE_TLS_TIMEOUT' })
    })

    it('by the number of handshakes under way; others wait, or are refused', async () => {
      await using service = await serve({
        ...id.serving,
        maxHandshakes: 1,
        maxHandshakesWaiting: 1,
        handshakeTimeoutMs: 0,
      })
      const to = { host: '127.0.0.1', port: portOf(service.listener) }
      const hello = Buffer.from('160301', 'hex')
      const records = [new Record(), new Record(), new Record()]
      const [first] = await Promise.all(records.map((record) => service.runtime.connect(to, record.handlers)))
      for (const [i, record] of records.entries()) {
        record.connection.write(hello)
        await eventually(() => {
          const { handshakesUnderWay, handshakesWaiting, handshakesFailed } = service.listener.stats()
          return handshakesUnderWay + handshakesWaiting + handshakesFailed === i + 1
        })
      }
      await eventually(() => service.failures.length > 0)
      expect(service.failures.map(({ code }) => code)).toEqual(['ERR_SLUICE_TLS_TOO_MANY'])
      first!.destroy()
      await eventually(() => service.listener.stats().handshakesWaiting === 0)
      for (const record of records) record.connection.destroy()
      await eventually(() => service.listener.stats().handshakesUnderWay === 0)
      await service.visit(id.trusting)
    })

    it('by how many begin in a second, without losing one', async () => {
      await using service = await serve({ ...id.serving, maxHandshakesPerSecond: 20 })
      const all = await Promise.all(
        Array.from({ length: 25 }, () => service.visit({ ...id.trusting, sessions: false })),
      )
      expect(all).toHaveLength(25)
      expect(service.listener.stats()).toMatchObject({ handshakesDone: 25, handshakesFailed: 0, handshakesWaiting: 0 })
    })
  })

  describe('begins in the middle of a connection (startTls)', () => {
    it('with what was agreed on before, in the clear', async () => {
      await using pair = await connectedPair(mode, {
        server: {
          data(connection, bytes) {
            if (bytes.toString() === String(Buffer.from('STARTTLS\r\n'))) return
            if (Buffer.from(bytes).toString() !== 'STARTTLS\r\n') return void connection.write(bytes)
            connection.write('220 go ahead\r\n')
            connection.startTls(id.serving).catch(() => {})
          },
        },
      })
      pair.client.write('STARTTLS\r\n')
      await pair.atClient.received(14)
      expect(pair.atClient.text).toBe('220 go ahead\r\n')
      await pair.client.startTls(id.trusting)
      expect(pair.client.tls!.authorized).toBe(true)
      pair.client.write('secret')
      await pair.atClient.received(20)
      expect(pair.atClient.text).toBe('220 go ahead\r\nsecret')
    })

    it('in either role, whoever connected', async () => {
      await using pair = await connectedPair(mode, { server: echo })
      await Promise.all([
        pair.client.startTls({ role: 'server', ...id.serving }),
        pair.server.startTls({ role: 'client', ...id.trusting, verifyName: 'localhost' }),
      ])
      pair.client.write('backwards')
      await pair.atClient.received(9)
      expect(pair.server.tls!.peerCertificate!.subject).toBe('CN=localhost')
    })

    // The second piece is in the batch already when the first one's handler begins TLS: nobody can tell it from commands
    // that somebody put in front of the hello.
    const injecting = async (discardPlaintext: boolean) => {
      const secured: Promise<void>[] = []
      const pair = await connectedPair(mode, {
        runtime: { slabBytes: 65_536 },
        server: {
          data(connection) {
            if (secured.length === 0) secured.push(connection.startTls({ ...id.serving, discardPlaintext }))
            secured[0]!.catch(() => {})
          },
        },
      })
      pair.client.write(Buffer.alloc(40_000, 'RSET\r\n'))
      await pair.atServer.saw('data')
      return { pair, secured: secured[0]! }
    }

    it.runIf(mode.engine === 'epoll' && mode.threads === 0)(
      'not with plaintext that came in before it (CVE-2011-0411)',
      async () => {
        const { pair, secured } = await injecting(false)
        await using _ = pair
        await expect(secured).rejects.toMatchObject({ code: 'ERR_SLUICE_PLAINTEXT_BEFORE_TLS', phase: 'handshake' })
        expect((await pair.atServer.closed())?.code).toBe('ERR_SLUICE_PLAINTEXT_BEFORE_TLS')
        expect(pair.atServer.sizeBytes).toBe(32_768)
      },
    )

    it.runIf(mode.engine === 'epoll' && mode.threads === 0)('and drops it, where that is asked for', async () => {
      const { pair, secured } = await injecting(true)
      await using _ = pair
      await pair.client.startTls(id.trusting)
      await secured
      pair.client.write('secret')
      await pair.atServer.received(32_768 + 6)
      expect(pair.atServer.bytes.subarray(32_768).toString()).toBe('secret')
    })

    it('not with plaintext in place of a hello', async () => {
      await using pair = await connectedPair(mode)
      const secured = pair.server.startTls(id.serving)
      pair.client.write('RCPT TO:<victim>\r\n')
      await expect(secured).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_SLUICE_(PLAINTEXT_BEFORE_TLS|TLS_NOT_TLS)$/),
      })
      await pair.atServer.closed()
      expect(pair.atServer.text).toBe('')
    })

    it('with nothing done when its options are wrong', async () => {
      await using pair = await connectedPair(mode, { server: echo })
      const wrong = { cert: id.server.cert, key: id.client.key }
      await expect(pair.server.startTls(wrong)).rejects.toMatchObject({
        code: 'ERR_SLUICE_TLS_KEY_MISMATCH',
        option: 'key',
      })
      await expect(pair.server.startTls({ role: 'client', ...id.trusting })).rejects.toMatchObject({
        option: 'serverName',
      })
      await expect(pair.client.startTls({ role: 'both' } as never)).rejects.toMatchObject({ option: 'role' })
      pair.client.write('still plain')
      await pair.atClient.received(11)
    })

    it('and tells both when it fails', async () => {
      await using pair = await connectedPair(mode)
      const both = await Promise.allSettled([
        pair.server.startTls(id.serving),
        pair.client.startTls({ ca: id.stranger.cert }),
      ])
      const codes = both.map((one) => (one.status === 'rejected' ? one.reason.code : 'fine'))
      expect(codes).toEqual(['ERR_SLUICE_TLS_PEER_ALERT', 'ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER'])
      expect((await pair.atClient.closed())?.code).toBe('ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER')
    })
  })
})
