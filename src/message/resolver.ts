import { SluiceError } from '../errors.js'
import { expected } from '../options.js'
import { checkDestination, type Endpoint, parseDestination } from './destination.js'

/**
 * Finds the addresses of a destination that is given as a name: the places where the same service runs. A pool tries them
 * one at a time (SF-42), in the order given, and spreads its connections over them.
 */
export interface NameResolver {
  /**
   * Asked when a pool connects, and again at every second attempt after all have failed. Rejects, or gives none, when
   * there are none now: the pool waits, as after a failure, and asks again.
   */
  resolve(name: string, signal: AbortSignal): Promise<readonly Endpoint[]>
  /**
   * Tells of what there is and of changes, from the first connection of a pool until it is closed: `changed` is called
   * with the whole list. New
   * ones are used at once; connections to those that are gone finish what they have begun. An empty list ends none: better
   * old addresses than none. Returns what stops it.
   */
  watch?(name: string, changed: (endpoints: readonly Endpoint[]) => void): () => void
}

/** A place, also as `'host:port'` with an address for a host, or as the path of a Unix socket. */
export type EndpointLike = Endpoint | string

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function endpointOf(value: EndpointLike, option: string): Endpoint {
  if (typeof value === 'string') {
    const { host, port, path } = parseDestination(value) ?? {}
    if (path !== undefined) return { path }
    if (host === undefined) throw expected("'address:port' or a path", value, option)
    return { address: host, port: port! }
  }
  const { address, port, path } = value ?? {}
  if (address === undefined && path === undefined) throw expected('{ address, port } or { path }', value, option)
  checkDestination({ host: address, port, path })
  return path === undefined ? { address: address!, port: port! } : { path }
}

/** The same for a list. */
export function endpointsOf(value: readonly EndpointLike[], option: string): readonly Endpoint[] {
  if (!Array.isArray(value)) throw expected('a list of endpoints', value, option)
  return value.map((one, at) => endpointOf(one, `${option}[${at}]`))
}

/** What two endpoints have in common that are the same place. */
export function keyOf({ address, port, path }: Endpoint): string {
  return path ?? `${address} ${port}`
}

/** Whether two lists name the same places in the same order. */
export function areSame(some: readonly Endpoint[], others: readonly Endpoint[]): boolean {
  return some.length === others.length && some.every((one, at) => keyOf(one) === keyOf(others[at]!))
}

/** A name that nobody knows. */
export function unknownName(name: string, detail: string, cause?: unknown): SluiceError {
  return new SluiceError('NAME_NOT_RESOLVED', { phase: 'resolve', address: name, detail, cause })
}
