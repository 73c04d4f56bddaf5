import { resolve } from 'node:path'
import { addressOf, type ProxyPlan, planOf } from '../proxy/plan.js'
import { choice, integer, several, text, toggle, UsageError, type Values } from './arguments.js'
import { tlsFlags } from './tls.js'

const { tls, cert, key, ca } = tlsFlags
const ms = (help: string) => integer(`${help}, in ms`, { min: 0, max: 2_147_483_647 })

export const proxyFlags = {
  config: text('take everything from this file (.js, .mjs, .json) instead', { placeholder: 'FILE' }),
  test: toggle('check the configuration, and do nothing'),
  watch: toggle('with --config: reload whenever the file changes'),
  listen: several(text("where to listen: 8080, 0.0.0.0:8080, '*:8080', [::1]:8080 or /path; several times", { placeholder: 'ADDRESS' })), // biome-ignore format: one line
  to: several(text('a server: host:port, [::1]:port, /path or @name; several times', { placeholder: 'ADDRESS' })),
  balance: choice('how servers are chosen (default roundRobin)', ['roundRobin', 'leastConnections', 'hash', 'random']),
  tls: { ...tls, help: 'end TLS here; without --cert, by a certificate made now for localhost' },
  ...{ cert, key, ca, 'client-cert': tlsFlags['client-cert'] },
  plain: toggle('with --tls: serve those too who do not speak TLS'),
  'accept-proxy': toggle('expect a PROXY header of everybody'),
  'accept-proxy-from': text('the same, of these addresses and networks alone', { placeholder: 'NET,…' }),
  'accept-netscaler': integer('expect the client-IP header of a NetScaler, with this magic number', { min: 0, max: 0xffffffff }), // biome-ignore format: one line
  'send-proxy': choice('send servers a PROXY header about the client', ['v1', 'v2']),
  'unique-id': toggle('with --send-proxy v2: tell servers what each session is called'),
  'to-socks': text('reach servers through SOCKS: [socks5://][user:password@]host[:port], or socks4://…', { placeholder: 'ADDRESS' }), // biome-ignore format: one line
  'to-tls': toggle('speak TLS to servers, and trust whom Node trusts'),
  'to-ca': text('with --to-tls: trust the authorities in this file instead', { placeholder: 'FILE' }),
  'to-name': text('with --to-tls: the name to ask for and to verify', { placeholder: 'NAME' }),
  check: toggle('check servers every two seconds by connecting'),
  'check-http': text('check by a GET of this path instead', { placeholder: 'PATH' }),
  'check-interval': ms('time between checks'),
  'max-connections': integer('connections per listener; more wait in the kernel', { min: 0, max: 1_000_000_000 }),
  'max-connections-per-second': integer('new ones per listener and second', { min: 0, max: 1_000_000_000 }),
  'max-per-server': integer('connections per server; more wait in line', { min: 0, max: 1_000_000_000 }),
  rate: text("bytes per second of each client, per direction: '1 MB'", { placeholder: 'SIZE' }),
  'connect-timeout': ms('bound on connecting to a server (default 5000)'),
  'queue-timeout': ms('bound on waiting for a server (default as --connect-timeout)'),
  'client-timeout': ms('bound on silence of a client (default none)'),
  'server-timeout': ms('bound on silence of a server (default none)'),
  'tunnel-timeout': ms('bound on silence of both (default 3600000)'),
  'fin-timeout': ms('the same once one side has ended (default 30000)'),
  'drain-timeout': ms('how long connections may go on after SIGTERM (default 30000)'),
  stats: text('statistics as a page, JSON and for Prometheus: 9001 or 127.0.0.1:9001', { placeholder: 'ADDRESS' }),
  'hand-over': text('Unix socket by which a successor takes over', { placeholder: 'PATH' }),
  log: choice('what stderr is told (default failures)', ['none', 'failures', 'sessions']),
  engine: choice('how to talk to the kernel (default auto, or SLUICE_ENGINE)', ['auto', 'io_uring', 'epoll', 'kqueue', 'poll']), // biome-ignore format: one line
  threads: integer('I/O threads (default 0)', { min: 0, max: 64 }),
  'handshake-threads': integer('threads for handshakes per loop (default 0)', { min: 0, max: 64 }),
}

export type ProxyValues = Values<typeof proxyFlags>

/** The configuration that the options stand for. @throws {UsageError} naming the option. */
export function planOfFlags(values: ProxyValues): ProxyPlan {
  if (values.listen.length === 0) throw new UsageError('option "--listen" is missing, or "--config"')
  if (values.to.length === 0) throw new UsageError('option "--to" is missing, or "--config"')
  needs(values, ['cert', 'key', 'ca', 'client-cert', 'plain'], 'tls')
  needs(values, ['key'], 'cert')
  needs(values, ['to-ca', 'to-name'], 'to-tls')
  needs(values, ['unique-id'], 'send-proxy')
  if (values['unique-id'] && values['send-proxy'] === 'v1')
    throw new UsageError('option "--unique-id" needs "--send-proxy v2"')
  const clientCert = values['client-cert']
  if (clientCert !== undefined && clientCert !== 'none') needs(values, ['client-cert'], 'ca')
  const listeners = values.listen.map((where) => ({
    ...addressFlag('listen', where),
    ...listenerOf(values),
  }))
  const config = {
    listeners,
    upstreams: { servers: upstreamOf(values) },
    engine: values.engine,
    threads: values.threads,
    handshakeThreads: values['handshake-threads'],
    stats: values.stats === undefined ? undefined : addressFlag('stats', values.stats),
    drainTimeoutMs: values['drain-timeout'],
    handOver: values['hand-over'],
    log: values.log,
  }
  try {
    return planOf(config, process.cwd())
  } catch (error) {
    throw named(values, error)
  }
}

function listenerOf(values: ProxyValues): Record<string, unknown> {
  const from = values['accept-proxy-from']?.split(',').map((network) => network.trim())
  return {
    tls: values.tls ? tlsOf(values) : undefined,
    plain: values.plain ? 'allow' : undefined,
    acceptNetscaler: values['accept-netscaler'],
    acceptProxy: from === undefined ? values['accept-proxy'] || undefined : { from },
    maxConnections: values['max-connections'],
    maxConnectionsPerSecond: values['max-connections-per-second'],
    rateLimit: values.rate,
    clientTimeoutMs: values['client-timeout'],
    tunnelTimeoutMs: values['tunnel-timeout'],
    finTimeoutMs: values['fin-timeout'],
  }
}

function tlsOf({ cert, key, ca, 'client-cert': clientCert }: ProxyValues): Record<string, unknown> {
  const own = cert === undefined ? { selfSigned: true } : { certFile: cert, keyFile: key }
  return { ...own, caFile: ca, clientCert }
}

function upstreamOf(values: ProxyValues): Record<string, unknown> {
  const path = values['check-http']
  const intervalMs = values['check-interval']
  const isChecked = values.check || path !== undefined || intervalMs !== undefined
  const maxConnections = values['max-per-server']
  return {
    servers: values.to.map((where) => ({ ...addressOf(where, '--to'), maxConnections })),
    balance: values.balance,
    tls: values['to-tls'] ? { caFile: values['to-ca'], serverName: values['to-name'] } : undefined,
    sendProxy: values['unique-id'] ? { version: 2, uniqueId: true } : values['send-proxy'],
    socks: values['to-socks'],
    check: isChecked ? { intervalMs, http: path === undefined ? undefined : { path } } : undefined,
    connectTimeoutMs: values['connect-timeout'],
    queueTimeoutMs: values['queue-timeout'],
    serverTimeoutMs: values['server-timeout'],
  }
}

function needs(values: ProxyValues, names: (keyof ProxyValues)[], needed: keyof ProxyValues): void {
  const isGiven = (name: keyof ProxyValues) => values[name] !== undefined && values[name] !== false
  const stray = names.find(isGiven)
  if (stray !== undefined && !isGiven(needed)) throw new UsageError(`option "--${stray}" needs "--${needed}" as well`)
}

/** `8080`, `host:8080`, `*:8080`, `[::1]:8080`, `/path`, `@name`. */
function addressFlag(flag: string, given: string): { host?: string; port: number } | { path: string } {
  if (/^\d{1,5}$/.test(given) && Number(given) <= 65_535) return { port: Number(given) }
  const anyPort = /^(.+):0$/.exec(given)
  const found = addressOf(anyPort ? `${anyPort[1]}:1` : given, `--${flag}`)
  return anyPort && 'port' in found ? { ...found, port: 0 } : found
}

// What the configuration calls it, and the command line.
const flagOf: Readonly<Record<string, keyof ProxyValues>> = {
  ...{ certFile: 'cert', cert: 'cert', keyFile: 'key', key: 'key', caFile: 'ca', ca: 'ca', clientCert: 'client-cert' },
  ...{
    acceptProxy: 'accept-proxy-from',
    'acceptProxy.from': 'accept-proxy-from',
    rateLimit: 'rate',
    sendProxy: 'send-proxy',
    acceptNetscaler: 'accept-netscaler',
    socks: 'to-socks',
  },
  ...{ 'check.http.path': 'check-http', 'check.intervalMs': 'check-interval', handOver: 'hand-over' },
}

function named(values: ProxyValues, error: unknown): unknown {
  const { option, message } = error as { option?: string; message: string }
  if (option === undefined) return error
  const inner = option
    .replace(/^(listeners\[\d+\]|upstreams\.servers)(\.servers\[\d+\])?\.?(tls\.)?/, '')
    .replace(/\[\d+\]$/, '')
  const toServer = option.startsWith('upstreams.')
  const flag = toServer && inner.startsWith('ca') ? 'to-ca' : (flagOf[inner] ?? (inner in proxyFlags ? (inner as keyof ProxyValues) : undefined)) // biome-ignore format: one line
  if (flag === undefined) return error
  const file = ['cert', 'key', 'ca', 'to-ca'].includes(flag) ? values[flag] : undefined
  const where = typeof file === 'string' ? `option "--${flag}", ${resolve(file)}` : `option "--${flag}"`
  return new UsageError(message.replace(/option "[^"]*"(\])?"?/, where))
}
