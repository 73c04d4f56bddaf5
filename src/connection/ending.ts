import type { Connection } from '../connection.js'
import type { ShutdownOutcome } from '../connection-facts.js'
import { type ErrorName, SluiceError } from '../errors.js'
import type { ConnectionHandlers, TimeoutKind } from '../handlers.js'
import {
  opResume,
  pausedByFilter,
  pausedByQueue,
  pausedByStream,
  pausedByUser,
  pausedWithoutReader,
} from '../native/records.js'
import { parse } from '../options.js'
import type { RelayEnd } from '../relay.js'
import { type CloseOptions, closeOptions } from '../settings.js'
import { closeBelow } from './below.js'
import { endpointsOf, knownRemote } from './facts.js'
import { dropStash } from './reading.js'
import {
  closeAsked,
  closed,
  destroyed,
  extrasOf,
  failureTold,
  filtered,
  filtersOf,
  gone,
  knownExtras,
  noHandlers,
  relayed,
  settle,
  upperOf,
} from './state.js'

// How a connection ends: in order, now, by a bound, by what a handler threw; and who is told.

// Every reason that JavaScript may have; others are native code's.
const ownPauses = pausedByUser | pausedByStream | pausedByQueue | pausedWithoutReader | pausedByFilter

/** As of {@link Connection.close}. */
export function close(connection: Connection, options: CloseOptions | undefined): Promise<void> {
  const { timeoutMs } = parse(closeOptions, options)
  if ((connection.flags & closed) !== 0) return Promise.resolve()
  const isGone = new Promise<void>((resolve) => extrasOf(connection).closed.push(() => resolve()))
  if ((connection.flags & (closeAsked | destroyed)) === 0) {
    if ((connection.flags & relayed) !== 0) (connection.sink as RelayEnd).relay.closeWithin(timeoutMs)
    else beginClose(connection, timeoutMs)
  }
  return isGone
}

/** The same for whoever owns it, and without waiting. */
export function beginClose(connection: Connection, timeoutMs: number): void {
  if ((connection.flags & (closeAsked | gone)) !== 0) return
  connection.flags |= closeAsked
  dropStash(connection)
  if ((connection.flags & filtered) === 0) {
    closeBelow(connection, timeoutMs)
    return
  }
  // The socket goes on reading meanwhile, and what comes is dropped: the peer may have to send before it reads.
  connection.channel.stage(opResume | connection.tag, connection.slot, ownPauses, 0)
  filtersOf(connection)!.finishAndClose(timeoutMs)
}

/** As of {@link Connection.shutdown}. */
export async function shutdown(connection: Connection, options: CloseOptions | undefined): Promise<ShutdownOutcome> {
  const { timeoutMs } = parse(closeOptions, options)
  const { channel } = connection
  const began = channel.nowMs()
  const isGone = new Promise<SluiceError | undefined>((resolve) => connection.whenClosed(resolve))
  void close(connection, { timeoutMs })
  const error = await isGone
  if (error !== undefined) return error.code === 'ERR_SLUICE_TLS_TRUNCATED' ? 'truncated' : 'reset'
  if (connection.isDestroyed) return 'reset'
  return channel.nowMs() - began < timeoutMs ? 'clean' : 'timeout'
}

/** By `op`, destroying or resetting it. */
export function endNow(connection: Connection, op: number, error: SluiceError | undefined): void {
  if ((connection.flags & gone) !== 0) return
  connection.flags |= destroyed
  if (error !== undefined) extrasOf(connection).destroyError = error
  dropStash(connection)
  connection.channel.stage(op | connection.tag, connection.slot, 0, 0)
  filtersOf(connection)?.destroy(error)
}

/** That ends the connection; where it has been ended already, what was thrown is told all the same. */
export function handlerThrew(connection: Connection, thrown: unknown): void {
  const error = new SluiceError('HANDLER_THREW', { phase: 'handler', cause: thrown })
  if ((connection.flags & gone) === 0) {
    connection.destroy(error)
    return
  }
  const isTold = (connection.flags & closed) !== 0 || knownExtras(connection)?.destroyError !== undefined
  if (isTold) process.emitWarning(error)
  else extrasOf(connection).destroyError = error
}

/** Calls back when it is gone, after its handlers; at once if it is already. */
export function whenClosed(connection: Connection, callback: (error?: SluiceError) => void): void {
  if ((connection.flags & closed) !== 0) callback(knownExtras(connection)?.destroyError)
  else extrasOf(connection).closed.push(callback)
}

/** A bound of its own is over. */
export function onTimeout(connection: Connection, kind: TimeoutKind, name: ErrorName): void {
  const upper = upperOf(connection)
  if (upper.timeout !== undefined) {
    upper.timeout(connection as never, kind)
    return
  }
  endpointsOf(connection) // while they can still be asked for
  const phase = kind === 'write' ? 'write' : 'read'
  connection.destroy(new SluiceError(name, { phase, ...knownRemote(connection) }))
}

/** Its last event: everybody who waits is told. */
export function onClosed(connection: Connection, failure: SluiceError | undefined): void {
  connection.flags |= closed
  connection.hold = 0
  const known = knownExtras(connection)
  const error = known?.destroyError ?? failure
  if (known !== undefined) known.destroyError = error
  const wakeClosed = () => {
    for (const wake of known?.closed.splice(0) ?? []) wake(error)
  }
  if (known?.connected !== undefined) {
    known.connected.reject(error ?? new SluiceError('ABORTED', { phase: 'connect', ...known.target }))
    wakeClosed()
    return
  }
  known?.secured?.reject(error ?? new SluiceError('CLOSED', { phase: 'handshake' }))
  settle(connection, 'drained')
  settle(connection, 'finished')
  filtersOf(connection)?.destroy(error)
  const handlers = upperOf(connection)
  try {
    tellGone(connection, handlers, error)
    // A stream or iterator that took over has been told; so are the handlers that stood there before.
    if (connection.sink !== undefined) {
      tellGone(connection, connection.settings.handlers ?? noHandlers, error)
    } else if (error !== undefined && handlers.error === undefined && handlers.close === undefined) {
      process.emitWarning(error)
    }
  } finally {
    wakeClosed()
    connection.settings.gone?.()
  }
}

// `close` is the last call whatever `error` does.
function tellGone(connection: Connection, handlers: ConnectionHandlers<never>, error: SluiceError | undefined): void {
  const isTold = (connection.flags & failureTold) !== 0 && connection.sink === undefined
  try {
    if (error !== undefined && !isTold) handlers.error?.(connection as never, error)
  } finally {
    handlers.close?.(connection as never, error)
  }
}
