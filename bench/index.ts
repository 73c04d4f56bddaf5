import type { BenchOptions, BenchProgram } from '../src/cli/bench.js'
import { type BenchCase, cases, withConnections } from './cases.js'
import { type Competitor, findCompetitors, takesPart } from './competitors.js'
import { type Programs, preparePrograms } from './programs.js'
import { Progress } from './progress.js'
import { renderPage } from './report/page.js'
import { renderGains, renderTable } from './report/table.js'
import type { Problem, Report } from './results.js'
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
  const withoutTls = whyWithoutTls(programs, options.load === 'javascript')
  const wantedCases = choose('cases', options.cases, cases, ({ name }) => name, quick)
  const leftOut = withoutTls === undefined ? [] : wantedCases.filter(({ tls }) => tls !== undefined)
  const chosenCases = wantedCases
    .filter((bench) => !leftOut.includes(bench))
    .map((bench) => {
      if (bench.kind !== 'idle') return bench
      const usual = quick && bench.tls === undefined ? 10_000 : bench.connections
      return withConnections(bench, options.idleConnections ?? usual)
    })
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
    roundsOf(bench, rounds) * runnable.filter((competitor) => takesPart(competitor, bench)).length
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
    notes: leftOut.length > 0 ? [`the cases with TLS are left out: ${withoutTls}`] : [],
    progress: new Progress(steps, options.progress),
    signal,
  })
  // Who asks for a server by name, and does not get it, should hear of it by the exit code; sluice is always asked for.
  const missed = report.unavailable.filter(({ server }) => options.servers?.includes(server) || server === 'sluice')
  const problems: Problem[] = missed.map(({ server, reason }) => ({ server, message: reason }))
  // Likewise cases.
  if (options.cases !== undefined) {
    for (const { name } of leftOut) problems.push({ case: name, message: `left out: ${withoutTls}` })
  }
  return { ...report, problems: [...problems, ...report.problems] }
}

/** Why no case with TLS can be measured, if so. */
function whyWithoutTls({ load_tls: load }: Programs, loadInJavaScript: boolean): string | undefined {
  if (loadInJavaScript) return 'the load generator in JavaScript has no TLS'
  return load.path === undefined ? `there is no load generator with TLS, ${load.reason}` : undefined
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
