// The simulated network: faults on purpose, and runs that repeat exactly from their seed.
import fc from 'fast-check'
import { engines, type Runtime, type SimulationOptions } from 'sluice'
import { describe, expect, it } from 'vitest'
import { type Mode, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'

const mode = modes().find(({ simulated }) => simulated) as Mode

/** Faults of every kind that lose nothing. */
const harmless: SimulationOptions = {
  ...{ latencyMinMs: 1, latencyMaxMs: 80, jitterMs: 20, segmentMinBytes: 1, segmentMaxBytes: 3000 },
  ...{ sendBufferBytes: 10_000, receiveWindowBytes: 8000 },
  ...{ shortSendProbability: 0.3, deferredSendProbability: 0.3, spuriousSentProbability: 0.2 },
  ...{ stallProbability: 0.02, acceptFailProbability: 0.2 },
}

interface Run {
  /** Everything that happened, with its time. */
  log: string[]
  /** Per client: what it sent came back. */
  intact: boolean[]
  /** Per client and server connection: how often close was called. */
  closes: number[]
}

/** Clients that send and half-close, and a server that echoes. */
async function echoRun(sim: SimulationOptions, messages: readonly number[][]): Promise<Run> {
  await using runtime = mode.start({ sim })
  const log: string[] = []
  const closes: number[] = []
  const servers = new Map<object, number>()
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, allowHalfOpen: true },
    {
      open: (connection) => void servers.set(connection, 0),
      data(connection, bytes) {
        log.push(`${runtime.nowMs()} server ${bytes.length}`)
        connection.write(bytes)
      },
      end: (connection) => connection.end(),
      error: (_, error) => void log.push(`${runtime.nowMs()} server ${error.code}`),
      close: (connection) => void servers.set(connection, servers.get(connection)! + 1),
    },
  )
  const intact = await Promise.all(
    messages.map(async (sizes, i) => {
      const record = new Record({
        data: (_, bytes) => void log.push(`${runtime.nowMs()} client ${i} ${bytes.length}`),
      })
      const pieces = sizes.map((size, k) => pattern(size, i * 1000 + k))
      try {
        const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
        for (const piece of pieces) client.write(piece)
        client.end()
        await record.closed()
        closes.push(record.count('close'))
      } catch (error) {
        log.push(`${runtime.nowMs()} client ${i} ${(error as NodeJS.ErrnoException).code}`)
        return false
      }
      log.push(`${runtime.nowMs()} client ${i} ${record.events.join()}`)
      return record.error === undefined && record.hash === hashOf(...pieces)
    }),
  )
  await eventually(() => listener.connections === 0)
  closes.push(...servers.values())
  return { log, intact, closes }
}

describe.runIf(engines().some(({ name, available }) => name === 'sim' && available))('a simulated network', () => {
  it('loses nothing and closes once, whatever delays, splits, stalls and shortages there are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(fc.array(fc.nat(40_000), { maxLength: 4 }), { minLength: 1, maxLength: 5 }),
        async (seed, messages) => {
          const { intact, closes } = await echoRun({ ...harmless, seed }, messages)
          expect(intact.every(Boolean)).toBe(true)
          expect(closes.every((count) => count === 1)).toBe(true)
          expect(closes.length).toBe(2 * messages.length)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('closes once, also with resets, refusals and black holes', async () => {
    const faults = {
      resetProbability: 0.5,
      refuseProbability: 0.2,
      blackHoleProbability: 0.1,
      resetAfterMaxBytes: 60_000,
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const messages = Array.from({ length: 5 }, () => [30_000, 1])
        const { closes } = await echoRun({ ...harmless, ...faults, seed }, messages)
        expect(closes.every((count) => count === 1)).toBe(true)
      }),
      { numRuns: 100 },
    )
  })

  it('repeats a run exactly from its seed, and differs with another', async () => {
    const messages = [[20_000, 5], [100], [3000, 3000]]
    const faults = { ...harmless, resetProbability: 0.3 }
    const [first, again, other] = [
      await echoRun({ ...faults, seed: 7 }, messages),
      await echoRun({ ...faults, seed: 7 }, messages),
      await echoRun({ ...faults, seed: 8 }, messages),
    ]
    expect(again).toEqual(first)
    expect(other.log).not.toEqual(first!.log)
  })

  it('delays by exactly its latency', async () => {
    await using pair = await connectedPair(mode, { runtime: { sim: { latencyMinMs: 250 } }, server: echo })
    const started = pair.runtime.nowMs()
    pair.client.write('ping')
    await pair.atClient.received(4)
    expect(pair.runtime.nowMs() - started).toBe(500)
  })

  it('splits into segments of the size asked for', async () => {
    const sizes: number[] = []
    await using pair = await connectedPair(mode, {
      runtime: { sim: { segmentMinBytes: 10, segmentMaxBytes: 10 } },
      server: { data: (_, bytes) => void sizes.push(bytes.length) },
    })
    pair.client.end(pattern(95))
    await pair.atServer.closed()
    expect(sizes).toEqual([10, 10, 10, 10, 10, 10, 10, 10, 10, 5])
  })

  it('sends no faster than asked for', async () => {
    await using pair = await connectedPair(mode, { runtime: { sim: { bytesPerSecond: 10_000 } } })
    const started = pair.runtime.nowMs()
    pair.client.end(pattern(100_000))
    await pair.atServer.closed()
    expect(pair.runtime.nowMs() - started).toBeGreaterThanOrEqual(9900)
    expect(pair.runtime.nowMs() - started).toBeLessThan(11_000)
  })

  it('resets both ends after so many bytes', async () => {
    await using pair = await connectedPair(mode, {
      runtime: {
        sim: { resetProbability: 1, resetAfterMinBytes: 5000, resetAfterMaxBytes: 5000, segmentMaxBytes: 500 },
      },
    })
    pair.client.write(pattern(20_000))
    await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    for (const { error } of [pair.atClient, pair.atServer]) {
      expect(error?.code).toMatch(/CONNECTION_RESET|BROKEN_PIPE/)
    }
    expect(pair.atServer.sizeBytes).toBeLessThanOrEqual(5500)
  })

  it('refuses as if nobody listened', async () => {
    await using runtime = mode.start({ sim: { refuseProbability: 1 } })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    await expect(runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})).rejects.toMatchObject({
      code: 'ERR_SLUICE_CONNECTION_REFUSED',
    })
  })

  it('runs out of descriptors, warns once, and goes on when there are some', async () => {
    const warnings: string[] = []
    const note = (warning: Error) => void warnings.push((warning as NodeJS.ErrnoException).code!)
    process.on('warning', note)
    try {
      await using runtime = mode.start({ sim: { descriptorLimit: 5 } })
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, echo)
      const connect = () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })
      // The listener and two ends each make five.
      const [first] = [await connect(), await connect()]
      await eventually(() => listener.stats().accepted === 2)
      await expect(connect()).rejects.toMatchObject({
        code: 'ERR_SLUICE_DESCRIPTOR_LIMIT',
        errno: 24,
        phase: 'connect',
      })
      await first!.close()
      const third = await connect()
      await eventually(() => listener.stats().accepted === 3)
      third.destroy()
      expect(warnings.length).toBeLessThanOrEqual(1)
    } finally {
      process.off('warning', note)
    }
  })

  it('is a network of its own per runtime', async () => {
    await using first = mode.start()
    await using second = mode.start()
    const listener = await first.listen({ host: '127.0.0.1', port: 0 }, {})
    await expect(second.connect({ host: '127.0.0.1', port: portOf(listener) }, {})).rejects.toMatchObject({
      code: 'ERR_SLUICE_CONNECTION_REFUSED',
    })
  })

  it('has paths and abstract names, too', async () => {
    await using runtime: Runtime = mode.start()
    for (const path of ['/some/where', '\0abstract']) {
      const listener = await runtime.listen({ path }, echo)
      const record = new Record()
      const client = await runtime.connect({ path }, record.handlers)
      client.end('hello')
      await record.closed()
      expect(record.text).toBe('hello')
      await listener.close()
      await expect(runtime.connect({ path }, {})).rejects.toMatchObject({ phase: 'connect', address: path })
    }
  })
})
