import { expected } from '../options.js'
import type { Endpoint } from './destination.js'
import { areSame, type EndpointLike, endpointOf, endpointsOf, type NameResolver, unknownName } from './resolver.js'

/** One place, or a list of them. */
type OneOrMore = EndpointLike | readonly EndpointLike[]

/** Names with their places, kept by hand: `new StaticResolver({ orders: ['10.0.0.1:7000', '10.0.0.2:7000'] })`. */
export class StaticResolver implements NameResolver {
  private readonly lists = new Map<string, readonly Endpoint[]>()
  private readonly watchers = new Map<string, Set<(endpoints: readonly Endpoint[]) => void>>()

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(names: Readonly<Record<string, OneOrMore>>) {
    if (typeof names !== 'object' || names === null) throw expected('an object of lists, by names', names, 'names')
    for (const [name, given] of Object.entries(names)) this.lists.set(name, listOf(given, `names.${name}`))
  }

  /**
   * Says where a service is from now on; pools follow. An empty list: nowhere.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  set(name: string, endpoints: OneOrMore): void {
    const list = listOf(endpoints, 'endpoints')
    const before = this.lists.get(name)
    this.lists.set(name, list)
    if (before !== undefined && areSame(before, list)) return
    for (const changed of [...(this.watchers.get(name) ?? [])]) changed(list)
  }

  /** Rejects with `ERR_SLUICE_NAME_NOT_RESOLVED` for a name that it does not have. */
  async resolve(name: string): Promise<readonly Endpoint[]> {
    const list = this.lists.get(name)
    if (list === undefined) throw unknownName(name, `it is none of ${[...this.lists.keys()].join(', ') || 'none'}`)
    return list
  }

  /** Tells of each `set()`. */
  watch(name: string, changed: (endpoints: readonly Endpoint[]) => void): () => void {
    const watchers = this.watchers.get(name) ?? new Set()
    this.watchers.set(name, watchers)
    // One of its own, so that the same function may watch twice.
    const own = (endpoints: readonly Endpoint[]) => changed(endpoints)
    watchers.add(own)
    return () => watchers.delete(own)
  }
}

function listOf(given: OneOrMore, option: string): readonly Endpoint[] {
  return Array.isArray(given) ? endpointsOf(given, option) : [endpointOf(given as EndpointLike, option)]
}
