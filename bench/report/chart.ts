import { yardsticksOf } from '../cases.js'
import type { CaseResult, ServerResult } from '../results.js'
import { number } from './format.js'

// All lengths are in the units of the drawing, which scales with the page.
const width = 880
const labels = 224
const values = 76
const rowHeight = 34
const barHeight = 16
const plot = width - labels - values
const axisHeight = 26
const topMargin = 22

/** Bars from zero to the median, whiskers from the best to the worst round, a dot per round, marks at the targets. */
export function renderChart(bench: CaseResult): string {
  const height = topMargin + bench.servers.length * rowHeight + axisHeight
  const ticks = niceTicks(Math.max(...bench.servers.map(({ value }) => value.max), 0))
  const largest = ticks.at(-1)!
  const x = (value: number) => labels + (Math.max(0, value) / largest) * plot
  const bottom = height - axisHeight
  return [
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(`${bench.title}, ${bench.unit}`)}">`,
    ...ticks.map((tick) => gridLine(x(tick), bottom, String(Number(tick.toPrecision(4))))),
    ...bench.servers.map((server, index) => row(server, topMargin + index * rowHeight, x, bench)),
    limitLine(bench, x, bottom),
    '</svg>',
  ].join('\n')
}

/** Which colour a server has. */
export function familyOf(server: string): 'sluice' | 'node' | 'bun' | 'c' {
  if (server.startsWith('sluice') || server === 'byte-queue' || server === 'cidr-set' || server === 'pair')
    return 'sluice'
  if (server.startsWith('c-')) return 'c'
  return server === 'bun' ? 'bun' : 'node'
}

/** Zero, a few round numbers, and one at or above `largest`. */
export function niceTicks(largest: number): number[] {
  if (!(largest > 0)) return [0, 1]
  const rough = largest / 5
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * magnitude).find((candidate) => candidate >= rough * 0.999)!
  return Array.from({ length: Math.ceil((largest / step) * 0.999) + 1 }, (_, index) => index * step)
}

export function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')
}

function row(server: ServerResult, top: number, x: (value: number) => number, bench: CaseResult): string {
  const { value, rounds, title } = server
  const middle = top + rowHeight / 2
  // What one gets without asking stands out from its variants.
  const variant = /-(threads|duplex|limits|handshake)$|^sluice-poll/.test(server.server) ? ' variant' : ''
  const family = familyOf(server.server) + variant
  const hint = `${title}: ${number(value.median)} ${bench.unit} (${number(value.min)} to ${number(value.max)})`
  const bar = Math.max(1, x(value.median) - labels)
  return [
    `<g class="${family}"><title>${escapeHtml(hint)}</title>`,
    `<rect class="hit" x="0" y="${top}" width="${width}" height="${rowHeight}"/>`,
    `<text class="name" x="${labels - 12}" y="${middle}">${escapeHtml(title)}</text>`,
    `<rect class="bar" x="${labels}" y="${middle - barHeight / 2}" width="${bar.toFixed(1)}" height="${barHeight}" rx="2"/>`,
    whisker(x(value.min), x(value.max), middle),
    ...rounds.map((round) => `<circle class="round" cx="${x(round.value).toFixed(1)}" cy="${middle}" r="2"/>`),
    ...targetMarks(server, x, middle),
    `<text class="value" x="${width - 4}" y="${middle}">${number(value.median)}</text>`,
    '</g>',
  ].join('')
}

function whisker(from: number, to: number, y: number): string {
  const [a, b] = [from.toFixed(1), to.toFixed(1)]
  return `<path class="whisker" d="M${a} ${y - 5}V${y + 5}M${a} ${y}H${b}M${b} ${y - 5}V${y + 5}"/>`
}

// A notch above and below the bar at the value a target asks for.
function targetMarks(server: ServerResult, x: (value: number) => number, y: number): string[] {
  return server.targets.map(({ against, atMost, met, ratio }) => {
    if (atMost === undefined) return '' // of another quantity than the one drawn
    const base = against === undefined ? 1 : server.value.median / ratio
    const at = x(base * atMost)
    const reach = barHeight / 2 + 4
    const name = against === undefined ? 'target' : `target: ${atMost} × ${against}`
    const notch = (side: 1 | -1) => `M${at.toFixed(1)} ${y + side * (reach - 5)}l-3.5 ${side * 6}h7z`
    return `<path class="target ${met ? 'met' : 'missed'}" d="${notch(-1)}${notch(1)}"><title>${name}</title></path>`
  })
}

function limitLine(bench: CaseResult, x: (value: number) => number, bottom: number): string {
  const { c } = yardsticksOf(bench)
  const limit = bench.servers.find(({ server }) => server === c)
  if (limit === undefined || (bench.kind === 'idle' && bench.tls === undefined)) return ''
  const at = x(limit.value.median).toFixed(1)
  return `<path class="limit" d="M${at} ${topMargin - 4}V${bottom}"/><text class="limit-name" x="${at}" y="9">${escapeHtml(bench.tls === undefined ? 'C, epoll' : 'C, OpenSSL')}</text>`
}

function gridLine(at: number, bottom: number, label: string): string {
  const x = at.toFixed(1)
  return `<path class="grid" d="M${x} ${topMargin - 4}V${bottom}"/><text class="tick" x="${x}" y="${bottom + 17}">${label}</text>`
}
