import { type CaseResult, defaultOf, type Report } from '../results.js'
import { escapeHtml, familyOf, renderChart } from './chart.js'
import { duration, grouped, number, percent, ratio, verdict } from './format.js'
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
    `Node ${machine.node}`,
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
    if (bench.kind === 'idle' && ours !== undefined) {
      const toNode = ours.ofNodeNet === undefined ? '' : ` · ${percent(ours.ofNodeNet)} of node:net’s`
      return [tile(`${number(ours.value.median)} KiB`, 'an idle connection', `resident memory${toNode}`)]
    }
    if (bench.kind !== 'echo' || ours?.ofNodeNet === undefined) return []
    const change = ours.ofNodeNet <= 1 ? `−${percent(1 - ours.ofNodeNet)}` : `+${percent(ours.ofNodeNet - 1)}`
    const toC = ours.ofCEpoll === undefined ? '' : ` · ${`${percent(ours.ofCEpoll)} of C`.replace(/ /g, '\u00a0')}`
    return [tile(change, caseName(bench), `against node:net${toC}`)]
  })
  return tiles.length === 0 ? '' : `<div class="tiles">${tiles.join('')}</div>`
}

function tile(figure: string, name: string, text: string): string {
  return `<div class="tile"><b>${escapeHtml(figure)}</b><span>${escapeHtml(name)}</span><small>${escapeHtml(text)}</small></div>`
}

/** "64 × 16 KiB" */
function caseName({ name }: CaseResult): string {
  return name.replace(/x/g, ' × ').replace('KiB', ' KiB')
}

const familyNames = { sluice: 'sluice', node: 'node:net', bun: 'Bun.listen', c: 'C: the limit' }

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
  const columns = ['server', 'median', 'min', 'max', 'of node:net', 'of C epoll', 'per second', 'p50', 'p99', 'p99.9']
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
      ratio(server.ofNodeNet),
      ratio(server.ofCEpoll),
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
        const against = target.against === undefined ? bench.unit : `of ${target.against}`
        const [measured, atMost] = [target.ratio, target.atMost].map((value) => value.toFixed(2))
        const cells = [caseName(bench), server.title, against, measured!, `≤ ${atMost}`].map(escapeHtml)
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
    ...report.unavailable.map(({ server, reason }) => `not measured: ${server}, ${reason}`),
  ]
  return `<section class="card"><h2>How it was measured</h2><ul>${lines.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul></section>
<footer>Made by <code>sluice bench</code>. Other machines, other figures: run it on yours.</footer>`
}
