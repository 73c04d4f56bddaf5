import {
  type CommandHelp,
  choice,
  helpPage,
  integer,
  parseArguments,
  table,
  text,
  toggle,
  type Values,
} from './arguments.js'
import { checkFile, checkNames, interrupted, names, save, seconds, untilInterrupted } from './bench-flags.js'

const help: CommandHelp = {
  name: 'sluice bench',
  summary: 'Measures what a message costs a server on this machine: sluice, node:net, Bun if installed, and C.',
  details: `
The cases proxy-… are about whole programs: sluice proxy, HAProxy if installed, and Node's sockets joined by pipe().

Server and load generator share one core; the CPU time counted is the server's alone, every byte that comes back is
compared, and the servers take turns, so that what the machine does meanwhile meets all of them. All takes about 20
minutes, --quick one; Ctrl-C ends it and shows what was measured until then. The table goes to stdout;
files are written where --json and --html ask for them. Exit code 1 tells of wrong bytes and of servers that were asked
for and could not be measured.`,
}

const flags = {
  quick: toggle('a few cases and servers, about a minute in all'),
  cases: names('only these, by the names of --list, separated by commas'),
  servers: names('only these, likewise'),
  engine: choice('leave out sluice on other engines', ['io_uring', 'epoll', 'kqueue', 'poll']),
  rounds: integer('measured rounds of each server (default 7; 5 with --quick)', { min: 1, max: 1000 }),
  seconds: seconds('measured time of one round (default 0.5; 0.3 with --quick)', 0.01),
  warmup: seconds('load before the first round of a server (default 0.8; 0.5 with --quick)', 0),
  'idle-connections': integer('how many stay open in the case "idle" (default 20000; 10000 with --quick)', {
    min: 1,
    max: 1_000_000,
  }),
  load: choice('load generator (default native, where a C compiler is found)', ['native', 'javascript']),
  core: integer('core of server and load generator (default the last one allowed)', { min: 0, max: 4095 }),
  'separate-cores': toggle('put the load generator on another core in every case'),
  json: text('write the whole report there; "-" prints it instead of the table', { placeholder: 'FILE' }),
  html: text('write it there as a page with plots', { placeholder: 'FILE' }),
  list: toggle('show the names of cases and servers, and measure nothing'),
}

/** What this command needs of bench/index.ts, which is compiled by itself because it uses sluice as its users do. */
export interface BenchProgram {
  bench(options?: BenchOptions): Promise<BenchReport>
  list(engine?: string): Promise<{ cases: readonly ListedCase[]; competitors: readonly ListedServer[] }>
  renderTable(report: BenchReport): string
  renderGains(report: BenchReport): string
  renderPage(report: BenchReport): string
}

/** What may be chosen. Names are those of `--list`. */
export interface BenchOptions {
  /** A few cases and servers, about a minute in all. */
  readonly quick?: boolean
  readonly cases?: readonly string[]
  readonly servers?: readonly string[]
  /** Leave out sluice on other engines. */
  readonly engine?: string
  readonly rounds?: number
  /** Measured time of one round. */
  readonly seconds?: number
  /** Time a fresh server is loaded before its first round. */
  readonly warmupSeconds?: number
  /** Connections of the case "idle". */
  readonly idleConnections?: number
  /** Default: the native load generator where it can be had. */
  readonly load?: 'native' | 'javascript'
  readonly core?: number
  readonly separateCores?: boolean
  /** Where to tell what is going on. */
  readonly progress?: NodeJS.WriteStream
  /** Ends all children; the report then holds what was measured so far. */
  readonly signal?: AbortSignal
}

/** What the bench found; only bench/ looks inside. */
export interface BenchReport {
  /** False when interrupted. */
  readonly complete: boolean
  readonly problems: readonly unknown[]
}

interface ListedCase {
  readonly name: string
  readonly title: string
  readonly unit: string
}

interface ListedServer {
  readonly id: string
  readonly title: string
  readonly reason?: string
}

export async function run(argv: string[]): Promise<number> {
  const values = parseArguments(flags, argv)
  if (!values) {
    process.stdout.write(helpPage(help, flags))
    return 0
  }
  const { program } = require('../bench/index.js') as { program: BenchProgram }
  const listed = await program.list(values.engine)
  checkNames('cases', values.cases, listed.cases.map(({ name }) => name)) // biome-ignore format: one line each
  checkNames('servers', values.servers, listed.competitors.map(({ id }) => id)) // biome-ignore format: one line each
  if (values.list) {
    process.stdout.write(listPage(listed))
    return 0
  }
  checkFile('json', values.json === '-' ? undefined : values.json)
  checkFile('html', values.html)
  const report = await measure(program, values)
  write(program, report, values)
  if (!report.complete) return interrupted
  return report.problems.length === 0 ? 0 : 1
}

function measure(program: BenchProgram, values: Values<typeof flags>): Promise<BenchReport> {
  const { warmup, 'idle-connections': idleConnections, 'separate-cores': separateCores, ...same } = values
  return untilInterrupted((signal) =>
    program.bench({
      ...same,
      warmupSeconds: warmup,
      idleConnections,
      separateCores: separateCores || undefined,
      progress: process.stderr,
      signal,
    }),
  )
}

function write(program: BenchProgram, report: BenchReport, { json, html, quick }: Values<typeof flags>): void {
  const whole = `${JSON.stringify(report, null, 1)}\n`
  if (json === '-') process.stdout.write(whole)
  else process.stdout.write(program.renderTable(report))
  const gains = program.renderGains(report)
  if (json !== '-' && gains !== '') process.stdout.write(`\n${gains}\n`)
  if (json !== undefined && json !== '-') save(json, whole)
  if (html !== undefined) save(html, program.renderPage(report))
  else if (quick && json !== '-')
    process.stdout.write('\nAll cases and servers, as a page with plots: sluice bench --html bench.html\n')
}

function listPage({ cases, competitors }: Awaited<ReturnType<BenchProgram['list']>>): string {
  const caseRows = cases.map(({ name, title, unit }) => [name, title, unit])
  const serverRows = competitors.map(({ id, title, reason }) => [
    id,
    reason === undefined ? title : `${title}: ${reason}`,
  ])
  return `${table([['CASE', '', 'UNIT, less is better'], ...caseRows])}\n\n${table([['SERVER', ''], ...serverRows])}\n`
}
