// Messages between two services, over every engine, in the clear and over TLS.
import type { Listener, Runtime, SluiceError } from 'sluice'
import {
  bytes,
  checked,
  clone,
  defineProtocol,
  json,
  MessageError,
  type MessageListenOptions,
  type MessagePool,
  MessageService,
  type MessageServiceOptions,
  oneWay,
  type PoolOptions,
  type Protocol,
  parts,
  request,
  StaticResolver,
  stream,
  utf8,
} from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../support/code-of.js'
import { serving, trusting } from '../support/identities.js'
import { type Mode, modes } from '../support/modes.js'
import { eventually, nextTurn, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const protocol = defineProtocol({
  name: 'test',
  messages: {
    echo: request(bytes(), bytes()),
    add: request(json<{ a: number; b: number }>(), json<number>()),
    wait: request(utf8(), utf8()),
    note: oneWay(utf8()),
    count: parts(json<number>(), json<number>()),
    copy: request(clone<Map<string, Date>>(), clone<Map<string, Date>>()),
    fail: request(utf8(), utf8()),
    upload: request(stream(json<{ name: string }>()), json<{ name: string; hash: string; sizeBytes: number }>()),
    generate: request(json<{ count: number; sizeBytes: number }>(), stream()),
    mirror: request(stream(), stream()),
    strict: request(
      checked(json<{ n: number }>(), (value) => {
        if (typeof value.n !== 'number') throw new TypeError('n is no number')
        return value
      }),
      json<number>(),
    ),
  },
})
const { echo, add, wait, note, count, copy, fail, strict, upload, generate, mirror } = protocol.messages

async function* slowly(pieces: Uint8Array[]) {
  for (const piece of pieces) {
    await nextTurn()
    yield piece
  }
}

const fast = { reconnect: { baseMs: 20, steps: 2, jitterMinMs: 0, jitterMaxMs: 5 } } satisfies PoolOptions

interface Setup {
  listen?: MessageListenOptions
  server?: Partial<MessageServiceOptions>
  client?: Partial<MessageServiceOptions>
  pool?: PoolOptions
}

/** Two services, one of which listens, with notes of what the handlers of the other get. */
class Two implements AsyncDisposable {
  readonly notes: string[] = []
  readonly waiting: { resolve: (text: string) => void; signal: AbortSignal }[] = []
  readonly handlerErrors: unknown[] = []
  server!: MessageService
  client!: MessageService
  listener!: Listener
  pool!: MessagePool

  constructor(
    readonly runtime: Runtime,
    readonly setup: Setup,
    readonly port: number,
  ) {}

  static async start(mode: Mode, setup: Setup = {}): Promise<Two> {
    const two = new Two(mode.start(), setup, 0)
    await two.listen()
    const port = portOf(two.listener)
    two.client = new MessageService({ protocols: [protocol], runtime: two.runtime, ...setup.client })
    two.pool = two.client.pool({ host: '127.0.0.1', port }, { ...fast, ...setup.pool })
    return two
  }

  async listen(port = 0): Promise<void> {
    this.server = new MessageService({
      ...{ protocols: [protocol], runtime: this.runtime },
      events: { handlerError: (error) => void this.handlerErrors.push(error) },
      ...this.setup.server,
    })
    serve(this.server, this)
    this.listener = await this.server.listen({ host: '127.0.0.1', port, ...this.setup.listen })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}

function serve(service: MessageService, { notes, waiting }: Pick<Two, 'notes' | 'waiting'>): void {
  service.handle(protocol, {
    echo: (body) => body,
    add: ({ a, b }) => a + b,
    wait: (text, { signal }) => {
      notes.push(text)
      return new Promise((resolve) => waiting.push({ resolve, signal }))
    },
    note: (text) => void notes.push(text),
    async *count(to) {
      for (let i = 0; i < to; i++) yield i
    },
    copy: (map) => map,
    async upload(body) {
      const pieces: Uint8Array[] = []
      for await (const piece of body) pieces.push(piece)
      return { ...body.head, hash: hashOf(...pieces), sizeBytes: pieces.reduce((sum, { length }) => sum + length, 0) }
    },
    async *generate({ count, sizeBytes }, { signal }) {
      for (let i = 0; i < count; i++) {
        if (i % 20 === 0) await nextTurn()
        notes.push(`piece ${i}`)
        yield pattern(sizeBytes, i)
      }
      signal.throwIfAborted()
    },
    mirror: (body) => body,
    fail: (text) => {
      if (text === '') throw new Error('a secret')
      throw new MessageError('E_NO', text)
    },
    strict: ({ n }) => n,
  })
}

const compressing = { compression: ['brotli', 'deflate'] } satisfies Partial<MessageServiceOptions>
const transports: { name: string; setup: Setup }[] = [
  { name: 'in the clear', setup: {} },
  { name: 'over TLS', setup: { listen: { tls: serving }, client: { tls: trusting } } },
  { name: 'compressed', setup: { server: compressing, client: { compression: ['deflate', 'brotli'] } } },
]

describe.each(modes())('messages on $name', (mode) => {
  describe.each(transports)('$name', ({ setup }) => {
    it('are answered, with the types of their protocol', async () => {
      await using two = await Two.start(mode, setup)
      const { pool } = two
      expect(await pool.request(add, { a: 2, b: 3 })).toBe(5)
      const map = new Map([['now', new Date(7)]])
      expect(await pool.request(copy, map)).toEqual(map)
      expect(await pool.request(echo, new Uint8Array(0))).toEqual(Buffer.alloc(0))
      for (const size of [1, 16_000, 16_384, 65_536, 70_000, 3_000_000]) {
        const body = pattern(size)
        expect(Buffer.compare(await pool.request(echo, body), body)).toBe(0)
      }
    })

    it('of many at once find their own answers', async () => {
      await using two = await Two.start(mode, { ...setup, pool: { maxRequestsPerConnection: 50 } })
      const bodies = Array.from({ length: 2000 }, (_, i) => pattern(i % 97 === 0 ? 50_000 : i % 300, i))
      const answers = await Promise.all(bodies.map((body) => two.pool.request(echo, body)))
      expect(answers.every((answer, i) => Buffer.compare(answer, bodies[i]!) === 0)).toBe(true)
    })

    it('that are synchronous are handled in order, beside others, over several connections', async () => {
      await using two = await Two.start(mode, {
        ...setup,
        pool: { maxConnections: 3, maxRequestsPerConnection: 2 },
      })
      const long = '.'.repeat(100_000)
      const others = Array.from({ length: 50 }, () => two.pool.request(echo, pattern(30_000)))
      const ordered = Array.from({ length: 100 }, (_, i) =>
        two.pool.send(note, i % 10 === 0 ? `${i}${long}` : `${i}`, { synchronous: true, idempotent: true }),
      )
      await Promise.all([...others, ...ordered])
      expect(two.notes.map((text) => Number.parseInt(text, 10))).toEqual(Array.from({ length: 100 }, (_, i) => i))
    })

    it('come in parts, as many as are taken', async () => {
      await using two = await Two.start(mode, setup)
      const seen: number[] = []
      for await (const part of two.pool.parts(count, 500)) seen.push(part)
      expect(seen).toEqual(Array.from({ length: 500 }, (_, i) => i))
      for await (const part of two.pool.parts(count, 1_000_000)) if (part === 10) break
      expect(await two.pool.request(add, { a: 1, b: 1 })).toBe(2)
    })

    it('bring streams in both directions, of any length', async () => {
      await using two = await Two.start(mode, setup)
      const pieces = Array.from({ length: 50 }, (_, i) => pattern(i * 3001, i))
      const sum = await two.pool.request(upload, { head: { name: 'a' }, body: pieces })
      expect(sum).toEqual({ name: 'a', hash: hashOf(...pieces), sizeBytes: 50 * 49 * 1500.5 })
      const download = await two.pool.request(generate, { count: 100, sizeBytes: 40_000 })
      const received = await download.bytes()
      expect(hashOf(received)).toBe(hashOf(...Array.from({ length: 100 }, (_, i) => pattern(40_000, i))))
      const mirrored = await two.pool.request(mirror, slowly(pieces))
      expect(hashOf(await mirrored.bytes())).toBe(hashOf(...pieces))
      expect(await (await two.pool.request(mirror, [])).bytes()).toEqual(Buffer.alloc(0))
    })

    it('wait for a server that comes later', async () => {
      await using two = await Two.start(mode, setup)
      const port = portOf(two.listener)
      await two.server.destroy()
      const waiting = two.pool.request(add, { a: 1, b: 2 })
      await eventually(() => two.pool.stats().failures >= 2)
      await two.listen(port)
      expect(await waiting).toBe(3)
    })

    it('go to the next server when one restarts: what may be repeated is, what may not says so', async () => {
      await using two = await Two.start(mode, setup)
      const port = portOf(two.listener)
      const repeated = two.pool.request(wait, 'again', { idempotent: true })
      const once = codeOf(two.pool.request(wait, 'once'))
      await eventually(() => two.notes.length === 2)
      await two.server.destroy()
      expect(await once).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
      await two.listen(port)
      await eventually(() => two.notes.length === 3)
      two.waiting.at(-1)!.resolve('done')
      expect(await repeated).toBe('done')
      expect(two.notes).toEqual(['again', 'once', 'again'])
    })
  })

  it('that are one-shot fail at once without a connection, also between two attempts', async () => {
    await using two = await Two.start(mode)
    await two.server.destroy()
    expect(await codeOf(two.pool.request(add, { a: 1, b: 2 }, { oneShot: true }))).toBe(
      'ERR_SLUICE_MESSAGE_NOT_CONNECTED',
    )
    await eventually(() => two.pool.stats().nextAttemptMs !== undefined)
    expect(await codeOf(two.pool.send(note, 'x', { oneShot: true }))).toBe('ERR_SLUICE_MESSAGE_NOT_CONNECTED')
  })

  it('find the address of a name where somebody is, one at a time, and follow when the list changes', async () => {
    await using two = await Two.start(mode)
    const refused = { address: '127.0.0.1', port: 1 }
    const here = { address: '127.0.0.1', port: portOf(two.listener) }
    const resolver = new StaticResolver({ somewhere: [refused, refused, here, refused] })
    const client = new MessageService({ protocols: [protocol], runtime: two.runtime, resolver })
    const pool = client.pool('somewhere', fast)
    expect(await pool.request(add, { a: 1, b: 2 }, { oneShot: true })).toBe(3)
    expect(pool.stats()).toMatchObject({ connected: 1, failures: 0 })
    await two.server.destroy()
    await two.listen()
    resolver.set('somewhere', { address: '127.0.0.1', port: portOf(two.listener) })
    // What goes over the connection that is about to be found lost may be sent again.
    expect(await pool.request(add, { a: 3, b: 4 }, { idempotent: true })).toBe(7)
  })

  it('can be canceled while they wait, and while their handler runs, which hears of it', async () => {
    await using two = await Two.start(mode)
    const reason = new Error('no more')
    const early = new AbortController()
    early.abort(reason)
    expect(await codeOf(two.pool.request(echo, pattern(3), { signal: early.signal }))).toBe(
      'ERR_SLUICE_MESSAGE_CANCELED',
    )
    const late = new AbortController()
    const pending = two.pool.request(wait, 'x', { signal: late.signal })
    await eventually(() => two.waiting.length === 1)
    late.abort(reason)
    const error = await pending.catch((thrown: SluiceError) => thrown)
    expect(error).toMatchObject({ code: 'ERR_SLUICE_MESSAGE_CANCELED', cause: reason })
    await eventually(() => two.waiting[0]!.signal.aborted)
    expect(two.waiting[0]!.signal.reason.code).toBe('ERR_SLUICE_MESSAGE_CANCELED_BY_PEER')
    two.waiting[0]!.resolve('too late')
    expect(await two.pool.request(add, { a: 1, b: 1 })).toBe(2)
    const port = portOf(two.listener)
    await two.server.destroy()
    const queued = new AbortController()
    const inQueue = codeOf(two.pool.request(echo, pattern(3), { signal: queued.signal }))
    queued.abort()
    expect(await inQueue).toBe('ERR_SLUICE_MESSAGE_CANCELED')
    expect(two.pool.stats()).toMatchObject({ queued: 0, queuedBytes: 0 })
    expect(port).toBeGreaterThan(0)
  })

  it('that are canceled while they are written do not arrive', async () => {
    await using two = await Two.start(mode, { server: { windowBytes: 65_536 } })
    await two.pool.request(add, { a: 0, b: 0 })
    const [connection] = two.server.connections
    connection!.transport.pause()
    const controller = new AbortController()
    const big = codeOf(two.pool.send(note, 'x'.repeat(5_000_000), { signal: controller.signal }))
    await new Promise<void>((resolve) => two.runtime.after(20, resolve))
    controller.abort()
    expect(await big).toBe('ERR_SLUICE_MESSAGE_CANCELED')
    connection!.transport.resume()
    await two.pool.send(note, 'after', { idempotent: true })
    expect(two.notes).toEqual(['after'])
  })

  it('have time limits of their own', async () => {
    await using two = await Two.start(mode, { client: { timeoutMs: 40 } })
    expect(await codeOf(two.pool.request(wait, 'a', { timeoutMs: 30 }))).toBe('ERR_SLUICE_MESSAGE_TIMEOUT')
    expect(await codeOf(two.pool.request(wait, 'b'))).toBe('ERR_SLUICE_MESSAGE_TIMEOUT')
    let answer: string | undefined
    void two.pool.request(wait, 'c', { timeoutMs: 0 }).then((late) => {
      answer = late
    })
    // Whether the first ones got as far as their handlers is a matter of chance.
    await eventually(() => {
      for (const { resolve } of two.waiting.splice(0)) resolve('late')
      return answer !== undefined
    })
    expect(answer).toBe('late')
  })

  it('that fail there tell what their handler wants told, and no more', async () => {
    await using two = await Two.start(mode)
    const refused = await two.pool.request(fail, 'not today').catch((error: SluiceError) => error)
    expect(refused).toMatchObject({ code: 'ERR_SLUICE_MESSAGE_REFUSED', cause: { code: 'E_NO', message: 'not today' } })
    const failed = await two.pool.request(fail, '').catch((error: SluiceError) => error)
    expect(failed).toMatchObject({ code: 'ERR_SLUICE_MESSAGE_HANDLER_FAILED' })
    expect(JSON.stringify(failed)).not.toContain('secret')
    expect(two.handlerErrors).toMatchObject([{ message: 'a secret' }])
    const wrong = await codeOf(two.pool.request(strict, { n: 'x' as never }))
    expect(wrong).toBe('ERR_SLUICE_MESSAGE_CODEC')
    expect(await two.pool.request(strict, { n: 4 })).toBe(4)
    expect(await codeOf(two.pool.request(add, undefined as never))).toBe('ERR_SLUICE_MESSAGE_CODEC')
  })

  it('go both ways: a server sends over the connections it has', async () => {
    await using two = await Two.start(mode)
    const notes: string[] = []
    serve(two.client, { notes, waiting: [] })
    await two.pool.request(add, { a: 0, b: 0 })
    const [connection] = two.server.connections
    expect(await connection!.request(add, { a: 4, b: 5 })).toBe(9)
    await connection!.send(note, 'from the server', { idempotent: true })
    expect(notes).toEqual(['from the server'])
  })

  it('of a larger queue than allowed are refused', async () => {
    await using two = await Two.start(mode, { pool: { maxQueuedMessages: 2, maxQueuedBytes: 100 } })
    await two.server.destroy()
    const first = codeOf(two.pool.request(echo, pattern(60)))
    expect(await codeOf(two.pool.request(echo, pattern(60)))).toBe('ERR_SLUICE_MESSAGE_QUEUE_FULL')
    const second = codeOf(two.pool.request(echo, pattern(10)))
    expect(await codeOf(two.pool.request(echo, pattern(1)))).toBe('ERR_SLUICE_MESSAGE_QUEUE_FULL')
    two.pool.destroy()
    expect(await first).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
    expect(await second).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
    expect(await codeOf(two.pool.request(echo, pattern(1)))).toBe('ERR_SLUICE_MESSAGE_POOL_CLOSED')
  })

  it('larger than the receiver takes are refused, and the connection goes on', async () => {
    await using two = await Two.start(mode, { server: { maxMessageBytes: 100_000 } })
    expect(await codeOf(two.pool.request(echo, pattern(100_001)))).toBe('ERR_SLUICE_MESSAGE_TOO_LARGE')
    expect((await two.pool.request(echo, pattern(100_000))).length).toBe(100_000)
    expect(two.pool.stats().connected).toBe(1)
    await using other = await Two.start(mode, { client: { maxMessageBytes: 1000 } })
    expect(await codeOf(other.pool.request(echo, pattern(1001)))).toBe('ERR_SLUICE_MESSAGE_TOO_LARGE')
    expect((await other.pool.request(echo, pattern(1000))).length).toBe(1000)
  })

  it('under way are finished by close(), of the client and of the server', async () => {
    await using two = await Two.start(mode)
    const asked = two.pool.request(wait, 'x')
    await eventually(() => two.waiting.length === 1)
    const closing = two.server.close()
    two.waiting[0]!.resolve('finished')
    expect(await asked).toBe('finished')
    await closing
    const port = portOf(two.listener)
    await two.listen(port)
    const last = two.pool.request(wait, 'y')
    await eventually(() => two.waiting.length === 2)
    const closed = two.client.close()
    two.waiting[1]!.resolve('finished too')
    expect(await last).toBe('finished too')
    await closed
  })

  it('of pools under load go over more connections, up to the limit', async () => {
    await using two = await Two.start(mode, { pool: { maxConnections: 4, maxRequestsPerConnection: 5 } })
    const all = Array.from({ length: 40 }, () => two.pool.request(wait, 'x'))
    await eventually(() => two.waiting.length === 20)
    expect(two.pool.stats()).toMatchObject({ active: 4, queued: 20 })
    for (let i = 0; i < 40; i++) {
      await eventually(() => two.waiting.length > i)
      two.waiting[i]!.resolve('')
    }
    await Promise.all(all)
    expect(two.server.connections.length).toBe(4)
  })

  it('are not held up by a stream that nobody reads, of which no more than a window comes', async () => {
    await using two = await Two.start(mode, { client: { windowBytes: 100_000 } })
    const download = await two.pool.request(generate, { count: 100_000, sizeBytes: 10_000 })
    for (let i = 0; i < 200; i++) expect(await two.pool.request(add, { a: i, b: i })).toBe(2 * i)
    const made = two.notes.length
    expect(made).toBeLessThan(100)
    for await (const piece of download) {
      expect(piece.length).toBeGreaterThan(0)
      break
    }
    expect(await two.pool.request(add, { a: 1, b: 1 })).toBe(2)
    expect(two.notes.length).toBeLessThan(made + 30)
    await two.client.close()
    await two.server.close()
  })

  it('that are streams end with an error when their other end fails, or goes away', async () => {
    await using two = await Two.start(mode, { client: { windowBytes: 100_000 } })
    async function* failing() {
      yield pattern(200_000)
      throw new Error('no more')
    }
    expect(await codeOf(two.pool.request(mirror, failing()))).toMatch(/done|MESSAGE_CODEC/)
    const broken = await two.pool.request(upload, { head: { name: 'x' }, body: failing() }).catch((error) => error)
    expect(broken).toMatchObject({ code: 'ERR_SLUICE_MESSAGE_CODEC' })
    expect(await two.pool.request(add, { a: 1, b: 1 })).toBe(2)
    const download = await two.pool.request(generate, { count: 1000, sizeBytes: 10_000 })
    await download.next()
    await two.server.destroy()
    expect(await codeOf(download.bytes())).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
  })

  it('of protocols that the peer lacks are refused by name', async () => {
    const known = defineProtocol({ name: 'test', messages: { add } })
    const newer = defineProtocol({ name: 'test', version: 2, messages: { add: request(json(), json()) } })
    const more = defineProtocol({ name: 'more', messages: { what: request(json(), json()) } })
    await using two = await Two.start(mode, { client: { protocols: [known, newer, more] } })
    expect(await two.pool.request(known.messages.add, { a: 1, b: 1 })).toBe(2)
    const error = await two.pool.request(newer.messages.add, 1).catch((thrown: SluiceError) => thrown)
    expect(error).toMatchObject({ code: 'ERR_SLUICE_MESSAGE_UNKNOWN_TYPE' })
    expect((error as SluiceError).message).toContain('test 1')
    expect(await codeOf(two.pool.request(more.messages.what, 1))).toBe('ERR_SLUICE_MESSAGE_UNKNOWN_TYPE')
    expect(await codeOf(two.pool.request(echo, pattern(1)))).toBe('ERR_SLUICE_MESSAGE_UNKNOWN_TYPE')
  })

  it('of services without a common protocol end in an error on both sides', async () => {
    const other = defineProtocol({ name: 'other', messages: { what: request(json(), json()) } })
    const stopped: (string | undefined)[] = []
    const events = { connectionStop: (_: unknown, error?: SluiceError) => void stopped.push(error?.code) }
    await using two = await Two.start(mode, { client: { protocols: [other] as Protocol[] }, server: { events } })
    expect(await codeOf(two.pool.request(other.messages.what, 1))).toBe('ERR_SLUICE_MESSAGE_VERSION')
    await eventually(() => stopped.length > 0)
    expect(stopped[0]).toBe('ERR_SLUICE_MESSAGE_VERSION')
  })
})
