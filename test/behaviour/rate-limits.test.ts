// Rate limits through the public API: to the byte and the millisecond on the simulated network's clock, and what can
// never be exceeded on every engine and in every thread mode.
import { type Connection, KeyedRateLimitGroups, RateLimit, RateLimitGroup, Runtime } from 'sluice'
import { describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'

const simulated = modes().find((mode) => mode.simulated)!
const sim = () => simulated.start({ sim: { latencyMinMs: 0 } })
const after = (runtime: Runtime, ms: number) => new Promise<void>((resolve) => void runtime.after(ms, resolve))
const read = (bytes: number, burst = bytes, tickMs = 1000) =>
  new RateLimit({ readBytesPerTick: bytes, readBurstBytes: burst, tickMs })
const write = (bytes: number, burst = bytes, tickMs = 1000) =>
  new RateLimit({ writeBytesPerTick: bytes, writeBurstBytes: burst, tickMs })
const aligned = async (runtime: Runtime, tickMs = 1000) => {
  await after(runtime, tickMs - (runtime.nowMs() % tickMs))
}

describe('rate limits in simulated time', () => {
  it('read 100 KB/s: 1 MB takes ten seconds, within 2 % (HP-115)', async () => {
    await using runtime = sim()
    const limit = RateLimit.bytesPerSecond({ read: '100 kB' })
    const record = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, rateLimit: limit }, record.handlers)
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    const begun = runtime.nowMs()
    client.write(pattern(1_000_000))
    await record.received(1_000_000)
    expect(Math.abs(runtime.nowMs() - begun - 10_000)).toBeLessThanOrEqual(200)
    expect(record.hash).toBe(hashOf(pattern(1_000_000)))
  })

  it('let connect() limit what it writes, and the rest of the options be', async () => {
    await using runtime = sim()
    const record = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, record.handlers)
    const options = { host: '127.0.0.1', port: portOf(listener), rateLimit: write(1000) }
    const client = await runtime.connect(options, {})
    await aligned(runtime)
    client.write(pattern(3500))
    await after(runtime, 1500)
    expect(record.sizeBytes).toBe(2000)
    expect(client.queuedBytes).toBe(1500)
    expect(client.rates.writeHeldBy).toBe('limit')
    await client.drained()
    await record.received(3500)
    expect(client.rates.writeHeldBy).toBeUndefined()
  })

  it('show levels and what may move, and take debits and credit (LE-21, LE-29, LE-30)', async () => {
    await using runtime = sim()
    const record = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, rateLimit: read(1000, 5000) }, record.handlers)
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    await record.saw('open')
    const { rates } = record.connection
    expect(rates.limit).toBe(record.connection.rates.limit)
    await aligned(runtime)
    await aligned(runtime)
    const level = rates.readLevelBytes
    expect(level).toBeGreaterThanOrEqual(2000)
    expect(rates.writeLevelBytes).toBe(Infinity)
    expect(rates.maxToReadBytes).toBe(level)
    expect(rates.maxToWriteBytes).toBe(Infinity)
    rates.debitRead(level + 2500)
    expect(rates.readLevelBytes).toBe(-2500)
    expect(rates.maxToReadBytes).toBe(0)
    client.write('x')
    await after(runtime, 1500)
    expect(record.sizeBytes).toBe(0)
    expect(rates.readHeldBy).toBe('limit')
    rates.debitRead(-2000)
    await record.received(1)
    expect(() => client.rates.debitWrite(1)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }))
    expect(() => rates.debitRead(0.5)).toThrow(expect.objectContaining({ option: 'bytes' }))
    expect(client.rates.maxToReadBytes).toBe(262_144)
  })

  it('are replaced without a gift, and lifted at once (LE-10, LE-11)', async () => {
    await using runtime = sim()
    const record = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, rateLimit: read(100) }, record.handlers)
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    client.write(pattern(10_000))
    await record.received(100)
    const server = record.connection
    await aligned(runtime)
    const had = record.sizeBytes
    for (let i = 0; i < 100; i++) {
      server.setRateLimit(read(100, i % 2 === 0 ? 100 : 100_000))
      await after(runtime, 5)
    }
    expect(record.sizeBytes - had).toBeLessThanOrEqual(100)
    server.setRateLimit(undefined)
    expect(server.rates.limit).toBeUndefined()
    const lifted = runtime.nowMs()
    await record.received(10_000)
    expect(runtime.nowMs() - lifted).toBeLessThan(50)
    expect(() => server.setRateLimit('10 MB' as never)).toThrow(expect.objectContaining({ option: 'limit' }))
  })

  it('do not count as silence: no timeout while a bucket holds a direction back (LE-49)', async () => {
    await using runtime = sim()
    const [slowReader, reader] = [new Record(), new Record()]
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, rateLimit: read(10), readTimeoutMs: 300 },
      slowReader.handlers,
    )
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    client.write(pattern(60))
    await slowReader.received(60)
    expect(slowReader.events).toEqual(['open', 'data'])

    const other = await runtime.listen({ host: '127.0.0.1', port: 0 }, reader.handlers)
    const writer = new Record()
    const options = { host: '127.0.0.1', port: portOf(other), rateLimit: write(10), writeTimeoutMs: 300 }
    const slowWriter = await runtime.connect(options, writer.handlers)
    slowWriter.write(pattern(60))
    await reader.received(60)
    expect(writer.events).toEqual(['open'])
  })

  it('give every member of a group the same, and new members no free read (LE-23, LE-90)', async () => {
    await using runtime = sim()
    const group = new RateLimitGroup({ limit: read(3000, 3000, 100) })
    const sizes = new Map<Connection, number>()
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, rateLimitGroup: group },
      {
        open: (connection) => void sizes.set(connection, 0),
        data: (connection, bytes) => void sizes.set(connection, sizes.get(connection)! + bytes.length),
      },
    )
    const connect = () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    const clients = await Promise.all(Array.from({ length: 29 }, connect))
    for (const client of clients) client.write(pattern(100_000))
    await after(runtime, 10_000)
    for (const bytes of sizes.values()) expect(Math.abs(bytes - 300_000 / 29)).toBeLessThan(700)
    const late = await connect()
    late.write(pattern(100_000))
    await after(runtime, 10_000)
    const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0)
    expect(Math.abs(total - 600_000)).toBeLessThan(12_000)
    expect(Math.abs([...sizes.values()].at(-1)! - 10_000)).toBeLessThan(700)
    expect(group.stats()).toMatchObject({ members: 30, totalReadBytes: total })
    expect(group.stats().readBytesPerSecond).toBeGreaterThan(28_000)
    group.resetTotals()
    expect(group.stats().totalReadBytes).toBe(0)
  })

  it('nest: a listener’s group within the process’s, and both are kept', async () => {
    await using runtime = sim()
    const all = new RateLimitGroup({ limit: read(10_000, 10_000, 100) })
    const [small, large] = [2_000, 50_000].map(
      (bytes) => new RateLimitGroup({ limit: read(bytes, bytes, 100), parent: all }),
    )
    const records = [new Record(), new Record()]
    const listeners = await Promise.all(
      [small!, large!].map((rateLimitGroup, i) =>
        runtime.listen({ host: '127.0.0.1', port: 0, rateLimitGroup }, records[i]!.handlers),
      ),
    )
    for (const listener of listeners) {
      for (let i = 0; i < 3; i++) {
        const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
        client.write(pattern(1_000_000))
      }
    }
    await after(runtime, 5000)
    expect(Math.abs(records[0]!.sizeBytes - 100_000)).toBeLessThan(6_000)
    expect(Math.abs(records[1]!.sizeBytes - 400_000)).toBeLessThan(16_000)
    expect(all.stats().totalReadBytes).toBe(records[0]!.sizeBytes + records[1]!.sizeBytes)
  })

  it('are kept per remote address, or per what a function says of a connection, before it reads anything', async () => {
    await using runtime = sim()
    const limit = read(1000)
    const keys: string[] = []
    const groups = new KeyedRateLimitGroups({
      limit,
      groupBy: (connection) => {
        keys.push(connection.remoteAddress!)
        return keys.length <= 2 ? 'gold' : 'lead'
      },
    })
    const sizes: number[] = []
    const listener = await runtime.listen<number>(
      { host: '127.0.0.1', port: 0, rateLimitGroup: groups },
      {
        open: (connection) => {
          connection.data = sizes.push(0) - 1
        },
        data(connection, bytes) {
          sizes[connection.data]! += bytes.length
        },
      },
    )
    const clients: Connection[] = []
    for (let i = 0; i < 3; i++) clients.push(await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {}))
    await after(runtime, 10)
    for (const client of clients) client.write(pattern(100_000))
    await after(runtime, 10_000)
    expect(keys).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1'])
    expect(groups.size).toBe(2)
    expect(groups.group('gold').stats().members).toBe(2)
    expect(Math.abs(sizes[0]! - 5_500)).toBeLessThanOrEqual(600)
    expect(Math.abs(sizes[1]! - 5_500)).toBeLessThanOrEqual(600)
    expect(Math.abs(sizes[2]! - 11_000)).toBeLessThanOrEqual(1_000)

    const byAddress = new KeyedRateLimitGroups({ limit })
    const second = await runtime.listen({ host: '127.0.0.1', port: 0, rateLimitGroup: byAddress }, echo)
    await runtime.connect({ host: '127.0.0.1', port: portOf(second) }, {})
    await after(runtime, 10)
    expect(byAddress.group('127.0.0.1').stats().members).toBe(1)
    byAddress.configure({ limit: read(77) })
    expect(byAddress.group('127.0.0.1').stats().readLevelBytes).toBe(77)
  })

  it('end only the connection whose groupBy throws or answers no text', async () => {
    await using runtime = sim()
    let calls = 0
    const groups = new KeyedRateLimitGroups({
      limit: read(1000),
      groupBy: () => {
        if (++calls === 1) throw new Error('my mistake')
        return calls === 2 ? (undefined as never) : 'fine'
      },
    })
    const ends: (string | undefined)[] = []
    const opened: Connection[] = []
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, rateLimitGroup: groups },
      { open: (connection) => void opened.push(connection), close: (_, error) => void ends.push(error?.code) },
    )
    for (let i = 0; i < 3; i++) await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    await after(runtime, 50)
    expect(ends).toEqual(['ERR_SLUICE_HANDLER_THREW', 'ERR_SLUICE_HANDLER_THREW'])
    expect(opened.length).toBe(1)
  })

  it('refuse a group that another clock counts for', async () => {
    await using runtime = sim()
    const group = new RateLimitGroup({ limit: read(1) })
    await runtime.listen({ host: '127.0.0.1', port: 0, rateLimitGroup: group }, {})
    await using other = new Runtime({ engine: 'poll' })
    const refused = { code: 'ERR_SLUICE_INVALID_OPTION', option: 'rateLimitGroup' }
    await expect(other.listen({ port: 0, rateLimitGroup: group }, {})).rejects.toMatchObject(refused)
    for (const wrong of [5, {}, 'x', new RateLimit({ readBytesPerTick: 1 })]) {
      const options = { port: 0, rateLimitGroup: wrong as never }
      await expect(other.listen(options, {})).rejects.toMatchObject(refused)
    }
    await expect(other.listen({ port: 0, rateLimit: '1 MB' as never }, {})).rejects.toMatchObject({
      option: 'rateLimit',
    })
    await other.destroy()
  })
})

describe.concurrent.each(modes())('rate limits on $name', (mode) => {
  it('slow a connection down, lose nothing, and are lifted', async () => {
    const limit = RateLimit.bytesPerSecond('2 MB', { burst: 20_000 })
    await using pair = await connectedPair(mode, {
      listen: { rateLimit: limit },
      connect: { rateLimit: limit },
      server: echo,
    })
    const begun = pair.runtime.nowMs()
    const bytes = pattern(600_000)
    for (let i = 0; i < bytes.length; i += 20_000) pair.client.write(bytes.subarray(i, i + 20_000))
    await pair.atServer.received(600_000)
    // 20 000 at the start, and what each tick of 10 ms brings.
    expect(pair.runtime.nowMs() - begun).toBeGreaterThanOrEqual(270)
    pair.client.setRateLimit(undefined)
    pair.server.setRateLimit(undefined)
    await pair.atClient.received(600_000)
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atClient.hash).toBe(hashOf(bytes))
  })

  it('never let a group move more than its ticks bring, and give each member its part', async () => {
    const group = new RateLimitGroup({ limit: RateLimit.bytesPerSecond({ read: '1 MB' }, { burst: 10_000 }) })
    await using runtime = mode.start()
    const sizes = new Map<Connection, number>()
    let total = 0
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, rateLimitGroup: group },
      {
        open: (connection) => void sizes.set(connection, 0),
        data(connection, bytes) {
          total += bytes.length
          sizes.set(connection, sizes.get(connection)! + bytes.length)
        },
      },
    )
    const before = group.stats().refills
    const clients = await Promise.all(
      Array.from({ length: 10 }, () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})),
    )
    await eventually(() => sizes.size === 10)
    for (const client of clients) client.write(pattern(100_000))
    // Whoever is first may have the rate to itself for some ticks.
    await eventually(() => total >= 300_000)
    const begun = new Map(sizes)
    await eventually(() => total >= 700_000)
    const stats = group.stats()
    expect(stats.totalReadBytes).toBeLessThanOrEqual((stats.refills - before + 2) * 10_000)
    const parts = [...sizes].map(([connection, bytes]) => bytes - begun.get(connection)!)
    for (const part of parts) expect(Math.abs(part - 40_000)).toBeLessThanOrEqual(6_000)
    group.close()
    await eventually(() => total === 1_000_000)
  })

  it('hold the peer back: what is not read stays with the writer (LE-13)', async (context) => {
    context.skip(mode.simulated, 'the simulated network has windows of its own')
    const limit = new RateLimit({ readBytesPerTick: 1000, tickMs: 20 })
    const size = 40_000_000
    const hardLimitBytes = size
    await using pair = await connectedPair(mode, { listen: { rateLimit: limit }, connect: { hardLimitBytes } })
    pair.client.write(Buffer.alloc(size))
    await pair.atServer.received(5000)
    expect(pair.client.queuedBytes).toBeGreaterThan(size / 2)
  })

  it('are found by key on every thread, and a group taken away frees its connections', async () => {
    const groups = new KeyedRateLimitGroups({ limit: read(1000, 1000, 1_000_000), groupBy: () => 'one' })
    await using pair = await connectedPair(mode, { listen: { rateLimitGroup: groups } })
    pair.client.write(pattern(5000))
    await pair.atServer.received(1000)
    await eventually(() => pair.server.rates.readHeldBy === 'group')
    expect(pair.atServer.sizeBytes).toBe(1000)
    expect(groups.group('one').stats()).toMatchObject({ members: 1, readLevelBytes: 0 })
    pair.server.setRateLimitGroup(undefined)
    await pair.atServer.received(5000)
    expect(pair.server.rates.readHeldBy).toBeUndefined()
    expect(pair.atServer.hash).toBe(hashOf(pattern(5000)))
  })

  it('answer for a connection that is gone, and let connections end while they are held back', async () => {
    const group = new RateLimitGroup({
      limit: new RateLimit({ readBytesPerTick: 10, writeBytesPerTick: 10, tickMs: 1_000_000 }),
    })
    await using pair = await connectedPair(mode, {
      listen: { rateLimitGroup: group },
      connect: { rateLimitGroup: group },
    })
    pair.client.write(pattern(1000))
    pair.server.write(pattern(1000))
    await eventually(() => group.stats().waitingToWrite === 2)
    pair.client.destroy()
    pair.server.destroy()
    await Promise.all([pair.atClient.saw('close'), pair.atServer.saw('close')])
    expect(pair.client.rates).toMatchObject({ readLevelBytes: 0, maxToWriteBytes: 0, readHeldBy: undefined })
    expect(group.stats()).toMatchObject({ members: 0, waitingToWrite: 0 })
  })
})

describe.concurrent.each(
  kernelModes().filter(({ threads }) => threads > 0),
)('one group on two threads: $name', (mode) => {
  it('counts each byte once, and serves both', async () => {
    const group = new RateLimitGroup({ limit: RateLimit.bytesPerSecond({ read: '1 MB' }, { burst: 10_000 }) })
    const runtime = new Runtime({ engine: mode.engine, threads: 2 })
    const sizes = new Map<Connection, number>()
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, rateLimitGroup: group },
      {
        open: (connection) => void sizes.set(connection, 0),
        data: (connection, bytes) => void sizes.set(connection, sizes.get(connection)! + bytes.length),
      },
    )
    const total = () => [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0)
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})),
    )
    await eventually(() => sizes.size === 8)
    for (const client of clients) client.write(pattern(60_000))
    await eventually(() => total() >= 150_000)
    const begun = new Map(sizes)
    await eventually(() => total() >= 390_000)
    const stats = group.stats()
    expect(stats.totalReadBytes).toBeLessThanOrEqual((stats.refills + 2) * 10_000)
    const parts = [...sizes].map(([connection, bytes]) => bytes - begun.get(connection)!)
    for (const part of parts) expect(Math.abs(part - 30_000)).toBeLessThanOrEqual(6_000)
    await eventually(() => total() === 480_000)
    expect(group.stats().totalReadBytes).toBe(480_000)
    await runtime.destroy()
  })
})
