import type { BenchOptions, BenchProgram } from '../src/cli/bench.js'
import { type BenchCase, cases, withConnections } from './cases.js'
import { type Competitor, findCompetitors, takesPart } from './competitors.js'
import { preparePrograms } from './programs.js'
import { Progress } from './progress.js'
import { renderPage } from './report/page.js'
import { renderGains, renderTable } from './report/table.js'
import type { Report } from './results.js'
import { roundsOf, run } from './run.js'

export type { BenchOptions }

/** A name that is none of those known. */
export class UnknownName extends Error {
  constructor(
    /** The option it was given to. */
    readonly option: 'cases' | 'servers',
    readonly value: string,
    readonly known: readonly string[],
  ) {
    super(`--${option}: unknown name '${value}'`)
    this.name = 'UnknownName'
  }
}

/** Everything that could be measured here. */
export async function list(engine?: string): Promise<{ cases: readonly BenchCase[]; competitors: Competitor[] }> {
  return { cases, competitors: findCompetitors(await preparePrograms(), engine) }
}

/**
 * Measures the chosen cases and servers.
 *
 * @throws {UnknownName} before anything is started
 */
export async function bench(options: BenchOptions = {}): Promise<Report> {
  const { quick = false, signal = new AbortController().signal } = options
  const programs = await preparePrograms()
  const chosenCases = choose('cases', options.cases, cases, ({ name }) => name, quick).map((bench) =>
    bench.kind === 'idle'
      ? withConnections(bench, options.idleConnections ?? (quick ? 10_000 : bench.connections))
      : bench,
  )
  const competitors = choose(
    'servers',
    options.servers,
    findCompetitors(programs, options.engine),
    ({ id }) => id,
    quick,
  )
  const rounds = options.rounds ?? (quick ? 5 : 7)
  const runnable = competitors.filter(({ command }) => command)
  const stepsOf = (bench: BenchCase) =>
    roundsOf(bench, rounds) * runnable.filter((competitor) => takesPart(competitor, bench.kind)).length
  const steps = chosenCases.reduce((sum, bench) => sum + stepsOf(bench), 0)
  const report = await run({
    cases: chosenCases,
    competitors,
    programs,
    rounds,
    seconds: options.seconds ?? (quick ? 0.3 : 0.5),
    warmupSeconds: options.warmupSeconds ?? (quick ? 0.5 : 0.8),
    loadInJavaScript: options.load === 'javascript',
    core: options.core,
    separateCores: options.separateCores,
    progress: new Progress(steps, options.progress),
    signal,
  })
  // Who asks for a server by name, and does not get it, should hear of it by the exit code; sluice is always asked for.
  const missed = report.unavailable.filter(({ server }) => options.servers?.includes(server) || server === 'sluice')
  const problems = missed.map(({ server, reason }) => ({ server, message: reason }))
  return { ...report, problems: [...problems, ...report.problems] }
}

function choose<T extends { quick: boolean }>(
  option: 'cases' | 'servers',
  wanted: readonly string[] | undefined,
  all: readonly T[],
  nameOf: (item: T) => string,
  quick: boolean,
): T[] {
  if (wanted === undefined) return all.filter((item) => !quick || item.quick)
  const known = all.map(nameOf)
  const unknown = wanted.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new UnknownName(option, unknown, known)
  return all.filter((item) => wanted.includes(nameOf(item)))
}

/** What `sluice bench` is made of. */
export const program = { bench, list, renderGains, renderPage, renderTable } satisfies BenchProgram
