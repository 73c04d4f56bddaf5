import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cases as allCases, type BenchCase } from '../../bench/cases.js'
import { type Competitor, takesPart } from '../../bench/competitors.js'
import { Histogram } from '../../bench/histogram.js'
import { parseCoreList } from '../../bench/machine.js'
import { orderOfRound } from '../../bench/order.js'
import { niceTicks } from '../../bench/report/chart.js'
import { duration, number, verdict } from '../../bench/report/format.js'
import { renderPage } from '../../bench/report/page.js'
import { renderGains, renderTable } from '../../bench/report/table.js'
import {
  type CaseResult,
  clocksDisagree,
  type Report,
  type Round,
  shareOfOthers,
  summarise,
} from '../../bench/results.js'
import { medianOf, spreadOf } from '../../bench/statistics.js'

const round = (value: number, more: Partial<Round> = {}): Round => ({
  value,
  seconds: 1,
  messages: 1000,
  bytes: 64_000,
  ...more,
})

const echo: BenchCase = {
  name: '64x64',
  title: 'echo: 64 connections × 64 bytes',
  kind: 'echo',
  connections: 64,
  bytes: 64,
  depth: 1,
  unit: 'CPU µs per message',
  targets: [
    { via: 'handlers', against: 'node:net', atMost: 0.45 },
    { via: 'handlers', against: 'c-epoll', atMost: 1.1 },
    { via: 'duplex', against: 'node:net', atMost: 0.5 },
  ],
  quick: true,
}

const competitor = (id: string, targets?: Competitor['targets']): Competitor => ({
  id,
  title: id,
  command: ['true'],
  targets,
  quick: true,
  without: [],
  over: ['tcp', 'tls'],
})

const tlsEcho: BenchCase = {
  ...echo,
  name: 'tls-64x1KiB',
  title: 'TLS, echo: 64 connections × 1 KiB',
  targets: [
    { via: 'handlers', against: 'node:tls', atMost: 0.6 },
    { via: 'handlers', against: 'c-openssl', atMost: 1.05 },
  ],
  tls: { keyType: 'P-256' },
}

const storm: BenchCase = {
  ...tlsEcho,
  name: 'tls-storm',
  kind: 'storm',
  unit: 'ms',
  targets: [
    { via: 'handlers', atMost: 4 },
    { via: 'handlers', against: 'node:tls', atLeast: 1.4 },
    { via: 'threads', atMost: 2.5 },
  ],
}

/** What the rounds of each server make of a case. */
function caseOf(rounds: Record<string, readonly Round[]>, bench = echo): CaseResult {
  const via = (id: string) => {
    if (!id.startsWith('sluice')) return undefined
    return id.endsWith('-duplex') ? 'duplex' : id.endsWith('-threads') ? 'threads' : 'handlers'
  }
  return summarise(
    bench,
    Object.keys(rounds).map((id) => competitor(id, via(id))),
    new Map(Object.entries(rounds)),
  )
}

const serverOf = (result: CaseResult, id: string) => result.servers.find(({ server }) => server === id)!

const reportOf = (cases: CaseResult[], more: Partial<Report> = {}): Report => ({
  format: 'sluice-bench/1',
  started: '2026-01-02T03:04:05.000Z',
  finished: '2026-01-02T03:05:05.000Z',
  complete: true,
  machine: {
    cpu: 'A <fast> CPU',
    cores: 2,
    memoryGiB: 4,
    system: 'Linux 6.18',
    architecture: 'x64',
    node: 'v20.0.0',
    v8: '11',
    sluice: '0.1.0',
    systemCallNs: 170,
  },
  method: {
    rounds: 3,
    seconds: 0.5,
    warmupSeconds: 0.5,
    load: 'native',
    serverCore: 1,
    loadCore: 1,
    cpuClock: 'the scheduler’s clock',
    notes: [],
  },
  cases,
  unavailable: [],
  problems: [],
  ...more,
})

describe('the spread of rounds', () => {
  it('is the middle, the borders and the quartiles between neighbours', () => {
    const spread = { median: 2.5, min: 1, max: 4, lowerQuartile: 1.75, upperQuartile: 3.25 }
    expect(spreadOf([4, 1, 3, 2])).toEqual(spread)
  })

  it('of one round is that round', () => {
    expect(spreadOf([7])).toEqual({ median: 7, min: 7, max: 7, lowerQuartile: 7, upperQuartile: 7 })
  })

  it('does not change the rounds, and is not moved by their order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }), (values) => {
        const before = [...values]
        expect(spreadOf([...values].reverse())).toEqual(spreadOf(values))
        expect(values).toEqual(before)
      }),
    )
  })

  it('of nothing is refused, a median of nothing is undefined', () => {
    expect(() => spreadOf([])).toThrow(RangeError)
    expect(medianOf([undefined])).toBeUndefined()
    expect(medianOf([undefined, 3, undefined, 1])).toBe(2)
  })
})

describe('a histogram', () => {
  it('knows each percentile to within 1.6 %', () => {
    const durations = fc.array(fc.integer({ min: 0, max: 2 ** 40 }), { minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(durations, fc.constantFrom(0.5, 0.9, 0.99, 1), (values, share) => {
        const histogram = new Histogram()
        for (const value of values) histogram.add(value)
        const exact = [...values].sort((a, b) => a - b)[Math.ceil(values.length * share - 1e-9) - 1]!
        expect(Math.abs(histogram.percentile(share) - exact)).toBeLessThanOrEqual(exact * 0.016)
        expect(histogram.total).toBe(values.length)
      }),
    )
  })

  it('holds every power of two and its neighbours apart from the next power', () => {
    for (let power = 1; power <= 52; power++) {
      const histogram = new Histogram()
      histogram.add(2 ** power - 1)
      expect(histogram.percentile(1)).toBeLessThan(2 ** power)
    }
  })

  it('sums up in microseconds, and says nothing while it is empty', () => {
    const histogram = new Histogram()
    expect(histogram.summary()).toBeUndefined()
    for (const microseconds of [1, 2, 3]) histogram.add(microseconds * 1000)
    expect(histogram.summary()).toMatchObject({ mean: 2, max: 3 })
    expect(histogram.summary()!.p50).toBeCloseTo(2, 1)
  })
})

describe('the order of rounds', () => {
  it('lets each competitor be once at every place, and changes neighbours after that', () => {
    const names = ['a', 'b', 'c']
    const orders = [0, 1, 2, 3].map((index) => orderOfRound(names, index).join(''))
    expect(orders).toEqual(['abc', 'bca', 'cab', 'cba'])
    expect(orderOfRound([], 3)).toEqual([])
  })
})

describe('summing up a case', () => {
  it('compares medians with those of node:net and of the C epoll echo', () => {
    const result = caseOf({
      'node:net': [round(10), round(30), round(20)],
      'sluice-epoll': [round(6), round(8), round(100)],
      'c-epoll': [round(5)],
    })
    expect(serverOf(result, 'sluice-epoll')).toMatchObject({ ofNode: 0.4, ofC: 1.6, overheadGone: 0.8 })
    expect(serverOf(result, 'node:net').targets).toEqual([])
    expect(serverOf(result, 'sluice-epoll').targets).toEqual([
      { via: 'handlers', against: 'node:net', atMost: 0.45, ratio: 0.4, met: true, cRatio: undefined },
      { via: 'handlers', against: 'c-epoll', atMost: 1.1, ratio: 1.6, met: false, cRatio: undefined },
    ])
  })

  it('says where the C program misses a target against node:net too', () => {
    const result = caseOf({ 'node:net': [round(10)], 'sluice-epoll': [round(6.5)], 'c-epoll': [round(6)] })
    const [againstNode, againstC] = serverOf(result, 'sluice-epoll').targets
    expect(againstNode).toMatchObject({ met: false, cRatio: 0.6 })
    expect(verdict(againstNode!)).toBe('missed, by C too: 0.60')
    expect(verdict(againstC!)).toBe('reached')
  })

  it('gives streams their own targets', () => {
    const result = caseOf({ 'node:net': [round(10)], 'sluice-epoll-duplex': [round(4)] })
    expect(serverOf(result, 'sluice-epoll-duplex').targets.map(({ atMost, met }) => [atMost, met])).toEqual([
      [0.5, true],
    ])
  })

  it('compares a server that has limits with the same one without, and not with another engine’s', () => {
    const bench: BenchCase = { ...echo, targets: [{ via: 'limits', against: 'unlimited', atMost: 1.03 }] }
    const limited = { ...competitor('sluice-epoll-limits', 'limits'), unlimited: 'sluice-epoll' }
    const rounds = { 'sluice-poll': [round(1)], 'sluice-epoll': [round(4)], 'sluice-epoll-limits': [round(5)] }
    const competitors = [competitor('sluice-poll', 'handlers'), competitor('sluice-epoll', 'handlers'), limited]
    const result = summarise(bench, competitors, new Map(Object.entries(rounds)))
    expect(serverOf(result, 'sluice-epoll-limits').targets).toMatchObject([{ ratio: 1.25, met: false }])
    expect(serverOf(result, 'sluice-epoll').targets).toEqual([])
  })

  it('leaves out targets whose other side was not measured, and servers without a round', () => {
    const result = caseOf({ 'node:net': [], 'sluice-epoll': [round(4)] })
    expect(result.servers.map(({ server, targets }) => [server, targets])).toEqual([['sluice-epoll', []]])
  })

  it('does not speak of overhead where node:net hardly has any', () => {
    const result = caseOf({ 'node:net': [round(5.1)], 'sluice-epoll': [round(5)], 'c-epoll': [round(5)] })
    expect(serverOf(result, 'sluice-epoll').overheadGone).toBeUndefined()
  })
})

describe('cases with TLS', () => {
  it('are compared with node:tls and with C on OpenSSL, and with nothing else', () => {
    const rounds = {
      'node:net': [round(1)],
      'node:tls': [round(20)],
      'sluice-epoll': [round(10)],
      'c-openssl': [round(8)],
    }
    const result = caseOf(rounds, tlsEcho)
    expect(result.tls).toEqual({ keyType: 'P-256' })
    expect(serverOf(result, 'sluice-epoll')).toMatchObject({ ofNode: 0.5, ofC: 1.25 })
    expect(serverOf(result, 'sluice-epoll').targets.map(({ against, met }) => [against, met])).toEqual([
      ['node:tls', true],
      ['c-openssl', false],
    ])
  })

  it('may ask for a number per second, whatever the value is', () => {
    const rounds = (rate: number) =>
      caseOf({ 'node:tls': [round(9, { messages: 1000 })], 'sluice-epoll': [round(9, { messages: rate })] }, storm)
    const [alone, perSecond] = serverOf(rounds(1400), 'sluice-epoll').targets
    expect(alone).toMatchObject({ atMost: 4, ratio: 9, met: false })
    expect(perSecond).toMatchObject({ atLeast: 1.4, ratio: 1.4, met: true })
    expect(serverOf(rounds(1390), 'sluice-epoll').targets[1]).toMatchObject({ ratio: 1.39, met: false })
  })

  it('have targets of their own for threads', () => {
    const result = caseOf(
      { 'sluice-epoll-threads': [round(2.4)], 'sluice-epoll-handshake-threads': [round(2.6)] },
      storm,
    )
    expect(result.servers.map(({ targets }) => targets.map(({ ratio, met }) => [ratio, met]))).toEqual([
      [[2.4, true]],
      [[2.6, false]],
    ])
  })

  it('say what is gained against node:tls', () => {
    const result = caseOf({ 'node:tls': [round(20)], 'sluice-epoll': [round(10)] }, tlsEcho)
    expect(renderGains(reportOf([result]))).toMatch(/CPU of a message, tls-64x1KiB +10\.0 µs +20\.0 µs +2\.00×/)
  })

  it('are shown as a table and as a page with the names of their yardsticks', () => {
    const rounds = { 'node:tls': [round(20)], 'sluice-epoll': [round(10)], 'c-openssl': [round(8)] }
    const report = reportOf([caseOf(rounds, tlsEcho), caseOf(rounds, storm)])
    const text = renderTable(report)
    expect(text).toMatch(/of node:tls +of C OpenSSL/)
    expect(text).toMatch(/^ {2}tls-storm +sluice-epoll +of node:tls, a second +1\.00 +≥ 1\.40 +missed$/m)
    expect(text).toContain('✗ ≤ 4.00, ✗ ≥ 1.40× node:tls a second')
    expect(renderPage(report)).toContain('TLS 64 × 1 KiB')
    expect(renderPage(report)).not.toContain('undefined')
  })

  it('are for servers that speak TLS, and the others for those that speak plainly', () => {
    const able = (over: Competitor['over'], bench: BenchCase) => takesPart({ ...competitor('any'), over }, bench)
    expect([able(['tcp'], echo), able(['tcp'], tlsEcho), able(['tls'], echo), able(['tls'], tlsEcho)]).toEqual([
      true,
      false,
      false,
      true,
    ])
    expect(takesPart({ ...competitor('c-openssl'), without: ['storm'] }, storm)).toBe(false)
  })

  it('ask for what the project wants to reach', () => {
    const wanted = allCases.flatMap(({ name, targets }) =>
      targets.flatMap(({ against, atMost }) => (against === 'node:tls' && atMost ? [[name, atMost]] : [])),
    )
    expect(Object.fromEntries(wanted)).toEqual({
      'tls-64x1KiB': 0.6,
      'tls-64x16KiB': 0.67,
      'tls-handshake-rsa': 0.65,
      'tls-handshake-ec': 0.65,
      'tls-handshake-resumed': 0.5,
      'tls-bulk-in': 0.62,
      'tls-bulk-out': 0.95,
      'tls-relay-64KiB': 0.5,
      'proxy-tls-1KiB': 0.5,
      'proxy-tls-64KiB': 0.5,
    })
  })
})

describe('doubts about a measurement', () => {
  it('arise when the two clocks of CPU time lie apart by more than a tick', () => {
    const clocks = (serverCpuNs: number, serverSchedstatNs: number) =>
      clocksDisagree(round(1, { serverCpuNs, serverSchedstatNs }))
    expect([clocks(500e6, 499e6), clocks(5e6, 1e6), clocks(500e6, 400e6)]).toEqual([false, false, true])
  })

  it('arise from what others take of the core that server and load generator share', () => {
    const shared = round(1, { serverCpuNs: 0.3e9, loadCpuNs: 0.2e9 })
    expect(shareOfOthers([caseOf({ 'node:net': [shared] })])).toBeCloseTo(0.5)
    expect(shareOfOthers([caseOf({ 'node:net': [shared] }, { ...echo, kind: 'sink' })])).toBeUndefined()
  })
})

describe('the report', () => {
  const cases = [caseOf({ 'node:net': [round(8)], 'sluice-epoll': [round(5.5)], 'c-epoll': [round(5)] })]

  it('tells as a table what each server takes, which targets are reached, machine and method', () => {
    const text = renderTable(reportOf(cases))
    expect(text).toMatch(/^ {2}sluice-epoll +5\.50 .*✗ ≤ 0\.45× node:net, ✓ ≤ 1\.10× C$/m)
    expect(text).toMatch(/^ {2}64x64 +sluice-epoll +of c-epoll +1\.10 +≤ 1\.10 +reached$/m)
    expect(text).toContain('server and load on core 1; load generator in C')
    expect(text).toContain('a system call takes 170 ns')
  })

  it('names what went wrong, what was not measured, and an interruption', () => {
    const problems = [{ case: '64x64', server: 'bun', message: 'byte 3 is 0x00, expected 0x01' }]
    const unavailable = [{ server: 'c-epoll', reason: 'no C compiler found' }]
    const text = renderTable(reportOf([], { problems, unavailable, complete: false }))
    expect(text).toMatch(/PROBLEMS.*\n {2}64x64, bun: byte 3/)
    expect(text).toContain('  c-epoll: no C compiler found')
    expect(text).toContain('Interrupted')
  })

  it('says what is gained: against node:net, of C, and how much overhead is gone', () => {
    const line = renderGains(reportOf(cases)).split('\n')[2]!
    expect(line.trim().split(/ {2,}/)).toEqual([
      'CPU of a message, 64x64',
      '5.50 µs',
      '8.00 µs',
      '5.00 µs',
      '1.45×',
      '110 %',
      '83 %',
      'sluice-epoll',
    ])
    expect(renderGains(reportOf([]))).toBe('')
  })

  it('is a page that needs nothing else, with all text escaped', () => {
    const page = renderPage(reportOf(cases))
    expect(page).toContain('A &lt;fast&gt; CPU')
    expect(page).not.toMatch(/<script|https?:|<link|@import|url\(/)
    expect(page.match(/<svg/g)).toHaveLength(1)
    expect(page.match(/class="target (met|missed)"/g)).toHaveLength(2)
  })

  it('draws even a case in which everything took nothing', () => {
    expect(renderPage(reportOf([caseOf({ 'node:net': [round(0)] })]))).not.toContain('NaN')
  })
})

describe('numbers for people', () => {
  it('have three digits', () => {
    const texts = [0, 0.08741, 0.544, 5.3456, 45.67, 1234].map(number)
    expect(texts).toEqual(['0', '0.0874', '0.544', '5.35', '45.7', '1 234'])
    expect([0.5, 12.34, 4560].map(duration)).toEqual(['500 ns', '12.3 µs', '4.56 ms'])
  })

  it('stand at round places of an axis that reaches over the largest', () => {
    expect(niceTicks(19.9)).toEqual([0, 5, 10, 15, 20])
    expect(niceTicks(0)).toEqual([0, 1])
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), (largest) => {
        const ticks = niceTicks(largest)
        expect(ticks.at(-1)).toBeGreaterThanOrEqual(largest * 0.99)
        expect(ticks.length).toBeLessThanOrEqual(7)
      }),
    )
  })

  it('of cores are read from the system’s lists', () => {
    expect(parseCoreList('0-2,5')).toEqual([0, 1, 2, 5])
  })
})
