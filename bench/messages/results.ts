import type { Latency } from '../histogram.js'
import type { Machine } from '../machine.js'
import { medianOf, type Spread, spreadOf } from '../statistics.js'
import type { MessageCase, MessagePeer, MessageTarget, PeerName } from './cases.js'

/** One measured round of one peer. */
export interface MessageRound {
  readonly seconds: number
  readonly messages: number
  readonly latencyUs?: Latency
  /** CPU time of the two processes within the measured time, all threads. */
  readonly clientCpuNs?: number
  readonly serverCpuNs?: number
}

export interface MessageTargetResult extends MessageTarget {
  readonly reached: number
  readonly met: boolean
}

export interface PeerResult {
  readonly peer: PeerName
  readonly title: string
  /** In the unit of the case. */
  readonly value: Spread
  readonly latencyUs?: { readonly p50: number; readonly p99: number }
  /** CPU time per message, µs. */
  readonly clientUs?: number
  readonly serverUs?: number
  readonly targets: readonly MessageTargetResult[]
  readonly rounds: readonly MessageRound[]
}

export interface MessageCaseResult extends Omit<MessageCase, 'peers' | 'targets' | 'quick'> {
  readonly peers: readonly PeerResult[]
}

/** Memory of both processes while a large body streams. */
export interface LargeResult {
  readonly bodyBytes: number
  readonly seconds: number
  /** Small requests that were answered meanwhile, and how fast. */
  readonly requests: number
  readonly latencyUs?: Latency
  /** Resident memory before the body, when a part of it has gone over once. */
  readonly clientStartBytes: number
  readonly serverStartBytes: number
  /** The most that it was, above that. */
  readonly clientGrowthBytes: number
  readonly serverGrowthBytes: number
}

/** What `--json` writes. */
export interface MessageReport {
  readonly format: 'sluice-message-bench/1'
  readonly started: string
  /** False when interrupted. */
  readonly complete: boolean
  readonly machine: Machine
  readonly method: {
    readonly rounds: number
    readonly seconds: number
    readonly warmupSeconds: number
    readonly engine: string
    readonly busyPollMicros: number
    readonly serverCore?: number
    readonly clientCore?: number
  }
  readonly cases: readonly MessageCaseResult[]
  readonly large?: LargeResult
  readonly unavailable: readonly { readonly peer: PeerName; readonly reason: string }[]
  readonly problems: readonly { readonly case?: string; readonly peer?: string; readonly message: string }[]
}

/** The figure of a round, in the unit of the case. */
export function figureOf({ unit, bytes }: MessageCase, { seconds, messages }: MessageRound): number {
  if (unit === 'µs') return (seconds / messages) * 1e6
  return (unit === 'a second' ? messages : (messages * bytes) / 1e6) / seconds
}

/** Draws together what was measured of one case; peers without a round are left out. */
export function summariseMessages(
  bench: MessageCase,
  peers: readonly MessagePeer[],
  rounds: ReadonlyMap<PeerName, readonly MessageRound[]>,
): MessageCaseResult {
  const median = (name: PeerName) => medianOf((rounds.get(name) ?? []).map((round) => figureOf(bench, round)))
  const targetsOf = (name: PeerName) =>
    name !== 'sluice' ? [] : bench.targets.flatMap((target) => resultOf(target, median(name)!, bench, median) ?? [])
  const { peers: _, targets, quick, ...facts } = bench
  return {
    ...facts,
    peers: peers.flatMap(({ name, title }) => {
      const measured = rounds.get(name) ?? []
      if (measured.length === 0) return []
      const each = (pick: (round: MessageRound) => number | undefined) => medianOf(measured.map(pick))
      const cpu = (pick: (round: MessageRound) => number | undefined) =>
        each((round) => {
          const ns = pick(round)
          return ns === undefined ? undefined : ns / 1000 / round.messages
        })
      const p50 = each(({ latencyUs }) => latencyUs?.p50)
      const p99 = each(({ latencyUs }) => latencyUs?.p99)
      return {
        ...{ peer: name, title, value: spreadOf(measured.map((round) => figureOf(bench, round))) },
        latencyUs: p50 === undefined || p99 === undefined ? undefined : { p50, p99 },
        clientUs: cpu(({ clientCpuNs }) => clientCpuNs),
        serverUs: cpu(({ serverCpuNs }) => serverCpuNs),
        ...{ targets: targetsOf(name), rounds: measured },
      }
    }),
  }
}

// Nothing where the other one was not measured.
function resultOf(
  target: MessageTarget,
  own: number,
  { unit, peers }: MessageCase,
  median: (name: PeerName) => number | undefined,
): MessageTargetResult | undefined {
  const { against, atMost, atLeast } = target
  const others = peers.filter(
    (name) => name !== 'sluice' && (name === against || (against === 'best' && name !== 'raw')),
  )
  const values = others.map(median).filter((value) => value !== undefined)
  if (against !== undefined && values.length === 0) return undefined
  const other = against === undefined ? 1 : unit === 'µs' ? Math.min(...values) : Math.max(...values)
  const reached = own / other
  return { ...target, reached, met: atMost !== undefined ? reached <= atMost : reached >= atLeast! }
}
