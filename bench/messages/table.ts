import { duration, grouped, number } from '../report/format.js'
import { align } from '../report/table.js'
import type { LargeResult, MessageCaseResult, MessageReport, MessageTargetResult, PeerResult } from './results.js'

/** The report for a terminal. */
export function renderMessages(report: MessageReport): string {
  const { unavailable, problems, complete } = report
  const parts = report.cases.map(renderCase)
  if (report.large !== undefined) parts.push(renderLarge(report.large))
  if (unavailable.length > 0) {
    parts.push(['Not measured:', ...unavailable.map(({ peer, reason }) => `  ${peer}: ${reason}`)].join('\n'))
  }
  if (problems.length > 0) {
    const lines = problems.map(
      (problem) => `  ${[problem.case, problem.peer].filter(Boolean).join(', ')}: ${problem.message}`,
    )
    parts.push(['PROBLEMS, these figures are not to be trusted:', ...lines].join('\n'))
  }
  parts.push(describe(report))
  if (!complete) parts.push('Interrupted: only what was measured until then is shown.')
  return `${parts.join('\n\n')}\n`
}

function renderCase(bench: MessageCaseResult): string {
  const header = ['', bench.unit, 'min … max', 'of sluice', 'p50', 'p99', 'client µs', 'server µs', 'target']
  const own = bench.peers.find(({ peer }) => peer === 'sluice')
  const rows = bench.peers.map((peer) => row(bench, peer, own))
  const shown = header.map((_, column) => column < 2 || rows.some((cells) => cells[column] !== ''))
  const lines = [header, ...rows].map((cells) => cells.filter((_, column) => shown[column]))
  return [bench.title, ...align(lines)].join('\n')
}

function row({ unit }: MessageCaseResult, peer: PeerResult, own: PeerResult | undefined): string[] {
  const { value, latencyUs, clientUs, serverUs } = peer
  const shown = unit === 'a second' ? grouped : number
  return [
    `  ${peer.title}`,
    shown(value.median),
    `${shown(value.min)} … ${shown(value.max)}`,
    own === undefined || own === peer ? '' : `${(value.median / own.value.median).toFixed(2)}×`,
    latencyUs ? duration(latencyUs.p50) : '',
    latencyUs ? duration(latencyUs.p99) : '',
    clientUs === undefined ? '' : number(clientUs),
    serverUs === undefined ? '' : number(serverUs),
    peer.targets.map(targetText).join(', '),
  ]
}

function targetText({ against, atMost, atLeast, reached, met }: MessageTargetResult): string {
  const limit = atMost === undefined ? `≥ ${grouped(atLeast!)}` : `≤ ${atMost}`
  const exact = atMost === undefined && atLeast! < 1 ? `≥ ${atLeast}` : limit
  if (against === undefined) return `${met ? '✓' : '✗'} ${exact}`
  return `${met ? '✓' : '✗'} ${exact}× ${against}: ${reached.toFixed(2)}`
}

function renderLarge(large: LargeResult): string {
  const { bodyBytes, seconds, requests, latencyUs } = large
  const { clientStartBytes, clientGrowthBytes, serverStartBytes, serverGrowthBytes } = large
  const grew = (start: number, growth: number) => `from ${mebibytes(start)} to ${mebibytes(start + growth)}`
  const mebibytes = (bytes: number) => `${number(bytes / 2 ** 20)} MiB`
  return [
    `A body of ${number(bodyBytes / 1e9)} GB, streamed beside small requests`,
    `  ${number(bodyBytes / 1e6 / seconds)} MB/s; ${grouped(requests / seconds)} requests a second` +
      (latencyUs === undefined ? '' : `, p50 ${duration(latencyUs.p50)}, p99 ${duration(latencyUs.p99)}`),
    `  memory grew ${grew(clientStartBytes, clientGrowthBytes)} at the client, ${grew(serverStartBytes, serverGrowthBytes)} at the server`,
  ].join('\n')
}

function describe({ machine, method, started }: MessageReport): string {
  const { serverCore, clientCore, rounds, seconds, engine, busyPollMicros } = method
  const cores = serverCore === undefined ? 'not pinned' : `server on core ${serverCore}, client on core ${clientCore}`
  return [
    `${machine.cpu}, ${machine.cores} cores${machine.virtual ? ' (virtual)' : ''}, ${machine.system} ${machine.architecture}, ` +
      `Node ${machine.node}, sluice ${machine.sluice}, ${started.slice(0, 10)}`,
    `median of ${rounds} interleaved rounds of ${seconds} s; ${cores}; engine ${engine}, awake for ${busyPollMicros} µs; client and server µs: CPU time of a message`,
  ].join('\n')
}
