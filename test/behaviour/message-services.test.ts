// What services tell about messages, and pass along with them: priorities, time limits, traces, counters, peers; files as bodies.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileSegment, type SluiceError } from 'sluice'
import {
  bytes,
  defineProtocol,
  json,
  type MessageContext,
  type MessageListenOptions,
  type MessagePool,
  MessageService,
  type MessageServiceOptions,
  oneWay,
  type PoolOptions,
  relayProtocol,
  request,
  stream,
  utf8,
} from 'sluice/messages'
import { afterAll, describe, expect, it } from 'vitest'
import { codeOf } from '../support/code-of.js'
import { serving, trusting } from '../support/identities.js'
import { type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-messages-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'file')
const content = pattern(3_000_000)
writeFileSync(file, content)

const protocol = defineProtocol({
  name: 'test',
  messages: {
    note: oneWay(utf8()),
    echo: request(bytes(), bytes()),
    wait: request(utf8(), utf8()),
    facts: request(utf8(), json<{ timeoutMs?: number; traceparent?: string }>()),
    upload: request(stream(), json<{ hash: string; sizeBytes: number }>()),
    firstPiece: request(stream(), json<number>()),
    download: request(json<{ offsetBytes: number; lengthBytes?: number }>(), stream()),
    mirror: request(stream(), stream()),
  },
})
const { note, echo, wait, facts, upload, firstPiece, download, mirror } = protocol.messages
const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const reconnect = { baseMs: 20, steps: 2, jitterMinMs: 0, jitterMaxMs: 5 }

class Two implements AsyncDisposable {
  readonly notes: string[] = []
  readonly segments: FileSegment[] = []
  readonly aborted: string[] = []
  server!: MessageService
  client!: MessageService
  pool!: MessagePool
  port = 0
  readonly runtime: ReturnType<Mode['start']>

  constructor(mode: Mode) {
    this.runtime = mode.start()
  }

  serve(options: Partial<MessageServiceOptions> = {}): MessageService {
    const service = new MessageService({ protocols: [protocol, relayProtocol], runtime: this.runtime, ...options })
    const { notes, segments, aborted } = this
    return service.handle(protocol, {
      note: (text) => void notes.push(text),
      echo: (body) => body,
      wait: (_, { signal }) =>
        new Promise((_, reject) => {
          notes.push('waits')
          signal.addEventListener('abort', () => {
            aborted.push((signal.reason as SluiceError).code)
            reject(signal.reason)
          })
        }),
      facts: (_, { timeoutMs, traceparent: trace }: MessageContext) => ({ timeoutMs, traceparent: trace }),
      async upload(body) {
        const all = await body.bytes()
        return { hash: hashOf(all), sizeBytes: all.length }
      },
      async firstPiece(body) {
        for await (const piece of body) return piece.length
        return 0
      },
      async download(range) {
        const segment = await FileSegment.open(file, range)
        segments.push(segment)
        return segment
      },
      mirror: (body) => body,
    })
  }

  async start(
    server: Partial<MessageServiceOptions> = {},
    client: Partial<MessageServiceOptions> = {},
    options: PoolOptions = {},
    listen: Partial<MessageListenOptions> = {},
  ): Promise<MessagePool> {
    this.server = this.serve(server)
    this.port = portOf(await this.server.listen({ host: '127.0.0.1', port: this.port, ...listen }))
    this.client = new MessageService({ protocols: [protocol], runtime: this.runtime, ...client })
    this.pool = this.client.pool({ host: '127.0.0.1', port: this.port }, { reconnect, ...options })
    return this.pool
  }

  /** A relay, and somebody behind it of group 2. */
  async startRelayed(): Promise<MessagePool> {
    const pool = await this.start({ relay: true })
    const handler = this.serve({
      start: 'inactive',
      prepare: (connection) => connection.request(relayProtocol.messages.register, { group: 2, replica: 0 }),
    })
    const behind = handler.pool({ host: '127.0.0.1', port: this.port }, { connectNow: true, reconnect })
    await eventually(() => behind.stats().active === 1)
    return pool
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}

/** Pieces without end, and whether somebody still wants them. */
function endless() {
  const state = { made: 0, isOver: false }
  async function* make() {
    try {
      for (;;) {
        state.made++
        yield pattern(10_000)
      }
    } finally {
      state.isOver = true
    }
  }
  return { state, pieces: make() }
}

describe.each(modes())('messages on $name', (mode) => {
  it('of a higher priority go first when they have waited', async () => {
    await using two = new Two(mode)
    const pool = await two.start()
    await two.server.destroy()
    const levels = ['low', 'normal', 'high', 'low', 'normal', 'high'] as const
    const sent = levels.map((priority, i) => pool.send(note, `${priority} ${i}`, { priority, idempotent: true }))
    await eventually(() => pool.stats().failures > 0)
    two.server = two.serve()
    await two.server.listen({ host: '127.0.0.1', port: two.port })
    await Promise.all(sent)
    expect(two.notes).toEqual(['high 2', 'high 5', 'normal 1', 'normal 4', 'low 0', 'low 3'])
  })

  it('bring their trace and their time limit along, through a relay too', async () => {
    await using two = new Two(mode)
    const pool = await two.startRelayed()
    for (const relay of [undefined, { group: 2 }]) {
      expect(await pool.request(facts, '', { relay })).toEqual({})
      expect(await pool.request(facts, '', { relay, traceparent, timeoutMs: 9000 })).toEqual({
        ...{ timeoutMs: 9000, traceparent },
      })
    }
    for (const bad of ['00-1', traceparent.replace('00f0', '0000').replace('67aa0ba902b7', '000000000000')])
      expect(await codeOf(pool.request(facts, '', { traceparent: bad }))).toBe('ERR_SLUICE_INVALID_OPTION')
  })

  it('that are too late end their handlers, here and behind a relay', async () => {
    await using two = new Two(mode)
    const pool = await two.startRelayed()
    for (const relay of [undefined, { group: 2 }]) {
      two.aborted.length = 0
      two.notes.length = 0
      const late = codeOf(pool.request(wait, '', { relay, timeoutMs: 300 }))
      await eventually(() => two.notes.length > 0)
      expect(await late).toBe('ERR_SLUICE_MESSAGE_TIMEOUT')
      await eventually(() => two.aborted.length > 0)
      expect(two.aborted).toEqual(['ERR_SLUICE_MESSAGE_CANCELED_BY_PEER'])
    }
  })

  it('are counted per type and per pool, with their bytes and how long they took', async () => {
    await using two = new Two(mode)
    const pool = await two.start()
    for (const size of [10, 100_000]) await pool.request(echo, pattern(size))
    await pool.request(upload, [pattern(20_000), pattern(5)])
    expect(await codeOf(pool.request(wait, 'é', { timeoutMs: 20 }))).toBe('ERR_SLUICE_MESSAGE_TIMEOUT')
    expect(await codeOf(pool.request(echo, 'x' as never))).toBe('ERR_SLUICE_MESSAGE_CODEC')
    const of = (service: MessageService, name: string) => service.stats().types.find((type) => type.name === name)!
    expect(of(two.client, 'echo')).toMatchObject({
      ...{ protocol: 'test', version: 1, sent: 2, sentBytes: 100_010, completed: 2, failed: 0, received: 0 },
    })
    expect(of(two.server, 'echo')).toMatchObject({ sent: 0, received: 2, receivedBytes: 100_010 })
    expect(of(two.client, 'upload')).toMatchObject({ sent: 1, sentBytes: 20_005, completed: 1 })
    expect(of(two.server, 'upload')).toMatchObject({ received: 1, receivedBytes: 20_005 })
    expect(of(two.client, 'wait')).toMatchObject({ sent: 1, completed: 0, failed: 1, latency: { count: 0 } })
    const { latency } = of(two.client, 'echo')
    expect(latency.count).toBe(2)
    expect(latency.maxMs).toBeGreaterThan(0)
    expect(latency.meanMs).toBeLessThanOrEqual(latency.maxMs)
    expect(latency.p50Ms).toBeLessThanOrEqual(latency.p99Ms)
    expect(latency.p99Ms).toBeLessThanOrEqual(latency.maxMs)
    expect(pool.stats()).toMatchObject({ sent: 4, completed: 3, failed: 1, latency: { count: 3 } })
  })

  it('tell which pool of their peer they come from, and when the last connection of it is gone', async () => {
    await using two = new Two(mode)
    const gone: string[] = []
    const events = { peerDisconnect: (pool: string) => void gone.push(pool) }
    const pool = await two.start({ events }, {}, { maxConnections: 2, maxRequestsPerConnection: 1 })
    const asked = [pool.request(wait, ''), pool.request(wait, '')].map(codeOf)
    await eventually(() => two.notes.length === 2)
    const other = new MessageService({ protocols: [protocol], runtime: two.runtime })
    await other.pool({ host: '127.0.0.1', port: two.port }).request(echo, pattern(1))
    const { peers } = two.server.stats()
    expect(peers.map(({ connections, active }) => [connections, active])).toEqual([
      [2, 2],
      [1, 1],
    ])
    expect(new Set(two.server.connections.map(({ peerPool }) => peerPool))).toEqual(
      new Set(peers.map(({ pool: name }) => name)),
    )
    two.client.connections[0]!.destroy()
    await eventually(() => two.server.stats().peers[0]?.connections === 1)
    expect(gone).toEqual([])
    await two.client.destroy()
    await Promise.all(asked)
    await eventually(() => gone.length > 0)
    expect(gone).toEqual([peers[0]!.pool])
  })

  it.each([
    ['in the clear', false],
    ['over TLS', true],
  ])('have files as bodies, both ways, %s', async (_, isSecure) => {
    await using two = new Two(mode)
    const client = { windowBytes: 100_000, ...(isSecure && { tls: trusting }) }
    const pool = await two.start({}, client, {}, isSecure ? { tls: serving } : {})
    for (const range of [{}, { offsetBytes: 1000, lengthBytes: 500_001 }, { lengthBytes: 1 }, { lengthBytes: 0 }]) {
      const { offsetBytes = 0, lengthBytes = content.length } = range
      const part = content.subarray(offsetBytes, offsetBytes + lengthBytes)
      const segment = await FileSegment.open(file, range)
      expect(await pool.request(upload, segment)).toEqual({ hash: hashOf(part), sizeBytes: part.length })
      expect(() => segment.requireOpen()).toThrow('closed')
      const answer = await pool.request(download, { offsetBytes, lengthBytes })
      expect(hashOf(await answer.bytes())).toBe(hashOf(part))
    }
    const answer = await pool.request(download, { offsetBytes: 0 })
    await answer.next()
    answer.cancel()
    const isClosed = (segment: FileSegment) => {
      try {
        segment.requireOpen()
        return false
      } catch {
        return true
      }
    }
    await eventually(() => two.segments.every(isClosed))
    const segment = await FileSegment.open(file)
    expect(await codeOf(pool.request(upload, segment, { timeoutMs: -1 }))).toBe('ERR_SLUICE_INVALID_OPTION')
    segment.close()
    expect(await codeOf(pool.request(upload, segment))).toBe('ERR_SLUICE_MESSAGE_CODEC')
  })

  it('of any length go through a relay, and are canceled by either end', async () => {
    await using two = new Two(mode)
    const pool = await two.startRelayed()
    const relay = { group: 2 }
    let sent = 0
    async function* pieces() {
      for (let i = 0; i < 200; i++) {
        sent += 100_000
        yield pattern(100_000, i)
      }
    }
    let received = 0
    for await (const piece of await pool.request(mirror, pieces(), { relay })) received += piece.length
    expect([sent, received]).toEqual([20_000_000, 20_000_000])
    // Who handles it has had enough.
    const refused = endless()
    expect(await pool.request(firstPiece, refused.pieces, { relay })).toBeGreaterThan(0)
    await eventually(() => refused.state.isOver)
    // Who asks does not want the answer any more.
    const canceled = endless()
    const download = await pool.request(mirror, canceled.pieces, { relay })
    await download.next()
    download.cancel()
    const controller = new AbortController()
    const aborted = endless()
    const asked = codeOf(pool.request(upload, aborted.pieces, { relay, signal: controller.signal }))
    await eventually(() => aborted.state.made > 5)
    controller.abort()
    expect(await asked).toBe('ERR_SLUICE_MESSAGE_CANCELED')
    await eventually(() => aborted.state.isOver && canceled.state.isOver)
    expect(await pool.request(echo, pattern(5), { relay })).toHaveLength(5)
    await Promise.all([two.client.close(), two.server.close()])
  })

  it('of a pool that has lost three of four connections go on, and it makes them anew', async () => {
    await using two = new Two(mode)
    const pool = await two.start({}, { maxPools: 1 }, { maxConnections: 4, persistentConnections: 4, connectNow: true })
    await eventually(() => pool.stats().active === 4)
    expect(() => two.client.pool('127.0.0.1:1')).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_MESSAGE_TOO_MANY_POOLS' }),
    )
    const [kept, ...others] = two.client.connections
    const asked = others.map((connection) => codeOf(connection.request(wait, '')))
    await eventually(() => two.notes.length === 3)
    for (const connection of others) connection.destroy()
    expect(await Promise.all(asked)).toEqual(asked.map(() => 'ERR_SLUICE_MESSAGE_CONNECTION'))
    expect(await pool.request(echo, pattern(5))).toHaveLength(5)
    await eventually(() => pool.stats().active === 4)
    expect(kept!.state).toBe('active')
    expect(pool.stats().connected).toBe(7)
  })

  it('that answer before they have read all of a body let go of the rest', async () => {
    await using two = new Two(mode)
    const pool = await two.start()
    const { state, pieces } = endless()
    expect(await pool.request(firstPiece, pieces)).toBeGreaterThan(0)
    await eventually(() => state.isOver)
    expect(await pool.request(echo, pattern(5))).toHaveLength(5)
  })

  it('of strangers that are streams have the same bound as others', async () => {
    await using two = new Two(mode)
    const stops: (string | undefined)[] = []
    const events = { connectionStop: (_: unknown, error?: SluiceError) => void stops.push(error?.code) }
    const pool = await two.start(
      { maxStrangerMessageBytes: 50_000, events },
      { start: 'inactive', prepare: (connection) => connection.activate() },
      {},
      { start: 'inactive' },
    )
    two.server.handle(
      protocol,
      { upload: async (body) => ({ hash: '', sizeBytes: (await body.bytes()).length }) },
      {
        ...{ beforeActivation: ['upload'] },
      },
    )
    expect(await pool.request(upload, [pattern(49_000)])).toMatchObject({ sizeBytes: 49_000 })
    expect(await codeOf(pool.request(echo, pattern(5)))).toBe('ERR_SLUICE_MESSAGE_NOT_ACTIVE')
    expect(await codeOf(pool.request(upload, [pattern(49_000), pattern(49_000)]))).not.toBe('done')
    await eventually(() => stops.length > 0)
    expect(stops[0]).toBe('ERR_SLUICE_MESSAGE_TOO_LARGE')
  })
})
