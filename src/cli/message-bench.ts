import {
  type CommandHelp,
  type Flag,
  helpPage,
  integer,
  parseArguments,
  table,
  text,
  toggle,
  UsageError,
} from './arguments.js'

const help: CommandHelp = {
  name: 'sluice message-bench',
  summary: 'Measures messages between two processes: sluice, zeromq.js, @grpc/grpc-js and JSON over node:net.',
  details: `
Each side has a core of its own where there are two. The packages zeromq and @grpc/grpc-js are measured if they are
installed, beside sluice or where the command is given. Every answer is looked at.`,
}

const flags = {
  cases: text('only these, by the names of --list, separated by commas', { placeholder: 'NAME,…' }),
  peers: text('only these, likewise', { placeholder: 'NAME,…' }),
  rounds: integer('measured rounds', { min: 1, max: 1000, default: 5 }),
  seconds: integer('measured time of one round', { min: 1, max: 3600, default: 1 }),
  json: toggle('print the whole report as JSON'),
  list: toggle('show the names of cases and peers, and measure nothing'),
} satisfies Record<string, Flag<unknown>>

interface Spread {
  median: number
  min: number
  max: number
}

/** What this command needs of bench/messages/run.ts, which is compiled by itself. */
interface MessageBench {
  listMessages(): {
    cases: readonly { name: string; title: string }[]
    peers: readonly { id: string; title: string; reason?: string }[]
  }
  benchMessages(options: object): Promise<{
    machine: Record<string, unknown>
    results: { title: string; peer: string; perSecond: Spread; medianUs: number; p99Us: number; cpuUs: number }[]
    problems: string[]
  }>
}

export async function run(argv: string[]): Promise<number> {
  const values = parseArguments(flags, argv)
  if (!values) {
    process.stdout.write(helpPage(help, flags))
    return 0
  }
  const { listMessages, benchMessages } = require('../bench/messages/run.js') as MessageBench
  const { cases, peers } = listMessages()
  if (values.list) {
    const rows = [['CASE', ''], ...cases.map(({ name, title }) => [name, title])]
    const more = [['PEER', ''], ...peers.map(({ id, title, reason }) => [id, reason ? `${title}: ${reason}` : title])]
    process.stdout.write(`${table(rows)}\n\n${table(more)}\n`)
    return 0
  }
  const report = await benchMessages({
    cases: chosen('cases', values.cases, cases.map(({ name }) => name)), // biome-ignore format: one line each
    peers: chosen('peers', values.peers, peers.map(({ id }) => id)), // biome-ignore format: one line each
    rounds: values.rounds,
    seconds: values.seconds,
    progress: process.stderr,
  })
  if (values.json) process.stdout.write(`${JSON.stringify(report, null, 1)}\n`)
  else process.stdout.write(page(report))
  for (const problem of report.problems) process.stderr.write(`${problem}\n`)
  return report.problems.length === 0 ? 0 : 1
}

function chosen(option: string, given: string | undefined, known: readonly string[]): string[] | undefined {
  const names = given?.split(',').map((name) => name.trim())
  const unknown = names?.find((name) => !known.includes(name))
  if (unknown === undefined) return names
  throw new UsageError(`option "--${option}": unknown name "${unknown}"; known are ${known.join(', ')}`)
}

function page({ machine, results }: Awaited<ReturnType<MessageBench['benchMessages']>>): string {
  const { cpu, system, node, sluice } = machine
  const head = `${cpu}, ${system}, Node ${node}, sluice ${sluice}\n`
  const titles = [...new Set(results.map(({ title }) => title))]
  const tables = titles.map((title) => {
    const rows = results
      .filter((result) => result.title === title)
      .map(({ peer, perSecond, medianUs, p99Us, cpuUs }) => [
        peer,
        `${Math.round(perSecond.median)} (${Math.round(perSecond.min)}–${Math.round(perSecond.max)})`,
        ...[medianUs, p99Us, cpuUs].map((us) => (us === 0 ? '–' : us.toFixed(us < 100 ? 2 : 0))),
      ])
    return `\n${title}\n${table([['', 'per second', 'median µs', 'p99 µs', 'client CPU µs'], ...rows])}\n`
  })
  return head + tables.join('')
}
