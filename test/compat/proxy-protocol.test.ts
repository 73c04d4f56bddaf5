// HAProxy in front of us and behind us, and a SOCKS server between: what others say by the PROXY protocol and by SOCKS is
// understood, and what we say is, too.
import * as net from 'node:net'
import * as tls from 'node:tls'
import {
  acceptProxy,
  type Connection,
  createCertificate,
  type ListenOptions,
  type ProxyHeader,
  type Runtime,
  type SluiceError,
  sendProxy,
  socks5,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { inlineKernelModes, type Mode } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { haproxy, hasHaproxy, hasMicrosocks, listening, microsocks } from '../support/peers.js'

/** What a listener of ours learns of its connections, which it answers. */
async function listenTo(runtime: Runtime, options: Partial<ListenOptions>) {
  const headers: (ProxyHeader | undefined)[] = []
  const failures: SluiceError[] = []
  const received: string[] = []
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, ...options },
    {
      open: (connection: Connection) => void headers.push(connection.proxy),
      data(connection: Connection, bytes: Uint8Array) {
        received.push(Buffer.from(bytes).toString())
        connection.end('answer')
      },
      error() {},
      handshakeError: (error) => void failures.push(error),
    },
  )
  return { headers, failures, received, listener, port: portOf(listener) }
}

/** Says something and reads until the end. */
function converse(socket: net.Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    socket.on('data', (bytes) => (answer += bytes))
    socket.on('end', () => resolve(answer))
    socket.on('error', reject)
    socket.write(text)
  })
}

async function answerTo(connection: Connection, text: string): Promise<string> {
  connection.write(text)
  let answer = ''
  for await (const batch of connection) answer += Buffer.concat(batch).toString()
  return answer
}

const each = (title: string, body: (mode: Mode) => void) => describe.each(inlineKernelModes())(title, body)

describe.runIf(hasHaproxy)('HAProxy', () => {
  each('in front of $name', (mode) => {
    it.each([
      ['send-proxy', 1],
      ['send-proxy-v2', 2],
    ])('%s tells who the client is', async (option, version) => {
      await using runtime = mode.start()
      const ours = await listenTo(runtime, { handshake: [acceptProxy({ from: ['127.0.0.1'] })] })
      await using proxy = await haproxy(`listen l\n  bind fd@3\n  server s 127.0.0.1:${ours.port} ${option}\n`)
      const socket = net.connect(proxy.ports[0]!, '127.0.0.1')
      expect(await converse(socket, 'hello')).toBe('answer')
      expect(ours.received).toEqual(['hello'])
      expect(ours.headers[0]).toMatchObject({
        version,
        command: 'PROXY',
        replacesAddresses: true,
        destination: { address: '127.0.0.1', port: proxy.ports[0] },
        source: { address: '127.0.0.1' },
      })
      expect(ours.failures).toEqual([])
    })

    it('says all it knows of TLS', async () => {
      await using runtime = mode.start()
      const ours = await listenTo(runtime, { handshake: [acceptProxy({ version: 2 })] })
      const rsa = createCertificate({ names: ['localhost'], keyType: 'RSA-2048', issuer: id.authority })
      await using proxy = await haproxy(
        `frontend f
  bind fd@3 ssl crt DIR/server.pem ca-file DIR/ca.pem verify optional alpn h2,http/1.1
  unique-id-format id-%[rand(1000000)]-of-haproxy
  default_backend b
backend b
  server s 127.0.0.1:${ours.port} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id\n`,
        { 'server.pem': rsa.cert + rsa.key, 'ca.pem': id.authority.cert },
      )
      const ask = async (options: tls.ConnectionOptions) => {
        const socket = tls.connect({
          ...{ port: proxy.ports[0]!, host: '127.0.0.1', ca: id.authority.cert, servername: 'localhost' },
          ALPNProtocols: ['h2'],
          ...options,
        })
        expect(await converse(socket, 'hello')).toBe('answer')
        return { header: ours.headers.at(-1)!, cipher: socket.getCipher() }
      }
      const known = await ask(id.client)
      expect(known.header).toMatchObject({ version: 2, authority: 'localhost', alpn: 'h2' })
      expect(known.header.uniqueId?.toString()).toMatch(/^id-\d+-of-haproxy$/)
      expect(known.header.value(3)).toHaveLength(4)
      expect(known.header.ssl).toMatchObject({
        client: 7,
        verified: true,
        version: 'TLSv1.3',
        commonName: 'alice',
        keyAlgorithm: 'RSA2048',
        cipher: 'TLS_AES_256_GCM_SHA384',
      })
      expect(known.header.ssl?.certificateSignature).toMatch(/SHA256/i)
      const unknown = await ask({ maxVersion: 'TLSv1.2' })
      expect(unknown.header.ssl).toMatchObject({
        client: 1,
        hasCertificate: false,
        verified: false,
        version: 'TLSv1.2',
        commonName: undefined,
        cipher: unknown.cipher.name,
      })
      expect(ours.failures).toEqual([])
    })

    it('checks our health by LOCAL', async () => {
      await using runtime = mode.start()
      const ours = await listenTo(runtime, { handshake: [acceptProxy()] })
      await using proxy = await haproxy(
        `listen l\n  bind fd@3\n  option tcp-check\n  tcp-check connect send-proxy\n  tcp-check send are-you-there\n  tcp-check expect string answer\n  server s 127.0.0.1:${ours.port} send-proxy-v2 check inter 20ms\n`,
      )
      await eventually(() => ours.received.includes('are-you-there'))
      expect(ours.headers[0]).toMatchObject({ version: 2, command: 'LOCAL', replacesAddresses: false })
      expect(ours.failures).toEqual([])
      expect(proxy.said()).not.toMatch(/DOWN/)
    })

    it('is refused when it says nothing of the client', async () => {
      await using runtime = mode.start()
      const ours = await listenTo(runtime, { handshake: [acceptProxy()] })
      await using proxy = await haproxy(`listen l\n  bind fd@3\n  server s 127.0.0.1:${ours.port}\n`)
      const socket = net.connect(proxy.ports[0]!, '127.0.0.1')
      await converse(socket, 'hello').catch(() => '')
      await eventually(() => ours.failures.length === 1)
      expect(ours.failures[0]).toMatchObject({ code: 'ERR_SLUICE_PROXY_MISSING', reason: 'PRX_NOT_HDR' })
      expect(ours.headers).toEqual([])
    })
  })

  each('behind $name', (mode) => {
    const told = '%[src] %[src_port] %[dst] %[dst_port] [%[fc_pp_authority]] [%[fc_pp_unique_id]]'
    const answers = `  mode http\n  http-request return status 200 content-type text/plain lf-string "${told}"\n`
    const request = 'GET / HTTP/1.0\r\n\r\n'
    const source = { address: '192.0.2.1', port: 56324 }
    const destination = { address: '198.51.100.5', port: 443 }
    const source6 = { address: '2001:db8::1', port: 1 }
    const destination6 = { address: '2001:db8::2', port: 65_535 }

    it.each([
      ['version 1', { version: 1 as const, source, destination }, '192.0.2.1 56324 198.51.100.5 443 [] []'],
      [
        'version 1 of IPv6',
        { version: 1 as const, source: source6, destination: destination6 },
        '2001:db8::1 1 2001:db8::2 65535 [] []',
      ],
      ['version 2', { source, destination }, '192.0.2.1 56324 198.51.100.5 443 [] []'],
      ['version 2 of IPv6', { source: source6, destination: destination6 }, '2001:db8::1 1 2001:db8::2 65535 [] []'],
      [
        'all parts of version 2',
        {
          ...{ source, destination, crc32c: true, alpn: 'http/1.1', authority: 'a.example', uniqueId: 'me' },
          ssl: { client: 7, version: 'TLSv1.3', commonName: 'Jane', cipher: 'X' },
          netns: 'blue',
          tlvs: [
            { type: 0xe0, value: '' },
            { type: 0xe1, value: Buffer.alloc(300) },
          ],
        },
        '192.0.2.1 56324 198.51.100.5 443 [a.example] [me]',
      ],
    ])('understands %s', async (_, header, expected) => {
      await using runtime = mode.start()
      await using proxy = await haproxy(`frontend f\n  bind fd@3 accept-proxy\n${answers}`)
      const connection = await runtime.connect({
        host: '127.0.0.1',
        port: proxy.ports[0]!,
        handshake: [sendProxy(header)],
      })
      expect(await answerTo(connection, request)).toMatch(
        new RegExp(`\r\n\r\n${expected.replaceAll(/[[\]]/g, '\\$&')}$`),
      )
    })

    it('sees the real addresses with LOCAL and UNKNOWN', async () => {
      await using runtime = mode.start()
      await using proxy = await haproxy(`frontend f\n  bind fd@3 accept-proxy\n${answers}`)
      for (const version of [1, 2] as const) {
        const handshake = [sendProxy({ version, local: true })]
        const connection = await runtime.connect({ host: '127.0.0.1', port: proxy.ports[0]!, handshake })
        const port = connection.localPort
        expect(await answerTo(connection, request)).toContain(`127.0.0.1 ${port} 127.0.0.1 ${proxy.ports[0]} `)
      }
    })

    it('reads the header before TLS', async () => {
      await using runtime = mode.start()
      await using proxy = await haproxy(`frontend f\n  bind fd@3 accept-proxy ssl crt DIR/server.pem\n${answers}`, {
        'server.pem': id.server.cert + id.server.key,
      })
      const connection = await runtime.connect({
        ...{ host: 'localhost', port: proxy.ports[0]!, tls: id.trusting },
        handshake: [sendProxy({ source, destination, crc32c: true })],
      })
      expect(await answerTo(connection, request)).toContain('192.0.2.1 56324 198.51.100.5 443')
    })
  })
})

describe.runIf(hasMicrosocks)('a SOCKS server', () => {
  each('between us, on $name', (mode) => {
    it('leads to addresses and names, with TLS and a PROXY header behind it', async () => {
      await using runtime = mode.start()
      const plain = await listenTo(runtime, {})
      const secure = await listenTo(runtime, { tls: id.serving, handshake: [acceptProxy()] })
      await using server = await microsocks()
      const through = { host: '127.0.0.1', port: server.port }
      for (const host of ['127.0.0.1', 'localhost']) {
        const connection = await runtime.connect({ ...through, handshake: [socks5({ host, port: plain.port })] })
        expect(await answerTo(connection, 'hello')).toBe('answer')
      }
      const connection = await runtime.connect({
        ...{ ...through, tls: id.trusting },
        handshake: [socks5({ host: 'localhost', port: secure.port }), sendProxy({ uniqueId: 'me' })],
      })
      expect(await answerTo(connection, 'hello')).toBe('answer')
      expect(secure.headers[0]?.uniqueId?.toString()).toBe('me')
    })

    it('wants a password, and says when it is wrong', async () => {
      await using runtime = mode.start()
      const ours = await listenTo(runtime, {})
      await using server = await microsocks('-u', 'me', '-P', 'secret')
      const ask = (login: object) =>
        runtime.connect({
          ...{ host: '127.0.0.1', port: server.port },
          handshake: [socks5({ host: '127.0.0.1', port: ours.port, ...login })],
        })
      expect(await answerTo(await ask({ user: 'me', password: 'secret' }), 'hello')).toBe('answer')
      await expect(ask({ user: 'me', password: 'wrong' })).rejects.toMatchObject({
        code: 'ERR_SLUICE_SOCKS_AUTH_DENIED',
        reason: 'SOCKS5_AUTH_DENY',
      })
      await expect(ask({})).rejects.toMatchObject({ code: 'ERR_SLUICE_SOCKS_NO_METHOD' })
    })

    it('says that nobody listens there', async () => {
      await using runtime = mode.start()
      await using server = await microsocks()
      const { port, close } = await listening()
      close()
      const connecting = runtime.connect({
        ...{ host: '127.0.0.1', port: server.port },
        handshake: [socks5({ host: '127.0.0.1', port })],
      })
      await expect(connecting).rejects.toMatchObject({ code: 'ERR_SLUICE_SOCKS_DENIED', reason: 'SOCKS5_DENY' })
    })
  })
})
