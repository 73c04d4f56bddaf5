// Stores of shared budgets: what each sharer gets, in memory and in a real Redis, compared with each other.
import fc from 'fast-check'
import { createClient } from 'redis'
import { type LeaseRequest, MemoryRateLimitStore, type RateLimitStore } from 'sluice'
import { RedisRateLimitStore } from 'sluice/redis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fairPart } from '../../src/rate-limit/rate-limit-store.js'
import { needsRedis, redisServer, TestRedis } from '../support/redis.js'

const request = (sharer: string, demand: number, more: Partial<LeaseRequest> = {}): LeaseRequest => ({
  ...{ name: 'budget', sharer, sliceMs: 100, forgetMs: 60_000 },
  rates: { readBytesPerSecond: 10_000, writeBytesPerSecond: 40_000 },
  demand: { readBytes: demand, writeBytes: demand },
  ...more,
})

describe('a fair part', () => {
  it('is what is asked for, and an equal part of the rest, where all can have that', () => {
    expect(fairPart(100, [200, 300], 900)).toBe(200)
    expect(fairPart(0, [0], 100)).toBe(50)
  })

  it('is an equal part of what the modest leave, where all cannot', () => {
    expect(fairPart(Infinity, [100, Infinity], 1100)).toBe(500)
    expect(fairPart(100, [Infinity, Infinity], 1100)).toBe(100)
    expect(fairPart(Infinity, [], 7)).toBe(7)
  })

  it('adds up to the capacity, whoever asks for what', () => {
    const demand = fc.oneof(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.constant(Infinity), fc.constant(0))
    fc.assert(
      fc.property(
        fc.array(demand, { minLength: 1, maxLength: 20 }),
        fc.double({ min: 1, max: 1e9, noNaN: true }),
        (all, capacity) => {
          const parts = all.map((own, i) => fairPart(own, all.toSpliced(i, 1), capacity))
          const sum = parts.reduce((total, part) => total + part, 0)
          expect(Math.abs(sum - capacity)).toBeLessThanOrEqual(capacity * 1e-9)
          // Nobody who asks for more gets less than one who asks for less.
          for (const [i, a] of all.entries())
            for (const [j, b] of all.entries())
              if (a >= b) expect(parts[i]! - parts[j]!).toBeGreaterThanOrEqual(-1e-6 * capacity)
        },
      ),
    )
  })
})

describe('stores', () => {
  beforeEach(needsRedis)
  let redis: TestRedis
  let client: ReturnType<typeof createClient>
  let prefix = 0
  beforeAll(async () => {
    if (redisServer === undefined) return
    redis = await new TestRedis().start()
    client = createClient({ socket: { path: redis.path, tls: false } })
    await client.connect()
  })
  afterAll(async () => {
    client?.destroy()
    await redis?.[Symbol.asyncDispose]()
  })
  const stores: [name: string, make: () => RateLimitStore][] = [
    ['memory', () => new MemoryRateLimitStore()],
    ['Redis', () => new RedisRateLimitStore({ client, keyPrefix: `test ${prefix++}:` })],
  ]

  it.each(stores)('in %s give one sharer everything, and the next only what is free', async (_, make) => {
    const store = make()
    expect(await store.lease(request('a', 0))).toEqual({ readBytes: 1000, writeBytes: 4000, sharers: 1 })
    expect(await store.lease(request('b', Infinity))).toEqual({ readBytes: 0, writeBytes: 0, sharers: 2 })
    // a asks for nothing: what b wants is left to it, and half of what b leaves comes back.
    expect(await store.lease(request('a', 0))).toMatchObject({ readBytes: 0, sharers: 2 })
    expect(await store.lease(request('b', Infinity))).toMatchObject({ readBytes: 1000, writeBytes: 4000 })
    expect(await store.lease(request('a', Infinity))).toMatchObject({ readBytes: 0 })
    expect(await store.lease(request('b', Infinity))).toMatchObject({ readBytes: 500 })
    expect(await store.lease(request('a', Infinity))).toMatchObject({ readBytes: 500, writeBytes: 2000 })
  })

  it.each(stores)('in %s keep budgets and their sharers apart, and take parts back', async (_, make) => {
    const store = make()
    await store.lease(request('a', Infinity))
    expect(await store.lease(request('a', Infinity, { name: 'another' }))).toMatchObject({
      readBytes: 1000,
      sharers: 1,
    })
    expect(await store.lease(request('b', Infinity))).toMatchObject({ readBytes: 0 })
    await store.release('budget', 'a')
    expect(await store.lease(request('b', Infinity))).toMatchObject({ readBytes: 1000, sharers: 1 })
    await store.release('budget', 'nobody')
    await store.release('nothing', 'nobody')
  })

  it.each(stores)('in %s forget a sharer that is not heard of', async (_, make) => {
    const store = make()
    await store.lease(request('a', Infinity, { forgetMs: 1 }))
    await expect
      .poll(() => store.lease(request('b', Infinity, { forgetMs: 1 })), { interval: 1 })
      .toMatchObject({ readBytes: 1000, sharers: 1 })
  })

  it.each(stores)('in %s know directions without a limit, and slices of other lengths', async (_, make) => {
    const store = make()
    const rates = { readBytesPerSecond: Infinity, writeBytesPerSecond: 1000 }
    expect(await store.lease(request('a', 5, { rates }))).toMatchObject({ readBytes: Infinity, writeBytes: 100 })
    expect(await store.lease(request('b', Infinity, { rates, sliceMs: 1000 }))).toMatchObject({
      readBytes: Infinity,
      writeBytes: 0,
    })
    await store.lease(request('a', 5, { rates }))
    // a wants 50 a second.
    expect(await store.lease(request('b', Infinity, { rates, sliceMs: 1000 }))).toMatchObject({ writeBytes: 950 })
  })

  it('in memory and in Redis answer alike, and never give out more than there is', async () => {
    const demand = fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.constant(Infinity))
    const step = fc.record({ sharer: fc.constantFrom('a', 'b', 'c', 'd', 'e'), demand, leaves: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const memory = stores[0]![1]()
        const inRedis = stores[1]![1]()
        const parts = new Map<string, number>()
        for (const { sharer, demand, leaves } of steps) {
          if (leaves) {
            await Promise.all([memory.release('budget', sharer), inRedis.release('budget', sharer)])
            parts.delete(sharer)
            continue
          }
          const [one, other] = await Promise.all([
            memory.lease(request(sharer, demand)),
            inRedis.lease(request(sharer, demand)),
          ])
          expect(other.sharers).toBe(one.sharers)
          expect(Math.abs(other.readBytes - one.readBytes)).toBeLessThan(1e-6)
          expect(Math.abs(other.writeBytes - one.writeBytes)).toBeLessThan(1e-6)
          parts.set(sharer, one.readBytes)
          expect([...parts.values()].reduce((sum, part) => sum + part, 0)).toBeLessThanOrEqual(1000 + 1e-6)
        }
      }),
      { numRuns: 40 },
    )
  })

  it('of Redis refuse what they cannot work with', () => {
    for (const [options, option] of [
      [{}, 'client'],
      [{ client: {} }, 'client'],
      [{ url: '' }, 'url'],
      [{ client, url: 'redis://127.0.0.1' }, 'url'],
      [{ client, keyPrefix: '' }, 'keyPrefix'],
      [{ url: 'redis://127.0.0.1', reconnectMs: 0 }, 'reconnectMs'],
    ] as const) {
      expect(() => new RedisRateLimitStore(options as never)).toThrow(expect.objectContaining({ option }))
    }
  })
})
