import { yardsticksOf } from '../cases.js'
import { type CaseResult, defaultOf, type Report, type ServerResult } from '../results.js'
import {
  duration,
  grouped,
  limitOf,
  number,
  percent,
  ratio,
  ratioOf,
  shortTarget,
  verdict,
  yardstickName,
} from './format.js'

/** The report for a terminal. */
export function renderTable(report: Report): string {
  const parts = report.cases.map(renderCase)
  const targets = renderTargets(report)
  if (targets !== '') parts.push(targets)
  if (report.unavailable.length > 0) {
    parts.push(
      ['Not measured:', ...report.unavailable.map(({ server, reason }) => `  ${server}: ${reason}`)].join('\n'),
    )
  }
  if (report.problems.length > 0) {
    const lines = report.problems.map(
      (problem) => `  ${[problem.case, problem.server].filter(Boolean).join(', ')}: ${problem.message}`,
    )
    parts.push(['PROBLEMS, these figures are not to be trusted:', ...lines].join('\n'))
  }
  parts.push(describeMethod(report).join('\n'))
  if (!report.complete) parts.push('Interrupted: only what was measured until then is shown.')
  return `${parts.join('\n\n')}\n`
}

/** Machine and method in a few lines. */
export function describeMethod({ machine, method, started }: Report): string[] {
  const cores = method.serverCore === undefined ? 'not pinned' : describeCores(method.serverCore, method.loadCore!)
  return [
    `${machine.cpu}, ${machine.cores} cores${machine.virtual ? ' (virtual)' : ''}, ${machine.system} ${machine.architecture}, ` +
      `Node ${machine.node}${machine.openssl === undefined ? '' : ` with OpenSSL ${machine.openssl}`}, sluice ${machine.sluice}, ${started.slice(0, 10)}` +
      (machine.systemCallNs === undefined ? '' : `; a system call takes ${Math.round(machine.systemCallNs)} ns`),
    `median of ${method.rounds} interleaved rounds of ${method.seconds} s; ${cores}; ` +
      `load generator ${method.load === 'native' ? 'in C' : 'in JavaScript'}, every byte compared`,
    ...method.notes.map((note) => `note: ${note}`),
  ]
}

function describeCores(server: number, load: number): string {
  return server === load ? `server and load on core ${server}` : `server on core ${server}, load on core ${load}`
}

const perSecond = {
  echo: 'messages/s',
  connect: 'connections/s',
  sink: 'throughput',
  source: 'throughput',
  idle: '',
  delay: 'messages/s',
  storm: 'handshakes/s',
  crowd: 'messages/s',
  filter: 'messages/s',
  queue: 'pieces/s',
  lookup: 'look-ups/s',
  pair: 'messages/s',
  total: 'throughput',
  shares: 'throughput',
  relay: 'messages/s',
  proxy: 'messages/s',
  'proxy-connect': 'connections/s',
}

function renderCase(bench: CaseResult): string {
  const { node, c } = yardsticksOf(bench)
  const header = [
    '',
    bench.unit,
    'min … max',
    `of ${yardstickName[node]}`,
    `of ${yardstickName[c]}`,
    perSecond[bench.kind],
    'p50',
    'p99',
    'target',
  ]
  const rows = bench.servers.map((server) => row(bench, server))
  const shown = header.map((_, column) => column < 2 || rows.some((cells) => cells[column] !== ''))
  const lines = [header, ...rows].map((cells) => cells.filter((_, column) => shown[column]))
  return [bench.title, ...align(lines)].join('\n')
}

function row({ kind }: CaseResult, server: ServerResult): string[] {
  const { value, latencyUs } = server
  const rate = perSecond[kind] === 'throughput' ? megabytes(server.bytesPerSecond) : whole(server.messagesPerSecond)
  return [
    `  ${server.title}`,
    number(value.median),
    `${number(value.min)} … ${number(value.max)}`,
    ratio(server.ofNode),
    ratio(server.ofC),
    kind === 'idle' ? '' : rate,
    latencyUs ? duration(latencyUs.p50) : '',
    latencyUs ? duration(latencyUs.p99) : '',
    server.targets.map(shortTarget).join(', '),
  ]
}

function whole(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : grouped(perSecond)
}

function megabytes(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : `${grouped(perSecond / 1e6)} MB/s`
}

/** Every target that was measured, and whether it is reached. */
function renderTargets({ cases }: Report): string {
  const rows = cases.flatMap((bench) =>
    bench.servers.flatMap((server) =>
      server.targets.map((target) => {
        const [of, reached] = [ratioOf(target, bench.unit), target.ratio.toFixed(2)]
        return [`  ${bench.name}`, server.title, of, reached, limitOf(target), verdict(target)]
      }),
    ),
  )
  return rows.length === 0 ? '' : ['Targets', ...align(rows, [0, 1, 2, 5])].join('\n')
}

/** Columns side by side: those in `left` to the left, figures to the right. Default: the first and the last. */
export function align(lines: readonly (readonly string[])[], left = [0, lines[0]!.length - 1]): string[] {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((cells) => cells[column]!.length)))
  return lines.map((cells) =>
    cells
      .map((cell, column) => (left.includes(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  )
}

/** What sluice gains here, as one gets it without asking: one line per echo case, and one for memory. */
export function renderGains(report: Report): string {
  const rows = report.cases.map(gain).filter((row) => row !== undefined)
  if (rows.length === 0) return ''
  const header = ['', 'sluice', 'Node', 'C', 'gained', 'of C', 'overhead gone', 'engine']
  const explained = [
    'Node: node:net, with TLS node:tls; gained: it takes that many times as much; of C: 100 % is as little as the C program',
    'takes; overhead gone: how much of what Node takes above the C program is saved.',
  ]
  return [
    'What sluice gains on this machine',
    ...align([header, ...rows]),
    ...explained.map((line) => `  ${line}`),
  ].join('\n')
}

function gain(bench: CaseResult): string[] | undefined {
  const yardsticks = yardsticksOf(bench)
  const [ours, node, c] = [
    defaultOf(bench),
    ...[yardsticks.node, yardsticks.c].map((id) => bench.servers.find(({ server }) => server === id)),
  ]
  const what = gained(bench)
  if (ours === undefined || node === undefined || what === undefined) return undefined
  const unit = bench.kind === 'idle' ? 'KiB' : 'µs'
  const amount = (server: ServerResult | undefined) => (server ? `${number(server.value.median)} ${unit}` : '')
  const { ofC, overheadGone } = ours
  return [
    `  ${what}`,
    amount(ours),
    amount(node),
    amount(c),
    `${(node.value.median / ours.value.median).toFixed(2)}×`,
    ofC === undefined ? '' : percent(ofC),
    overheadGone === undefined ? '' : percent(overheadGone),
    ours.title.replace(/^sluice, /, ''),
  ]
}

function gained({ kind, name, tls }: CaseResult): string | undefined {
  if (kind === 'echo') return `CPU of a message, ${name}`
  if (kind === 'idle') return `memory of an idle connection${tls === undefined ? '' : ' with TLS'}`
  return kind === 'connect' && tls !== undefined ? `CPU of a connection, ${name}` : undefined
}
