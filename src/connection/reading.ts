import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import { type ConnectionInput, collecting, inputFor, inputOf } from '../input.js'
import {
  eventClosed,
  eventData,
  eventEnd,
  opPause,
  opResume,
  pausedByFilter,
  pausedByQueue,
  pausedByUser,
  pausedWithoutReader,
} from '../native/records.js'
import { expected, parse } from '../options.js'
import { type ConnectionSettings, type ReadWaterMarks, readWaterMarks } from '../settings.js'
import {
  closed,
  deaf,
  extrasOf,
  filtered,
  filtersOf,
  gone,
  isRelayed,
  noHandlers,
  peerEnded,
  relayedError,
  type StashedEvent,
  setUpper,
  stashed,
  upperOf,
} from './state.js'

// Who reads a connection, and what waits until somebody does.

/** The input of a connection with a `readable` handler. @throws {SluiceError} without one. */
export function requireInput(connection: Connection): ConnectionInput {
  if (connection.settings.handlers?.readable !== undefined) return inputFor(connection)
  throw new SluiceError('INVALID_ARGUMENT', { detail: 'nothing is collected without a "readable" handler' })
}

/** As of {@link Connection.setReadWaterMarks}. */
export function setReadWaterMarks(connection: Connection, marks: ReadWaterMarks): void {
  const parsed = parse(readWaterMarks, marks)
  const input = requireInput(connection)
  const { lowWaterBytes = input.waterMarks.lowWaterBytes, highWaterBytes = input.waterMarks.highWaterBytes } = parsed
  if (lowWaterBytes > highWaterBytes)
    throw expected(`at most "highWaterBytes", ${highWaterBytes}`, lowWaterBytes, 'lowWaterBytes')
  input.waterMarks = { lowWaterBytes, highWaterBytes }
}

// ---- Events that wait

/** Whether a `closed` has to wait for events that are still to be delivered; a failure does not. */
export function outwaits(connection: Connection, failed: boolean): boolean {
  return !failed && ((connection.hold & stashed) !== 0 || filtersOf(connection)?.isUnread === true)
}

/** Keeps an event that came while paused, if anybody will want it. */
export function stash(connection: Connection, event: StashedEvent): void {
  if ((connection.hold & deaf) !== 0) return
  connection.hold |= stashed
  extrasOf(connection).stash.push(event)
}

/** Soon, delivers what waits, if nothing but it is in the way. */
export function unstashSoon(connection: Connection): void {
  if (connection.hold === stashed) queueMicrotask(() => unstash(connection))
}

function unstash(connection: Connection): void {
  while ((connection.hold & ~deaf) === stashed) {
    const event = extrasOf(connection).stash.shift()
    if (event === undefined) {
      connection.hold &= ~stashed
      return
    }
    try {
      if (event.type === eventData) connection.handlers.data?.(connection as never, event.bytes!)
      else connection.channel.deliver(connection, event.type, event.a, event.b ?? 0)
    } catch (thrown) {
      connection.handlerThrew(thrown)
    }
  }
}

// What has been collected for somebody who reads no more comes again, and after it the end if that was told already.
function putBack(connection: Connection, bytes: Buffer): void {
  const hadEnded = connection.hasPeerEnded
  connection.flags &= ~peerEnded
  if ((connection.flags & filtered) !== 0) {
    filtersOf(connection)!.putBack(bytes)
    return
  }
  connection.hold |= stashed
  const { stash } = extrasOf(connection)
  if (hadEnded) stash.unshift({ type: eventEnd, a: 0 })
  stash.unshift({ type: eventData, a: 0, bytes })
  queueMicrotask(() => unstash(connection))
}

/** Nobody wants the data any more; a `closed` that waits behind it is still due. */
export function dropStash(connection: Connection): void {
  const hadStash = (connection.hold & stashed) !== 0
  const waiting = hadStash ? extrasOf(connection).stash.filter(({ type }) => type === eventClosed) : []
  connection.hold = deaf
  if (waiting.length === 0) return
  extrasOf(connection).stash = waiting
  connection.hold |= stashed
  queueMicrotask(() => unstash(connection))
}

// ---- Pauses

/** Until everybody who has paused it has resumed it. */
export function pauseFor(connection: Connection, reason: number): void {
  if ((connection.hold & (reason | deaf)) !== 0) return
  connection.hold |= reason
  if ((connection.flags & gone) === 0) connection.channel.stage(opPause | connection.tag, connection.slot, reason, 0)
}

export function resumeFor(connection: Connection, reason: number): void {
  if ((connection.hold & reason) === 0) return
  connection.hold &= ~reason
  if ((connection.flags & gone) === 0) connection.channel.stage(opResume | connection.tag, connection.slot, reason, 0)
  unstashSoon(connection)
  if (reason !== pausedByFilter && (connection.flags & filtered) !== 0) filtersOf(connection)!.resumed()
  if (reason === pausedByUser && connection.settings.handlers?.readable !== undefined) inputOf(connection)?.resumed()
}

// ---- Who reads

/** Hands reading over to `sink`, whose `handlers` get every event from now on. */
export function takeOver(connection: Connection, sink: object, handlers: ConnectionHandlers<never>): void {
  if (isRelayed(connection)) throw relayedError()
  if (connection.sink !== undefined) {
    throw new SluiceError('INVALID_ARGUMENT', { detail: 'the connection is being read by another stream or iterator' })
  }
  const unread = connection.settings.handlers?.readable && inputOf(connection)?.takeAll()
  connection.sink = sink
  setUpper(connection, handlers)
  if (unread !== undefined && unread.length > 0 && (connection.flags & closed) === 0) putBack(connection, unread)
  connection.resumeFor(pausedWithoutReader | pausedByQueue)
}

/** Whether somebody else may go on with it: it is open both ways, and nobody has taken it over for good. */
export function isReusable(connection: Connection): boolean {
  const isFiltered = (connection.flags & filtered) !== 0
  return connection.state === 'open' && connection.sink === undefined && !isFiltered && connection.queuedBytes === 0
}

/** From now on events go to `handlers`; without them, they wait for a stream, an iterator or others. */
export function readBy(connection: Connection, handlers: ConnectionHandlers<never> | undefined): void {
  if (connection.sink !== undefined || (connection.flags & closed) !== 0) return
  connection.settings.handlers = handlers && collecting(handlers)
  setUpper(connection, connection.settings.handlers ?? noHandlers)
  connection.resumeFor(pausedByUser)
  if (handlers === undefined) connection.pauseFor(pausedWithoutReader)
  else connection.resumeFor(pausedWithoutReader)
}

/** Who is told of its end while nobody reads it. */
export function watchBy(connection: Connection, handlers: ConnectionHandlers<never>): void {
  if (connection.sink === undefined) setUpper(connection, handlers)
}

/** Other handlers, those of `settings`, get every event from now on. */
export function useSettings(connection: Connection, settings: ConnectionSettings): void {
  connection.settings = settings
  setUpper(connection, settings.handlers ?? noHandlers)
}

/** Hands out bytes that former handlers had got, to those that stand there now. */
export function redeliver(connection: Connection, bytes: Uint8Array): void {
  if ((connection.flags & gone) !== 0) return
  if (connection.sink === undefined && connection.hold === 0) upperOf(connection).data?.(connection as never, bytes)
  else putBack(connection, Buffer.from(bytes))
}

// ---- The peer's end

/** The peer has sent FIN. */
export function onEnd(connection: Connection): void {
  if ((connection.flags & filtered) !== 0) filtersOf(connection)!.socketEnded()
  else tellEnd(connection)
}

/** Everything that the peer has sent has been handed out. */
export function tellEnd(connection: Connection): void {
  connection.flags |= peerEnded
  upperOf(connection).end?.(connection as never)
  // A stream or iterator ends the own direction itself, when its user has read to the end.
  if (!connection.settings.allowHalfOpen && connection.sink === undefined) connection.end()
}
