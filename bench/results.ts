import { type BenchCase, type CaseTls, type Target, type Yardstick, yardsticksOf } from './cases.js'
import type { Competitor } from './competitors.js'
import type { Latency } from './histogram.js'
import type { Machine } from './machine.js'
import { medianOf, type Spread, spreadOf } from './statistics.js'

/** One measured round of one server. */
export interface Round {
  /** In the unit of the case; less is better. */
  readonly value: number
  readonly seconds: number
  readonly messages: number
  readonly bytes: number
  readonly latencyUs?: Latency
  /** CPU time of server and load generator within the measured time. */
  readonly serverCpuNs?: number
  /** The server's again, as /proc shows it: a check of the clock. */
  readonly serverSchedstatNs?: number
  readonly loadCpuNs?: number
}

export type TargetResult = Target & {
  readonly ratio: number
  readonly met: boolean
  /** Set where the C program misses the target too: its ratio. There the kernel alone costs too much of it. */
  readonly cRatio?: number
}

export interface ServerResult {
  readonly server: string
  readonly title: string
  readonly value: Spread
  readonly messagesPerSecond?: number
  readonly bytesPerSecond?: number
  readonly latencyUs?: Latency
  /** The value as a share of node:net's and of the C epoll echo's, with TLS of node:tls's and of C with OpenSSL, where
   *  those were measured. */
  readonly ofNode?: number
  readonly ofC?: number
  /** How much of what Node's sockets cost above the C program is gone: 1 is all of it. Depends least on the machine. */
  readonly overheadGone?: number
  readonly targets: readonly TargetResult[]
  readonly rounds: readonly Round[]
}

export interface CaseResult {
  readonly name: string
  readonly title: string
  readonly kind: BenchCase['kind']
  readonly connections: number
  readonly bytes: number
  readonly depth: number
  readonly unit: string
  readonly tls?: CaseTls
  readonly servers: readonly ServerResult[]
}

/** Something that went wrong. Any makes the exit code 1. */
export interface Problem {
  readonly case?: string
  readonly server?: string
  readonly message: string
}

/** How the figures came about. */
export interface Method {
  readonly rounds: number
  readonly seconds: number
  readonly warmupSeconds: number
  readonly load: 'native' | 'javascript'
  /** Undefined: not pinned. */
  readonly serverCore?: number
  readonly loadCore?: number
  readonly cpuClock: string
  readonly notes: readonly string[]
}

/** What `--json` writes. */
export interface Report {
  readonly format: 'sluice-bench/1'
  readonly started: string
  readonly finished: string
  /** False when interrupted. */
  readonly complete: boolean
  readonly machine: Machine
  readonly method: Method
  readonly cases: readonly CaseResult[]
  readonly unavailable: readonly { readonly server: string; readonly reason: string }[]
  readonly problems: readonly Problem[]
}

/** Rounds of one case by server id, in the order measured. */
export type Rounds = ReadonlyMap<string, readonly Round[]>

/** Draws together what was measured of one case so far; servers without a round are left out. */
export function summarise(bench: BenchCase, competitors: readonly Competitor[], rounds: Rounds): CaseResult {
  const servers = competitors.flatMap((competitor) => {
    const measured = rounds.get(competitor.id) ?? []
    const against = (yardstick: Yardstick) => {
      // An idle connection of a C program takes next to nothing: a multiple of that says nothing.
      if (yardstick === 'c-epoll' && bench.kind === 'idle') return []
      // What is lost may be nothing.
      if (bench.kind === 'crowd') return []
      const isItself = yardstick === 'unlimited' || yardstick === 'no-steps'
      const server = isItself ? competitor.unlimited : yardstick
      return (server !== undefined && rounds.get(server)) || []
    }
    return measured.length === 0 ? [] : [summariseServer(bench, competitor, measured, against)]
  })
  const { name, title, kind, connections, bytes, depth, unit, tls } = bench
  return { name, title, kind, connections, bytes, depth, unit, tls, servers }
}

/** The rounds of whom a server is compared with; none where those were not measured. */
type RoundsOf = (yardstick: Yardstick) => readonly Round[]

function medianValue(rounds: readonly Round[]): number | undefined {
  return medianOf(rounds.map(({ value }) => value))
}

/** How many a second. */
function rateOf(rounds: readonly Round[]): number | undefined {
  return perSecond(rounds, ({ messages }) => messages)
}

function perSecond(rounds: readonly Round[], count: (round: Round) => number): number | undefined {
  return medianOf(rounds.map((round) => (round.seconds > 0 ? count(round) / round.seconds : undefined))) || undefined
}

function summariseServer(
  bench: BenchCase,
  competitor: Competitor,
  rounds: readonly Round[],
  against: RoundsOf,
): ServerResult {
  const value = spreadOf(rounds.map((round) => round.value))
  const yardsticks = yardsticksOf(bench)
  const [node, c] = [medianValue(against(yardsticks.node)), medianValue(against(yardsticks.c))]
  const ratioFor = (target: Target) => {
    if (target.atLeast !== undefined) return ratio(rateOf(rounds) ?? 0, rateOf(against(target.against)))
    return target.against === undefined ? value.median : ratio(value.median, medianValue(against(target.against)))
  }
  return {
    server: competitor.id,
    title: competitor.title,
    value,
    messagesPerSecond: rateOf(rounds),
    bytesPerSecond: perSecond(rounds, ({ bytes }) => bytes),
    latencyUs: medianLatency(rounds),
    ofNode: ratio(value.median, node),
    ofC: ratio(value.median, c),
    overheadGone: overheadGone(value.median, node, c),
    targets: bench.targets.flatMap((target): TargetResult[] => {
      const reached = competitor.targets === target.via ? ratioFor(target) : undefined
      if (reached === undefined) return []
      if (target.atLeast !== undefined) return [{ ...target, ratio: reached, met: reached >= target.atLeast }]
      const cRatio = target.against === yardsticks.node ? ratio(c ?? 0, node) : undefined
      const met = reached <= target.atMost
      return [{ ...target, ratio: reached, met, cRatio: (cRatio ?? 0) > target.atMost ? cRatio : undefined }]
    }),
    rounds,
  }
}

function ratio(value: number, against: number | undefined): number | undefined {
  return against === undefined || against <= 0 ? undefined : value / against
}

// Meaningless where Node costs hardly more than C: then the difference is noise.
function overheadGone(value: number, node?: number, c?: number): number | undefined {
  if (node === undefined || c === undefined || node < c * 1.1) return undefined
  return (node - value) / (node - c)
}

/** Percentile by percentile the median over the rounds. */
function medianLatency(rounds: readonly Round[]): Latency | undefined {
  const latencies = rounds.flatMap((round) => round.latencyUs ?? [])
  if (latencies.length === 0) return undefined
  const middle = (pick: (latency: Latency) => number) => medianOf(latencies.map(pick))!
  return {
    mean: middle((latency) => latency.mean),
    p50: middle((latency) => latency.p50),
    p90: middle((latency) => latency.p90),
    p99: middle((latency) => latency.p99),
    p999: middle((latency) => latency.p999),
    max: middle((latency) => latency.max),
  }
}

/** Whether the two clocks of the server's CPU time differ by more than a tick or a thread that ended explains. */
export function clocksDisagree({ serverCpuNs, serverSchedstatNs }: Round): boolean {
  if (!serverCpuNs || !serverSchedstatNs) return false
  const difference = Math.abs(serverCpuNs - serverSchedstatNs)
  return difference > 10e6 && difference > 0.05 * serverCpuNs
}

/**
 * How much of the core went to other programs, 0 to 1: the median over all rounds in which server and load generator
 * shared one and could have kept it busy. Undefined when there was no such round.
 */
export function shareOfOthers(cases: readonly CaseResult[]): number | undefined {
  const busy = cases.filter(({ kind }) => kind === 'echo' || kind === 'connect')
  const rounds = busy.flatMap(({ servers }) => servers.flatMap((server) => server.rounds))
  return medianOf(
    rounds.map(({ seconds, serverCpuNs, loadCpuNs }) =>
      serverCpuNs && loadCpuNs ? Math.max(0, 1 - (serverCpuNs + loadCpuNs) / 1e9 / seconds) : undefined,
    ),
  )
}

/** sluice as one gets it without asking: by handlers, on the event loop, on the engine that `auto` prefers. */
export function defaultOf(bench: CaseResult): ServerResult | undefined {
  // The servers stand in the order of engines(), and that begins with the preferred one.
  return bench.servers.find(({ server }) => /^sluice-[^-]+$/.test(server))
}
