import { once } from 'node:events'
import http2, { type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2'
import https from 'node:https'
import type { Socket } from 'node:net'
import { type ConnectionOptions, connect, createServer, TLSSocket } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { selfSigned } from '../support/certificate.js'
import { hashOf, pattern } from '../support/record.js'
import { StreamLog } from '../support/stream-log.js'
import { net, type Service, sluiceTransports } from '../support/transports.js'

const { key, cert } = selfSigned()
const megabytes = pattern(5_000_000)

async function secure(service: Service, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ socket: await service.connect(), ca: cert, servername: 'localhost', ...options })
  await once(socket, 'secureConnect')
  return socket
}

/** Node's streams between TLS and its socket end the socket a little later; a reset then is no failure of TLS. */
function ignoreErrors(socket: Socket): Socket {
  return socket.on('error', () => {})
}

describe.each([net, ...sluiceTransports()])("Node's tls over $name", (transport) => {
  it('shakes hands and echoes megabytes both ways', async () => {
    await using service = await transport.listen((socket) => {
      const server = new TLSSocket(socket, { isServer: true, key, cert })
      ignoreErrors(server).pipe(server)
    })
    const client = await secure(service)
    expect(client.authorized).toBe(true)
    const log = new StreamLog(client)
    client.write(megabytes)
    await log.received(megabytes.length)
    expect(hashOf(log.bytes)).toBe(hashOf(megabytes))
    client.end()
    await log.closed()
    expect(log.errors).toEqual([])
  })

  it('serves by tls.Server, and ends in good order', async () => {
    const server = createServer({ key, cert }, (socket) => {
      ignoreErrors(socket)
      socket.end('from tls.Server')
    })
    await using service = await transport.listen((socket) => server.emit('connection', socket))
    const log = new StreamLog(await secure(service))
    await log.closed()
    expect(log.text).toBe('from tls.Server')
    // Whether Node's TLSSocket has finished when its transport is gone is a matter of which end was faster.
    expect(log.events.filter((event) => event !== 'finish')).toEqual(['data', 'end', 'close'])
    expect(log.events).toContain('finish')
  })

  it('refuses a certificate nobody vouches for', async () => {
    await using service = await transport.listen((socket) => {
      ignoreErrors(new TLSSocket(socket, { isServer: true, key, cert }))
    })
    const client = connect({ socket: await service.connect(), servername: 'localhost' })
    const [error] = await once(client, 'error')
    expect(error.code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
  })

  it('tells of a peer that goes away during the handshake', async () => {
    await using service = await transport.listen((socket) => socket.once('data', () => socket.destroy()))
    const client = connect({ socket: await service.connect(), ca: cert, servername: 'localhost' })
    const [error] = await once(client, 'error')
    expect(error.message).toMatch(/disconnected before secure TLS connection|ECONNRESET|reset/)
  })

  it('carries https requests', async () => {
    const server = https.createServer({ key, cert }, (request, response) => {
      request.pipe(response)
    })
    await using service = await transport.listen((socket) => server.emit('connection', socket))
    const socket = await secure(service)
    const request = https.request({ method: 'POST', path: '/', createConnection: () => socket })
    request.end(megabytes)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    expect(hashOf(...chunks)).toBe(hashOf(megabytes))
  })
})

describe.each([net, ...sluiceTransports()])("Node's http2 over $name", (transport) => {
  it('carries many requests at once in the clear', async () => {
    const server = http2.createServer()
    server.on('stream', (stream, headers) => {
      stream.respond({ ':status': 200 })
      stream.end(`you asked for ${headers[':path']}`)
    })
    await using service = await transport.listen((socket) => server.emit('connection', socket))
    const socket = await service.connect()
    const session = http2.connect('http://localhost', { createConnection: () => socket })
    const paths = Array.from({ length: 50 }, (_, i) => `/${i}`)
    const answers = await Promise.all(paths.map((path) => ask(session, path)))
    expect(answers.map(({ text }) => text)).toEqual(paths.map((path) => `you asked for ${path}`))
    session.close()
    await once(session, 'close')
  })

  it('carries megabytes both ways in one stream, over tls', async () => {
    const server = http2.createSecureServer({ key, cert })
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    })
    await using service = await transport.listen((socket) => server.emit('connection', socket))
    const socket = await secure(service, { ALPNProtocols: ['h2'] })
    const session = http2.connect('https://localhost', { createConnection: () => socket })
    const { bytes } = await ask(session, '/', megabytes)
    expect(hashOf(bytes)).toBe(hashOf(megabytes))
    session.close()
    await once(session, 'close')
  })
})

async function ask(session: ClientHttp2Session, path: string, body?: Buffer) {
  const stream = session.request({ ':path': path, ':method': body ? 'POST' : 'GET' })
  stream.end(body)
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  return { headers, bytes, text: bytes.toString() }
}
