import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Attempt, connectRace, interleaveFamilies, type RaceOptions } from '../../src/connect-race.js'
import { type ErrorName, SluiceError } from '../../src/errors.js'
import { FakeClock } from './fake-clock.js'

interface Address {
  name: string
  family: 4 | 6
  /** When the attempt ends, after its start; undefined: never. */
  afterMs?: number
  /** How it fails; undefined: it connects. */
  fails?: ErrorName
}

interface Track {
  name: string
  startedAt: number
  endedAt?: number
  cancelledAt?: number
}

/** Races over addresses that behave as they say. */
function race(addresses: Address[], more: Partial<RaceOptions> = {}) {
  const clock = new FakeClock()
  const tracks: Track[] = []
  const attempt = (address: Address): Attempt<string> => {
    const track: Track = { name: address.name, startedAt: clock.now }
    tracks.push(track)
    let stop = () => {}
    const promise = new Promise<string>((resolve, reject) => {
      if (address.afterMs === undefined) return
      stop = clock.after(address.afterMs, () => {
        track.endedAt = clock.now
        if (address.fails) reject(new SluiceError(address.fails, { phase: 'connect', address: address.name }))
        else resolve(address.name)
      })
    })
    const cancel = () => {
      expect(track.cancelledAt).toBeUndefined()
      track.cancelledAt = clock.now
      stop()
    }
    return { promise, cancel }
  }
  const promise = connectRace(addresses, attempt, { attemptDelayMs: 250, connectTimeoutMs: 0, clock, ...more })
  // When it ended, how, and how many timers were left then.
  const outcome: { at?: number; winner?: string; error?: SluiceError; timers?: number } = {}
  promise.then(
    (winner) => Object.assign(outcome, { at: clock.now, winner, timers: clock.pending }),
    (error) => Object.assign(outcome, { at: clock.now, error, timers: clock.pending }),
  )
  return { clock, tracks, outcome, run: () => clock.run() }
}

const v6 = (more: Partial<Address> = {}): Address => ({ name: 'v6', family: 6, ...more })
const v4 = (more: Partial<Address> = {}): Address => ({ name: 'v4', family: 4, ...more })

describe('connectRace', () => {
  it('asks no second address when the first answers within the delay', async () => {
    const { tracks, outcome, run } = race([v6({ afterMs: 249 }), v4({ afterMs: 1 })])
    await run()
    expect(outcome).toEqual({ at: 249, winner: 'v6', timers: 0 })
    expect(tracks).toHaveLength(1)
  })

  it('starts the next address beside a slow one', async () => {
    const { tracks, outcome, run } = race([v6(), v4({ afterMs: 10 })])
    await run()
    expect(outcome).toEqual({ at: 260, winner: 'v4', timers: 0 })
    expect(tracks).toMatchObject([{ cancelledAt: 260 }, { startedAt: 250 }])
    expect(tracks[1]!.cancelledAt).toBeUndefined()
  })

  it('starts the next address at once when one fails', async () => {
    const { tracks, outcome, run } = race([v6({ afterMs: 3, fails: 'NETWORK_UNREACHABLE' }), v4({ afterMs: 10 })])
    await run()
    expect(outcome).toEqual({ at: 13, winner: 'v4', timers: 0 })
    expect(tracks[1]!.startedAt).toBe(3)
  })

  it('lets a slow good path win although all others were tried since', async () => {
    const refused = { afterMs: 5, fails: 'CONNECTION_REFUSED' } as const
    const { outcome, run } = race([v6({ afterMs: 4000 }), v4(refused), v4(refused)])
    await run()
    expect(outcome).toEqual({ at: 4000, winner: 'v6', timers: 0 })
  })

  it('reports the only attempt with its own error', async () => {
    const { outcome, run } = race([v4({ afterMs: 5, fails: 'CONNECTION_REFUSED' })])
    await run()
    expect(outcome.error).toMatchObject({ code: 'ERR_SLUICE_CONNECTION_REFUSED', address: 'v4' })
    expect(outcome.error!.errors).toBeUndefined()
  })

  it('reports the failure that tells most, and all of them', async () => {
    const { outcome, run } = race(
      [v6({ afterMs: 0, fails: 'NETWORK_UNREACHABLE' }), v4({ afterMs: 5, fails: 'CONNECTION_REFUSED' })],
      { address: 'example.test', port: 80 },
    )
    await run()
    expect(outcome.error).toMatchObject({
      code: 'ERR_SLUICE_CONNECTION_REFUSED',
      address: 'example.test',
      port: 80,
      message: 'connect example.test:80: all 2 addresses failed, foremost: connection refused',
    })
    expect(outcome.error!.errors!.map(({ code, address }) => [code, address])).toEqual([
      ['ERR_SLUICE_NETWORK_UNREACHABLE', 'v6'],
      ['ERR_SLUICE_CONNECTION_REFUSED', 'v4'],
    ])
  })

  it('ends at its deadline with what had failed by then', async () => {
    const { tracks, outcome, run } = race([v6(), v4({ afterMs: 1, fails: 'CONNECTION_REFUSED' })], {
      connectTimeoutMs: 1000,
      address: 'example.test',
      port: 80,
    })
    await run()
    expect(outcome.at).toBe(1000)
    expect(outcome.error).toMatchObject({
      code: 'ERR_SLUICE_CONNECT_TIMEOUT',
      message: 'connect example.test:80: no connection in time',
      errors: [{ address: 'v4' }],
    })
    expect(tracks[0]!.cancelledAt).toBe(1000)
  })

  it('cancels everything when its signal is aborted', async () => {
    const controller = new AbortController()
    const { clock, tracks, outcome, run } = race([v6(), v4(), v4()], { signal: controller.signal })
    clock.after(300, () => controller.abort('enough'))
    await run()
    expect(outcome.error).toMatchObject({ code: 'ERR_SLUICE_ABORTED', cause: 'enough', phase: 'connect' })
    expect(tracks.map(({ cancelledAt }) => cancelledAt)).toEqual([300, 300])
    expect(outcome.timers).toBe(0)
  })

  it('leaves no listener on its signal, however it ends', async () => {
    const { signal } = new AbortController()
    for (const addresses of [
      [v4({ afterMs: 1 })],
      [v4({ afterMs: 1, fails: 'CONNECTION_REFUSED' })],
      [v4()],
    ] as Address[][]) {
      const { run } = race(addresses, { signal, connectTimeoutMs: 5 })
      expect(getEventListeners(signal, 'abort')).toHaveLength(1)
      await run()
      expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    }
  })

  it('attempts nothing when its signal was aborted before', async () => {
    const { tracks, outcome, run } = race([v4({ afterMs: 1 })], { signal: AbortSignal.abort() })
    await run()
    expect(outcome.error).toMatchObject({ code: 'ERR_SLUICE_ABORTED' })
    expect(tracks).toEqual([])
  })

  it('goes on to the next address when an attempt cannot even start', async () => {
    const clock = new FakeClock()
    const attempt = ({ name }: Address): Attempt<string> => {
      if (name === 'v6') throw new SluiceError('ADDRESS_NOT_AVAILABLE')
      return { promise: Promise.resolve(name), cancel() {} }
    }
    const options = { attemptDelayMs: 250, connectTimeoutMs: 0, clock }
    await expect(connectRace([v6(), v4()], attempt, options)).resolves.toBe('v4')
    await expect(connectRace([v6(), v6()], attempt, options)).rejects.toMatchObject({
      code: 'ERR_SLUICE_ADDRESS_NOT_AVAILABLE',
      errors: [{}, {}],
    })
  })

  it('cancels an attempt whose start aborted the race', async () => {
    const controller = new AbortController()
    let cancelled = 0
    const attempt = (): Attempt<string> => {
      controller.abort()
      return { promise: new Promise(() => {}), cancel: () => void cancelled++ }
    }
    const options = { attemptDelayMs: 250, connectTimeoutMs: 0, signal: controller.signal, clock: new FakeClock() }
    await expect(connectRace([v4()], attempt, options)).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED' })
    expect(cancelled).toBe(1)
  })

  // Goal: the rules of RFC 8305 hold for every network. Method: addresses that connect, fail or hang at random times,
  // on a clock that jumps; the record of who was started, ended and cancelled when is held against each rule.
  it('keeps its rules whatever the addresses do', async () => {
    const outcome = fc.record({
      family: fc.constantFrom(4 as const, 6 as const),
      afterMs: fc.option(fc.nat(1500), { nil: undefined }),
      fails: fc.constantFrom(undefined, 'CONNECTION_REFUSED' as const, 'NETWORK_UNREACHABLE' as const),
    })
    const addresses = fc.array(outcome, { minLength: 1, maxLength: 6 })
    const delays = fc.integer({ min: 1, max: 400 })
    await fc.assert(
      fc.asyncProperty(
        addresses,
        delays,
        fc.integer({ min: 1, max: 3000 }),
        async (given, attemptDelayMs, connectTimeoutMs) => {
          const named = given.map((address, i) => ({ ...address, name: String(i) }))
          const { tracks, outcome, run } = race(named, { attemptDelayMs, connectTimeoutMs })
          await run()
          const { at, winner, error } = outcome as { at: number; winner?: string; error?: SluiceError }
          const of = (track: Track) => named[Number(track.name)]!

          // Each address at most once, in the interleaved order.
          expect(tracks.map(({ name }) => name)).toEqual(
            interleaveFamilies(named)
              .slice(0, tracks.length)
              .map(({ name }) => name),
          )
          // The next one starts a delay after the last, or when one fails in between, and neither earlier nor later.
          const failures = tracks.filter((track) => of(track).fails && track.endedAt !== undefined)
          tracks.slice(1).forEach((track, i) => {
            const before = tracks[i]!.startedAt
            const gap = track.startedAt - before
            const failed = failures.some(({ endedAt }) => endedAt === track.startedAt)
            expect(gap === attemptDelayMs || (gap < attemptDelayMs && failed)).toBe(true)
          })
          // Nobody is cancelled while the race lasts; then all that are still running are, and nobody else.
          for (const { endedAt, cancelledAt } of tracks) {
            if (endedAt === undefined) expect(cancelledAt).toBe(at)
            else if (cancelledAt !== undefined) expect(cancelledAt).toBe(endedAt)
          }
          // The first to connect wins; without one it is the deadline or the failure of all.
          const connected = tracks.filter((track) => !of(track).fails && track.endedAt !== undefined)
          if (winner !== undefined) {
            const ends = connected.map(({ endedAt }) => endedAt!)
            expect(at).toBe(Math.min(...ends))
            expect(connected.map(({ name }) => name)).toContain(winner)
          } else if (error!.code === 'ERR_SLUICE_CONNECT_TIMEOUT') {
            expect(at).toBe(connectTimeoutMs)
          } else {
            expect(tracks).toHaveLength(named.length)
            expect(failures).toHaveLength(named.length)
            expect(error!.errors?.length ?? 1).toBe(named.length)
          }
          expect(at).toBeLessThanOrEqual(connectTimeoutMs)
          expect(outcome.timers).toBe(0)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('interleaveFamilies', () => {
  const families = (...list: (4 | 6)[]) => list.map((family, i) => ({ family, i }))

  it('alternates, beginning with the family of the first address', () => {
    const order = (...list: (4 | 6)[]) => interleaveFamilies(families(...list)).map(({ family }) => family)
    expect(order(6, 6, 6, 4, 4)).toEqual([6, 4, 6, 4, 6])
    expect(order(4, 6, 6)).toEqual([4, 6, 6])
    expect(order(4)).toEqual([4])
    expect(order()).toEqual([])
  })

  it('keeps every address, and the order within a family', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(4 as const, 6 as const)), (list) => {
        const mixed = interleaveFamilies(families(...list))
        expect(mixed).toHaveLength(list.length)
        for (const family of [4, 6]) {
          const indexes = mixed.filter((entry) => entry.family === family).map(({ i }) => i)
          expect(indexes).toEqual(indexes.toSorted((a, b) => a - b))
        }
      }),
    )
  })
})
