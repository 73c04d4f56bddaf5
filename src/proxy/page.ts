/** The page of statistics: one document without anything from elsewhere, which asks for its numbers every two seconds. */
export const statsPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sluice proxy</title>
<link rel="icon" href="data:,">
<style>
:root {
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2430; --soft: #5b6675; --line: #dfe3e9; --accent: #1f5fbf;
  --good: #1a7f4b; --warn: #9a6700; --bad: #c0322b; --fill: #d6e4fa;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --ink: #e4e9f0; --soft: #98a3b3; --line: #2c3541; --accent: #7fb0ff;
    --good: #5ecf94; --warn: #e3b341; --bad: #ff8078; --fill: #24364f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums;
}
main { max-width: 1240px; margin: 0 auto; padding: 16px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; margin-bottom: 14px; }
h1 { font-size: 20px; margin: 0; }
h2 { font-size: 15px; margin: 26px 0 8px; }
h2 small { font-weight: normal; color: var(--soft); margin-left: 8px; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 10px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; min-width: 0; }
.tile b { display: block; font-size: 21px; font-weight: 600; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: 12px; }
.tile svg { display: block; width: 100%; height: 26px; margin-top: 4px; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 12px; vertical-align: bottom; }
th:first-child, td:first-child, .left { text-align: left; }
.wrap { white-space: normal; min-width: 180px; }
.state { font-weight: 600; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
meter-bar { display: block; height: 4px; border-radius: 2px; background: var(--line); margin-top: 3px; overflow: hidden; }
meter-bar i { display: block; height: 100%; background: var(--accent); }
#notice { display: none; margin-bottom: 12px; padding: 8px 12px; border: 1px solid var(--bad); border-radius: 8px; color: var(--bad); }
footer { margin-top: 24px; color: var(--soft); font-size: 12px; }
a { color: var(--accent); }
@media (max-width: 720px) {
  main { padding: 10px; }
  .scroll { overflow: visible; background: none; border: 0; }
  table, tbody, tr, td { display: block; width: 100%; }
  thead { display: none; }
  tr { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin-bottom: 10px; padding: 4px 0; }
  td, td:first-child { display: flex; justify-content: space-between; gap: 16px; text-align: right; border: 0; padding: 3px 12px; white-space: normal; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: var(--soft); flex: none; text-align: left; }
  td:first-child { font-weight: 600; font-size: 15px; }
  .wrap { min-width: 0; }
}
</style>
</head>
<body>
<main>
<header><h1>sluice proxy</h1><span id="state" class="state"></span><span id="about" class="soft"></span></header>
<div id="notice" role="alert"></div>
<section class="tiles" id="tiles"></section>
<section id="body"></section>
<footer>Every two seconds. The same as <a href="stats.json">JSON</a> and for <a href="metrics">Prometheus</a>.</footer>
</main>
<script>
'use strict'
const everyMs = 2000
const keep = 60
const history = { sessions: [], rate: [], bytesIn: [], bytesOut: [] }
let last

const byId = (id) => document.getElementById(id)
const element = (name, attributes, ...children) => {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes || {})) if (value !== undefined) made.setAttribute(key, value)
  made.append(...children.filter((child) => child !== undefined && child !== ''))
  return made
}
const number = (value) => value === undefined ? '–' : Math.round(value).toLocaleString('en')
const decimal = (value) => value < 10 && value % 1 ? value.toFixed(1) : number(value)
const bytes = (value) => {
  if (value === undefined) return '–'
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit++ }
  return (unit === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)) + ' ' + units[unit]
}
const time = (ms) => {
  const s = Math.floor(ms / 1000)
  if (s < 60) return s + ' s'
  if (s < 3600) return Math.floor(s / 60) + ' min ' + (s % 60) + ' s'
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor((s % 3600) / 60) + ' min'
  return Math.floor(s / 86400) + ' d ' + Math.floor((s % 86400) / 3600) + ' h'
}
const sum = (list, of) => list.reduce((total, each) => total + of(each), 0)
const codes = (counts) => Object.entries(counts).map(([code, count]) => code.replace('ERR_SLUICE_', '') + ' ' + number(count)).join(', ') || '–'

function line(values) {
  const most = Math.max(1, ...values)
  const points = values.map((value, i) => ((i + keep - values.length) * 120 / (keep - 1)).toFixed(1) + ',' + (25 - 23 * value / most).toFixed(1))
  const ns = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(ns, 'svg')
  svg.setAttribute('viewBox', '0 0 120 26')
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('aria-hidden', 'true')
  const drawn = document.createElementNS(ns, 'polyline')
  drawn.setAttribute('points', points.join(' '))
  drawn.setAttribute('fill', 'none')
  drawn.setAttribute('stroke', 'var(--accent)')
  drawn.setAttribute('stroke-width', '1.5')
  drawn.setAttribute('vector-effect', 'non-scaling-stroke')
  svg.append(drawn)
  return svg
}

const tile = (title, value, values) => element('div', { class: 'tile' }, element('span', {}, title), element('b', {}, value), values && line(values))

function used(now, limit) {
  if (limit === undefined) return number(now)
  const cell = element('div', {}, number(now) + ' / ' + number(limit))
  const bar = element('i', {})
  bar.style.width = Math.min(100, 100 * now / limit) + '%'
  cell.append(element('meter-bar', {}, bar))
  return cell
}

// Each column: title, what to show, and whether it is text.
function table(rows, columns) {
  const head = element('tr', {}, ...columns.map(([title, , kind]) => element('th', { scope: 'col', class: kind ? 'left' : undefined }, title)))
  const body = rows.map((row) => element('tr', {}, ...columns.map(([title, show, kind]) => {
    const shown = show(row)
    return element('td', { 'data-label': title, class: kind }, shown === undefined ? '–' : shown)
  })))
  return element('div', { class: 'scroll' }, element('table', {}, element('thead', {}, head), element('tbody', {}, ...body)))
}

const state = (text, kind) => element('span', { class: 'state ' + kind }, text)
const listenerStates = { accepting: 'good', waiting: 'warn', backingOff: 'bad', closed: 'bad', gone: 'warn' }

function serverState({ isUp, state: admin, isUsable, check }) {
  if (!isUp) return state('down', 'bad')
  if (admin !== 'ready') return state(admin, 'warn')
  if (!isUsable) return state('weight 0', 'warn')
  return check ? state('up', 'good') : state('not checked', 'soft')
}

function checkText({ check }) {
  if (!check) return '–'
  const { last, good, bad } = check
  const counted = number(good) + ' good, ' + number(bad) + ' bad'
  return last ? counted + '; ' + last.text + ', ' + time(last.agoMs) + ' ago' : counted
}

function heading(title, more) {
  return element('h2', {}, title, more ? element('small', {}, more) : '')
}

function render(stats, seconds, before) {
  const rate = (now, then) => before && seconds > 0 ? Math.max(0, (now - then) / seconds) : 0
  const total = (of, from) => sum((from || stats).listeners, of)
  const sessions = total((each) => each.sessions.current)
  const perSecond = total((each) => each.sessions.perSecond)
  const bytesIn = rate(total((each) => each.bytesIn), before && total((each) => each.bytesIn, before))
  const bytesOut = rate(total((each) => each.bytesOut), before && total((each) => each.bytesOut, before))
  const cpuMs = ({ cpu }) => cpu.userMs + cpu.systemMs
  for (const [name, value] of Object.entries({ sessions, rate: perSecond, bytesIn, bytesOut })) {
    history[name].push(value)
    if (history[name].length > keep) history[name].shift()
  }
  byId('state').textContent = stats.state
  byId('state').className = 'state ' + (stats.state === 'running' ? 'good' : 'warn')
  byId('about').textContent = 'version ' + stats.version + ', process ' + stats.pid + ', ' + stats.engine +
    (stats.threads ? ', ' + stats.threads + ' threads' : '') + ', up ' + time(stats.uptimeMs) + ', ' + number(stats.reloads.done) + ' reloads'
  byId('tiles').replaceChildren(
    tile('Sessions', number(sessions), history.sessions),
    tile('New per second', number(perSecond), history.rate),
    tile('From clients', bytes(bytesIn) + '/s', history.bytesIn),
    tile('To clients', bytes(bytesOut) + '/s', history.bytesOut),
    tile('Waiting for a server', number(sum(stats.upstreams, ({ queued }) => queued))),
    tile('Processor', before ? decimal(100 * rate(cpuMs(stats), cpuMs(before)) / 1000) + ' %' : '–'),
    tile('Memory', bytes(stats.memory.rssBytes)),
    tile('Sockets', stats.limits.maxConnections ? number(stats.sockets) + ' / ' + number(stats.limits.maxConnections) : number(stats.sockets)),
  )
  const parts = [heading('Listeners'), table(stats.listeners, [
    ['Name', ({ name }) => name, 'left'],
    ['Address', ({ address, tls }) => address + (tls ? ' (TLS)' : ''), 'left'],
    ['State', ({ state: is }) => state(is, listenerStates[is] || 'soft'), 'left'],
    ['Sessions', ({ sessions: { current }, limits }) => used(current, limits.maxConnections)],
    ['Most', ({ sessions: { most } }) => number(most)],
    ['Total', ({ sessions: all }) => number(all.total)],
    ['Per second', ({ sessions: all, limits }) => used(all.perSecond, limits.maxConnectionsPerSecond)],
    ['From clients', (each) => bytes(each.bytesIn)],
    ['To clients', (each) => bytes(each.bytesOut)],
    ['No route', ({ refused }) => number(refused)],
    ['Handshakes', ({ handshakes, tls }) => tls ? number(handshakes.done) + ' done, ' + number(handshakes.failed) + ' failed' : '–'],
    ['Turned away', ({ turnedAway, handshakeFailures }) => codes({ ...turnedAway, ...handshakeFailures }), 'left wrap'],
    ['Failed', ({ failures }) => codes(failures), 'left wrap'],
  ])]
  for (const upstream of stats.upstreams) {
    const { name, balance, queued, maxQueue, waited, retries, failures, socks } = upstream
    const facts = [balance, socks ? 'through SOCKS at ' + socks : '', number(queued) + (maxQueue ? ' / ' + number(maxQueue) : '') + ' waiting', number(waited) + ' have waited',
      number(retries) + ' retries', Object.keys(failures).length ? codes(failures) : '']
    parts.push(heading('Upstream ' + name, facts.filter(Boolean).join(', ')), table(upstream.servers, [
      ['Server', (each) => each.name, 'left'],
      ['State', serverState, 'left'],
      ['Since', ({ sinceChangeMs }) => time(sinceChangeMs)],
      ['Weight', ({ weight, effectiveWeight, isBackup }) => (weight === effectiveWeight ? String(weight) : decimal(effectiveWeight) + ' of ' + weight) + (isBackup ? ', backup' : '')],
      ['In use', (each) => used(each.used, each.limit)],
      ['Connecting', ({ connecting }) => number(connecting)],
      ['Waiting', (each) => number(each.queued)],
      ['Most', ({ mostUsed }) => number(mostUsed)],
      ['Made', ({ opened }) => number(opened)],
      ['Failed', ({ failed }) => number(failed)],
      ['Sent', (each) => bytes(each.bytesIn)],
      ['Received', (each) => bytes(each.bytesOut)],
      ['Down', ({ downs, downtimeMs }) => downs ? number(downs) + '×, ' + time(downtimeMs) : '–'],
      ['Checks', checkText, 'left wrap'],
    ]))
  }
  if (stats.tables.length > 0) parts.push(heading('Tables'), table(stats.tables, [
    ['Table', ({ name }) => name, 'left'],
    ['Entries', ({ entries, size }) => used(entries, size)],
    ['In use', ({ inUse }) => number(inUse)],
    ['Tracked', ({ tracked }) => number(tracked)],
    ['Not tracked', ({ untracked }) => number(untracked)],
    ['Purged', ({ purged }) => number(purged)],
    ['Expired', ({ expired }) => number(expired)],
    ['Others', ({ exchange }) => !exchange ? '–' : exchange.state === 'exchanging' ? number(exchange.peers) + ' heard of' : state(exchange.state, exchange.state === 'unreachable' ? 'bad' : 'warn')],
    ['Busiest', ({ busiest }) => busiest.map(({ key, tracking }) => key + ' ' + number(tracking)).join(', ') || '–', 'left wrap'],
  ]))
  if (stats.networks.length > 0) parts.push(heading('Lists of networks'), table(stats.networks, [
    ['List', ({ name }) => name, 'left'],
    ['Networks', ({ networks }) => number(networks)],
  ]))
  const ruled = stats.listeners.filter(({ rules }) => rules.length > 0)
  if (ruled.length > 0) parts.push(heading('Rules'), table(ruled.flatMap(({ name, rules }) => rules.map((rule) => ({ name, ...rule }))), [
    ['Listener', ({ name }) => name, 'left'],
    ['Rule', ({ text }) => text, 'left wrap'],
    ['Hits', ({ hits }) => number(hits)],
  ]))
  const certificates = stats.listeners.flatMap(({ name, certificates: list }) => list.map((each) => ({ listener: name, ...each })))
  if (certificates.length > 0) parts.push(heading('Certificates'), table(certificates, [
    ['Shown for', ({ shownFor }) => shownFor, 'left'],
    ['Listener', ({ listener }) => listener, 'left'],
    ['Subject', ({ subject }) => subject, 'left wrap'],
    ['Names', ({ names }) => names.join(', '), 'left wrap'],
    ['Days left', ({ daysLeft }) => state(number(daysLeft), daysLeft < 7 ? 'bad' : daysLeft < 30 ? 'warn' : 'good')],
    ['Until', ({ validTo }) => validTo.slice(0, 10)],
    ['SHA-256', ({ fingerprint256 }) => element('span', { title: fingerprint256 }, fingerprint256.slice(0, 23) + '…'), 'left'],
  ]))
  byId('body').replaceChildren(...parts)
  const { lastError } = stats.reloads
  notice(lastError && 'The last reload was refused: ' + lastError)
}

function notice(text) {
  byId('notice').textContent = text || ''
  byId('notice').style.display = text ? 'block' : 'none'
}

async function refresh() {
  try {
    const response = await fetch('stats.json', { cache: 'no-store' })
    const stats = await response.json()
    const now = performance.now()
    render(stats, last ? (now - last.now) / 1000 : 0, last && last.stats.pid === stats.pid ? last.stats : undefined)
    last = { stats, now }
    document.documentElement.dataset.ready = 'yes'
  } catch (error) {
    byId('state').textContent = 'gone'
    byId('state').className = 'state bad'
    notice('The proxy does not answer: ' + error.message)
  }
  setTimeout(refresh, everyMs)
}
void refresh()
</script>
</body>
</html>
`
