import { types } from 'node:util'
import type { Connection } from './connection.js'
import { SluiceError } from './errors.js'
import { ConnectionReader } from './reader.js'

/** A connection as a pair of WHATWG streams. */
export interface ConnectionWebStreams {
  /** What the peer sends. Cancelling it destroys the connection. */
  readable: ReadableStream<Uint8Array>
  /** Takes Uint8Array, other views and ArrayBuffers. Closing it ends the own direction; aborting resets. */
  writable: WritableStream<ArrayBufferView | ArrayBuffer>
}

/** Reading goes no further ahead than `readHighWaterBytes`; a write is done when the kernel has taken it. */
export function connectionWebStreams(connection: Connection): ConnectionWebStreams {
  const reader = new ConnectionReader(connection)
  return { readable: readableOf(reader), writable: writableOf(connection, reader) }
}

function readableOf(reader: ConnectionReader): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value, done } = await reader.next()
        if (done) controller.close()
        else for (const chunk of value) controller.enqueue(chunk)
      },
      async cancel() {
        await reader.return()
      },
    },
    // Nothing is read before it is asked for; what comes by then waits in the reader.
    { highWaterMark: 0 },
  )
}

function writableOf(connection: Connection, reader: ConnectionReader): WritableStream<ArrayBufferView | ArrayBuffer> {
  let closing = false
  return new WritableStream<ArrayBufferView | ArrayBuffer>({
    start(controller) {
      connection.whenClosed((error) => {
        if (!closing || error !== undefined) controller.error(error ?? new SluiceError('CLOSED', { phase: 'write' }))
      })
      // Not as the sink's abort(): that would wait for the write under way, which may wait for the peer.
      const { signal } = controller as WritableStreamDefaultController & { signal: AbortSignal }
      signal.addEventListener('abort', () => {
        reader.drop(new SluiceError('ABORTED', { phase: 'write', cause: signal.reason }))
        connection.reset()
      })
    },
    write: (chunk) => writeAll(connection, viewOf(chunk)),
    async close() {
      closing = true
      connection.end()
      await connection.finished()
    },
  })
}

// In pieces that the connection takes, however long the chunk.
async function writeAll(connection: Connection, bytes: Uint8Array): Promise<void> {
  const { highWaterBytes, lowWaterBytes, hardLimitBytes } = connection.settings
  const pieceBytes = Math.max(1, Math.min(highWaterBytes, hardLimitBytes - lowWaterBytes))
  for (let offset = 0; offset < bytes.length; ) {
    if (connection.isWritable && !connection.hasCapacityFor(Math.min(pieceBytes, bytes.length - offset))) {
      await connection.drained()
      continue
    }
    const piece = bytes.subarray(offset, offset + pieceBytes)
    // The queue may be drained, and the chunk still in it, only where the low-water mark is above zero.
    connection.write(lowWaterBytes > 0 ? Buffer.from(piece) : piece)
    offset += piece.length
    await connection.drained()
  }
}

function viewOf(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  if (types.isAnyArrayBuffer(chunk)) return new Uint8Array(chunk)
  throw new SluiceError('INVALID_ARGUMENT', { phase: 'write', detail: 'the stream takes views and ArrayBuffers' })
}
