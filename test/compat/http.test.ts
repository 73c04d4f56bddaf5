import { once } from 'node:events'
import http, {
  type Agent,
  type IncomingMessage,
  type RequestOptions,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { eventually } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { standstill } from '../support/standstill.js'
import { StreamLog } from '../support/stream-log.js'
import { net, type Service, sluiceTransports, type Transport } from '../support/transports.js'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** Node's own server and client, with sockets of a transport beneath both. */
class Web implements AsyncDisposable {
  private readonly agents: Agent[] = []

  private constructor(
    readonly server: Server,
    readonly service: Service,
    /** Sockets the server was given. */
    readonly sockets: Socket[],
  ) {}

  static async over(transport: Transport, handler: Handler, options: http.ServerOptions = {}): Promise<Web> {
    const server = http.createServer(options, handler)
    const sockets: Socket[] = []
    const service = await transport.listen(
      (socket) => {
        sockets.push(socket)
        server.emit('connection', socket)
      },
      { allowHalfOpen: true },
    )
    // Node tracks a server's connections, for timeouts and closing, from when it listens.
    server.emit('listening')
    return new Web(server, service, sockets)
  }

  /** An agent whose connections are of the transport. */
  agent(options: http.AgentOptions = {}): Agent {
    const agent = new http.Agent(options)
    const connect = (_: unknown, callback: (error: Error | null, socket?: Duplex) => void) => {
      this.service.connect().then(
        (socket) => callback(null, socket),
        (error) => callback(error),
      )
    }
    Object.assign(agent, { createConnection: connect })
    this.agents.push(agent)
    return agent
  }

  request(options: RequestOptions & { agent: Agent }): http.ClientRequest {
    return http.request({ host: '127.0.0.1', port: this.service.port, ...options })
  }

  /** One request from beginning to end. */
  async ask(options: RequestOptions & { agent: Agent }, body?: string | Buffer) {
    const request = this.request(options)
    request.end(body)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const bytes = await bodyOf(response)
    return { status: response.statusCode, headers: response.headers, bytes, text: bytes.toString(), request }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.agents) agent.destroy()
    this.server.closeAllConnections()
    this.server.close()
    await this.service[Symbol.asyncDispose]()
  }
}

async function bodyOf(message: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const megabytes = pattern(5_000_000)

describe.each([net, ...sluiceTransports()])("Node's http over $name", (transport) => {
  it('answers requests over one kept-alive connection', async () => {
    await using web = await Web.over(transport, (request, response) => response.end(`you asked for ${request.url}`))
    const agent = web.agent({ keepAlive: true })
    const reused: boolean[] = []
    for (const path of ['/a', '/b', '/c']) {
      const { status, text, request } = await web.ask({ agent, path })
      expect([status, text]).toEqual([200, `you asked for ${path}`])
      reused.push(request.reusedSocket)
      await eventually(() => Object.keys(agent.freeSockets).length === 1)
    }
    expect(reused).toEqual([false, true, true])
    expect(web.sockets).toHaveLength(1)
  })

  it('closes after each answer without keep-alive', async () => {
    await using web = await Web.over(transport, (_, response) => response.end('once'))
    const agent = web.agent({ keepAlive: false })
    for (let i = 0; i < 3; i++) expect((await web.ask({ agent })).text).toBe('once')
    expect(web.sockets).toHaveLength(3)
    await eventually(() => web.sockets.every(({ destroyed }) => destroyed))
  })

  it('serves many requests at once', async () => {
    await using web = await Web.over(transport, (request, response) => {
      setImmediate(() => response.end(request.url))
    })
    const agent = web.agent({ keepAlive: true })
    const paths = Array.from({ length: 200 }, (_, i) => `/${i}`)
    const answers = await Promise.all(paths.map((path) => web.ask({ agent, path })))
    expect(answers.map(({ text }) => text)).toEqual(paths)
    await eventually(() => Object.values(agent.freeSockets).flat().length > 0)
  })

  it('answers pipelined requests in order', async () => {
    await using web = await Web.over(transport, (request, response) => {
      // The first answer is the last to be ready.
      setTimeout(() => response.end(request.url), request.url === '/0' ? 20 : 0)
    })
    const log = new StreamLog(await web.service.connect())
    const requests = Array.from({ length: 10 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: x\r\n\r\n`)
    log.stream.write(requests.join(''))
    await log.until(() => log.text.split('HTTP/1.1 200 OK').length === 11 && log.text.endsWith('/9'))
    expect([...log.text.matchAll(/\r\n\r\n(\/\d)/g)].map(([, path]) => path)).toEqual(
      Array.from({ length: 10 }, (_, i) => `/${i}`),
    )
    log.stream.destroy()
  })

  it('takes a chunked upload of megabytes from a pipe, byte for byte', async () => {
    await using web = await Web.over(transport, async (request, response) => {
      response.end(hashOf(await bodyOf(request)))
    })
    const agent = web.agent({ keepAlive: true })
    const request = web.request({ agent, method: 'POST' })
    const answer = once(request, 'response') as Promise<[IncomingMessage]>
    await pipeline(chunksOf(megabytes), request)
    const [response] = await answer
    expect((await bodyOf(response)).toString()).toBe(hashOf(megabytes))
  })

  it('makes an upload wait for a server that does not read', async () => {
    let received: IncomingMessage | undefined
    await using web = await Web.over(transport, (request) => {
      received = request
    })
    const agent = web.agent()
    const request = web.request({ agent, method: 'POST' })
    const chunk = pattern(1_000_000)
    let sentBytes = 0
    // Writes on until nothing moves any more: nobody may take more than the buffers on the way.
    const write = () => {
      while (sentBytes < 200_000_000) {
        sentBytes += chunk.length
        if (!request.write(chunk)) return
      }
    }
    request.on('drain', write)
    request.on('error', () => {})
    write()
    await eventually(() => received !== undefined)
    await standstill(() => sentBytes)
    expect(sentBytes).toBeLessThan(100_000_000)
    const stoppedAt = sentBytes
    received!.resume()
    await eventually(() => sentBytes > stoppedAt + 20_000_000)
    request.destroy()
  })

  it('gives a chunked download of megabytes, byte for byte, to a client that pauses', async () => {
    await using web = await Web.over(transport, (_, response) => {
      void pipeline(chunksOf(megabytes), response)
    })
    const agent = web.agent()
    const request = web.request({ agent })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) {
      chunks.push(chunk)
      if (chunks.length % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    expect(response.headers['transfer-encoding']).toBe('chunked')
    expect(hashOf(...chunks)).toBe(hashOf(megabytes))
  })

  it('makes a download wait for a client that does not read', async () => {
    let sentBytes = 0
    const chunk = pattern(1_000_000)
    await using web = await Web.over(transport, (_, response) => {
      const write = () => {
        while (sentBytes < 200_000_000) {
          sentBytes += chunk.length
          if (!response.write(chunk)) return
        }
      }
      response.on('drain', write)
      write()
    })
    const request = web.request({ agent: web.agent() })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    await standstill(() => sentBytes)
    expect(sentBytes).toBeLessThan(100_000_000)
    const stoppedAt = sentBytes
    response.resume()
    await eventually(() => sentBytes > stoppedAt + 20_000_000)
    response.on('error', () => {})
    request.destroy()
  })

  it('sends a body after 100-continue', async () => {
    await using web = await Web.over(transport, async (request, response) => {
      response.end(`got ${(await bodyOf(request)).length}`)
    })
    const request = web.request({ agent: web.agent(), method: 'PUT', headers: { Expect: '100-continue' } })
    request.flushHeaders()
    await once(request, 'continue')
    request.end(pattern(100_000))
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    expect((await bodyOf(response)).toString()).toBe('got 100000')
  })

  it('answers HEAD, 204 and trailers', async () => {
    await using web = await Web.over(transport, (request, response) => {
      if (request.url === '/204') {
        response.writeHead(204).end()
      } else if (request.method === 'HEAD') {
        response.end('not sent')
      } else {
        response.writeHead(200, { Trailer: 'X-Sum' })
        response.write('body')
        response.addTrailers({ 'X-Sum': 'abc' })
        response.end()
      }
    })
    const agent = web.agent({ keepAlive: true })
    expect((await web.ask({ agent, method: 'HEAD' })).text).toBe('')
    expect((await web.ask({ agent, path: '/204' })).status).toBe(204)
    const request = web.request({ agent }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    await bodyOf(response)
    expect(response.trailers).toEqual({ 'x-sum': 'abc' })
  })

  it('tells the server of a client that goes away in the middle', async () => {
    const aborted = new Promise<string>((resolve) => {
      cut = (request) => request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
    })
    await using web = await Web.over(transport, (request) => {
      cut(request)
      request.resume()
    })
    const request = web.request({ agent: web.agent(), method: 'POST' })
    request.on('error', () => {})
    request.write('half of it')
    await eventually(() => web.sockets.length > 0 && web.sockets[0]!.bytesRead > 0)
    request.destroy()
    expect(await aborted).toBe('ECONNRESET')
  })

  it('tells the client of a server that goes away in the middle', async () => {
    await using web = await Web.over(transport, (_, response) => {
      response.writeHead(200, { 'Content-Length': 1000 })
      response.write('half of it')
    })
    const request = web.request({ agent: web.agent() })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    await once(response, 'data')
    web.sockets[0]!.destroy()
    const [error] = await once(response, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET', message: 'aborted' })
  })

  it('tells the client of a server that hangs up without an answer', async () => {
    await using web = await Web.over(transport, (request) => request.socket.destroy())
    const request = web.request({ agent: web.agent() })
    request.end()
    const [error] = await once(request, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET', message: 'socket hang up' })
  })

  it('answers nonsense with 400 and hangs up', async () => {
    await using web = await Web.over(transport, () => {})
    const log = new StreamLog(await web.service.connect())
    log.stream.write('nonsense\r\n\r\n')
    await log.saw('end')
    expect(log.text).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/)
  })

  it('hands over an upgrade with what came behind it, as a WebSocket begins', async () => {
    await using web = await Web.over(transport, () => {})
    web.server.on('upgrade', (_, socket: Socket, head: Buffer) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
      socket.write(`head: ${head}; `)
      socket.pipe(socket)
    })
    const agent = web.agent()
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket' }
    const request = web.request({ agent, headers })
    request.end()
    const [response, socket, head] = (await once(request, 'upgrade')) as [IncomingMessage, Socket, Buffer]
    expect(response.statusCode).toBe(101)
    socket.unshift(head)
    const log = new StreamLog(socket)
    socket.write(megabytes)
    await log.received('head: ; '.length + megabytes.length)
    expect(log.text.slice(0, 8)).toBe('head: ; ')
    expect(hashOf(log.bytes.subarray(8))).toBe(hashOf(megabytes))
    socket.end()
    await log.closed()
  })

  it('tunnels by CONNECT', async () => {
    await using web = await Web.over(transport, () => {})
    web.server.on('connect', (_, socket: Socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(socket)
    })
    const request = web.request({ agent: web.agent(), method: 'CONNECT', path: 'elsewhere:1' })
    request.end()
    const [, socket] = (await once(request, 'connect')) as [IncomingMessage, Socket]
    const log = new StreamLog(socket)
    socket.end('through the tunnel')
    await log.closed()
    expect(log.text).toBe('through the tunnel')
  })

  it('closes idle connections, and only those, by closeIdleConnections()', async () => {
    const answers: ServerResponse[] = []
    await using web = await Web.over(transport, (request, response) => {
      if (request.url === '/wait') answers.push(response)
      else response.end('now')
    })
    const agent = web.agent({ keepAlive: true })
    const waiting = web.ask({ agent, path: '/wait' })
    await eventually(() => answers.length === 1)
    await web.ask({ agent })
    await eventually(() => Object.keys(agent.freeSockets).length === 1)
    web.server.closeIdleConnections()
    await eventually(() => web.sockets.filter(({ destroyed }) => destroyed).length === 1)
    answers[0]!.end('late')
    expect((await waiting).text).toBe('late')
  })

  it('ends a connection kept alive for longer than the server keeps it', async () => {
    await using web = await Web.over(transport, (_, response) => response.end('ok'), { keepAliveTimeout: 20 })
    const agent = web.agent({ keepAlive: true })
    await web.ask({ agent })
    await eventually(() => web.sockets[0]!.destroyed && Object.keys(agent.freeSockets).length === 0)
    expect((await web.ask({ agent })).text).toBe('ok')
    expect(web.sockets).toHaveLength(2)
  })

  it('times out a slow server at the client', async () => {
    await using web = await Web.over(transport, () => {})
    const request = web.request({ agent: web.agent(), timeout: 30 })
    request.end()
    await once(request, 'timeout')
    request.destroy(new Error('too slow'))
    const [error] = await once(request, 'error')
    expect(error.message).toBe('too slow')
  })

  it('times out an idle socket at the server', async () => {
    await using web = await Web.over(transport, () => {})
    web.server.setTimeout(30)
    const log = new StreamLog(await web.service.connect())
    log.stream.write('GET / HTTP/1.1\r\nHost: x\r\n')
    await log.saw('end')
    expect(web.sockets[0]!.destroyed).toBe(true)
  })

  it('answers 408 to headers that take too long', async () => {
    const limits = { headersTimeout: 20, requestTimeout: 40, connectionsCheckingInterval: 10 }
    await using web = await Web.over(transport, () => {}, limits)
    const log = new StreamLog(await web.service.connect())
    log.stream.write('GET / HTTP/1.1\r\nHost: x\r\n')
    await log.saw('end')
    expect(log.text).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/)
  })
})

let cut: (request: IncomingMessage) => void

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let i = 0; i < bytes.length; i += 70_000) yield bytes.subarray(i, i + 70_000)
}
