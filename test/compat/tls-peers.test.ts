// sluice and node:tls as each other's peers: versions, ciphers, groups, keys, protocols, names, certificates, sessions.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import * as nodeTls from 'node:tls'
import {
  type CertificateAndKey,
  createCertificate,
  type Runtime,
  type TlsClientOptions,
  TlsContext,
  type TlsServerOptions,
  tlsFeatures,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes, type Mode } from '../support/modes.js'
import { echo, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'
import { StreamLog } from '../support/stream-log.js'

const bytes = pattern(200_000)

/** What both sides agreed on, as one of them sees it. */
interface Agreed {
  protocol: string | null
  cipher: string
  alpn: string | false | null | undefined
  resumed: boolean
  authorized: boolean
  peer: string | string[] | undefined
}

/** One connection of node:tls to sluice, with bytes there and back and an end in good order. */
async function nodeClient(runtime: Runtime, port: number, options: nodeTls.ConnectionOptions) {
  void runtime
  const socket = nodeTls.connect({
    host: '127.0.0.1',
    port,
    ca: id.authority.cert,
    servername: 'localhost',
    ...options,
  })
  let session: Buffer | undefined
  socket.on('session', (given) => {
    session = given
  })
  const log = new StreamLog(socket)
  await once(socket, 'secureConnect')
  socket.write(bytes)
  await log.received(bytes.length)
  expect(hashOf(log.bytes)).toBe(hashOf(bytes))
  const agreed: Agreed = {
    protocol: socket.getProtocol(),
    cipher: socket.getCipher().name,
    alpn: socket.alpnProtocol,
    resumed: socket.isSessionReused(),
    authorized: socket.authorized,
    peer: socket.getPeerCertificate().subject?.CN,
  }
  socket.end()
  await log.closed()
  expect(log.errors).toEqual([])
  return { agreed, session }
}

async function toSluice(mode: Mode, server: TlsServerOptions, client: nodeTls.ConnectionOptions): Promise<Agreed> {
  await using runtime = mode.start()
  const record = new Record(echo)
  const tls = { ...id.serving, ...server }
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, record.handlers)
  const { agreed } = await nodeClient(runtime, portOf(listener), client)
  expect(await record.closed()).toBeUndefined()
  expect(record.events).toEqual(['open', 'data', 'end', 'close'])
  return agreed
}

/** A server of node:tls that echoes. */
async function nodeServer(options: nodeTls.TlsOptions) {
  const errors: Error[] = []
  const server = nodeTls.createServer({ ...id.server, ca: id.authority.cert, ...options }, (socket) => {
    socket.on('error', (error) => errors.push(error))
    socket.pipe(socket)
  })
  server.on('tlsClientError', (error) => errors.push(error))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, errors, port: (server.address() as AddressInfo).port }
}

async function sluiceClient(runtime: Runtime, port: number, tls: TlsClientOptions | TlsContext): Promise<Agreed> {
  const record = new Record()
  const connection = await runtime.connect({ host: '127.0.0.1', port, tls }, record.handlers)
  connection.write(bytes)
  await record.until(() => record.sizeBytes >= bytes.length || record.count('close') > 0)
  if (record.error !== undefined) throw record.error
  expect(record.hash).toBe(hashOf(bytes))
  const { protocol, cipher, alpn, resumed, authorized, peerCertificate } = connection.tls!
  connection.end()
  expect(await record.closed()).toBeUndefined()
  expect(record.events).toEqual(['open', 'data', 'end', 'close'])
  return { protocol, cipher, alpn, resumed, authorized, peer: peerCertificate?.commonName }
}

async function toNode(mode: Mode, server: nodeTls.TlsOptions, client: TlsClientOptions): Promise<Agreed> {
  await using runtime = mode.start()
  const { server: listening, errors, port } = await nodeServer(server)
  try {
    const agreed = await sluiceClient(runtime, port, { ...id.trusting, ...client })
    expect(errors).toEqual([])
    return agreed
  } finally {
    listening.close()
  }
}

const keys: [name: string, pair: CertificateAndKey][] = [
  ['P-256', id.server],
  ['RSA-2048', id.rsaServer],
  ['Ed25519', createCertificate({ names: ['localhost', '127.0.0.1'], issuer: id.authority, keyType: 'Ed25519' })],
]
const suites = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
const ciphers: [cipher: string, pair: CertificateAndKey][] = [
  ['ECDHE-RSA-AES128-GCM-SHA256', id.rsaServer],
  ['ECDHE-RSA-AES256-GCM-SHA384', id.rsaServer],
  ['ECDHE-RSA-CHACHA20-POLY1305', id.rsaServer],
  ['ECDHE-ECDSA-AES128-GCM-SHA256', id.server],
  ['ECDHE-ECDSA-AES256-GCM-SHA384', id.server],
  ['ECDHE-ECDSA-CHACHA20-POLY1305', id.server],
  ['DHE-RSA-AES128-GCM-SHA256', id.rsaServer],
  ['DHE-RSA-AES256-GCM-SHA384', id.rsaServer],
  ['ECDHE-RSA-AES128-SHA', id.rsaServer],
  ['AES128-GCM-SHA256', id.rsaServer],
]
const groups = ['X25519', 'P-256', 'P-384', 'P-521', 'X448', ...(tlsFeatures().hasMlKem ? ['X25519MLKEM768'] : [])]
const versions = ['TLSv1.2', 'TLSv1.3'] as const

const some = kernelModes().filter(({ engine }) => engine === 'epoll' || engine === 'io_uring')

describe.each(some)('node:tls and sluice on $name', (mode) => {
  it.each(versions)('speak %s both ways', async (version) => {
    const only = { minVersion: version, maxVersion: version }
    const agreed = { protocol: version, authorized: true, peer: 'localhost', resumed: false }
    expect(await toSluice(mode, only, {})).toMatchObject(agreed)
    expect(await toSluice(mode, {}, only)).toMatchObject(agreed)
    expect(await toNode(mode, only, {})).toMatchObject(agreed)
    expect(await toNode(mode, {}, only)).toMatchObject(agreed)
  })

  it('speak TLS 1.0 and 1.1 only where both are told to', async () => {
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      const only = { minVersion: version, maxVersion: version, ciphers: 'ALL@SECLEVEL=0' }
      const lenient = { minVersion: version, securityLevel: 0, ciphers: 'ALL' }
      expect((await toSluice(mode, { ...id.rsaServer, ...lenient }, only)).protocol).toBe(version)
      expect((await toNode(mode, { ...id.rsaServer, ...only }, lenient)).protocol).toBe(version)
      await expect(toNode(mode, { ...id.rsaServer, ...only }, {})).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_SLUICE_TLS_(PEER_ALERT|UNSUPPORTED_VERSION)$/),
      })
    }
  })

  it.each(keys)('by a key of %s', async (_, pair) => {
    for (const maxVersion of versions) {
      expect((await toSluice(mode, pair, { maxVersion })).authorized).toBe(true)
      expect((await toNode(mode, pair, { maxVersion })).authorized).toBe(true)
    }
  })

  it('choose among several keys what the peer can verify', async () => {
    const both = { cert: keys.map(([, { cert }]) => cert), key: keys.map(([, { key }]) => key) }
    for (const [cipher] of ciphers.slice(0, 6)) {
      expect((await toSluice(mode, both, { maxVersion: 'TLSv1.2', ciphers: cipher })).cipher).toBe(cipher)
    }
    for (const sigalgs of ['ed25519', 'rsa_pss_rsae_sha256', 'ecdsa_secp256r1_sha256'])
      expect((await toSluice(mode, both, { sigalgs })).protocol).toBe('TLSv1.3')
  })

  it.each(suites)('by %s', async (cipher) => {
    expect((await toSluice(mode, { cipherSuites: cipher }, {})).cipher).toBe(cipher)
    expect((await toSluice(mode, {}, { ciphers: cipher })).cipher).toBe(cipher)
    expect((await toNode(mode, { ciphers: cipher }, {})).cipher).toBe(cipher)
    expect((await toNode(mode, {}, { ciphersuites: [cipher] })).cipher).toBe(cipher)
  })

  it.each(ciphers)('by %s', async (cipher, pair) => {
    const node = { maxVersion: 'TLSv1.2', ciphers: cipher } as const
    expect((await toSluice(mode, { ...pair, ciphers: cipher }, node)).cipher).toBe(cipher)
    expect((await toNode(mode, { ...pair, dhparam: 'auto', ...node }, { ciphers: cipher })).cipher).toBe(cipher)
  })

  // By an RSA key: in TLS 1.2 the groups are also those that keys of certificates may be of.
  it.each(groups)('by the group %s', async (group) => {
    for (const maxVersion of group === 'X25519MLKEM768' ? (['TLSv1.3'] as const) : versions) {
      expect(
        (await toSluice(mode, { ...id.rsaServer, groups: group }, { ecdhCurve: group, maxVersion })).protocol,
      ).toBe(maxVersion)
      expect((await toNode(mode, { ...id.rsaServer, ecdhCurve: group }, { groups: group, maxVersion })).protocol).toBe(
        maxVersion,
      )
    }
  })

  it('agree on nothing where they have nothing in common, and both are told', async () => {
    const refusal = { code: expect.stringMatching(/^ERR_SLUICE_TLS_(PEER_ALERT|NO_COMMON_CIPHER)$/) }
    await expect(toNode(mode, { ciphers: suites[0] }, { cipherSuites: suites[1] })).rejects.toMatchObject(refusal)
    await expect(toNode(mode, { maxVersion: 'TLSv1.2' }, { minVersion: 'TLSv1.3' })).rejects.toMatchObject({
      alert: 70,
    })
    await expect(toNode(mode, { minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2' })).rejects.toMatchObject({
      alert: 70,
    })
    await expect(toSluice(mode, { groups: 'P-384' }, { ecdhCurve: 'X25519' })).rejects.toMatchObject({
      code: 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
    })
  })

  it('agree on an application protocol', async () => {
    const alpn = ['h2', 'http/1.1']
    expect((await toSluice(mode, { alpn }, { ALPNProtocols: ['http/1.1'] })).alpn).toBe('http/1.1')
    expect((await toSluice(mode, { alpn }, {})).alpn).toBe(false)
    expect((await toNode(mode, { ALPNProtocols: alpn }, { alpn: ['http/1.1'] })).alpn).toBe('http/1.1')
    expect((await toNode(mode, { ALPNProtocols: alpn }, {})).alpn).toBeUndefined()
    await expect(toNode(mode, { ALPNProtocols: alpn }, { alpn: ['x'] })).rejects.toMatchObject({ alert: 120 })
  })

  it('serve by name', async () => {
    const named = createCertificate({ names: ['a.example'], issuer: id.authority })
    const sni = { 'a.example': named }
    expect((await toSluice(mode, { sni }, { servername: 'a.example' })).peer).toBe('a.example')
    expect((await toSluice(mode, { sni }, {})).peer).toBe('localhost')
    const SNICallback: nodeTls.TlsOptions['SNICallback'] = (name, callback) =>
      callback(null, nodeTls.createSecureContext(name === 'a.example' ? named : id.server))
    expect((await toNode(mode, { SNICallback }, { serverName: 'a.example' })).peer).toBe('a.example')
  })

  it('show each other certificates of clients', async () => {
    for (const maxVersion of versions) {
      expect((await toSluice(mode, { clientCert: 'require', maxVersion }, id.client)).authorized).toBe(true)
      const asking = { requestCert: true, rejectUnauthorized: true, maxVersion }
      expect((await toNode(mode, asking, id.client)).authorized).toBe(true)
      await expect(toNode(mode, asking, {})).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_SLUICE_(TLS_|CONNECTION_RESET)/),
      })
    }
  })

  it.each([
    ['by ticket, TLS 1.3', {}],
    ['by ticket, TLS 1.2', { maxVersion: 'TLSv1.2' }],
    ['by id, TLS 1.2', { maxVersion: 'TLSv1.2', tickets: false }],
  ] as const)('resume sessions of sluice %s', async (_, options) => {
    await using runtime = mode.start()
    const tls = TlsContext.server({ ...id.serving, ...options })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, echo)
    const first = await nodeClient(runtime, portOf(listener), {})
    expect(first.agreed.resumed).toBe(false)
    const again = await nodeClient(runtime, portOf(listener), { session: first.session })
    expect(again.agreed).toMatchObject({ resumed: true, authorized: true })
  })

  it.each([
    ['by ticket, TLS 1.3', {}],
    ['by ticket, TLS 1.2', { maxVersion: 'TLSv1.2' }],
    ['by id, TLS 1.2', { maxVersion: 'TLSv1.2', secureOptions: 0x4000 }], // SSL_OP_NO_TICKET
  ] as const)('resume sessions of node:tls %s', async (_, options) => {
    await using runtime = mode.start()
    const { server, port } = await nodeServer(options)
    if ('secureOptions' in options) {
      const known = new Map<string, Buffer>()
      server.on('newSession', (key, value, done) => {
        known.set(key.toString('hex'), value)
        done()
      })
      server.on('resumeSession', (key, done) => done(null, known.get(key.toString('hex')) ?? null))
    }
    const tls = TlsContext.client(id.trusting)
    expect((await sluiceClient(runtime, port, tls)).resumed).toBe(false)
    expect(await sluiceClient(runtime, port, tls)).toMatchObject({ resumed: true, authorized: true })
    server.close()
  })

  it('log the same secrets', async () => {
    await using runtime = mode.start()
    const [ours, theirs]: [string[], string[]] = [[], []]
    const tls = { ...id.serving, keylog: (line: string) => void ours.push(line) }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, echo)
    const socket = nodeTls.connect({
      host: '127.0.0.1',
      port: portOf(listener),
      ca: id.authority.cert,
      servername: 'localhost',
    })
    socket.on('keylog', (line: Buffer) => theirs.push(line.toString().trimEnd()))
    await once(socket, 'secureConnect')
    const log = new StreamLog(socket)
    socket.end('x')
    await log.closed()
    while (ours.length < theirs.length) await new Promise((resolve) => setImmediate(resolve))
    expect(ours.sort()).toEqual(theirs.sort())
    expect(ours.length).toBeGreaterThanOrEqual(5)
  })

  it('renegotiate only where that is allowed', async () => {
    for (const allowRenegotiation of [false, true]) {
      await using runtime = mode.start()
      const record = new Record(echo)
      const tls: TlsServerOptions = { ...id.serving, maxVersion: 'TLSv1.2', allowRenegotiation }
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, record.handlers)
      const to = { host: '127.0.0.1', port: portOf(listener), ca: id.authority.cert, servername: 'localhost' }
      const socket = nodeTls.connect(to)
      await once(socket, 'secureConnect')
      const log = new StreamLog(socket)
      const outcome = await new Promise<Error | null>((resolve) => {
        socket.on('error', resolve)
        socket.renegotiate({}, resolve)
      })
      if (allowRenegotiation) {
        expect(outcome).toBeNull()
        socket.write('after')
        await log.received(5)
        expect(log.text).toBe('after')
      } else {
        expect(outcome).toBeInstanceOf(Error)
        expect((await record.closed())?.code).toBe('ERR_SLUICE_TLS_RENEGOTIATION')
      }
      socket.destroy()
    }
  })
})
