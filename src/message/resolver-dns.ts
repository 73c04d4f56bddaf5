import { promises as dns } from 'node:dns'
import { isIP } from 'node:net'
import { expected, fn, integer, milliseconds, optional, type Parser, parse, type Shape } from '../options.js'
import { type Endpoint, parseDestination } from './destination.js'
import { type NameResolver, unknownName } from './resolver.js'
import { type FoundEndpoints, RefreshingResolver } from './resolver-refresh.js'

/** Options of {@link dnsResolver}. */
export interface DnsResolverOptions {
  /** Servers to ask, as `'10.0.0.2'` or `'10.0.0.2:5353'`. Default: those of the system. */
  servers?: readonly string[]
  /** Port of names that have addresses, no port of their own, and no SRV records. Without it such are not found. */
  port?: number
  /** Answers are taken for true at least so long, whatever their TTL. Default 1 000. */
  minRefreshMs?: number
  /** The same, at most. Default 300 000. */
  maxRefreshMs?: number
  /** How long to wait for one server. Default 2 000. */
  timeoutMs?: number
  /** After a refresh that failed. Default 5 000. */
  retryMs?: number
  /** Where chance comes from, 0 to 1, for the weights of SRV. Default `Math.random`. */
  random?: () => number
}

const serversParser: Parser<readonly string[]> = {
  allowed: "a list of 'address' or 'address:port'",
  parse(value, option) {
    const isServer = (one: unknown) =>
      typeof one === 'string' && isIP(one.replace(/^\[([^\]]+)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1')) > 0
    if (!Array.isArray(value) || value.length === 0 || !value.every(isServer))
      throw expected(this.allowed, value, option)
    return value
  },
}

const options = {
  servers: optional(serversParser),
  port: optional(integer({ min: 1, max: 65_535 })),
  minRefreshMs: milliseconds({ min: 1, default: 1000 }),
  maxRefreshMs: milliseconds({ min: 1, default: 300_000 }),
  timeoutMs: milliseconds({ min: 1, default: 2000 }),
  retryMs: milliseconds({ min: 1, default: 5000 }),
  random: optional(fn<() => number>()),
} satisfies Shape<DnsResolverOptions>

interface Addresses {
  addresses: string[]
  ttlSeconds: number
}

/** Asks DNS; comes from {@link dnsResolver}. */
class DnsQuestions {
  private readonly resolver: dns.Resolver

  constructor(
    servers: readonly string[] | undefined,
    timeoutMs: number,
    private readonly port: number | undefined,
    private readonly clamp: (ttlSeconds: number) => number,
    private readonly random: () => number,
  ) {
    this.resolver = new dns.Resolver({ timeout: timeoutMs, tries: 2 })
    if (servers !== undefined) this.resolver.setServers(servers)
  }

  async find(name: string): Promise<FoundEndpoints> {
    const { host = name, port } = parseDestination(name) ?? {}
    if (port !== undefined) return this.at(host, port)
    if (name.startsWith('_') || this.port === undefined) return this.service(name)
    return this.service(name).catch(() => this.at(host, this.port!))
  }

  private async at(host: string, port: number): Promise<FoundEndpoints> {
    if (isIP(host) > 0) return { endpoints: [{ address: host, port }], validMs: 0 }
    const { addresses, ttlSeconds } = await this.host(host)
    return { endpoints: addresses.map((address) => ({ address, port })), validMs: this.clamp(ttlSeconds) }
  }

  // IPv6 first, as getaddrinfo has it where both are there.
  private async host(host: string): Promise<Addresses> {
    const answers = await Promise.allSettled([
      this.resolver.resolve6(host, { ttl: true }),
      this.resolver.resolve4(host, { ttl: true }),
    ])
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    if (found.length === 0) {
      const failed = answers.find((answer) => answer.status === 'rejected')?.reason as Error | undefined
      throw unknownName(host, failed?.message ?? 'DNS has no address', failed)
    }
    return {
      addresses: found.map(({ address }) => address),
      ttlSeconds: Math.min(...found.map(({ ttl }) => ttl)),
    }
  }

  // Node does not tell the TTL of SRV records, so those of the addresses behind them decide.
  private async service(name: string): Promise<FoundEndpoints> {
    let records: { name: string; port: number; priority: number; weight: number }[]
    try {
      records = await this.resolver.resolveSrv(name)
    } catch (error) {
      throw unknownName(name, (error as Error).message, error)
    }
    const hosts = new Map<string, Promise<Addresses | undefined>>()
    const failures: unknown[] = []
    for (const { name: host } of records) {
      const failed = (error: unknown) => void failures.push(error)
      if (!hosts.has(host)) hosts.set(host, this.host(host).catch(failed) as Promise<Addresses | undefined>)
    }
    const endpoints: Endpoint[] = []
    const ttls: number[] = []
    for (const { name: host, port } of inOrder(records, this.random)) {
      const found = await hosts.get(host)
      if (found === undefined) continue
      ttls.push(found.ttlSeconds)
      endpoints.push(...found.addresses.map((address) => ({ address, port })))
    }
    if (endpoints.length === 0) throw unknownName(name, 'none of its hosts has an address', failures[0])
    return { endpoints, validMs: this.clamp(Math.min(...ttls)) }
  }
}

/** Lower priorities first; among equals by chance, those of more weight more often in front. Source: RFC 2782. */
function inOrder<R extends { priority: number; weight: number }>(records: readonly R[], random: () => number): R[] {
  const rest = [...records].sort((a, b) => a.priority - b.priority || a.weight - b.weight)
  const ordered: R[] = []
  while (rest.length > 0) {
    const same = rest.filter(({ priority }) => priority === rest[0]!.priority)
    let left = random() * same.reduce((sum, { weight }) => sum + weight, 0)
    const at = same.findIndex(({ weight }) => {
      left -= weight
      return left <= 0
    })
    // Equals stand in front of the others.
    ordered.push(...rest.splice(Math.max(0, at), 1))
  }
  return ordered
}

/**
 * Names by DNS: `'host:port'` by A and AAAA records, others, as `'_service._tcp.domain'`, by SRV records and the addresses
 * of their hosts, or, with `port`, their own. Asked again when the TTL is over. Goes to DNS alone, not to the file of hosts.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function dnsResolver(given: DnsResolverOptions = {}): NameResolver {
  const { servers, port, minRefreshMs, maxRefreshMs, timeoutMs, retryMs, random = Math.random } = parse(options, given)
  if (maxRefreshMs < minRefreshMs) throw expected('at least "minRefreshMs"', maxRefreshMs, 'maxRefreshMs')
  const clamp = (ttlSeconds: number) => Math.min(maxRefreshMs, Math.max(minRefreshMs, ttlSeconds * 1000))
  const questions = new DnsQuestions(servers, timeoutMs, port, clamp, random)
  return new RefreshingResolver((name) => questions.find(name), retryMs)
}
