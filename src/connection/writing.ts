import type { ByteQueue } from '../byte-queue/queue.js'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { FlushMode } from '../filter/filter.js'
import { oneOf } from '../options.js'
import { endBelow, tellDrainBelow } from './below.js'
import {
  closedError,
  endAsked,
  extrasOf,
  filtered,
  filtersOf,
  finWritten,
  gone,
  isRelayed,
  notWritable,
  refuseOverflow,
  relayedError,
  settle,
  upperOf,
} from './state.js'

// What of writing is not on every write's way, and what is told of it: room, the end, what was refused and why.

const flushModes = oneOf(['normal', 'flush', 'finished'])

/** As of {@link Connection.write}, not straight to the socket. */
export function writeAbove(connection: Connection, bytes: Uint8Array, released?: () => void): boolean {
  requireWritable(connection)
  return filtersOf(connection)!.write(bytes, released)
}

/** As of {@link Connection.write}. */
export function writeQueue(connection: Connection, queue: ByteQueue): boolean {
  requireWritable(connection)
  const queued = heldBytes(connection) + queue.memoryBytes
  if (queued > connection.settings.hardLimitBytes) refuseOverflow(connection, queued)
  // One call takes as much as there is room for below the high-water mark.
  while (queue.sizeBytes > 0) queue.writeTo(connection)
  return connection.queuedBytes < connection.settings.highWaterBytes
}

/** Bytes in memory that its hard limit counts. */
export function heldBytes(connection: Connection): number {
  return filtersOf(connection)?.heldBytes ?? connection.queuedBytes
}

/** @throws {SluiceError} unless something can be written. */
export function requireWritable(connection: Connection): void {
  if ((connection.flags & notWritable) === 0) return
  const failure = filtersOf(connection)?.outputFailure
  if (failure !== undefined) throw failure
  if (isRelayed(connection)) throw relayedError()
  throw new SluiceError((connection.flags & gone) !== 0 ? 'CLOSED' : 'WRITE_AFTER_END', { phase: 'write' })
}

/** As of {@link Connection.drained}. */
export function drained(connection: Connection): Promise<void> {
  if (isRelayed(connection)) return Promise.reject(relayedError())
  if (connection.queuedBytes === 0) return Promise.resolve()
  tellDrain(connection)
  return new Promise((resolve, reject) => {
    const isOver = () => (connection.flags & gone) !== 0 || filtersOf(connection)?.outputFailure !== undefined
    const tell = () => (isOver() ? reject(closedError(connection)) : resolve())
    if (isOver()) tell()
    else extrasOf(connection).drained.push(tell)
  })
}

/** Asks for a `drain` that no refused write has asked for. */
export function tellDrain(connection: Connection): void {
  if ((connection.flags & filtered) !== 0) filtersOf(connection)!.tellDrain()
  else tellDrainBelow(connection)
}

/** The socket has room. */
export function onDrain(connection: Connection): void {
  if ((connection.flags & filtered) !== 0) filtersOf(connection)!.socketDrained()
  else tellDrained(connection)
}

/** What is queued has fallen to the low-water mark. */
export function tellDrained(connection: Connection): void {
  settle(connection, 'drained')
  upperOf(connection).drain?.(connection as never)
}

/** As of {@link Connection.end}. */
export function end(connection: Connection): void {
  if (isRelayed(connection)) throw relayedError()
  if ((connection.flags & notWritable) !== 0) return
  connection.flags |= endAsked
  if ((connection.flags & filtered) !== 0) filtersOf(connection)!.finish()
  else endBelow(connection)
}

/** As of {@link Connection.flush}. */
export function flush(connection: Connection, mode: FlushMode): Promise<void> {
  flushModes.parse(mode, 'mode')
  const flushed = flushAs(connection, mode)
  // Many will not wait for it, and hear of the connection's end otherwise.
  flushed.catch(() => {})
  return flushed
}

async function flushAs(connection: Connection, mode: FlushMode): Promise<void> {
  if (mode === 'finished') {
    connection.end()
    return connection.finished()
  }
  if ((connection.flags & gone) !== 0) throw closedError(connection)
  if (isRelayed(connection)) throw relayedError()
  if (mode === 'normal') return
  if ((connection.flags & filtered) !== 0) await filtersOf(connection)!.flush()
  connection.channel.flushOutsideTurn()
}

/** As of {@link Connection.finished}, called back within the turn. */
export function whenFinished(connection: Connection, callback: (error?: SluiceError) => void): void {
  const tell = () => callback((connection.flags & finWritten) !== 0 ? undefined : closedError(connection))
  const isOver = (connection.flags & (finWritten | gone)) !== 0
  if (isOver || filtersOf(connection)?.outputFailure !== undefined) tell()
  else extrasOf(connection).finished.push(tell)
}

/** FIN is in the kernel's hands. */
export function onFinished(connection: Connection): void {
  if (filtersOf(connection)?.outputFailure === undefined) connection.flags |= finWritten
  settle(connection, 'finished')
}

/** What is written, as bytes. @throws {SluiceError} of what cannot be written. */
export function toBytes(value: unknown): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value)
  throw new SluiceError('INVALID_ARGUMENT', {
    phase: 'write',
    detail: 'write() takes a Uint8Array, a string or a ByteQueue',
  })
}
