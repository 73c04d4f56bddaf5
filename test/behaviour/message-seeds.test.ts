// What SolidFrame tests its message engine with, by the names that it has there: over every engine, each in the clear, over
// TLS and compressed.
import zlib from 'node:zlib'
import { type Connection, relay, type SluiceError } from 'sluice'
import {
  bytes,
  type CompressionEngine,
  defineProtocol,
  json,
  type MessageConnection,
  type MessageListenOptions,
  type MessagePool,
  MessageService,
  type MessageServiceOptions,
  oneWay,
  type PoolOptions,
  type Protocol,
  request,
  utf8,
} from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../support/code-of.js'
import { serving, trusting } from '../support/identities.js'
import { type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { pattern } from '../support/record.js'

const engines: CompressionEngine[] = ['snappy', 'brotli', 'deflate']
if ('zstdCompressSync' in zlib) engines.unshift('zstd')

interface Setup {
  listen?: Partial<MessageListenOptions>
  server?: Partial<MessageServiceOptions>
  client?: Partial<MessageServiceOptions>
  pool?: PoolOptions
}

const transports: { transport: string; base: Setup }[] = [
  { transport: 'in the clear', base: {} },
  { transport: 'over TLS', base: { listen: { tls: serving }, client: { tls: trusting } } },
  ...engines.map((engine) => ({
    transport: `compressed by ${engine}`,
    base: { server: { compression: [engine] }, client: { compression: [engine] } },
  })),
]

const first = defineProtocol({
  name: 'first',
  messages: { echo: request(bytes(), bytes()), wait: request(utf8(), utf8()), note: oneWay(utf8()) },
})
const second = defineProtocol({
  name: 'second',
  version: 3,
  messages: { add: request(json<number[]>(), json<number>()) },
})
const third = defineProtocol({ name: 'third', messages: { note: request(utf8(), utf8()) } })
const { echo, wait, note } = first.messages

const fast = { baseMs: 20, steps: 2, jitterMinMs: 0, jitterMaxMs: 5 }
/** Sizes around all that matters: chunks, packets, windows, and what is lent instead of copied. */
const sizes = [0, 1, 127, 128, 1024, 1025, 16_000, 16_384, 16_385, 65_536, 65_537, 200_000]
// Half of it gets smaller when it is compressed.
const bodyOf = (size: number, id: number) =>
  Buffer.concat([pattern(size / 2, id), Buffer.alloc(size - Math.floor(size / 2))])

class Bench implements AsyncDisposable {
  readonly notes: string[] = []
  readonly waiting: ((text: string) => void)[] = []
  readonly stops: string[] = []
  readonly runtime: ReturnType<Mode['start']>
  server!: MessageService
  client!: MessageService
  port = 0

  constructor(
    mode: Mode,
    private readonly base: Setup,
    private readonly extra: Setup = {},
  ) {
    this.runtime = mode.start()
  }

  private note(side: string): MessageServiceOptions['events'] {
    return {
      connectionStop: (_: MessageConnection, error?: SluiceError) => void this.stops.push(`${side} ${error?.code}`),
    }
  }

  async listen(port = 0): Promise<void> {
    const { base, extra, runtime } = this
    const options = { protocols: [first] as Protocol[], runtime, events: this.note('server') }
    this.server = new MessageService({ ...options, ...base.server, ...extra.server })
    if (options.protocols.includes(first)) this.serve(this.server)
    this.port = portOf(await this.server.listen({ host: '127.0.0.1', port, ...base.listen, ...extra.listen }))
  }

  serve(service: MessageService): MessageService {
    return service.handle(first, {
      echo: (body) => body,
      note: (text) => void this.notes.push(text),
      wait: (text) => {
        this.notes.push(text)
        return new Promise((resolve) => this.waiting.push(resolve))
      },
    })
  }

  makeClient(options: Partial<MessageServiceOptions> = {}): MessageService {
    const { base, extra, runtime } = this
    return new MessageService({
      ...{ protocols: [first], runtime, events: this.note('client') },
      ...base.client,
      ...extra.client,
      ...options,
    })
  }

  pool(client: MessageService, port = this.port, options: PoolOptions = {}): MessagePool {
    return client.pool({ host: '127.0.0.1', port }, { reconnect: fast, ...options })
  }

  /** A server, a client, and the pool between them. */
  async start(options: PoolOptions = {}): Promise<MessagePool> {
    await this.listen()
    this.client = this.makeClient()
    return this.pool(this.client, this.port, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}

// Answers with the length of what came as text, until the first full stop.
async function measureRaw(connection: MessageConnection): Promise<void> {
  let count = 0
  for (;;) {
    await connection.raw.available(1)
    const piece = connection.raw.read(connection.raw.sizeBytes)
    count += piece.length
    if (piece.at(-1) === 0x2e) break
  }
  connection.writeRaw(`${count}.`)
}

describe.each(modes())('on $name', (mode) => {
  describe.each(transports)('$transport', ({ base }) => {
    it('protocol basic: messages of all sizes come back as they were, many at once', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      const bodies = [...sizes, ...sizes].map((size, i) => bodyOf(size, i))
      const answers = await Promise.all(bodies.map((body) => pool.request(echo, body)))
      expect(answers.map((answer, i) => Buffer.compare(answer, bodies[i]!))).toEqual(bodies.map(() => 0))
    })

    it('protocol synchronous: they come one after the other, long ones too', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start({ maxConnections: 3 })
      const ids = Array.from({ length: 24 }, (_, i) => i)
      const text = (id: number) => `${id} ${'x'.repeat(sizes[id % sizes.length]!)}`
      await Promise.all(ids.map((id) => pool.send(note, text(id), { synchronous: true, idempotent: true })))
      expect(bench.notes.map((one) => Number.parseInt(one, 10))).toEqual(ids)
    })

    it('client-server basic: over several connections at once', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start({ maxConnections: 3, maxRequestsPerConnection: 4 })
      const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => pool.request(echo, bodyOf(i * 100, i))))
      expect(answers.map(({ length }) => length)).toEqual(answers.map((_, i) => i * 100))
      expect(pool.stats()).toMatchObject({ sent: 60, completed: 60, failed: 0, queued: 0 })
    })

    it('client-server send-request: a handler asks its sender before it answers', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      const asking = new MessageService({ protocols: [first], runtime: bench.runtime, ...base.server })
      asking.handle(first, {
        wait: async (text, { connection }) => `${text} ${(await connection.request(echo, bodyOf(40_000, 1))).length}`,
      })
      bench.serve(bench.client)
      const listener = await asking.listen({ host: '127.0.0.1', port: 0, ...base.listen })
      const other = bench.pool(bench.client, portOf(listener))
      expect(await Promise.all(['a', 'b', 'c'].map((text) => other.request(wait, text)))).toEqual([
        ...['a 40000', 'b 40000', 'c 40000'],
      ])
      expect(pool.stats().connected).toBe(0)
    })

    it('client-server delayed: the server comes later; what is done cannot be canceled any more', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      const { port } = bench
      await bench.server.destroy()
      const controller = new AbortController()
      const asked = pool.request(echo, bodyOf(70_000, 1), { signal: controller.signal })
      await eventually(() => pool.stats().failures > 0)
      await bench.listen(port)
      expect((await asked).length).toBe(70_000)
      controller.abort()
      expect(pool.stats()).toMatchObject({ sent: 1, completed: 1, failed: 0 })
      expect(await pool.request(echo, bodyOf(5, 1))).toHaveLength(5)
    })

    it('client-server no-server: messages wait until they are canceled, or the pool is closed', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      await bench.server.destroy()
      const controller = new AbortController()
      const canceled = codeOf(pool.request(echo, bodyOf(5, 1), { signal: controller.signal }))
      const left = codeOf(pool.request(echo, bodyOf(5, 1)))
      await eventually(() => pool.stats().failures > 0)
      controller.abort()
      expect(await canceled).toBe('ERR_SLUICE_MESSAGE_CANCELED')
      pool.destroy()
      expect(await left).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
    })

    it('client-server one-shot: without a server it fails, with one it does not', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      const { port } = bench
      expect(await pool.request(echo, bodyOf(5, 1), { oneShot: true })).toHaveLength(5)
      await bench.server.destroy()
      const lost = await codeOf(pool.request(echo, bodyOf(5, 1), { oneShot: true }))
      expect(lost).toMatch(/^ERR_SLUICE_MESSAGE_(NOT_CONNECTED|CONNECTION)$/)
      await eventually(() => pool.stats().active === 0)
      expect(await codeOf(pool.request(echo, bodyOf(5, 1), { oneShot: true }))).toBe('ERR_SLUICE_MESSAGE_NOT_CONNECTED')
      await bench.listen(port)
      expect(await pool.request(echo, bodyOf(5, 1))).toHaveLength(5)
    })

    it('client-server idempotent: the next server answers what the first one did not, and nothing else twice', async () => {
      await using bench = new Bench(mode, base)
      const pool = await bench.start()
      const { port } = bench
      const again = pool.request(wait, 'again', { idempotent: true })
      const once = codeOf(pool.request(wait, 'once'))
      await eventually(() => bench.notes.length === 2)
      await bench.server.destroy()
      expect(await once).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
      await bench.listen(port)
      await eventually(() => bench.waiting.length === 3)
      bench.waiting[2]!('done')
      expect(await again).toBe('done')
      expect(bench.notes).toEqual(['again', 'once', 'again'])
    })

    it('peer-to-peer: three of them, each with each', async () => {
      await using bench = new Bench(mode, base)
      const peers = await Promise.all(
        [0, 1, 2].map(async () => {
          const options = { ...base.server, ...base.client }
          const service = bench.serve(new MessageService({ protocols: [first], runtime: bench.runtime, ...options }))
          return { service, port: portOf(await service.listen({ host: '127.0.0.1', port: 0, ...base.listen })) }
        }),
      )
      const all = peers.flatMap(({ service }, from) =>
        peers.flatMap(({ port }, to) =>
          from === to ? [] : sizes.map((size) => bench.pool(service, port).request(echo, bodyOf(size, from))),
        ),
      )
      expect((await Promise.all(all)).map(({ length }) => length)).toEqual(all.map((_, i) => sizes[i % sizes.length]))
    })

    it('keep-alive fail: too many of them end the connection', async () => {
      await using bench = new Bench(mode, base, { client: { keepAliveMs: 5 }, server: { maxKeepAlives: 4 } })
      const pool = await bench.start()
      // Again if its answer takes so long that the end comes first.
      await pool.request(echo, bodyOf(5, 1), { idempotent: true })
      await eventually(() => bench.stops.length >= 2)
      expect(new Set(bench.stops)).toEqual(
        new Set(['client', 'server'].map((side) => `${side} ERR_SLUICE_MESSAGE_TOO_MANY_KEEPALIVES`)),
      )
    })

    it('keep-alive fail: too few of them end it as well', async () => {
      await using bench = new Bench(mode, base, {
        client: { keepAliveMs: 100_000 },
        server: { inactivityTimeoutMs: 30 },
      })
      const pool = await bench.start()
      await pool.request(echo, bodyOf(5, 1), { idempotent: true })
      await eventually(() => bench.stops.length >= 2)
      expect(new Set(bench.stops)).toEqual(
        new Set(['client', 'server'].map((side) => `${side} ERR_SLUICE_MESSAGE_INACTIVE`)),
      )
    })

    it('keep-alive success: at the right pace it lasts, and messages still go over it', async () => {
      await using bench = new Bench(mode, base, {
        client: { keepAliveMs: 4 },
        server: { maxKeepAlives: 3, keepAliveIntervalMs: 1, inactivityTimeoutMs: 10_000 },
      })
      const pool = await bench.start()
      await pool.request(echo, bodyOf(5, 1))
      const { transport } = bench.server.connections[0]!
      const before = transport.stats().bytesRead
      // Of 4 bytes each, or more in TLS.
      await eventually(() => transport.stats().bytesRead >= before + 20 * 4)
      expect(await pool.request(echo, bodyOf(5, 1))).toHaveLength(5)
      expect(bench.stops).toEqual([])
      expect(pool.stats().connected).toBe(1)
    })

    it('multi-protocol: a client may know fewer than its server, and has its answers all the same', async () => {
      await using bench = new Bench(mode, base)
      await bench.start()
      const server = new MessageService({
        ...{ protocols: [first, second, third], runtime: bench.runtime },
        ...base.server,
      })
      bench.serve(server)
      server.handle(second, { add: (list) => list.reduce((sum, n) => sum + n, 0) })
      server.handle(third, { note: (text) => `third ${text}` })
      const port = portOf(await server.listen({ host: '127.0.0.1', port: 0, ...base.listen }))
      const some = bench.pool(bench.makeClient({ protocols: [third, first] }), port)
      const other = bench.pool(bench.makeClient({ protocols: [second] as Protocol[] }), port)
      expect(await some.request(third.messages.note, 'x')).toBe('third x')
      expect(await some.request(echo, bodyOf(20_000, 1))).toHaveLength(20_000)
      expect(await other.request(second.messages.add, [1, 2, 3])).toBe(6)
      expect(await codeOf(some.request(second.messages.add, [1]))).toBe('ERR_SLUICE_MESSAGE_UNKNOWN_TYPE')
      const ours = defineProtocol({ name: 'ours', messages: { x: oneWay(utf8()) } })
      const lonely = bench.pool(bench.makeClient({ protocols: [second, ours] as Protocol[] }), port)
      expect(await codeOf(lonely.send(ours.messages.x, ''))).toBe('ERR_SLUICE_MESSAGE_UNKNOWN_TYPE')
      await Promise.all([server.close(), bench.client.close()])
    })

    it('raw basic: a long text, and an answer, then messages', async () => {
      await using bench = new Bench(mode, base, {
        listen: {
          start: 'raw',
          async accepted(connection) {
            await measureRaw(connection)
            connection.activate()
            await connection.leaveRaw()
          },
        },
        client: {
          start: 'raw',
          async prepare(connection) {
            connection.writeRaw(`${'x'.repeat(150_000)}.`)
            await connection.raw.available(7)
            expect(connection.raw.read(7).toString()).toBe('150001.')
            await connection.leaveRaw()
          },
        },
      })
      const pool = await bench.start()
      expect(await pool.request(echo, bodyOf(100_000, 1))).toHaveLength(100_000)
    })

    it('raw proxy: through a relay that is told where to go', async () => {
      await using bench = new Bench(mode, { ...base, client: { ...base.client, tls: undefined as never } })
      await bench.listen()
      const passOn = async (downstream: Connection<string>) => {
        const [host, port] = downstream.data.trim().split(' ')
        const upstream = await bench.runtime.connect({ host: host!, port: Number(port) }).catch(() => undefined)
        if (upstream === undefined) {
          downstream.end('0')
          return
        }
        downstream.write('1')
        relay(downstream, upstream)
      }
      const proxy = await bench.runtime.listen<string>(
        { host: '127.0.0.1', port: 0 },
        {
          data(downstream, piece) {
            downstream.data = `${downstream.data ?? ''}${Buffer.from(piece)}`
            if (downstream.data.endsWith('\n')) void passOn(downstream)
          },
        },
      )
      const isSecure = base.client?.tls !== undefined
      const through = (port: number) =>
        bench.pool(
          bench.makeClient({
            start: 'raw',
            ...(isSecure && { startTls: { ...trusting, serverName: 'localhost' } }),
            async prepare(connection) {
              connection.writeRaw(`127.0.0.1 ${port}\n`)
              await connection.raw.available(1)
              if (connection.raw.read(1).toString() !== '1') throw new Error('the proxy says no')
              await connection.leaveRaw({ secure: isSecure })
            },
          }),
          portOf(proxy),
        )
      const pool = through(bench.port)
      expect(await Promise.all(sizes.map(async (size) => (await pool.request(echo, bodyOf(size, 1))).length))).toEqual(
        sizes,
      )
      expect(await codeOf(through(1).request(echo, bodyOf(1, 1), { oneShot: true }))).toBe(
        'ERR_SLUICE_MESSAGE_NOT_CONNECTED',
      )
    })
  })
})
