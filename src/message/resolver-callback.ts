import { fn, milliseconds, parse, type Shape } from '../options.js'
import { type EndpointLike, endpointsOf, type NameResolver } from './resolver.js'
import { RefreshingResolver } from './resolver-refresh.js'

/** Options of {@link callbackResolver}. */
export interface CallbackResolverOptions {
  /** How often pools that are open ask again; 0: only when they cannot connect. Default 0. */
  refreshMs?: number
  /** After a failure of such a question. Default 5 000. */
  retryMs?: number
}

const options = {
  refreshMs: milliseconds({ default: 0 }),
  retryMs: milliseconds({ min: 1, default: 5000 }),
} satisfies Shape<CallbackResolverOptions>
const callback = fn<() => unknown>()

/**
 * Names by a function of yours, which answers the list or a promise of it.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; what the function throws, or gives that is none, is a failure of the
 *   attempt to connect.
 */
export function callbackResolver(
  find: (name: string, signal: AbortSignal) => readonly EndpointLike[] | Promise<readonly EndpointLike[]>,
  given: CallbackResolverOptions = {},
): NameResolver {
  callback.parse(find, 'find')
  const { refreshMs, retryMs } = parse(options, given)
  const ask = async (name: string, signal: AbortSignal) => {
    return { endpoints: endpointsOf(await find(name, signal), 'endpoints'), validMs: refreshMs }
  }
  if (refreshMs > 0) return new RefreshingResolver(ask, retryMs)
  return { resolve: async (name, signal) => (await ask(name, signal)).endpoints }
}
