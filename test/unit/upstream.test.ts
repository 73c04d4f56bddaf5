// The parts of a pool of connections that know no sockets: states, balancing, idle connections, limits, health, waiting.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Acquisition, AcquisitionState, type AcquisitionStep } from '../../src/upstream/acquisition.js'
import { balancerOf, type Candidate, ConsistentHash } from '../../src/upstream/balance.js'
import { Health } from '../../src/upstream/health.js'
import { IdleConnections, type IdleRules } from '../../src/upstream/idle-connections.js'
import { dynamicLimit } from '../../src/upstream/limit.js'
import { WaitingLine } from '../../src/upstream/waiting-line.js'

describe('the states of an acquisition', () => {
  const names = Object.values(AcquisitionState)
  const walk = (...path: string[]) => {
    const steps: AcquisitionStep[] = []
    const acquisition = new Acquisition(7, (step) => steps.push(step))
    for (const to of path) acquisition.moveTo(to as AcquisitionState)
    return { acquisition, log: ['INI', ...steps.map(({ to }) => to)].join(' ') }
  }

  it('are those of HAProxy', () => {
    expect(names.sort()).toEqual(['ASS', 'CER', 'CLO', 'CON', 'DIS', 'EST', 'INI', 'QUE', 'REQ', 'TAR'])
  })

  it('go from INI to CLO, by way of QUE where there is no place, and of TAR after a failure', () => {
    expect(walk('REQ', 'ASS', 'CON', 'EST', 'DIS', 'CLO').log).toBe('INI REQ ASS CON EST DIS CLO')
    expect(walk('REQ', 'QUE', 'ASS', 'EST', 'DIS', 'CLO').acquisition.state).toBe('CLO')
    expect(walk('REQ', 'ASS', 'CON', 'CER', 'TAR', 'ASS', 'CON', 'CER', 'REQ', 'CLO').acquisition.state).toBe('CLO')
  })

  it('allow no step that is not in the table, and stay where they are then', () => {
    const wrong: string[][] = [
      ['ASS'],
      ['REQ', 'CON'],
      ['REQ', 'ASS', 'CON', 'EST', 'CLO'],
      ['REQ', 'EST'],
      ['CLO'],
      ['REQ', 'CLO', 'REQ'],
    ]
    for (const path of wrong) {
      const { acquisition } = walk(...path.slice(0, -1))
      const before = acquisition.state
      expect(() => acquisition.moveTo(path.at(-1) as AcquisitionState)).toThrow('no way from')
      expect(acquisition.state).toBe(before)
    }
  })
})

/** Servers whose load grows with each pick. */
function candidates(weights: Record<string, number>): (Candidate & { load: number })[] {
  return Object.entries(weights).map(([name, effectiveWeight]) => ({ name, effectiveWeight, load: 0 }))
}

/** A repeatable `Math.random`. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

function tally(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

describe('round robin', () => {
  it('gives each server its part, and spreads the heavy one over the round', () => {
    const servers = candidates({ a: 5, b: 1, c: 1 })
    const balancer = balancerOf('roundRobin')
    const picks = Array.from({ length: 14 }, () => balancer.pick(servers, undefined).name).join('')
    expect(picks).toBe('aabacaaaabacaa')
  })

  it('goes on evenly when a server leaves and comes back', () => {
    const servers = candidates({ a: 1, b: 1, c: 1 })
    const balancer = balancerOf('roundRobin')
    for (let i = 0; i < 30; i++) balancer.pick(servers.slice(0, 2), undefined)
    const picks = Array.from({ length: 30 }, () => balancer.pick(servers, undefined).name)
    expect(tally(picks)).toEqual({ a: 10, b: 10, c: 10 })
  })
})

describe('least connections', () => {
  it('takes the least load for its weight, and turns among equals', () => {
    const servers = candidates({ a: 2, b: 1, c: 1 })
    const balancer = balancerOf('leastConnections')
    for (let i = 0; i < 40; i++) balancer.pick(servers, undefined).load++
    expect(servers.map(({ load }) => load)).toEqual([20, 10, 10])
    for (const server of servers) server.load = 3
    servers[1]!.load = 0
    expect(balancer.pick(servers, undefined).name).toBe('b')
    const equals = candidates({ a: 1, b: 1, c: 1 })
    const turns = Array.from({ length: 6 }, () => balancer.pick(equals, undefined).name).join('')
    expect(turns).toBe('abcabc')
  })
})

describe('random of two', () => {
  it('keeps loads nearly as even as the best choice would, and far more so than chance', () => {
    const random = randomOf(1)
    const servers = candidates(Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`s${i}`, 1])))
    const balancer = balancerOf('random', random)
    for (let i = 0; i < 10_000; i++) balancer.pick(servers, undefined).load++
    const loads = servers.map(({ load }) => load)
    expect(Math.max(...loads) - Math.min(...loads)).toBeLessThan(12)
    const byChance = loads.map(() => 0)
    for (let i = 0; i < 10_000; i++) byChance[Math.floor(random() * 10)]!++
    expect(Math.max(...byChance) - Math.min(...byChance)).toBeGreaterThan(40)
  })

  it('heeds weights, and takes the only one where there is one', () => {
    const servers = candidates({ a: 3, b: 1 })
    const balancer = balancerOf('random', randomOf(2))
    for (let i = 0; i < 4000; i++) balancer.pick(servers, undefined).load++
    expect(servers[0]!.load / servers[1]!.load).toBeCloseTo(3, 1)
    expect(balancer.pick(servers.slice(1), undefined)).toBe(servers[1])
  })
})

describe('the consistent hash', () => {
  const keys = Array.from({ length: 10_000 }, (_, i) => `10.${i >> 8}.${i & 255}.7`)
  const hash = new ConsistentHash()
  const placesOf = (servers: Candidate[]) => keys.map((key) => hash.pick(servers, key).name)

  it('spreads keys by weight', () => {
    const counts = tally(placesOf(candidates({ a: 1, b: 1, c: 2 })))
    expect(counts.a! / keys.length).toBeCloseTo(0.25, 1)
    expect(counts.b! / keys.length).toBeCloseTo(0.25, 1)
    expect(counts.c! / keys.length).toBeCloseTo(0.5, 1)
    // Within four standard deviations of chance.
    for (const [name, part] of Object.entries({ a: 0.25, b: 0.25, c: 0.5 }))
      expect(Math.abs(counts[name]! - part * keys.length)).toBeLessThan(4 * Math.sqrt(part * (1 - part) * keys.length))
  })

  it('moves the keys of a server that goes, or grows, and no others', () => {
    const before = placesOf(candidates({ a: 1, b: 1, c: 1, d: 1 }))
    const without = placesOf(candidates({ a: 1, b: 1, d: 1 }))
    before.forEach((name, i) => {
      if (name !== 'c') expect(without[i]).toBe(name)
      else expect(without[i]).not.toBe('c')
    })
    const grown = placesOf(candidates({ a: 1, b: 1, c: 2, d: 1 }))
    before.forEach((name, i) => {
      if (grown[i] !== name) expect(grown[i]).toBe('c')
    })
  })

  it('answers alike for text and the same bytes, in any order of servers', () => {
    const servers = candidates({ a: 1, b: 1, c: 1, d: 1, e: 1 })
    for (const key of keys.slice(0, 200)) {
      expect(hash.pick(servers, Buffer.from(key))).toBe(hash.pick(servers, key))
      expect(hash.pick([...servers].reverse(), key)).toBe(hash.pick(servers, key))
    }
  })

  it('goes round robin without a key', () => {
    const servers = candidates({ a: 1, b: 1 })
    expect(Array.from({ length: 4 }, () => new ConsistentHash().pick(servers, undefined).name)).toEqual([
      'a',
      'a',
      'a',
      'a',
    ])
    const one = new ConsistentHash()
    expect(Array.from({ length: 4 }, () => one.pick(servers, undefined).name).join('')).toBe('abab')
  })
})

describe('idle connections', () => {
  const rules: IdleRules = { maxIdle: Infinity, lowIdle: 0, purgeDelayMs: 5000, highSockets: 250, lowSockets: 200 }
  /** As after so many connections in use at once, all of them given back. */
  const afterUse = (count: number, more: Partial<IdleRules> = {}) => {
    const idle = new IdleConnections<number>({ ...rules, ...more })
    for (let i = 0; i < count; i++) idle.began()
    const kept: boolean[] = []
    for (let i = 0; i < count; i++) {
      kept.push(idle.offer(i, '', false, count))
      idle.ended()
    }
    return { idle, kept: kept.filter(Boolean).length }
  }

  // Trap 44: a pool that is purged all at once has to make all of them again at the next request.
  it('go by halves, rounded up, and not all at once', () => {
    const { idle, kept } = afterUse(100)
    expect(kept).toBe(100)
    const left = Array.from({ length: 30 }, () => {
      idle.purge()
      return idle.count
    })
    // By the formulas of HP-78: what was needed lately is believed for a while, half as much each round.
    expect(left.slice(0, 8)).toEqual([100, 100, 75, 50, 31, 18, 10, 5])
    expect(left.at(-1)).toBe(0)
    // Half of the excess, rounded up, which is half of all where nothing is believed to be needed.
    for (let i = 1; i < left.length; i++) expect(left[i]!).toBeGreaterThanOrEqual(Math.floor(left[i - 1]! / 2))
  })

  it('are closed oldest first, and used newest first', () => {
    const { idle } = afterUse(4)
    idle.purge()
    idle.purge()
    expect(idle.purge()).toEqual([0])
    expect(idle.take('', 'any')?.connection).toBe(3)
    expect(idle.take('', 'any')?.connection).toBe(2)
  })

  it('become as many as are used in each round, and none has to be made any more', () => {
    const { idle } = afterUse(10)
    let made = 100
    const madeByRound = Array.from({ length: 20 }, () => {
      const before = made
      const used = Array.from({ length: 6 }, () => {
        const connection = idle.take('', 'any')?.connection ?? made++
        idle.began()
        return connection
      })
      for (const connection of used) {
        idle.offer(connection, '', true, 10)
        idle.ended()
      }
      idle.purge()
      return made - before
    })
    expect(idle.count).toBe(6)
    expect(madeByRound).toEqual(Array(20).fill(0))
  })

  it('are kept by the rules of HP-77 alone', () => {
    expect(afterUse(3, { purgeDelayMs: 0 }).kept).toBe(0)
    expect(afterUse(3, { maxIdle: 2 }).kept).toBe(2)
    expect(afterUse(3, { maxIdle: 0 }).kept).toBe(0)
    // From the low mark of descriptors one has to do, from the high mark none.
    expect(afterUse(3, { lowSockets: 3 }).kept).toBe(1)
    expect(afterUse(3, { lowSockets: 3, highSockets: 3 }).kept).toBe(0)
    expect(afterUse(3, { lowSockets: 4, highSockets: 4 }).kept).toBe(3)
    // More than was ever in use at once is not needed, but for `lowIdle`.
    for (const [lowIdle, kept] of [
      [0, true],
      [0, false],
      [1, true],
    ] as const) {
      const { idle } = afterUse(1, { lowIdle })
      if (!kept || lowIdle > 0) {
        idle.purge()
        idle.purge()
        // The one in use counts, and the one that is idle already is enough.
        idle.began()
        expect([lowIdle, idle.offer(9, '', false, 1)]).toEqual([lowIdle, lowIdle > 0])
      }
    }
  })

  it('are shared with their own key alone, and by first requests only once proven', () => {
    const idle = new IdleConnections<string>({ ...rules, lowIdle: 10 })
    idle.began()
    idle.offer('plain', '', false, 0)
    idle.offer('header', 'PROXY 1', false, 0)
    expect(idle.take('PROXY 2', 'any')).toBeUndefined()
    expect(idle.take('', 'proven')).toBeUndefined()
    expect(idle.take('', 'none')).toBeUndefined()
    idle.offer('shared before', '', true, 0)
    idle.offer('newest', '', false, 0)
    expect(idle.take('', 'proven')?.connection).toBe('shared before')
    expect(idle.take('', 'any')?.connection).toBe('newest')
    expect(idle.take('PROXY 1', 'any')?.connection).toBe('header')
    expect(idle.remove('plain')).toBe(true)
    expect(idle.remove('plain')).toBe(false)
    expect(idle.take('', 'any')).toBeUndefined()
  })
})

describe('the limit of a server', () => {
  const rules = { maxConnections: 100, minConnections: 10, fullConnections: 1000 }

  it('grows from its least to its most with the load of the pool', () => {
    const at = (load: number) => dynamicLimit(rules, load, 1)
    expect([0, 50, 100, 101, 500, 999, 1000, 5000].map(at)).toEqual([10, 10, 10, 10, 50, 99, 100, 100])
  })

  it('is the most where it does not vary, and none where there is none', () => {
    expect(dynamicLimit({ ...rules, fullConnections: Infinity }, 1, 1)).toBe(100)
    expect(dynamicLimit({ ...rules, minConnections: 100 }, 1, 1)).toBe(100)
    expect(dynamicLimit({ ...rules, maxConnections: Infinity }, 1, 0.5)).toBe(Infinity)
  })

  it('is a part of that while the server starts, and at least 1', () => {
    expect(dynamicLimit(rules, 1000, 0.25)).toBe(25)
    expect(dynamicLimit(rules, 1000, 0.001)).toBe(1)
  })
})

describe('health', () => {
  const rules = { rise: 2, fall: 3, intervalMs: 2000, fastIntervalMs: 200, downIntervalMs: 5000 }
  const run = (isUp: boolean, checks: string) => {
    const health = new Health(rules, isUp)
    const states = [...checks].map((check) => {
      health.checked(check === '+')
      return health.isUp ? 'U' : 'd'
    })
    return { states: states.join(''), health }
  }

  it('falls after as many bad checks in a row, and rises after as many good ones', () => {
    expect(run(true, '++---++').states).toBe('UUUUddU')
    // Good ones in between count too: two bad, one good, two bad are three of four.
    expect(run(true, '++--+--').states).toBe('UUUUUUd')
    expect(run(false, '+-+-++').states).toBe('dddddU')
  })

  it('starts without much trust: the first bad check takes it out', () => {
    expect(run(true, '-').states).toBe('d')
    expect(run(true, '+-').states).toBe('UU')
  })

  it('is looked at more often on its way, and as often as asked for when down', () => {
    expect(run(true, '++').health.nextCheckMs).toBe(2000)
    expect(run(true, '++-').health.nextCheckMs).toBe(200)
    expect(run(true, '++---').health.nextCheckMs).toBe(5000)
    expect(run(true, '++---+').health.nextCheckMs).toBe(200)
  })

  it('tells how many checks are left, whatever happened', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 50 }), (checks) => {
        const health = new Health(rules, true)
        for (const isGood of checks) health.checked(isGood)
        const wasUp = health.isUp
        for (let left = health.checksLeft; left > 1; left--) expect(health.checked(!wasUp)).toBe(false)
        expect(health.checked(!wasUp)).toBe(true)
      }),
    )
  })
})

describe('the waiting line', () => {
  it('serves who came first, whether for any place or for one server', () => {
    const line = new WaitingLine<{ name: string }>()
    const [a, b] = [{ name: 'a' }, { name: 'b' }]
    const log: string[] = []
    const join = (who: string, target?: { name: string }) =>
      line.join(
        { admit: ({ name }) => log.push(`${who} at ${name}`), dismiss: () => log.push(`${who} dismissed`) },
        target,
      )
    join('1', b)
    join('2')
    join('3', a)
    const leave4 = join('4')
    join('5', b)
    expect([line.length, line.lengthAt(a), line.lengthAt(b), line.lengthAnywhere]).toEqual([5, 1, 2, 2])
    leave4()
    leave4()
    expect([line.admit(a), line.admit(a), line.admit(a)]).toEqual([true, true, false])
    line.dismiss(b)
    expect(log).toEqual(['2 at a', '3 at a', '1 dismissed', '5 dismissed'])
    expect([line.length, line.admit(b)]).toEqual([0, false])
  })
})
