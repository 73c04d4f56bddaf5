import type { CaseResult, Report, ServerResult } from '../results.js'
import { duration, grouped, number, percent, ratio, target } from './format.js'

/** The report for a terminal. */
export function renderTable(report: Report): string {
  const parts = report.cases.map(renderCase)
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
      `Node ${machine.node}, sluice ${machine.sluice}, ${started.slice(0, 10)}`,
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
}

function renderCase(bench: CaseResult): string {
  const header = [
    '',
    bench.unit,
    'min … max',
    'of node:net',
    'of C epoll',
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
  const rate = kind === 'sink' || kind === 'source' ? megabytes(server.bytesPerSecond) : whole(server.messagesPerSecond)
  return [
    `  ${server.title}`,
    number(value.median),
    `${number(value.min)} … ${number(value.max)}`,
    ratio(server.ofNodeNet),
    ratio(server.ofCEpoll),
    kind === 'idle' ? '' : rate,
    latencyUs ? duration(latencyUs.p50) : '',
    latencyUs ? duration(latencyUs.p99) : '',
    server.targets.map(target).join('  '),
  ]
}

function whole(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : grouped(perSecond)
}

function megabytes(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : `${grouped(perSecond / 1e6)} MB/s`
}

/** Columns side by side: the first and the last to the left, figures to the right. */
export function align(lines: readonly (readonly string[])[]): string[] {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((cells) => cells[column]!.length)))
  return lines.map((cells) =>
    cells
      .map((cell, column) => {
        const left = column === 0 || cell.startsWith('≤') || cell === 'target'
        return left ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)
      })
      .join('  ')
      .trimEnd(),
  )
}

/** What sluice gains here, in plain words: one line per echo case, and one for memory. */
export function renderGains(report: Report): string {
  return report.cases.flatMap((bench) => gain(bench) ?? []).join('\n')
}

function gain(bench: CaseResult): string | undefined {
  const best = bench.servers
    .filter(({ server }) => /^sluice-[^-]+$/.test(server))
    .reduce<ServerResult | undefined>((a, b) => (a === undefined || b.value.median < a.value.median ? b : a), undefined)
  const node = bench.servers.find(({ server }) => server === 'node:net')
  if (best?.ofNodeNet === undefined || node === undefined) return undefined
  const [now, before] = [number(best.value.median), number(node.value.median)]
  if (bench.kind === 'idle')
    return `An idle connection takes ${now} KiB with ${best.title}, ${before} KiB with node:net.`
  if (bench.kind !== 'echo') return undefined
  const c = bench.servers.find(({ server }) => server === 'c-epoll')
  const limit = c === undefined ? '' : `, a C program ${number(c.value.median)}`
  const gone =
    best.overheadGone === undefined
      ? ''
      : ` ${Math.max(0, Math.round(best.overheadGone * 100))} % of what node:net costs above C is gone.`
  const share = best.ofNodeNet < 1 ? `${percent(1 - best.ofNodeNet)} less` : `${percent(best.ofNodeNet - 1)} more`
  return (
    `${bench.title.replace(/^echo: /, '')}: a message costs ${now} µs of CPU with ${best.title}, ` +
    `${before} with node:net (${share})${limit}.${gone}`
  )
}
