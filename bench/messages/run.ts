import { join } from 'node:path'
import { Child } from '../child.js'
import { Identities, type IdentityFiles } from '../identities.js'
import { allowedCores, describeMachine, type Machine } from '../machine.js'
import { orderOfRound } from '../order.js'
import { preparePrograms } from '../programs.js'
import { medianOf, type Spread, spreadOf } from '../statistics.js'
import { findPeers, type Peer } from './peers.js'
import type { LoadFigures } from './process.js'

/** One thing that is measured. */
export interface MessageCase {
  readonly name: string
  readonly title: string
  readonly kind: 'requests' | 'notes'
  readonly bytes: number
  readonly inFlight: number
  readonly tls: boolean
}

const cases: readonly MessageCase[] = [
  { name: '1', title: 'requests of 128 B, 1 in flight', kind: 'requests', bytes: 128, inFlight: 1, tls: false },
  { name: '64', title: 'requests of 128 B, 64 in flight', kind: 'requests', bytes: 128, inFlight: 64, tls: false },
  { name: '64-tls', title: 'the same, TLS', kind: 'requests', bytes: 128, inFlight: 64, tls: true },
  { name: '1MiB', title: 'requests of 1 MiB, 4 in flight', kind: 'requests', bytes: 1 << 20, inFlight: 4, tls: false },
  { name: 'notes', title: 'one-way messages of 64 B', kind: 'notes', bytes: 64, inFlight: 0, tls: false },
]

export interface MessageBenchOptions {
  readonly cases?: readonly string[]
  readonly peers?: readonly string[]
  readonly rounds?: number
  readonly seconds?: number
  readonly warmupSeconds?: number
  readonly progress?: NodeJS.WriteStream
  readonly signal?: AbortSignal
}

export interface MessageResult {
  readonly case: string
  readonly title: string
  readonly peer: string
  readonly perSecond: Spread
  readonly medianUs: number
  readonly p99Us: number
  readonly cpuUs: number
}

export interface MessageReport {
  readonly machine: Machine
  readonly results: MessageResult[]
  readonly problems: string[]
}

/** Names that may be chosen. */
export function listMessages(): { cases: readonly MessageCase[]; peers: readonly Peer[] } {
  return { cases, peers: findPeers() }
}

/** Servers and clients in processes of their own, on cores of their own, one pair at a time, in rounds. */
export async function benchMessages(options: MessageBenchOptions): Promise<MessageReport> {
  const { rounds = 5, seconds = 1, warmupSeconds = 0.5, progress, signal = new AbortController().signal } = options
  const launch = (await preparePrograms()).launch.path
  const [serverCore, clientCore = serverCore] = allowedCores()
  const identities = new Identities()
  const results: MessageResult[] = []
  const problems: string[] = []
  const start = (core: number | undefined, ...args: (string | number)[]) => {
    const command = [process.execPath, join(__dirname, 'process.js'), ...args.map(String)]
    return new Child({ command, launch, core, files: 1024, signal })
  }
  try {
    for (const bench of cases.filter(({ name }) => options.cases?.includes(name) ?? true)) {
      const peers = findPeers().filter((peer) => takesPart(peer, bench) && (options.peers?.includes(peer.id) ?? true))
      const found = new Map<Peer, LoadFigures[]>()
      for (let round = 0; round < rounds; round++) {
        for (const peer of orderOfRound(peers, round)) {
          progress?.write(`${bench.title}: ${peer.title}, round ${round + 1} of ${rounds}\n`)
          const identity = bench.tls ? identities.of('P-256') : undefined
          try {
            const figures = await measure(start, peer, bench, identity, {
              serverCore,
              clientCore,
              warmupSeconds,
              seconds,
            })
            found.set(peer, [...(found.get(peer) ?? []), figures])
          } catch (error) {
            problems.push(`${peer.title}, ${bench.title}: ${(error as Error).message}`)
          }
        }
      }
      for (const [peer, figures] of found) results.push(resultOf(bench, peer, figures))
    }
  } finally {
    identities.remove()
  }
  return { machine: describeMachine(), results, problems }
}

function takesPart(peer: Peer, bench: MessageCase): boolean {
  if (peer.reason !== undefined || peer.tls !== bench.tls) return false
  return bench.kind === 'requests' || peer.id === 'sluice'
}

interface Setting {
  serverCore: number | undefined
  clientCore: number | undefined
  warmupSeconds: number
  seconds: number
}

async function measure(
  start: (core: number | undefined, ...args: (string | number)[]) => Child,
  peer: Peer,
  { kind, bytes, inFlight }: MessageCase,
  identity: IdentityFiles | undefined,
  { serverCore, clientCore, warmupSeconds, seconds }: Setting,
): Promise<LoadFigures> {
  const files = [identity?.cert ?? '-', identity?.key ?? '-']
  const server = start(serverCore, 'serve', peer.id, ...files)
  try {
    const { port } = await server.next<{ port: number }>(10_000)
    const client = start(clientCore, 'load', peer.id, ...files, port, kind, bytes, inFlight, warmupSeconds, seconds)
    try {
      return await client.next<LoadFigures>((warmupSeconds + seconds) * 1000 + 20_000)
    } finally {
      await client.stop()
    }
  } finally {
    await server.stop()
  }
}

function resultOf(bench: MessageCase, peer: Peer, figures: LoadFigures[]): MessageResult {
  return {
    ...{ case: bench.name, title: bench.title, peer: peer.title },
    perSecond: spreadOf(figures.map(({ perSecond }) => perSecond)),
    medianUs: medianOf(figures.map(({ medianUs }) => medianUs))!,
    p99Us: medianOf(figures.map(({ p99Us }) => p99Us))!,
    cpuUs: medianOf(figures.map(({ cpuUs }) => cpuUs))!,
  }
}
