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

/** Reading goes no further ahead than `highWaterBytes`; a write is done when the kernel has taken it. */
export function connectionWebStreams(connection: Connection): ConnectionWebStreams {
  const reader = new ConnectionReader(connection)
  const readable = new ReadableStream<Uint8Array>(
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
  const writable = new WritableStream<ArrayBufferView | ArrayBuffer>({
    async write(chunk) {
      connection.write(viewOf(chunk))
      await connection.drained()
    },
    async close() {
      connection.end()
      await connection.finished()
    },
    abort() {
      connection.reset()
    },
  })
  return { readable, writable }
}

function viewOf(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  if (types.isAnyArrayBuffer(chunk)) return new Uint8Array(chunk)
  throw new SluiceError('INVALID_ARGUMENT', { phase: 'write', detail: 'the stream takes views and ArrayBuffers' })
}
