import type { Connection } from '../connection.js'
import type { ConnectionState, RuleMarks } from '../connection-facts.js'
import type { ErrorFacts } from '../errors.js'
import { ProxyHeader } from '../handshake/proxy-header.js'
import type { NativeAddress } from '../native/binding.js'
import { closeAsked, closed, connecting, destroyed, endAsked, extrasOf, knownExtras, peerEnded } from './state.js'

// What can be asked of a connection. What native code knows is asked once, and remembered.

/** As of {@link Connection.state}. */
export function stateOf({ flags }: Connection): ConnectionState {
  if ((flags & closed) !== 0) return 'closed'
  if ((flags & (destroyed | closeAsked)) !== 0) return 'closing'
  if ((flags & connecting) !== 0) return 'connecting'
  if ((flags & endAsked) !== 0) return 'ending'
  return (flags & peerEnded) !== 0 ? 'peerEnded' : 'open'
}

/** Both ends, also after the end if they were asked for before; a Unix socket's have no address. */
export function endpointsOf(connection: Connection): { local?: NativeAddress; remote?: NativeAddress } {
  const known = knownExtras(connection)?.endpoints
  if (known !== undefined) return known
  const found = connection.channel.native.endpoints(connection.slot, connection.tag)
  if (found.remote !== undefined) extrasOf(connection).endpoints = found
  return found
}

/** One end, if it is of IP. */
export function inetEndOf(connection: Connection, side: 'local' | 'remote'): NativeAddress | undefined {
  const end = endpointsOf(connection)[side]
  return end?.address === undefined ? undefined : end
}

/** The peer as errors tell it, if it has been asked for. */
export function knownRemote(connection: Connection): { address?: string; port?: number } {
  const remote = knownExtras(connection)?.endpoints?.remote
  return remote?.address === undefined ? {} : { address: remote.address, port: remote.port }
}

/** What an error of it should say. */
export function failureFacts(connection: Connection): ErrorFacts {
  const phase = (connection.flags & connecting) !== 0 ? 'connect' : undefined
  return { phase, ...(knownExtras(connection)?.target ?? knownRemote(connection)) }
}

/** As of {@link Connection.proxy}. */
export function proxyOf(connection: Connection): ProxyHeader | undefined {
  if (connection.settings.steps === undefined) return undefined
  const known = knownExtras(connection)?.proxy
  if (known !== undefined) return known
  const header = connection.channel.native.proxyHeader(connection.slot, connection.tag)
  if (header === undefined) return undefined
  const made = new ProxyHeader(header)
  extrasOf(connection).proxy = made
  return made
}

/** As of {@link Connection.marks}. */
export function marksOf(connection: Connection): RuleMarks | undefined {
  if (connection.settings.steps === undefined) return undefined
  const known = knownExtras(connection)?.marks
  if (known !== undefined) return known
  const marks = connection.channel.native.ruleMarks(connection.slot, connection.tag)
  if (marks !== undefined) extrasOf(connection).marks = marks
  return marks
}
