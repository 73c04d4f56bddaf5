import { type CommandHelp, helpPage, integer, parseArguments, table, text, toggle, type Values } from './arguments.js'
import { checkFile, checkNames, interrupted, names, save, seconds, untilInterrupted } from './bench-flags.js'

const help: CommandHelp = {
  name: 'sluice message-bench',
  summary:
    'Measures messages of sluice against zeromq.js, grpc-js and lines of JSON over node:net, as far as installed.',
  details: `
Client and server are processes of their own, on one core each where the machine has two; the peers take turns, so that
what the machine does meanwhile meets all of them. All takes about four minutes, --quick one and a half; Ctrl-C ends it
and shows what was measured until then. Exit code 1 tells of wrong answers and of peers that were asked for and could
not be measured.`,
}

const flags = {
  quick: toggle('shorter rounds, and fewer cases'),
  cases: names('only these, by the names of --list, separated by commas'),
  peers: names('only these, likewise'),
  engine: text('that of sluice', { placeholder: 'NAME', default: 'auto' }),
  'busy-poll-micros': integer('how long sluice stays awake for the next message (default 50)', { min: 0, max: 1000 }),
  rounds: integer('measured rounds of each peer (default 7; 3 with --quick)', { min: 1, max: 1000 }),
  seconds: seconds('measured time of one round (default 0.5; 0.3 with --quick)', 0.01),
  warmup: seconds('load before the first round of a peer (default 2; 1 with --quick)', 0),
  'body-bytes': integer('length of the body that is streamed (default 1 000 000 000; 100 000 000 with --quick)', {
    min: 1_000_000,
    max: Number.MAX_SAFE_INTEGER,
  }),
  'server-core': integer('default the last one allowed', { min: 0, max: 4095 }),
  'client-core': integer('default the one before', { min: 0, max: 4095 }),
  json: text('write the whole report there; "-" prints it instead of the table', { placeholder: 'FILE' }),
  list: toggle('show the names of cases and peers, and measure nothing'),
}

/** What this command needs of bench/messages/index.ts, which is compiled by itself because it uses sluice as its users do. */
export interface MessageBenchProgram {
  bench(options: MessageBenchOptions): Promise<MessageBenchReport>
  list(): {
    cases: readonly { name: string; title: string }[]
    peers: readonly { name: string; title: string; reason?: string }[]
  }
  render(report: MessageBenchReport): string
}

/** What may be chosen. Names are those of `--list`. */
export interface MessageBenchOptions {
  readonly quick?: boolean
  readonly cases?: readonly string[]
  readonly peers?: readonly string[]
  readonly engine?: string
  /** Of the runtimes of sluice. */
  readonly busyPollMicros?: number
  readonly rounds?: number
  /** Measured time of one round. */
  readonly seconds?: number
  /** Time a fresh peer is loaded before its first round. */
  readonly warmupSeconds?: number
  /** Length of the body of the case "stream". */
  readonly bodyBytes?: number
  readonly serverCore?: number
  readonly clientCore?: number
  /** Where to tell what is going on. */
  readonly progress?: NodeJS.WriteStream
  /** Ends all children; the report then holds what was measured so far. */
  readonly signal?: AbortSignal
}

/** What the bench found; only bench/ looks inside. */
export interface MessageBenchReport {
  /** False when interrupted. */
  readonly complete: boolean
  readonly problems: readonly unknown[]
}

export async function run(argv: string[]): Promise<number> {
  const values = parseArguments(flags, argv)
  if (!values) {
    process.stdout.write(helpPage(help, flags))
    return 0
  }
  const { program } = require('../bench/messages/index.js') as { program: MessageBenchProgram }
  const listed = program.list()
  checkNames('cases', values.cases, listed.cases.map(({ name }) => name)) // biome-ignore format: one line each
  checkNames('peers', values.peers, listed.peers.map(({ name }) => name)) // biome-ignore format: one line each
  if (values.list) {
    const caseRows = listed.cases.map(({ name, title }) => [name, title])
    const peerRows = listed.peers.map(({ name, title, reason }) => [name, reason ? `${title}: ${reason}` : title])
    process.stdout.write(`${table([['CASE', ''], ...caseRows])}\n\n${table([['PEER', ''], ...peerRows])}\n`)
    return 0
  }
  checkFile('json', values.json === '-' ? undefined : values.json)
  const report = await measure(program, values)
  const whole = `${JSON.stringify(report, null, 1)}\n`
  process.stdout.write(values.json === '-' ? whole : program.render(report))
  if (values.json !== undefined && values.json !== '-') save(values.json, whole)
  if (!report.complete) return interrupted
  return report.problems.length === 0 ? 0 : 1
}

function measure(program: MessageBenchProgram, values: Values<typeof flags>): Promise<MessageBenchReport> {
  const { warmup, 'server-core': serverCore, 'client-core': clientCore, 'body-bytes': bodyBytes, ...others } = values
  const { 'busy-poll-micros': busyPollMicros, ...same } = others
  return untilInterrupted((signal) =>
    program.bench({
      ...same,
      ...{ warmupSeconds: warmup, serverCore, clientCore, bodyBytes, busyPollMicros },
      ...{ progress: process.stderr, signal },
    }),
  )
}
