import type {
  ProxyExchangeStats,
  ProxyListenerStats,
  ProxyStats,
  ProxyTableStats,
  ProxyUpstreamStats,
} from './stats-types.js'

type Labels = Readonly<Record<string, string>>
type Sample = readonly [labels: Labels, value: number | undefined]

/** What Prometheus calls this format. Source: Prometheus, exposition formats, text format 0.0.4. */
export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8'

/**
 * Statistics as Prometheus reads them: base units (bytes, seconds), `_total` behind counters, all samples of a name together
 * behind its help and type.
 */
export function prometheusText(stats: ProxyStats): string {
  const page = new Page()
  const { version, engine, threads, listeners, upstreams } = stats
  page.gauge('sluice_info', 'Version and engine.', [[{ version, engine, threads: String(threads) }, 1]])
  page.gauge(
    'sluice_start_time_seconds',
    'When the proxy began, as a Unix time.',
    one(Date.parse(stats.startedAt) / 1000),
  )
  page.gauge('sluice_draining', 'Whether it takes no more connections.', one(Number(stats.state === 'draining')))
  page.counter('sluice_cpu_seconds_total', 'Processor time of the process.', [
    [{ mode: 'user' }, stats.cpu.userMs / 1000],
    [{ mode: 'system' }, stats.cpu.systemMs / 1000],
  ])
  page.gauge('sluice_resident_memory_bytes', 'Memory of the process.', one(stats.memory.rssBytes))
  page.gauge('sluice_sockets', 'Connections to clients and to servers.', one(stats.sockets))
  page.counter('sluice_reloads_total', 'Configurations put in place, or refused.', [
    [{ outcome: 'done' }, stats.reloads.done],
    [{ outcome: 'failed' }, stats.reloads.failed],
  ])
  listenerMetrics(page, listeners)
  upstreamMetrics(page, upstreams)
  const tables = (value: (table: ProxyTableStats) => number): Sample[] =>
    stats.tables.map((table) => [{ table: table.name }, value(table)])
  page.gauge(
    'sluice_table_entries',
    'Entries of a table.',
    tables(({ entries }) => entries),
  )
  page.gauge(
    'sluice_table_entries_limit',
    'Most entries of a table.',
    tables(({ size }) => size),
  )
  page.counter(
    'sluice_table_tracked_total',
    'Connections tracked.',
    tables(({ tracked }) => tracked),
  )
  page.counter(
    'sluice_table_untracked_total',
    'Connections that found no room.',
    tables(({ untracked }) => untracked),
  )
  exchangeMetrics(page, stats.tables)
  page.gauge(
    'sluice_networks',
    'Networks in a list.',
    stats.networks.map(({ name, networks }) => [{ list: name }, networks]),
  )
  return page.text
}

function exchangeMetrics(page: Page, tables: readonly ProxyTableStats[]): void {
  const each = (value: (exchange: ProxyExchangeStats) => number): Sample[] =>
    tables.flatMap(({ name, exchange }) =>
      exchange === undefined ? [] : [[{ table: name }, value(exchange)] as const],
    )
  page.gauge(
    'sluice_table_exchange_up',
    'Whether a table hears of those of other machines.',
    each(({ state }) => Number(state === 'exchanging')),
  )
  page.gauge(
    'sluice_table_exchange_peers',
    'Tables of other machines that were heard of.',
    each(({ peers }) => peers),
  )
  page.counter(
    'sluice_table_exchanges_total',
    'Exchanges so far.',
    each(({ exchanges }) => exchanges),
  )
  page.counter(
    'sluice_table_exchange_failures_total',
    'Exchanges that failed.',
    each(({ failures }) => failures),
  )
  page.counter(
    'sluice_table_exchange_sent_bytes_total',
    'Changes told to others.',
    each(({ sentBytes }) => sentBytes),
  )
  page.counter(
    'sluice_table_exchange_received_bytes_total',
    'Changes of others.',
    each(({ receivedBytes }) => receivedBytes),
  )
}

function listenerMetrics(page: Page, listeners: readonly ProxyListenerStats[]): void {
  const each = (value: (listener: ProxyListenerStats) => number | undefined): Sample[] =>
    listeners.map((listener) => [{ listener: listener.name }, value(listener)])
  const by = (label: string, counts: (listener: ProxyListenerStats) => Record<string, number>): Sample[] =>
    listeners.flatMap((listener) =>
      Object.entries(counts(listener)).map(
        ([name, count]): Sample => [{ listener: listener.name, [label]: name }, count],
      ),
    )
  page.gauge(
    'sluice_listener_up',
    'Whether it accepts.',
    each(({ state }) => Number(state === 'accepting')),
  )
  page.gauge(
    'sluice_listener_sessions',
    'Sessions open now.',
    each(({ sessions }) => sessions.current),
  )
  page.gauge(
    'sluice_listener_sessions_most',
    'Most sessions open at once.',
    each(({ sessions }) => sessions.most),
  )
  page.counter(
    'sluice_listener_sessions_total',
    'Sessions so far.',
    each(({ sessions }) => sessions.total),
  )
  page.gauge(
    'sluice_listener_sessions_limit',
    'Most sessions allowed.',
    each(({ limits }) => limits.maxConnections),
  )
  page.counter(
    'sluice_listener_received_bytes_total',
    'Bytes from clients.',
    each(({ bytesIn }) => bytesIn),
  )
  page.counter(
    'sluice_listener_sent_bytes_total',
    'Bytes to clients.',
    each(({ bytesOut }) => bytesOut),
  )
  page.counter(
    'sluice_listener_accepted_total',
    'Connections accepted.',
    each(({ accepted }) => accepted),
  )
  page.counter(
    'sluice_listener_accept_failures_total',
    'Times that accept failed.',
    each((all) => all.acceptFailures),
  )
  page.counter(
    'sluice_listener_refused_total',
    'Sessions without a route.',
    each(({ refused }) => refused),
  )
  page.counter(
    'sluice_listener_handshakes_total',
    'Handshakes that succeeded.',
    each(({ handshakes }) => handshakes.done),
  )
  page.gauge(
    'sluice_listener_handshakes',
    'Handshakes under way.',
    each(({ handshakes }) => handshakes.underWay),
  )
  page.counter(
    'sluice_listener_handshake_failures_total',
    'Handshakes that failed, by code.',
    by('code', (all) => all.handshakeFailures),
  )
  page.counter(
    'sluice_listener_turned_away_total',
    'Connections that a step before the session turned away, by reason.',
    by('reason', (all) => all.turnedAway),
  )
  page.counter(
    'sluice_listener_failures_total',
    'Sessions that failed, by code.',
    by('code', (all) => all.failures),
  )
  page.gauge(
    'sluice_certificate_expiry_time_seconds',
    'When a certificate expires, as a Unix time.',
    listeners.flatMap(({ name, certificates }) =>
      certificates.map(
        ({ shownFor, subject, validTo }): Sample => [
          { listener: name, shown_for: shownFor, subject },
          Date.parse(validTo) / 1000,
        ],
      ),
    ),
  )
}

function upstreamMetrics(page: Page, upstreams: readonly ProxyUpstreamStats[]): void {
  const pools = (value: (pool: ProxyUpstreamStats) => number | undefined): Sample[] =>
    upstreams.map((pool) => [{ upstream: pool.name }, value(pool)])
  const servers = (value: (server: ProxyUpstreamStats['servers'][number]) => number | undefined): Sample[] =>
    upstreams.flatMap(({ name, servers }) =>
      servers.map((server): Sample => [{ upstream: name, server: server.name }, value(server)]),
    )
  page.gauge(
    'sluice_upstream_queued',
    'Requests that wait for a server.',
    pools(({ queued }) => queued),
  )
  page.counter(
    'sluice_upstream_requests_total',
    'Requests for a connection.',
    pools(({ requested }) => requested),
  )
  page.counter(
    'sluice_upstream_established_total',
    'Requests that got one.',
    pools(({ established }) => established),
  )
  page.counter(
    'sluice_upstream_waited_total',
    'Requests that had to wait.',
    pools(({ waited }) => waited),
  )
  page.counter(
    'sluice_upstream_retries_total',
    'Attempts after a failed one.',
    pools(({ retries }) => retries),
  )
  page.counter(
    'sluice_upstream_failures_total',
    'Requests that failed, by code.',
    upstreams.flatMap(({ name, failures }) =>
      Object.entries(failures).map(([code, count]): Sample => [{ upstream: name, code }, count]),
    ),
  )
  page.gauge(
    'sluice_server_up',
    'Whether it is well.',
    servers(({ isUp }) => Number(isUp)),
  )
  page.gauge(
    'sluice_server_usable',
    'Whether it takes new requests.',
    servers(({ isUsable }) => Number(isUsable)),
  )
  page.gauge(
    'sluice_server_weight',
    'Its part of the load.',
    servers(({ effectiveWeight }) => effectiveWeight),
  )
  page.gauge(
    'sluice_server_sessions',
    'Connections in use.',
    servers(({ used }) => used),
  )
  page.gauge(
    'sluice_server_sessions_limit',
    'Most connections in use allowed, now.',
    servers(({ limit }) => limit),
  )
  page.gauge(
    'sluice_server_queued',
    'Requests that wait for it alone.',
    servers(({ queued }) => queued),
  )
  page.counter(
    'sluice_server_connections_total',
    'Connections made.',
    servers(({ opened }) => opened),
  )
  page.counter(
    'sluice_server_connect_failures_total',
    'Attempts that failed.',
    servers(({ failed }) => failed),
  )
  page.counter(
    'sluice_server_redispatched_total',
    'Requests that went elsewhere.',
    servers((all) => all.redispatched),
  )
  page.counter(
    'sluice_server_received_bytes_total',
    'Bytes from it.',
    servers(({ bytesOut }) => bytesOut),
  )
  page.counter(
    'sluice_server_sent_bytes_total',
    'Bytes to it.',
    servers(({ bytesIn }) => bytesIn),
  )
  page.counter(
    'sluice_server_checks_good_total',
    'Health checks that succeeded.',
    servers(({ check }) => check?.good),
  )
  page.counter(
    'sluice_server_checks_bad_total',
    'Health checks that failed.',
    servers(({ check }) => check?.bad),
  )
  page.counter(
    'sluice_server_downs_total',
    'Times that it went down.',
    servers(({ downs }) => downs),
  )
  page.counter(
    'sluice_server_downtime_seconds_total',
    'Time that it was down.',
    servers((all) => all.downtimeMs / 1000),
  )
}

const one = (value: number): Sample[] => [[{}, value]]

class Page {
  text = ''

  gauge(name: string, help: string, samples: readonly Sample[]): void {
    this.metric(name, 'gauge', help, samples)
  }

  counter(name: string, help: string, samples: readonly Sample[]): void {
    this.metric(name, 'counter', help, samples)
  }

  private metric(name: string, type: 'gauge' | 'counter', help: string, samples: readonly Sample[]): void {
    const lines = samples
      .filter(([, value]) => value !== undefined)
      .map(([labels, value]) => `${name}${labelText(labels)} ${value}\n`)
    if (lines.length > 0) this.text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
  }
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

function escaped(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/"/g, '\\"')
}
