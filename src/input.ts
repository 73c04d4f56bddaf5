import { ByteQueue } from './byte-queue/queue.js'
import type { Connection } from './connection.js'
import type { ConnectionHandlers } from './handlers.js'
import { pausedByQueue } from './native/records.js'
import type { ReadWaterMarks } from './settings.js'

/** The inputs of connections whose handlers have `readable`. */
const inputs = new WeakMap<object, ConnectionInput>()

/** The input of a connection; undefined where nothing has been collected yet. */
export function inputOf(connection: object): ConnectionInput | undefined {
  return inputs.get(connection)
}

/** The same, made if there is none. */
export function inputFor(connection: Connection): ConnectionInput {
  let input = inputs.get(connection)
  if (input === undefined) {
    input = new ConnectionInput(connection)
    inputs.set(connection, input)
  }
  return input
}

/**
 * Handlers that collect what arrives for the `readable` of `handlers`; these themselves if they have none. Shared by all
 * connections of a listener, as those are.
 */
export function collecting(handlers: ConnectionHandlers<never>): ConnectionHandlers<never> {
  if (handlers.readable === undefined) return handlers
  return Object.assign(Object.create(handlers) as ConnectionHandlers<never>, {
    data(connection: Connection<never>, bytes: Uint8Array) {
      inputFor(connection as Connection).take(bytes)
    },
  })
}

/**
 * What has arrived and its user has not taken yet, between two marks: the user is called when there is as much as the
 * low one, and the socket rests when there is as much as the high one.
 */
export class ConnectionInput {
  readonly queue = new ByteQueue()
  /** What came in the same turn as that which reached the high mark. */
  private readonly excess = new ByteQueue()
  private marks: Required<ReadWaterMarks>
  private isCalling = false
  private isDue = false // something new since the last call
  private isScheduled = false
  private readonly setWatched: (watched: boolean) => void

  constructor(private readonly connection: Connection) {
    const { readLowWaterBytes, readHighWaterBytes, highWaterBytes } = connection.settings
    this.marks = { lowWaterBytes: readLowWaterBytes, highWaterBytes: readHighWaterBytes ?? highWaterBytes }
    // Only while the socket rests does anybody have to know what is taken.
    const hook = this.queue.onChange(() => this.settle())
    hook.enabled = false
    this.setWatched = (watched) => {
      hook.enabled = watched
    }
  }

  get waterMarks(): Required<ReadWaterMarks> {
    return this.marks
  }

  /** Counts from now on; whoever waits for no more than there is, is called soon. */
  set waterMarks(marks: Required<ReadWaterMarks>) {
    this.marks = marks
    this.isDue = true
    this.settle()
    this.schedule()
  }

  /** The user goes on reading. */
  resumed(): void {
    this.schedule()
  }

  /** Takes everything out, for another reader. */
  takeAll(): Buffer {
    this.queue.appendFrom(this.excess)
    return this.queue.read()
  }

  take(bytes: Uint8Array): void {
    const { queue, excess } = this
    const room = this.marks.highWaterBytes - queue.sizeBytes
    if (excess.sizeBytes > 0 || bytes.length > room) {
      excess.append(bytes)
      queue.appendFrom(excess, Math.max(0, room))
      this.isDue ||= room > 0
    } else {
      queue.append(bytes)
      this.isDue = true
    }
    this.call()
    this.settle()
  }

  // As long as the user takes something, or changes what he waits for, and there is enough of it.
  private call(): void {
    const { queue, connection } = this
    if (this.isCalling) return
    this.isCalling = true
    try {
      while (this.mayCall) {
        this.isDue = false
        connection.tellReadable(queue)
        this.refill()
      }
    } finally {
      this.isCalling = false
    }
  }

  private get mayCall(): boolean {
    const { connection } = this
    const isEnough = this.queue.sizeBytes >= Math.max(1, this.marks.lowWaterBytes)
    return this.isDue && isEnough && !connection.paused && connection.isReadByHandlers
  }

  private refill(): void {
    const { queue, excess } = this
    const room = this.marks.highWaterBytes - queue.sizeBytes
    if (room > 0 && excess.sizeBytes > 0) {
      queue.appendFrom(excess, room)
      this.isDue = true
    }
  }

  // Rests, or goes on. A full queue is told once; what is taken from it has it told again.
  private settle(): void {
    if (this.isCalling) return
    this.setWatched(false)
    this.refill()
    const { queue, excess, connection } = this
    if (!connection.isReadByHandlers) return
    const isFull = queue.sizeBytes >= this.marks.highWaterBytes || excess.sizeBytes > 0
    if (isFull) connection.pauseFor(pausedByQueue)
    else connection.resumeFor(pausedByQueue)
    this.setWatched(isFull)
    if (this.mayCall) this.schedule()
  }

  // Not within a call of the user's.
  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    queueMicrotask(() => {
      this.isScheduled = false
      try {
        this.call()
      } catch (thrown) {
        this.connection.handlerThrew(thrown)
      }
      this.settle()
    })
  }
}
