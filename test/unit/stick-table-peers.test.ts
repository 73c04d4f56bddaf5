// Tables that exchange what they count: through memory, and through a real Redis.
import { once } from 'node:events'
import { createClient } from 'redis'
import {
  MemoryStickTablePeers,
  type PeerExchange,
  StickTable,
  type StickTableOptions,
  type StickTablePeers,
} from 'sluice'
import { RedisStickTablePeers } from 'sluice/redis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { needsRedis, redisServer, TestRedis } from '../support/redis.js'

const request = (node: string, sequence: number, text: string, more: Partial<PeerExchange> = {}): PeerExchange => ({
  ...{ table: 'clients', node, sequence, changes: Buffer.from(text), ageMs: 0, since: undefined, keepMs: 60_000 },
  ...more,
})

let redis: TestRedis
let client: ReturnType<typeof createClient>
let prefix = 0
beforeAll(async () => {
  if (redisServer === undefined) return
  redis = await new TestRedis().start()
  client = createClient({ socket: { path: redis.path, tls: false } })
  client.on('error', () => {})
  await client.connect()
})
afterAll(async () => {
  client?.destroy()
  await redis?.[Symbol.asyncDispose]()
})

const kinds: [name: string, make: () => StickTablePeers][] = [
  ['memory', () => new MemoryStickTablePeers()],
  ['Redis', () => new RedisStickTablePeers({ client, keyPrefix: `test ${prefix++}:` })],
]

/** Two tables that exchange. */
function tables(peers: StickTablePeers, more: Partial<StickTableOptions> = {}): StickTable[] {
  return [1, 2].map(() => {
    const store = { connCount: true, connCurrent: true, gpc: 1, gpt: 1 }
    const exchange = { peers, name: 'clients', everyMs: 10 }
    return new StickTable({ key: 'string', size: 1000, store, exchange, ...more })
  })
}

describe.each(kinds)('peers in %s', (kind, make) => {
  beforeEach((context) => (kind === 'Redis' ? needsRedis(context) : undefined))

  it('tell each the changes of the others, once, in order, and with their age', async () => {
    const peers = make()
    expect(await peers.exchange(request('a', 0, ''))).toMatchObject({ changes: [], more: false })
    const first = await peers.exchange(request('a', 1, 'one'))
    expect(first.changes).toEqual([])
    await peers.exchange(request('a', 2, 'two', { ageMs: 5000 }))
    const heard = await peers.exchange(request('b', 1, 'three'))
    expect(
      heard.changes.map(({ node, sequence, changes }) => [node, sequence, Buffer.from(changes).toString()]),
    ).toEqual([
      ['a', 1, 'one'],
      ['a', 2, 'two'],
    ])
    expect(heard.changes[0]!.ageMs).toBeLessThan(5000)
    expect(heard.changes[1]!.ageMs).toBeGreaterThanOrEqual(5000)
    expect((await peers.exchange(request('b', 1, '', { since: heard.cursor }))).changes).toEqual([])
    const back = await peers.exchange(request('a', 2, '', { since: first.cursor }))
    expect(back.changes).toMatchObject([{ node: 'b', sequence: 1 }])
  })

  it('keep tables apart, and what is too old to themselves', async () => {
    const peers = make()
    await peers.exchange(request('a', 1, 'one', { table: 'another' }))
    await peers.exchange(request('a', 2, 'old', { ageMs: 70_000 }))
    await peers.exchange(request('a', 3, 'young', { ageMs: 50_000 }))
    const { changes } = await peers.exchange(request('b', 0, ''))
    expect(changes.map(({ sequence }) => sequence)).toEqual([3])
    expect((await peers.exchange(request('b', 0, '', { keepMs: Infinity, table: 'another' }))).changes).toHaveLength(1)
  })

  it('tell much in several parts, and all bytes as they are', async () => {
    const peers = make()
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    for (let i = 1; i <= 250; i++) await peers.exchange({ ...request('a', i, ''), changes: bytes })
    const all: number[] = []
    let since: string | undefined
    for (let more = true; more; ) {
      const answer = await peers.exchange(request('b', 0, '', { since }))
      expect(answer.changes.length).toBeLessThanOrEqual(100)
      for (const { sequence, changes } of answer.changes) {
        all.push(sequence)
        expect(Buffer.compare(changes, bytes)).toBe(0)
      }
      since = answer.cursor
      more = answer.more
    }
    expect(all).toEqual(Array.from({ length: 250 }, (_, i) => i + 1))
  })

  it('bring two tables to the same counts, but for who is connected', async () => {
    const [a, b] = tables(make()) as [StickTable, StickTable]
    using _a = a
    using _b = b
    const onA = a.track('x')!
    using _onB = b.track('x')
    b.set('y', { gpc: [5], gpt: [7] })
    onA.count({ gpc: [3] })
    const counters = (table: StickTable, key: string) => table.get(key)?.counters
    await expect.poll(() => counters(b, 'x')).toEqual({ connCount: 2, connCurrent: 1, gpc: [3], gpt: [0] })
    await expect.poll(() => counters(a, 'x')).toEqual({ connCount: 2, connCurrent: 1, gpc: [3], gpt: [0] })
    await expect.poll(() => counters(a, 'y')).toEqual({ connCount: 0, connCurrent: 0, gpc: [5], gpt: [7] })
    onA.release()
    a.delete('x')
    // Whoever is connected there still is.
    await expect.poll(() => counters(b, 'x')).toEqual({ connCount: 0, connCurrent: 1, gpc: [0], gpt: [0] })
    expect(a.stats().exchange).toMatchObject({ state: 'exchanging', failures: 0, refused: 0, peers: 1 })
  })

  it('bring a table that comes later up to date, and count nothing twice after a restart', async () => {
    const peers = make()
    const [a, b] = tables(peers) as [StickTable, StickTable]
    for (let i = 0; i < 300; i++) a.track('x')!.release()
    await expect.poll(() => b.get('x')?.counters.connCount).toBe(300)
    b.track('x')!.release()
    await expect.poll(() => a.get('x')?.counters.connCount).toBe(301)
    const snapshot = b.snapshot()
    b.close()
    a.track('x')!.release()
    const [again, late] = tables(peers) as [StickTable, StickTable]
    expect(again.restore(snapshot)).toBe(1)
    await expect.poll(() => again.get('x')?.counters.connCount).toBe(302)
    await expect.poll(() => late.get('x')?.counters.connCount).toBe(302)
    for (const table of [a, again, late]) table.close()
  })
})

describe('a table whose peers fail', () => {
  it('counts by itself, warns once, and tells all of it once when they are back, although an answer was lost', async () => {
    const memory = new MemoryStickTablePeers()
    let mode: 'down' | 'deaf' | 'up' = 'down'
    const peers: StickTablePeers = {
      async exchange(request) {
        if (mode === 'down') throw new Error('no route')
        const answer = await memory.exchange(request)
        if (mode === 'deaf') throw new Error('the answer was lost')
        return answer
      },
    }
    const [a, b] = tables(peers) as [StickTable, StickTable]
    using _a = a
    using _b = b
    const warned = once(process, 'warning')
    a.track('x')!.release()
    const [warning] = await warned
    expect(warning.code).toBe('ERR_SLUICE_PEERS_UNREACHABLE')
    await expect.poll(() => a.stats().exchange?.failures).toBeGreaterThan(3)
    expect(a.stats().exchange).toMatchObject({ state: 'unreachable', error: { code: 'ERR_SLUICE_PEERS_UNREACHABLE' } })
    mode = 'deaf'
    const before = a.stats().exchange!.failures
    await expect.poll(() => a.stats().exchange?.failures).toBeGreaterThan(before + 2)
    mode = 'up'
    a.track('x')!.release()
    await expect.poll(() => b.get('x')?.counters.connCount).toBe(2)
    await expect.poll(() => b.stats().exchange?.exchanges).toBeGreaterThan(5)
    expect(b.get('x')?.counters.connCount).toBe(2)
    expect(a.get('x')?.counters.connCount).toBe(2)
  })

  it('leaves out what it cannot read, and says how often', async () => {
    const peers = new MemoryStickTablePeers()
    using table = tables(peers)[0]!
    await peers.exchange(request('stranger', 1, 'nonsense'))
    await expect.poll(() => table.stats().exchange?.refused).toBe(1)
    expect([...table]).toEqual([])
  })
})

describe('peers in a Redis that crashes', () => {
  beforeEach(needsRedis)
  it('go on when it is back, by themselves', async () => {
    await using own = await new TestRedis().start()
    const socket = { path: own.path, tls: false as const, reconnectStrategy: () => 10 }
    const client = createClient({ socket, disableOfflineQueue: true })
    client.on('error', () => {})
    await client.connect()
    using _client = { [Symbol.dispose]: () => client.destroy() }
    await using peers = new RedisStickTablePeers({ client })
    const [a, b] = tables(peers) as [StickTable, StickTable]
    using _a = a
    using _b = b
    a.track('x')!.release()
    await expect.poll(() => b.get('x')?.counters.connCount).toBe(1)
    await own.kill()
    a.track('x')!.release()
    await expect.poll(() => a.stats().exchange?.state, { timeout: 5000 }).toBe('unreachable')
    await own.start()
    await expect.poll(() => b.get('x')?.counters.connCount, { timeout: 10_000 }).toBe(2)
  })

  it('refuse what they cannot work with', () => {
    for (const [options, option] of [
      [{}, 'client'],
      [{ client: {} }, 'client'],
      [{ client, url: 'redis://127.0.0.1' }, 'url'],
      [{ url: 'redis://127.0.0.1', maxChanges: 5 }, 'maxChanges'],
    ] as const) {
      expect(() => new RedisStickTablePeers(options as never)).toThrow(expect.objectContaining({ option }))
    }
  })
})
