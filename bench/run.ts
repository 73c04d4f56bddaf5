import { setMaxListeners } from 'node:events'
import { join } from 'node:path'
import { type BenchCase, withConnections } from './cases.js'
import { type Competitor, takesPart } from './competitors.js'
import { Identities, type IdentityFiles } from './identities.js'
import { allowedCores, describeMachine, fileLimit, systemCallNanoseconds } from './machine.js'
import { type MeasureOptions, measure, serviceOf, warmUp } from './measure.js'
import { orderOfRound } from './order.js'
import type { Programs } from './programs.js'
import type { Progress } from './progress.js'
import { grouped, percent } from './report/format.js'
import {
  type CaseResult,
  clocksDisagree,
  type Method,
  type Problem,
  type Report,
  type Round,
  shareOfOthers,
  summarise,
} from './results.js'
import { ServerProcess } from './server-process.js'

export interface RunOptions {
  readonly cases: readonly BenchCase[]
  /** Those that cannot run here are reported as unavailable. */
  readonly competitors: readonly Competitor[]
  readonly programs: Programs
  readonly rounds: number
  /** Measured time of one round. */
  readonly seconds: number
  /** Time a fresh server is loaded before its first round. */
  readonly warmupSeconds: number
  /** Use the load generator in JavaScript even where the native one is there. It speaks no TLS. */
  readonly loadInJavaScript?: boolean
  /** Core of server and load generator. Default: the last one we may use. */
  readonly core?: number
  /** Put the load generator on another core. Default: only where the event loop's delay is measured, and where a proxy is to have one to itself. */
  readonly separateCores?: boolean
  /** What else is to be known about the figures. */
  readonly notes?: readonly string[]
  readonly progress: Progress
  /** Ends all children; the report then holds what was measured so far. */
  readonly signal: AbortSignal
}

// Descriptors that a server or load generator needs beside its connections.
const ownFiles = 100

// Before each measured round: connections open, windows grown, caches are this server's again.
const settleSeconds = 0.15

/** Measures all cases, competitors interleaved, and never rejects: what goes wrong stands in the report. */
export async function run(options: RunOptions): Promise<Report> {
  return new Run(options).report()
}

class Run {
  readonly #options: RunOptions
  readonly #cores: readonly number[]
  readonly #notes = new Set<string>()
  readonly #problems: Problem[] = []
  readonly #cases: CaseResult[] = []
  readonly #identities = new Identities()
  #upstream: number | undefined

  constructor(options: RunOptions) {
    this.#options = options
    this.#cores = options.programs.launch.path === undefined ? [] : allowedCores()
    setMaxListeners(0, options.signal) // one for each child
  }

  async report(): Promise<Report> {
    const { cases, competitors, programs, progress, signal } = this.#options
    const started = new Date().toISOString()
    const runnable = competitors.filter(({ command }) => command !== undefined)
    try {
      for (const bench of cases) {
        const able = runnable.filter((competitor) => takesPart(competitor, bench))
        if (!signal.aborted) this.#cases.push(await this.#runCase(this.#affordable(bench), able))
      }
    } finally {
      this.#identities.remove()
    }
    progress.done()
    return {
      format: 'sluice-bench/1',
      started,
      finished: new Date().toISOString(),
      complete: !signal.aborted,
      machine: describeMachine(systemCallNanoseconds(programs.load.path)),
      method: this.#method(programs),
      cases: this.#cases.filter(({ servers }) => servers.length > 0),
      unavailable: competitors.flatMap(({ id, command, reason }) =>
        command === undefined ? [{ server: id, reason: reason ?? 'unknown' }] : [],
      ),
      problems: this.#problems,
    }
  }

  async #runCase(bench: BenchCase, competitors: readonly Competitor[]): Promise<CaseResult> {
    const rounds = new Map<string, Round[]>(competitors.map(({ id }) => [id, []]))
    const servers = new Map<Competitor, ServerProcess>()
    // Memory is measured once per process, since what was freed is used again by the next round.
    const fresh = bench.kind === 'idle' || bench.kind === 'total' || bench.kind === 'shares'
    const upstream = serviceOf[bench.kind] === 'relay' ? await this.#startUpstream(bench) : undefined
    this.#upstream = upstream?.port
    try {
      if (!fresh) for (const competitor of competitors) await this.#start(bench, competitor, servers)
      for (let round = 0; round < roundsOf(bench, this.#options.rounds); round++) {
        for (const competitor of orderOfRound(competitors, round)) {
          if (fresh && (round === 0 || rounds.get(competitor.id)!.length === round)) {
            await this.#start(bench, competitor, servers)
          }
          const result = await this.#measure(bench, competitor, servers, round)
          if (result !== undefined) rounds.get(competitor.id)!.push(result)
          if (fresh) await this.#stop(competitor, servers)
        }
      }
    } finally {
      await Promise.all([...servers.values()].map((server) => server.stop()))
      await upstream?.stop()
    }
    return summarise(bench, competitors, rounds)
  }

  async #start(bench: BenchCase, competitor: Competitor, servers: Map<Competitor, ServerProcess>): Promise<void> {
    const { progress, programs, signal, warmupSeconds } = this.#options
    if (signal.aborted) return
    progress.show(bench, competitor, 'starts')
    await this.#attempt(bench, competitor, servers, async () => {
      const launch = programs.launch.path
      const core = this.#serverCore()
      const server = await ServerProcess.start(competitor, serviceOf[bench.kind], {
        launch,
        core,
        files: bench.connections + (bench.crowd ?? 0) + ownFiles,
        signal,
        identity: this.#identityOf(bench),
        upstream: this.#upstream,
      })
      servers.set(competitor, server)
      progress.show(bench, competitor, 'warms up')
      await warmUp(bench, server, { ...this.#measureOptions(bench), seconds: warmupSeconds })
    })
  }

  /** What relays relay to: an echo server, on the core of the load. */
  #startUpstream(bench: BenchCase): Promise<ServerProcess> {
    const { programs, signal } = this.#options
    const path = programs.echo_epoll.path
    const command = path === undefined ? [process.execPath, join(__dirname, 'servers/node-net.js')] : [path]
    const echo = { id: path === undefined ? 'node:net' : 'c-epoll', title: '', command, quick: false }
    const launch = programs.launch.path
    return ServerProcess.start({ ...echo, without: [], over: ['tcp'] }, 'echo', {
      ...{ launch, core: this.#loadCore(bench), files: bench.connections + ownFiles, signal },
    })
  }

  async #measure(
    bench: BenchCase,
    competitor: Competitor,
    servers: Map<Competitor, ServerProcess>,
    round: number,
  ): Promise<Round | undefined> {
    const server = servers.get(competitor)
    const { progress, rounds, signal } = this.#options
    if (server === undefined || signal.aborted) return undefined
    progress.show(bench, competitor, `round ${round + 1} of ${roundsOf(bench, rounds)}`)
    return this.#attempt(bench, competitor, servers, async () => {
      const result = await measure(bench, server, this.#measureOptions(bench))
      progress.measured(bench, competitor, result.value)
      if (clocksDisagree(result)) this.#notes.add(`two clocks of ${competitor.id}’s CPU time disagree in ${bench.name}`)
      return result
    })
  }

  /** A failure ends this server's part in the case and becomes a problem of the report. */
  async #attempt<T>(
    bench: BenchCase,
    competitor: Competitor,
    servers: Map<Competitor, ServerProcess>,
    work: () => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      await this.#stop(competitor, servers)
      if (!this.#options.signal.aborted) {
        const problem = { case: bench.name, server: competitor.id, message: (error as Error).message }
        this.#problems.push(problem)
        this.#options.progress.failed(problem)
      }
      return undefined
    }
  }

  async #stop(competitor: Competitor, servers: Map<Competitor, ServerProcess>): Promise<void> {
    const server = servers.get(competitor)
    servers.delete(competitor)
    await server?.stop()
  }

  #measureOptions(bench: BenchCase): MeasureOptions {
    const { programs, seconds, loadInJavaScript, signal } = this.#options
    return {
      launch: programs.launch.path,
      program: bench.tls ? programs.load_tls.path : loadInJavaScript ? undefined : programs.load.path,
      identity: this.#identityOf(bench),
      core: this.#loadCore(bench),
      files: bench.connections + (bench.crowd ?? 0) + ownFiles,
      warmupSeconds: settleSeconds,
      seconds,
      signal,
    }
  }

  #identityOf({ tls }: BenchCase): IdentityFiles | undefined {
    return tls && this.#identities.of(tls.keyType)
  }

  #serverCore(): number | undefined {
    return this.#options.core ?? this.#cores.at(-1)
  }

  #loadCore(bench?: BenchCase): number | undefined {
    const server = this.#serverCore()
    const separate = this.#options.separateCores ?? (bench !== undefined && hasCoreToItself(bench))
    return separate ? (this.#cores.find((core) => core !== server) ?? server) : server
  }

  /** The case with as many connections as we may open. */
  #affordable(bench: BenchCase): BenchCase {
    const most = this.#mostConnections(bench.connections)
    if (bench.connections <= most) return bench
    this.#notes.add(`descriptors allow ${grouped(most)} connections at most: ${bench.name} ran with as many`)
    return withConnections(bench, most)
  }

  #mostConnections(wanted: number): number {
    const ports = process.platform === 'linux' ? Number.POSITIVE_INFINITY : 10_000
    return Math.min(ports, fileLimit(this.#options.programs.launch.path, wanted + ownFiles) - ownFiles)
  }

  #method(programs: Programs): Method {
    const { rounds, seconds, warmupSeconds, loadInJavaScript } = this.#options
    const native = !loadInJavaScript && programs.load.path !== undefined
    if (programs.load.reason !== undefined) {
      this.#notes.add(`the load generator is in JavaScript: the native one is not there, ${programs.load.reason}`)
    }
    for (const note of this.#options.notes ?? []) this.#notes.add(note)
    if (this.#cores.length === 0) this.#notes.add('nothing is pinned to a core: take the figures with more salt')
    const others = this.#loadCore() === this.#serverCore() ? shareOfOthers(this.#cases) : undefined
    if (others !== undefined && others > 0.1) {
      const lost = `other programs took ${percent(others)} of the core`
      this.#notes.add(
        `${lost}: CPU per message stands, but figures per second and latencies are worse than they need be`,
      )
    }
    return {
      rounds,
      seconds,
      warmupSeconds,
      load: native ? 'native' : 'javascript',
      serverCore: this.#cores.length === 0 ? undefined : this.#serverCore(),
      loadCore: this.#cores.length === 0 ? undefined : this.#loadCore(),
      cpuClock: native ? 'the scheduler’s clock of the server process' : 'the scheduler’s clock, read by the runner',
      notes: [...this.#notes],
    }
  }
}

// Where delay is measured, and how many connections a second one core is good for.
function hasCoreToItself({ kind }: BenchCase): boolean {
  return kind === 'delay' || kind === 'storm' || kind === 'proxy-connect'
}

/** Memory hardly differs from round to round, and opening so many connections takes long. */
export function roundsOf(bench: BenchCase, rounds: number): number {
  if (bench.kind === 'total' || bench.kind === 'shares') return 1
  return bench.kind === 'idle' ? Math.min(rounds, 3) : rounds
}
