import { promises as dns } from 'node:dns'
import { expected, integer } from '../options.js'
import { type Endpoint, parseDestination, type Resolver } from './destination.js'

/** What {@link dnsResolver} asks: the functions of `node:dns`, or others like them. */
export interface DnsFunctions {
  /** SRV records. */
  resolveSrv(name: string): Promise<{ name: string; port: number; priority: number; weight: number }[]>
  /** IPv4 addresses. */
  resolve4(name: string): Promise<string[]>
  /** IPv6 addresses. */
  resolve6(name: string): Promise<string[]>
}

/** Options of {@link dnsResolver}. */
export interface DnsResolverOptions {
  /** Port of names that have addresses and no SRV records. Without it such names are not found. */
  port?: number
  /** Who is asked. Default: the DNS servers of the system. */
  functions?: DnsFunctions
  /** Where chance comes from, which servers of one priority are drawn with. Default `Math.random`. */
  random?: () => number
}

/**
 * Names that stand for lists of addresses. A list is `'host:port'`, a path, or an {@link Endpoint}, or several of them, and
 * may be changed later by `set()`: pools ask again when they need another address.
 */
export class StaticResolver implements Resolver {
  private readonly names = new Map<string, readonly Endpoint[]>()

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(names: Readonly<Record<string, string | Endpoint | readonly (string | Endpoint)[]>>) {
    for (const [name, addresses] of Object.entries(names)) this.set(name, addresses)
  }

  /** Replaces the list of a name. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; nothing has changed then. */
  set(name: string, addresses: string | Endpoint | readonly (string | Endpoint)[]): void {
    const list = Array.isArray(addresses) ? (addresses as readonly (string | Endpoint)[]) : [addresses as string]
    this.names.set(name, list.map(endpointOf))
  }

  /** The list of a name; rejects for one that was not given. */
  async resolve(name: string): Promise<readonly Endpoint[]> {
    const known = this.names.get(name)
    if (known === undefined) throw expected(`one of ${[...this.names.keys()].join(', ')}`, name, 'destination')
    return known
  }
}

function endpointOf(value: string | Endpoint): Endpoint {
  if (typeof value === 'object' && value !== null && (value.path !== undefined || value.port !== undefined))
    return value
  const { path, host, port } = (typeof value === 'string' && parseDestination(value)) || {}
  if (path !== undefined) return { path }
  if (host === undefined) throw expected("'host:port', a path, { address, port } or { path }", value, 'addresses')
  return { address: host, port }
}

/**
 * Names in DNS: by SRV records, in order of their priority and drawn by weight (RFC 2782), else, with a `port`, by their A
 * and AAAA records.
 */
export function dnsResolver(options: DnsResolverOptions = {}): Resolver {
  const { port, functions = dns, random = Math.random } = options
  if (port !== undefined) integer({ min: 1, max: 65_535 }).parse(port, 'port')
  const addressesOf = async (name: string) => {
    const [six, four] = await Promise.allSettled([functions.resolve6(name), functions.resolve4(name)])
    const found = [six, four].flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    if (found.length === 0) throw (four as PromiseRejectedResult).reason ?? (six as PromiseRejectedResult).reason
    return found
  }
  return {
    async resolve(name) {
      let failure: unknown
      try {
        const records = await functions.resolveSrv(name)
        if (records.length > 0) {
          const lists = await Promise.all(
            drawn(records, random).map(async (record) =>
              (await addressesOf(record.name).catch(() => [])).map((address) => ({ address, port: record.port })),
            ),
          )
          return lists.flat()
        }
      } catch (error) {
        failure = error
      }
      if (port === undefined)
        throw failure ?? expected('a name with SRV records, or give a "port"', name, 'destination')
      return (await addressesOf(name)).map((address) => ({ address, port }))
    },
  }
}

// Lower priorities first; within one, each next by chance, those of a higher weight more often. Source: RFC 2782.
function drawn<T extends { priority: number; weight: number }>(records: readonly T[], random: () => number): T[] {
  const waiting = [...records].sort((a, b) => a.priority - b.priority || a.weight - b.weight)
  const result: T[] = []
  while (waiting.length > 0) {
    const { priority } = waiting[0]!
    const same = waiting.filter((record) => record.priority === priority)
    const total = same.reduce((sum, { weight }) => sum + weight, 0)
    let point = random() * total
    let chosen = same.at(-1)!
    for (const record of same) {
      point -= record.weight
      if (point >= 0) continue
      chosen = record
      break
    }
    waiting.splice(waiting.indexOf(chosen), 1)
    result.push(chosen)
  }
  return result
}
