import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import { opBreakOff, opReset, pausedByStream, pausedByUser } from '../native/records.js'
import type { RelayEnd } from '../relay.js'
import { endBelow } from './below.js'
import { endNow } from './ending.js'
import { dropStash, takeOver } from './reading.js'
import {
  closeAsked,
  connecting,
  destroyed,
  endAsked,
  filtered,
  filtersOf,
  finWritten,
  gone,
  knownExtras,
  peerEnded,
  relayed,
  relayedNatively,
  securing,
} from './state.js'
import { requireWritable } from './writing.js'

// What a relay does with a connection that belongs to it, where the user's own calls are refused.

/** @throws {SluiceError} unless it is open, and read by handlers. */
export function requireRelayable(connection: Connection): void {
  requireWritable(connection)
  const isSecuring = (connection.hold & securing) !== 0 || knownExtras(connection)?.secured !== undefined
  const detail =
    connection.sink !== undefined
      ? 'the connection is being read by a stream or iterator'
      : isSecuring
        ? 'wait for startTls() before relay()'
        : undefined
  if (detail !== undefined) throw new SluiceError('INVALID_ARGUMENT', { detail })
  if ((connection.flags & connecting) !== 0)
    throw new SluiceError('CLOSED', { phase: 'connect', detail: 'not connected yet' })
}

export function beginRelay(connection: Connection, end: RelayEnd, handlers: ConnectionHandlers<never>): void {
  takeOver(connection, end, handlers)
  connection.flags |= relayed
  connection.resumeFor(pausedByUser)
}

/** What came before has been delivered; native code moves what comes now. */
export function onRelaying(connection: Connection): void {
  connection.flags |= relayedNatively
  connection.resumeFor(pausedByStream)
  const { relay, side } = connection.sink as RelayEnd
  relay.joined(side)
}

export function isFiltered({ flags }: Connection): boolean {
  return (flags & filtered) !== 0
}

/** Whether both directions have ended, and nobody destroyed it. */
export function hasEndedInOrder({ flags }: Connection): boolean {
  return (flags & (peerEnded | finWritten | destroyed)) === (peerEnded | finWritten)
}

/** Bytes given to it by JavaScript that have not left. */
export function heldForRelayBytes(connection: Connection): number {
  return (filtersOf(connection)?.queuedBytes ?? 0) + connection.queuedBelowBytes
}

export function roomForRelayBytes(connection: Connection): number {
  return connection.settings.hardLimitBytes - (filtersOf(connection)?.heldBytes ?? connection.queuedBelowBytes)
}

/** As write(), past the hard limit too. */
export function writeForRelay(connection: Connection, bytes: Uint8Array): void {
  if ((connection.flags & (endAsked | closeAsked | gone)) !== 0 || bytes.length === 0) return
  if ((connection.flags & filtered) !== 0) {
    filtersOf(connection)!.write(bytes)
    return
  }
  connection.posted = (connection.posted + bytes.length) | 0
  connection.channel.stageBytes(connection.slot, connection.tag, bytes, bytes.length)
}

export function endForRelay(connection: Connection): void {
  if ((connection.flags & (endAsked | closeAsked | gone)) !== 0) return
  connection.flags |= endAsked
  if ((connection.flags & filtered) !== 0) filtersOf(connection)!.finish()
  else endBelow(connection)
}

/** Ends it with RST at once. */
export function resetForRelay(connection: Connection, cause: SluiceError): void {
  endNow(connection, opReset, cause)
}

/** Ends it with RST when the peer has everything that was written. */
export async function breakOffForRelay(connection: Connection): Promise<void> {
  if ((connection.flags & filtered) !== 0) {
    await filtersOf(connection)!
      .flush()
      .catch(() => {})
  }
  if ((connection.flags & (closeAsked | gone)) !== 0) return
  connection.flags |= destroyed
  dropStash(connection)
  connection.channel.stage(opBreakOff | connection.tag, connection.slot, 0, 0)
}
