// Node's http and https over TLS connections of sluice, as server and as client, and its streams.
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Runtime, TlsContext } from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { streamPair } from '../support/streams.js'

const megabytes = pattern(3_000_000)
const some = kernelModes().filter(({ engine }) => engine === 'epoll' || engine === 'io_uring')

async function bodyOf(message: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Node's http server behind a TLS listener of sluice. */
async function web(runtime: Runtime, handler: http.RequestListener) {
  const server = http.createServer(handler)
  const sockets: Duplex[] = []
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, allowHalfOpen: true, tls: { ...id.serving, alpn: ['http/1.1'] } },
    {
      open(connection) {
        const socket = connection.toDuplex()
        sockets.push(socket)
        server.emit('connection', socket)
      },
    },
  )
  server.emit('listening')
  return { server, sockets, port: portOf(listener) }
}

/** What an agent of Node's calls for a connection: one of sluice. */
function agentOf(runtime: Runtime, port: number, options: http.AgentOptions = {}): http.Agent {
  const tls = TlsContext.client(id.trusting)
  const createConnection = (_: unknown, callback: (error: Error | null, socket?: Duplex) => void) => {
    runtime.connect({ host: '127.0.0.1', port, tls }).then(
      (connection) => callback(null, connection.toDuplex()),
      (error) => callback(error),
    )
  }
  return Object.assign(new http.Agent(options), { createConnection })
}

async function ask(request: http.ClientRequest, body?: Buffer): Promise<{ status: number; bytes: Buffer }> {
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode!, bytes: await bodyOf(response) }
}

describe.each(some)("Node's http server over TLS on $name", (mode) => {
  it('answers https.get, and keeps connections alive', async () => {
    await using runtime = mode.start()
    const { port, sockets } = await web(runtime, (request, response) => response.end(`you asked for ${request.url}`))
    const agent = new https.Agent({ keepAlive: true, ca: id.authority.cert, servername: 'localhost' })
    for (const path of ['/a', '/b', '/c']) {
      const { status, bytes } = await ask(https.get({ host: '127.0.0.1', port, path, agent }))
      expect([status, bytes.toString()]).toEqual([200, `you asked for ${path}`])
      await eventually(() => Object.keys(agent.freeSockets).length === 1)
    }
    expect(sockets).toHaveLength(1)
    agent.destroy()
  })

  it('carries megabytes both ways', async () => {
    await using runtime = mode.start()
    const { port } = await web(runtime, (request, response) => void pipeline(request, response).catch(() => {}))
    const options = { host: '127.0.0.1', port, ca: id.authority.cert, servername: 'localhost' }
    const { bytes } = await ask(https.request({ ...options, method: 'POST', agent: false }), megabytes)
    expect(hashOf(bytes)).toBe(hashOf(megabytes))
  })

  it('answers many at once', async () => {
    await using runtime = mode.start()
    const { port } = await web(runtime, (request, response) => response.end(request.url))
    const agent = new https.Agent({ ca: id.authority.cert, servername: 'localhost' })
    const paths = Array.from({ length: 60 }, (_, i) => `/${i}`)
    const answers = await Promise.all(paths.map((path) => ask(https.get({ host: '127.0.0.1', port, path, agent }))))
    expect(answers.map(({ bytes }) => bytes.toString())).toEqual(paths)
    agent.destroy()
  })

  it('is told of a client that goes away in the middle', async () => {
    await using runtime = mode.start()
    const aborted = new Promise<unknown>((resolve) => {
      web(runtime, (request) => request.on('error', resolve).resume()).then(({ port }) => {
        const options = { host: '127.0.0.1', port, ca: id.authority.cert, servername: 'localhost' }
        const request = https.request({ ...options, method: 'POST' }).on('error', () => {})
        request.write('half of it', () => setImmediate(() => request.destroy()))
      })
    })
    expect(await aborted).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe.each(some)("Node's http client over TLS on $name", (mode) => {
  it('asks an https server, on resumed sessions', async () => {
    await using runtime = mode.start()
    const resumed: boolean[] = []
    const server = https.createServer({ ...id.server }, (request, response) => void pipeline(request, response))
    server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const agent = agentOf(runtime, port)
    for (let i = 0; i < 3; i++) {
      const { bytes } = await ask(http.request({ agent, method: 'POST', host: '127.0.0.1', port }), megabytes)
      expect(hashOf(bytes)).toBe(hashOf(megabytes))
    }
    expect(resumed).toEqual([false, true, true])
    agent.destroy()
    server.closeAllConnections()
    server.close()
  })

  it('is told of a server that nobody vouches for', async () => {
    await using runtime = mode.start()
    const server = https.createServer(id.server, () => {})
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const request = http.request({
      createConnection: (_, callback) => {
        runtime.connect({ host: '127.0.0.1', port, tls: { ca: id.stranger.cert } }).then(
          (connection) => callback(null, connection.toDuplex()),
          (error) => callback(error, undefined as never),
        )
        return undefined
      },
    })
    request.end()
    const [error] = await once(request, 'error')
    expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_CERTIFICATE_UNKNOWN_ISSUER' })
    server.close()
  })
})

describe.each(some)('streams over TLS on $name', (mode) => {
  it('end in good order on both sides', async () => {
    await using pair = await streamPair(mode, id.secured())
    const received = bodyOf(pair.server)
    pair.client.end(megabytes)
    expect(hashOf(await received)).toBe(hashOf(megabytes))
    await eventually(() => pair.client.destroyed && pair.server.destroyed)
    expect([pair.client.errored, pair.server.errored]).toEqual([null, null])
  })

  it('fail when the peer goes without a word', async () => {
    await using pair = await streamPair(mode, id.secured())
    const failed = once(pair.client, 'error')
    pair.client.resume()
    pair.server.destroy()
    const [error] = await failed
    expect(error.code).toMatch(/^ERR_SLUICE_(TLS_TRUNCATED|TLS_RESET|CONNECTION_RESET)$/)
  })

  it('are of the WHATWG kind as well', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, tls: id.serving },
      { open: (connection) => void (({ readable, writable }) => readable.pipeTo(writable))(connection.toWeb()) },
    )
    const connection = await runtime.connect({ host: '127.0.0.1', port: portOf(listener), tls: id.trusting })
    const { readable, writable } = connection.toWeb()
    const writer = writable.getWriter()
    void writer.write(megabytes).then(() => writer.close())
    expect(hashOf(await bodyOf(readable as unknown as AsyncIterable<Buffer>))).toBe(hashOf(megabytes))
  })
})
