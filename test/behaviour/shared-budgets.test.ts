// One limit for several processes: groups lease their parts from a store, here several groups of one process, with a
// real Redis between them, which also goes away and comes back.
import {
  type LeaseRequest,
  MemoryRateLimitStore,
  RateLimit,
  RateLimitGroup,
  type RateLimitStore,
  Runtime,
  type SluiceError,
} from 'sluice'
import { RedisRateLimitStore } from 'sluice/redis'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { eventually, portOf } from '../support/pair.js'
import { needsRedis, TestRedis } from '../support/redis.js'

const limit = RateLimit.bytesPerSecond({ read: '2 MB' }, { burst: 20_000 })
const perSlice = 2_000_000 / 20
const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close()
})

function group(store: RateLimitStore, more: object = {}): RateLimitGroup {
  const made = new RateLimitGroup({ limit, shared: { store, name: 'budget', sliceMs: 50, timeoutMs: 500, ...more } })
  open.push(made)
  return made
}
const shared = (of: RateLimitGroup) => of.stats().shared!
const eventuallyState = (of: RateLimitGroup, state: string) => eventually(() => shared(of).state === state)

/** A group's members that read all they may. */
async function load(rateLimitGroup: RateLimitGroup): Promise<{ bytes: number }> {
  const runtime = new Runtime({ engine: 'poll' })
  open.push({ close: () => runtime.destroy() })
  const load = { bytes: 0 }
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, rateLimitGroup },
    {
      data(_, bytes) {
        load.bytes += bytes.length
      },
    },
  )
  const client = await runtime.connect(
    { host: '127.0.0.1', port: portOf(listener) },
    { drain: (connection) => void connection.write(block) },
  )
  while (client.write(block)) {}
  return load
}
const block = Buffer.alloc(262_144)

describe('a shared budget', () => {
  it('is all of one group’s that is alone, shrinks to equal parts under demand, and grows again', async () => {
    const store = new MemoryRateLimitStore()
    const one = group(store)
    await eventuallyState(one, 'leased')
    expect(shared(one)).toMatchObject({ readBytesPerSlice: perSlice, writeBytesPerSlice: Infinity, sharers: 1 })
    const other = group(store)
    await Promise.all([load(one), load(other)])
    await eventually(() => [one, other].every((each) => Math.abs(shared(each).readBytesPerSlice - perSlice / 2) < 1))
    expect(shared(one).sharers).toBe(2)
    other.close()
    expect(shared(other).state).toBe('closed')
    await eventually(() => Math.abs(shared(one).readBytesPerSlice - perSlice) < 1)
  })

  it('bounds what all together move', async () => {
    const store = new MemoryRateLimitStore()
    const groups = [group(store), group(store), group(store)]
    await Promise.all(groups.map((each) => eventuallyState(each, 'leased')))
    const loads = await Promise.all(groups.map(load))
    await eventually(() => groups.every((each) => Math.abs(shared(each).readBytesPerSlice - perSlice / 3) < 1))
    const before = loads.reduce((sum, { bytes }) => sum + bytes, 0)
    const begun = performance.now()
    await eventually(() => loads.every(({ bytes }) => bytes > 400_000))
    const moved = loads.reduce((sum, { bytes }) => sum + bytes, 0) - before
    const seconds = (performance.now() - begun) / 1000
    // The bursts, and a tick.
    expect(moved).toBeLessThanOrEqual(2_000_000 * seconds + 3 * 20_000 + 20_000)
  })

  it('changes with the limit, and until the first lease is what was expected', async () => {
    let answer: (() => void) | undefined
    const asked: LeaseRequest[] = []
    const memory = new MemoryRateLimitStore()
    const store: RateLimitStore = {
      async lease(request) {
        asked.push(request)
        if (asked.length === 1) await new Promise<void>((resolve) => (answer = resolve))
        return memory.lease(request)
      },
      release: (...args) => memory.release(...args),
    }
    const one = group(store, { expectedSharers: 4 })
    expect(shared(one)).toMatchObject({ state: 'starting', readBytesPerSlice: perSlice / 4, leases: 0 })
    answer!()
    await eventuallyState(one, 'leased')
    one.configure({ limit: RateLimit.bytesPerSecond({ read: '1 MB' }) })
    expect(shared(one).readBytesPerSlice).toBe(perSlice / 2)
    await eventually(() => asked.some(({ rates }) => rates.readBytesPerSecond === 1_000_000))
    expect(asked[0]).toMatchObject({ name: 'budget', sliceMs: 50, forgetMs: 5000 })
    expect(new Set(asked.map(({ sharer }) => sharer)).size).toBe(1)
    expect(one.limit.readBytesPerTick).toBe(10_000)
  })

  it('goes on with the last part while the store fails, says so once, and recovers', async () => {
    const memory = new MemoryRateLimitStore()
    let failing = false
    const store: RateLimitStore = {
      lease: async (request) => {
        if (failing) throw new Error('no route to the store')
        return memory.lease(request)
      },
      release: async () => {},
    }
    const warnings: SluiceError[] = []
    const note = (warning: Error) => void warnings.push(warning as SluiceError)
    process.on('warning', note)
    const one = group(store)
    await memory.lease({
      ...{ name: 'budget', sharer: 'elsewhere', sliceMs: 50, forgetMs: 60_000 },
      rates: { readBytesPerSecond: 2_000_000, writeBytesPerSecond: Infinity },
      demand: { readBytes: Infinity, writeBytes: 0 },
    })
    await eventuallyState(one, 'leased')
    const before = shared(one).readBytesPerSlice
    failing = true
    await eventuallyState(one, 'unreachable')
    await eventually(() => shared(one).failures >= 3)
    expect(shared(one)).toMatchObject({ readBytesPerSlice: before, error: { code: 'ERR_SLUICE_STORE_UNREACHABLE' } })
    expect(shared(one).error!.message).toContain('no route to the store')
    failing = false
    await eventuallyState(one, 'leased')
    expect(shared(one).error).toBeUndefined()
    process.off('warning', note)
    expect(warnings.filter(({ code }) => code === 'ERR_SLUICE_STORE_UNREACHABLE').length).toBe(1)
  })

  it('counts a store that does not answer in time as unreachable, and does not ask it twice at once', async () => {
    const askedAtMs: number[] = []
    const store: RateLimitStore = {
      lease: () => {
        askedAtMs.push(performance.now())
        return new Promise(() => {})
      },
      release: async () => {},
    }
    const one = group(store, { timeoutMs: 30 })
    await eventuallyState(one, 'unreachable')
    expect(shared(one).error!.message).toContain('30 ms')
    expect(shared(one).leases).toBe(0)
    await eventually(() => askedAtMs.length >= 3)
    const gapsMs = askedAtMs.slice(1).map((atMs, i) => atMs - askedAtMs[i]!)
    expect(Math.min(...gapsMs)).toBeGreaterThanOrEqual(29)
  })

  it('does not keep the process alive', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    const one = group(new MemoryRateLimitStore())
    await eventuallyState(one, 'leased')
    expect(timers()).toBe(before)
  })
})

describe('a budget shared through Redis', () => {
  beforeEach(needsRedis)
  it('is leased, survives the loss of Redis with the last part, and is leased again when it is back', async () => {
    await using redis = await new TestRedis().start()
    const stores = [1, 2].map(() => new RedisRateLimitStore({ url: `unix://${redis.path}`, reconnectMs: 20 }))
    open.push(...stores)
    const [one, other] = stores.map((store) => group(store)) as [RateLimitGroup, RateLimitGroup]
    await Promise.all([eventuallyState(one, 'leased'), eventuallyState(other, 'leased')])
    const loads = await Promise.all([load(one), load(other)])
    await eventually(() => [one, other].every((each) => Math.abs(shared(each).readBytesPerSlice - perSlice / 2) < 1))

    await redis.kill()
    await Promise.all([eventuallyState(one, 'unreachable'), eventuallyState(other, 'unreachable')])
    expect(Math.abs(shared(one).readBytesPerSlice - perSlice / 2)).toBeLessThan(1)
    const before = loads[0]!.bytes
    const begun = performance.now()
    await eventually(() => loads[0]!.bytes - before >= 200_000)
    // It goes on, and no faster than its part.
    const seconds = (performance.now() - begun) / 1000
    expect(loads[0]!.bytes - before).toBeLessThanOrEqual(1_000_000 * seconds + 40_000)

    await redis.start()
    await Promise.all([eventuallyState(one, 'leased'), eventuallyState(other, 'leased')])
    await eventually(() => [one, other].every((each) => Math.abs(shared(each).readBytesPerSlice - perSlice / 2) < 1))
    expect(shared(one).sharers).toBe(2)
  })

  it('begins without Redis, with the part that was expected', async () => {
    await using redis = new TestRedis()
    const store = new RedisRateLimitStore({ url: `unix://${redis.path}`, reconnectMs: 20 })
    open.push(store)
    const one = group(store, { expectedSharers: 2 })
    await eventuallyState(one, 'unreachable')
    expect(shared(one)).toMatchObject({ readBytesPerSlice: perSlice / 2, leases: 0 })
    await redis.start()
    await eventuallyState(one, 'leased')
    expect(shared(one)).toMatchObject({ readBytesPerSlice: perSlice, sharers: 1 })
  })
})
