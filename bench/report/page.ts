import { yardsticksOf } from '../cases.js'
import { type CaseResult, defaultOf, type Report } from '../results.js'
import { escapeHtml, familyOf, renderChart } from './chart.js'
import { duration, grouped, limitOf, number, percent, ratio, ratioOf, verdict, yardstickName } from './format.js'
import { style } from './style.js'
import { describeMethod } from './table.js'

/** The report as one page of HTML that needs nothing else: no script, no font, no network. */
export function renderPage(report: Report): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sluice bench, ${report.started.slice(0, 10)}</title>
<style>${style}</style>
</head>
<body>
<main>
${renderHeader(report)}
${renderProblems(report)}
${renderTiles(report)}
${renderKey(report)}
${report.cases.map(renderCase).join('\n')}
${renderTargets(report)}
${renderMethod(report)}
</main>
</body>
</html>
`
}

function renderHeader({ machine, started, complete }: Report): string {
  const facts = [
    machine.cpu,
    `${machine.cores} cores${machine.virtual ? ', virtual' : ''}`,
    `${machine.system}, ${machine.architecture}`,
    `Node ${machine.node}${machine.openssl === undefined ? '' : `, OpenSSL ${machine.openssl}`}`,
    `sluice ${machine.sluice}`,
    started.slice(0, 16).replace('T', ' '),
  ]
  return `<header>
<h1><span>sluice</span> bench</h1>
<p class="lead">What a message costs a server: CPU time of the server process, counted by the scheduler while the same load
generator keeps every competitor busy and compares every byte that comes back. Shorter bars are better.${
    complete ? '' : ' <b class="missed">Interrupted: this is only a part.</b>'
  }</p>
<div class="machine">${facts.map((fact) => `<span>${escapeHtml(fact)}</span>`).join('')}</div>
</header>`
}

function renderProblems({ problems }: Report): string {
  if (problems.length === 0) return ''
  const items = problems.map((problem) => {
    const where = [problem.case, problem.server].filter(Boolean).join(', ')
    return `<li><b>${escapeHtml(where)}</b> ${escapeHtml(problem.message)}</li>`
  })
  return `<section class="card problems"><h2>Problems</h2><p>Figures beside a problem are not to be trusted.</p>
<ul>${items.join('')}</ul></section>`
}

function renderTiles({ cases }: Report): string {
  const tiles = cases.flatMap((bench) => {
    const ours = defaultOf(bench)
    const { node } = yardsticksOf(bench)
    if (bench.kind === 'idle' && ours !== undefined) {
      const toNode = ours.ofNode === undefined ? '' : ` · ${percent(ours.ofNode)} of ${node}’s`
      const name = bench.tls === undefined ? 'an idle connection' : 'an idle connection with TLS'
      return [tile(`${number(ours.value.median)} KiB`, name, `resident memory${toNode}`)]
    }
    const isTile = bench.kind === 'echo' || (bench.kind === 'connect' && bench.tls !== undefined)
    if (!isTile || ours?.ofNode === undefined) return []
    const change = ours.ofNode <= 1 ? `−${percent(1 - ours.ofNode)}` : `+${percent(ours.ofNode - 1)}`
    const toC = ours.ofC === undefined ? '' : ` · ${`${percent(ours.ofC)} of C`.replace(/ /g, '\u00a0')}`
    return [tile(change, caseName(bench), `against ${node}${toC}`)]
  })
  return tiles.length === 0 ? '' : `<div class="tiles">${tiles.join('')}</div>`
}

function tile(figure: string, name: string, text: string): string {
  return `<div class="tile"><b>${escapeHtml(figure)}</b><span>${escapeHtml(name)}</span><small>${escapeHtml(text)}</small></div>`
}

/** "64 × 16 KiB", "TLS 64 × 16 KiB" */
function caseName({ name }: CaseResult): string {
  return name
    .replace(/(?<=\d)x/g, ' × ')
    .replace('KiB', ' KiB')
    .replace(/^tls-/, 'TLS ')
}

const familyNames = { sluice: 'sluice', node: 'node:net, node:tls', bun: 'Bun.listen', c: 'C: the limit' }

function renderKey({ cases }: Report): string {
  const families = new Set(cases.flatMap(({ servers }) => servers.map(({ server }) => familyOf(server))))
  const colours = [...families].map(
    (name) => `<span><i style="background:var(--${name})"></i>${familyNames[name]}</span>`,
  )
  const marks = ['bar: median', 'whisker: best to worst round', 'dot: one round', 'notches: target']
  return `<div class="key">${colours.join('')}${marks.map((mark) => `<span>${mark}</span>`).join('')}</div>`
}

function renderCase(bench: CaseResult): string {
  return `<section class="card" id="${bench.name}">
<h2>${escapeHtml(bench.title.charAt(0).toUpperCase() + bench.title.slice(1))}</h2>
<p>${escapeHtml(bench.unit)}</p>
<div class="scroll">${renderChart(bench)}</div>
<details><summary>Figures</summary><div class="scroll">${renderFigures(bench)}</div></details>
</section>`
}

function renderFigures(bench: CaseResult): string {
  const { node, c } = yardsticksOf(bench)
  const of = [`of ${yardstickName[node]}`, `of ${yardstickName[c]}`]
  const columns = ['server', 'median', 'min', 'max', ...of, 'per second', 'p50', 'p99', 'p99.9']
  const rows = bench.servers.map((server) => {
    const { value, latencyUs } = server
    const bulk = bench.kind === 'sink' || bench.kind === 'source'
    const rate = bulk ? megabytes(server.bytesPerSecond) : count(server.messagesPerSecond)
    const latency = latencyUs ? [latencyUs.p50, latencyUs.p99, latencyUs.p999].map(duration) : ['', '', '']
    const cells = [
      server.title,
      number(value.median),
      number(value.min),
      number(value.max),
      ratio(server.ofNode),
      ratio(server.ofC),
      rate,
      ...latency,
    ]
    return cells.map(escapeHtml)
  })
  const shown = columns.map((_, column) => rows.some((cells) => cells[column] !== ''))
  const line = (cells: readonly string[], tag: 'th' | 'td') =>
    `<tr>${cells.map((cell, column) => (shown[column] ? `<${tag}>${cell}</${tag}>` : '')).join('')}</tr>`
  return `<table>${line(columns, 'th')}${rows.map((cells) => line(cells, 'td')).join('')}</table>`
}

function renderTargets({ cases }: Report): string {
  const rows = cases.flatMap((bench) =>
    bench.servers.flatMap((server) =>
      server.targets.map((target) => {
        const [against, measured] = [ratioOf(target, bench.unit), target.ratio.toFixed(2)]
        const cells = [caseName(bench), server.title, against, measured, limitOf(target)].map(escapeHtml)
        return [...cells, `<span class="${target.met ? 'met' : 'missed'}">${escapeHtml(verdict(target))}</span>`]
      }),
    ),
  )
  if (rows.length === 0) return ''
  const line = (cells: readonly string[], tag: 'th' | 'td') =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`
  const header = line(['case', 'server', '', 'measured', 'target', ''], 'th')
  return `<section class="card targets"><h2>Targets</h2><p>What was asked of sluice before it was written. Where
the C program on epoll misses a target against node:net too, the kernel's own share on this machine is what is left.</p>
<div class="scroll"><table>${header}${rows.map((cells) => line(cells, 'td')).join('')}</table></div></section>`
}

function count(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : grouped(perSecond)
}

function megabytes(perSecond: number | undefined): string {
  return perSecond === undefined ? '' : `${grouped(perSecond / 1e6)} MB/s`
}

function renderMethod(report: Report): string {
  const lines = [
    ...describeMethod(report),
    `CPU time: ${report.method.cpuClock}; all of its threads count, and so does what the kernel does on its behalf.`,
    'Each round measures every competitor once, in an order that changes from round to round; a round begins with connections that are open and warm.',
    'All servers do the same: write back what they read, and read no more while the peer does not take it.',
    'With TLS: version 1.3, TLS_AES_128_GCM_SHA256, X25519, tickets, the server’s certificate verified by the clients.',
    ...report.unavailable.map(({ server, reason }) => `not measured: ${server}, ${reason}`),
  ]
  return `<section class="card"><h2>How it was measured</h2><ul>${lines.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul></section>
<footer>Made by <code>sluice bench</code>. Other machines, other figures: run it on yours.</footer>`
}
