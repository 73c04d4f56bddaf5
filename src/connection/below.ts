import { constants } from 'node:os'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { FileSegment } from '../file/segment.js'
import { opClose, opEnd, opPause, opTellDrain, pausedByFilter, wantDrainFlag } from '../native/records.js'
import { dropStash } from './reading.js'
import { endAsked, extrasOf, failureTold, filtersOf, gone, layered, refuseOverflow, settle, upperOf } from './state.js'

// What filters ask of the connection beneath them: the socket, whatever filters there are. Small bytes
// go to it by writeBelow() of the connection itself.

/** Who reads in place of handlers. */
interface Sink {
  /** One direction has failed; the connection is still there. */
  directionFailed(error: SluiceError): void
}

/** As writeBelow(), of bytes that are used where they are. */
export function writeLentBelow(connection: Connection, bytes: Uint8Array, released: () => void): boolean {
  const length = bytes.length
  const { settings, channel, slot, tag } = connection
  const queued = connection.queuedBelowBytes + length
  if (queued > settings.hardLimitBytes) refuseOverflow(connection, queued)
  connection.posted = (connection.posted + length) | 0
  const hasRoom = queued < settings.highWaterBytes
  channel.stageLent(slot, hasRoom ? tag : tag | wantDrainFlag, bytes, length, released)
  return hasRoom
}

/** Asks the socket for a `drain` that no refused write has asked for. */
export function tellDrainBelow({ flags, channel, slot, tag }: Connection): void {
  if ((flags & gone) === 0) channel.stage(opTellDrain | tag, slot, 0, 0)
}

/** FIN, after all that was written and if it still can be. */
export function endBelow({ flags, channel, slot, tag }: Connection): void {
  if ((flags & gone) === 0) channel.stage(opEnd | tag, slot, 0, 0)
}

/** Ends it in order, if it has not ended; the socket waits for the peer no longer than that. */
export function closeBelow({ flags, channel, slot, tag }: Connection, timeoutMs: number): void {
  if ((flags & gone) === 0) channel.stage(opClose | tag, slot, timeoutMs, 0)
}

/** As of SendFile: a part of a file up to the high-water mark, by the system itself. */
export function sendFileBelow(
  connection: Connection,
  segment: FileSegment,
  positionBytes: number,
  lengthBytes: number,
): number | undefined {
  const { channel, flags, slot, tag } = connection
  if (!channel.sendsFiles || (flags & layered) !== 0) return undefined
  const room = connection.settings.highWaterBytes - connection.queuedBelowBytes
  if (room <= 0 || (flags & gone) !== 0) return 0
  const length = Math.min(room, lengthBytes)
  connection.posted = (connection.posted + length) | 0
  segment.take()
  const fileTag = length < room ? tag : tag | wantDrainFlag
  channel.stageFile(slot, fileTag, segment.fd, positionBytes, length, () => segment.drop())
  return length
}

/** The system could not send a part of a file, and has sent FIN in its place. */
export function onFileFailed(connection: Connection, errno: number): void {
  const facts = { phase: 'write', errno, syscall: 'sendfile' } as const
  const isShort = errno === constants.errno.ENODATA
  const detail = isShort ? 'the file has become too short' : undefined
  filtersOf(connection)?.abortOutput(new SluiceError('FILE_FAILED', isShort ? { phase: 'write', detail } : facts))
}

/** What arrives cannot be read any more; writing goes on. Source: D4. */
export function inputFailed(connection: Connection, error: SluiceError): void {
  const { flags, channel, slot, tag } = connection
  extrasOf(connection).destroyError ??= error
  if ((flags & gone) === 0) channel.stage(opPause | tag, slot, pausedByFilter, 0)
  dropStash(connection)
  tellFailure(connection, error)
  if (!connection.settings.allowHalfOpen && connection.sink === undefined) connection.end()
}

/** Nothing more can be written, and FIN is on its way; reading goes on. Source: D4. */
export function outputFailed(connection: Connection, error: SluiceError): void {
  connection.flags |= endAsked
  extrasOf(connection).destroyError ??= error
  settle(connection, 'drained')
  // Not within the user's write().
  queueMicrotask(() => {
    try {
      if ((connection.flags & gone) === 0) tellFailure(connection, error)
    } catch (thrown) {
      connection.handlerThrew(thrown)
    }
  })
}

function tellFailure(connection: Connection, error: SluiceError): void {
  if (connection.sink !== undefined) {
    ;(connection.sink as Sink).directionFailed(error)
    return
  }
  const upper = upperOf(connection)
  if (upper.error === undefined) return
  connection.flags |= failureTold
  upper.error(connection as never, error)
}
