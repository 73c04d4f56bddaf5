import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, connect as netConnect } from 'node:net'
import { join } from 'node:path'
import type { IdentityFiles } from '../identities.js'

/** Something that carries messages, and is measured. */
export interface Peer {
  readonly id: string
  readonly title: string
  readonly tls: boolean
  /** Why it cannot run here. */
  reason?: string
  /** Serves, and tells its port: what comes as a request goes back. */
  serve(identity: IdentityFiles | undefined): Promise<number>
  connect(port: number, identity: IdentityFiles | undefined): Promise<Client>
}

export interface Client {
  request(body: Buffer): Promise<Uint8Array>
  /** Sends without answer; false: better wait for `flushed`. */
  post?(body: Buffer): boolean
  flushed?(): Promise<void>
  /** How many of those have arrived. */
  arrived?(): Promise<number>
}

// Packages of others are looked for where the command is given, too.
const here = createRequire(join(process.cwd(), 'noop.js'))

function load<T>(name: string): T {
  try {
    return require(name) as T
  } catch {
    return here(name) as T
  }
}

function missing(name: string): string | undefined {
  try {
    load(name)
    return undefined
  } catch {
    return `the package ${name} is not installed here`
  }
}

// ---- sluice

function sluice(tls: boolean): Peer {
  const messages = () => {
    const { defineProtocol, bytes, empty, json, oneWay, request } =
      require('sluice/messages') as typeof import('sluice/messages')
    return defineProtocol({
      name: 'bench',
      messages: { echo: request(bytes(), bytes()), note: oneWay(bytes()), count: request(empty(), json<number>()) },
    })
  }
  return {
    id: tls ? 'sluice-tls' : 'sluice',
    title: tls ? 'sluice, TLS' : 'sluice',
    tls,
    async serve(identity) {
      const { MessageService } = require('sluice/messages') as typeof import('sluice/messages')
      const protocol = messages()
      const service = new MessageService({ protocols: [protocol] })
      let notes = 0
      service.handle(protocol, {
        echo: (body) => body,
        note() {
          notes++
        },
        count: () => notes,
      })
      const keys = identity && { cert: readFileSync(identity.cert), key: readFileSync(identity.key) }
      const listener = await service.listen({ host: '127.0.0.1', port: 0, ...(keys && { tls: keys }) })
      return listener.address.port!
    },
    async connect(port, identity) {
      const { MessageService } = require('sluice/messages') as typeof import('sluice/messages')
      const protocol = messages()
      const { echo, note, count } = protocol.messages
      const service = new MessageService({ protocols: [protocol] })
      const tlsOptions = identity && { ca: readFileSync(identity.cert) }
      const pool = service.pool({ host: '127.0.0.1', port, ...(tlsOptions && { tls: tlsOptions }) })
      return {
        request: (body) => pool.request(echo, body),
        post: (body) => pool.post(note, body),
        flushed: () => pool.send(note, Buffer.alloc(0)),
        arrived: () => pool.request(count, undefined),
      }
    },
  }
}

// ---- zeromq

interface ZeroSocket extends AsyncIterable<Buffer[]> {
  send(frames: Buffer[]): Promise<void>
  receive(): Promise<Buffer[]>
  bind(address: string): Promise<void>
  connect(address: string): void
  readonly lastEndpoint: string
}

const zeromq: Peer = {
  id: 'zeromq',
  title: 'zeromq.js',
  tls: false,
  reason: missing('zeromq'),
  async serve() {
    const { Router } = load<{ Router: new (options: object) => ZeroSocket }>('zeromq')
    const router = new Router({ sendHighWaterMark: 100_000, receiveHighWaterMark: 100_000 })
    await router.bind('tcp://127.0.0.1:*')
    void (async () => {
      for await (const frames of router) await router.send(frames)
    })()
    return Number(router.lastEndpoint.split(':').at(-1))
  },
  async connect(port) {
    const { Dealer } = load<{ Dealer: new (options: object) => ZeroSocket }>('zeromq')
    const dealer = new Dealer({ sendHighWaterMark: 100_000, receiveHighWaterMark: 100_000 })
    dealer.connect(`tcp://127.0.0.1:${port}`)
    const waiting: ((body: Buffer) => void)[] = []
    const unsent: Buffer[] = []
    let isSending = false
    const send = async () => {
      isSending = true
      for (let body = unsent.shift(); body !== undefined; body = unsent.shift()) await dealer.send([body])
      isSending = false
    }
    void (async () => {
      for await (const [body] of dealer) waiting.shift()!(body!)
    })()
    return {
      request: (body) =>
        new Promise((resolve) => {
          waiting.push(resolve)
          unsent.push(body)
          if (!isSending) void send()
        }),
    }
  },
}

// ---- gRPC

interface Grpc {
  Server: new (
    options: object,
  ) => {
    addService(definition: object, handlers: object): void
    bindAsync(address: string, credentials: unknown, done: (error: Error | null, port: number) => void): void
  }
  makeGenericClientConstructor(
    definition: object,
    name: string,
  ): new (
    address: string,
    credentials: unknown,
    options: object,
  ) => { echo(body: Buffer, done: (error: Error | null, answer: Buffer) => void): void }
  ServerCredentials: {
    createInsecure(): unknown
    createSsl(root: null, pairs: { cert_chain: Buffer; private_key: Buffer }[]): unknown
  }
  credentials: { createInsecure(): unknown; createSsl(root: Buffer): unknown }
}

const same = (body: Buffer) => body
const definition = {
  echo: {
    path: '/bench/echo',
    ...{ requestStream: false, responseStream: false },
    ...{ requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same },
  },
}
const unlimited = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 }

function grpc(tls: boolean): Peer {
  return {
    id: tls ? 'grpc-tls' : 'grpc',
    title: tls ? '@grpc/grpc-js, TLS' : '@grpc/grpc-js',
    tls,
    reason: missing('@grpc/grpc-js'),
    serve(identity) {
      const { Server, ServerCredentials } = load<Grpc>('@grpc/grpc-js')
      const server = new Server(unlimited)
      server.addService(definition, {
        echo: ({ request }: { request: Buffer }, done: (error: null, answer: Buffer) => void) => done(null, request),
      })
      const credentials =
        identity === undefined
          ? ServerCredentials.createInsecure()
          : ServerCredentials.createSsl(null, [
              { cert_chain: readFileSync(identity.cert), private_key: readFileSync(identity.key) },
            ])
      return new Promise((resolve, reject) => {
        server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port)))
      })
    },
    async connect(port, identity) {
      const { makeGenericClientConstructor, credentials } = load<Grpc>('@grpc/grpc-js')
      const Echo = makeGenericClientConstructor(definition, 'bench')
      const trust =
        identity === undefined ? credentials.createInsecure() : credentials.createSsl(readFileSync(identity.cert))
      const client = new Echo(`localhost:${port}`, trust, unlimited)
      return {
        request: (body) =>
          new Promise((resolve, reject) => {
            client.echo(body, (error, answer) => (error ? reject(error) : resolve(answer)))
          }),
      }
    },
  }
}

// ---- Lines of JSON over node:net, as one writes them in an afternoon

function linesOf(take: (line: string) => void): (chunk: string) => void {
  let rest = ''
  return (chunk) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) take(line)
  }
}

const jsonLines: Peer = {
  id: 'json-lines',
  title: 'JSON lines, node:net',
  tls: false,
  serve() {
    const server = createServer({ noDelay: true }, (socket) => {
      socket.setEncoding('latin1').on(
        'data',
        linesOf((line) => socket.write(`${JSON.stringify(JSON.parse(line))}\n`)),
      )
      socket.on('error', () => {})
    })
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
    })
  },
  async connect(port) {
    const socket = netConnect({ port, host: '127.0.0.1', noDelay: true })
    const waiting = new Map<number, (body: Buffer) => void>()
    let last = 0
    const take = (line: string) => {
      const { id, body } = JSON.parse(line) as { id: number; body: string }
      waiting.get(id)!(Buffer.from(body, 'latin1'))
      waiting.delete(id)
    }
    socket.setEncoding('latin1').on('data', linesOf(take))
    return {
      request: (body) =>
        new Promise((resolve) => {
          waiting.set(++last, resolve)
          socket.write(`${JSON.stringify({ id: last, body: body.toString('latin1') })}\n`)
        }),
    }
  },
}

/** All that are measured, in the order they are shown. */
export function findPeers(): Peer[] {
  return [sluice(false), zeromq, grpc(false), jsonLines, sluice(true), grpc(true)]
}
