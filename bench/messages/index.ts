import type { MessageBenchOptions, MessageBenchProgram } from '../../src/cli/message-bench.js'
import { type MessageCase, type MessagePeer, messageCases, peers } from './cases.js'
import type { MessageReport } from './results.js'
import { runMessages } from './run.js'
import { renderMessages } from './table.js'

/** Everything that could be measured here, and why some cannot. */
function list(): { cases: readonly MessageCase[]; peers: readonly (MessagePeer & { reason?: string })[] } {
  return { cases: messageCases, peers: peers.map((peer) => ({ ...peer, reason: whyWithout(peer) })) }
}

/** Measures the chosen cases and peers, whose names are those of {@link list}. */
async function bench(options: MessageBenchOptions): Promise<MessageReport> {
  const { quick = false, engine = 'auto', signal = new AbortController().signal } = options
  const listed = list()
  const chosen = listed.peers.filter(({ name }) => options.peers?.includes(name) ?? true)
  const without = chosen.filter(({ reason }) => reason !== undefined)
  const report = await runMessages({
    cases: listed.cases.filter((one) => options.cases?.includes(one.name) ?? (!quick || one.quick)),
    peers: chosen.filter((peer) => !without.includes(peer)),
    unavailable: without.map(({ name, reason }) => ({ peer: name, reason: reason! })),
    rounds: options.rounds ?? (quick ? 3 : 7),
    seconds: options.seconds ?? (quick ? 0.3 : 0.5),
    bodyBytes: options.bodyBytes ?? (quick ? 100_000_000 : 1_000_000_000),
    warmupSeconds: options.warmupSeconds ?? (quick ? 1 : 2),
    busyPollMicros: options.busyPollMicros ?? 50,
    ...{ engine, serverCore: options.serverCore, clientCore: options.clientCore },
    ...{ progress: options.progress, signal },
  })
  // Who asks for a peer by name, and does not get it, should hear of it by the exit code.
  const missed = report.unavailable.filter(({ peer }) => options.peers?.includes(peer))
  const problems = missed.map(({ peer, reason }) => ({ peer, message: reason }))
  return { ...report, problems: [...problems, ...report.problems] }
}

function whyWithout({ needs }: MessagePeer): string | undefined {
  if (needs === undefined) return undefined
  try {
    require.resolve(needs)
    return undefined
  } catch {
    return `the package ${needs} is not installed`
  }
}

/** What `sluice message-bench` is made of. */
export const program = { bench, list, render: renderMessages } satisfies MessageBenchProgram
