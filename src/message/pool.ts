import { type ErrorName, SluiceError } from '../errors.js'
import { milliseconds, type Parsed } from '../options.js'
import { messageError } from './failure.js'
import { synchronousFlag } from './header.js'
import { Latency, type LatencyStats } from './latency.js'
import type { MessageConnection } from './message-connection.js'
import { MessageQueue } from './message-queue.js'
import type { Outgoing, OutgoingHolder } from './outgoing.js'
import { PoolConnector, type PoolTarget } from './pool-connector.js'
import type { poolOptions } from './pool-options.js'
import { keyOf } from './resolver.js'
import { MessageSender, type SenderOwner } from './sender.js'
import type { TargetList } from './target-list.js'

/** What a pool needs of its service. */
export interface PoolOwner extends SenderOwner {
  readonly clock: { after(ms: number, callback: () => void): () => void; nowMs(): number }
  /** Makes a connection to one address; it is the pool's from then on. */
  connect(pool: MessagePool, target: PoolTarget, signal: AbortSignal): Promise<MessageConnection>
  resolve(pool: MessagePool, signal: AbortSignal): Promise<readonly PoolTarget[]>
  /** Tells of changes; undefined where none are told. */
  readonly watch: ((pool: MessagePool, changed: (targets: readonly PoolTarget[]) => void) => () => void) | undefined
  /** Whether the addresses are different places, and not one that has several. */
  readonly areSpread: boolean
  random(): number
  disconnected(pool: MessagePool, error: SluiceError | undefined): void
  stopped(pool: MessagePool): void
}

/** Counters of a pool. */
export interface PoolStats {
  /** Connections that messages go over. */
  active: number
  /** Connections in the making: connecting, greeting, or being prepared. */
  pending: number
  /** Messages that wait for a connection. */
  queued: number
  /** Bytes of their bodies. */
  queuedBytes: number
  /** Messages that were taken. */
  sent: number
  /** Messages that completed well. */
  completed: number
  /** Messages that completed with an error. */
  failed: number
  /** Messages that were sent again after a connection was lost. */
  resent: number
  /** Of those that completed well. */
  latency: LatencyStats
  /** Connections that were made. */
  connected: number
  /** Attempts that failed, in a row. */
  failures: number
  /** Milliseconds until the next attempt, or undefined. */
  nextAttemptMs: number | undefined
}

const closeTimeout = milliseconds()

/**
 * The connections to one destination, and the messages that wait for them. It connects when there is something to send,
 * again when connections are lost, and to more of them when messages wait (SF-40…46). Comes from `service.pool()`.
 */
export class MessagePool extends MessageSender implements OutgoingHolder, AsyncDisposable {
  private state: 'open' | 'closing' | 'closed' = 'open'
  private readonly queue = new MessageQueue()
  private readonly ordered = new MessageQueue()
  private queuedBytes = 0
  private readonly active: MessageConnection[] = []
  /** Those of all kinds, from the moment that they are connected. */
  private readonly connections = new Set<MessageConnection>()
  /** Were active, and go on only with what has begun. */
  private readonly left = new Set<MessageConnection>()
  private main: MessageConnection | undefined
  /** Counts which connection is the main one. */
  private epoch = 0
  private next = 0
  private sequence = 0
  private readonly counts = { sent: 0, completed: 0, failed: 0, resent: 0, connected: 0 }
  private readonly connector: PoolConnector
  private readonly underWay = new Set<Outgoing>()
  private readonly whenDone: (() => void)[] = []
  private wasConnected = false
  private readonly latency = new Latency()

  /** @internal */
  constructor(
    /** @internal */ readonly senderOwner: PoolOwner,
    /** What it is called in its service, e.g. `'localhost:7000'`. */
    readonly name: string,
    /** @internal */ readonly options: Parsed<typeof poolOptions>,
  ) {
    super()
    this.connector = new PoolConnector(this, senderOwner, options)
    if (options.connectNow || options.persistentConnections > 0) queueMicrotask(() => this.scale())
  }

  // ---- Sending

  /** @internal */
  get hasCapacity(): boolean {
    return this.queue.length === 0 && this.active.some(({ isReady }) => isReady)
  }

  /** @internal */
  submit(outgoing: Outgoing): void {
    if (this.state !== 'open') throw messageError('MESSAGE_POOL_CLOSED')
    outgoing.sequence = ++this.sequence
    outgoing.onEnd = this
    if ((outgoing.flags & synchronousFlag) !== 0) {
      if (this.ordered.length > 0 || !this.main?.isReadyForOrdered) this.enqueue(outgoing, this.ordered)
      else this.hand(outgoing, this.main)
    } else {
      const connection = this.queue.length === 0 ? this.pick() : undefined
      if (connection === undefined) this.enqueue(outgoing, this.queue)
      else this.hand(outgoing, connection)
    }
    this.counts.sent++
    if (outgoing.state !== 'done') this.underWay.add(outgoing)
  }

  private enqueue(outgoing: Outgoing, queue: MessageQueue): void {
    if (outgoing.oneShot && this.active.length === 0 && this.connector.isWaiting)
      throw messageError('MESSAGE_NOT_CONNECTED', 'the pool waits before it connects again')
    const bytes = bytesOf(outgoing)
    const { maxQueuedMessages, maxQueuedBytes } = this.options
    if (this.queue.length + this.ordered.length >= maxQueuedMessages)
      throw messageError('MESSAGE_QUEUE_FULL', `${maxQueuedMessages} messages wait`)
    if (this.queuedBytes + bytes > maxQueuedBytes)
      throw messageError('MESSAGE_QUEUE_FULL', `${this.queuedBytes} bytes wait`)
    outgoing.holder = this
    queue.push(outgoing)
    this.queuedBytes += bytes
    this.scale()
  }

  // The one after the last that got something, of those that take more.
  private pick(): MessageConnection | undefined {
    const { active } = this
    for (let i = 0; i < active.length; i++) {
      if (this.next >= active.length) this.next = 0
      const connection = active[this.next++]!
      if (connection.isReady) return connection
    }
    return undefined
  }

  private hand(outgoing: Outgoing, connection: MessageConnection): void {
    if ((outgoing.flags & synchronousFlag) !== 0) outgoing.epoch = this.epoch
    connection.take(outgoing)
  }

  /** @internal The connection may take more of what waits. */
  roomFor(connection: MessageConnection): void {
    if (connection.state !== 'active') return
    while (this.queue.length + this.ordered.length > 0 && connection.isReady) {
      const takesOrder = connection === this.main && connection.isReadyForOrdered
      const ordered = takesOrder ? this.ordered.peek() : undefined
      const other = this.queue.peek()
      const takesOrdered = ordered !== undefined && (other === undefined || ordered.sequence < other.sequence)
      const outgoing = takesOrdered ? this.ordered.shift() : this.queue.shift()
      if (outgoing === undefined) return
      this.queuedBytes -= bytesOf(outgoing)
      this.hand(outgoing, connection)
    }
    if (this.queue.length > 0) this.scale()
  }

  /** @internal A message of this pool has come to its end. */
  ended(outgoing: Outgoing, error: SluiceError | undefined, ms: number): void {
    this.underWay.delete(outgoing)
    if (ms >= 0) this.latency.add(ms)
    if (error === undefined) this.counts.completed++
    else this.counts.failed++
    if (this.underWay.size === 0) for (const tell of this.whenDone.splice(0)) tell()
  }

  /** @internal */
  drop(outgoing: Outgoing): void {
    if (this.queue.remove(outgoing) || this.ordered.remove(outgoing)) this.queuedBytes -= bytesOf(outgoing)
  }

  /** @internal */
  dropped(): void {}

  /** @internal */
  allowParts(): void {}

  // ---- Connections

  /** @internal How many there are of each kind, for the rule of SF-41. */
  get wants(): boolean {
    if (this.state === 'closed') return false
    const { maxConnections, persistentConnections } = this.options
    const { length } = this.active
    const waiting = this.queue.length + this.ordered.length
    if (length + this.connector.pending >= maxConnections) return false
    if (this.state === 'closing') return waiting > 0 && length === 0
    if (length < persistentConnections) return true
    if (length === 0 && this.options.connectNow && !this.wasConnected) return true
    const idle = this.active.reduce((sum, { isReady }) => sum + (isReady ? 1 : 0), 0)
    return waiting > 0 && idle < waiting
  }

  private scale(): void {
    this.connector.connectIfWanted()
  }

  /** @internal */
  connected(connection: MessageConnection): void {
    this.connections.add(connection)
    this.counts.connected++
    if (this.state === 'closed') connection.destroy()
  }

  /** @internal */
  activated(connection: MessageConnection): void {
    this.wasConnected = true
    this.connector.succeeded(connection)
    this.active.push(connection)
    if (this.main === undefined) this.appoint(connection)
    this.roomFor(connection)
    connection.touch()
    // Others may be wanted that had to wait for this one.
    this.scale()
  }

  /** @internal The peer wants nothing new on it: what it has not begun goes over others. */
  leaving(connection: MessageConnection, unsent: Outgoing[]): void {
    const at = this.active.indexOf(connection)
    if (at < 0) return
    this.active.splice(at, 1)
    this.left.add(connection)
    this.sendAgain(unsent)
    this.wakeOthers()
    this.scale()
  }

  /** @internal Where its connections go to, but for those that are being left. */
  get targetsInUse(): PoolTarget[] {
    return [...this.connections].flatMap(({ target, isLeft }) => (isLeft || target === undefined ? [] : target))
  }

  /**
   * @internal The addresses have changed: leaves those that are gone, and places that have more than their part.
   *
   * @param making where connections are being made to.
   */
  rescale(targets: TargetList, making: readonly PoolTarget[]): void {
    const counts = new Map<string, number>()
    const count = (target: PoolTarget) => {
      const sum = (counts.get(keyOf(target)) ?? 0) + 1
      counts.set(keyOf(target), sum)
      return sum
    }
    const staying = this.active.filter(({ target }) => target !== undefined && targets.has(target))
    const gone = this.active.filter((connection) => !staying.includes(connection))
    const part = Math.ceil((staying.length + making.length) / targets.endpoints.length)
    making.forEach(count)
    for (const connection of staying) if (count(connection.target!) > part) gone.push(connection)
    for (const connection of gone) connection.leave()
  }

  // The main connection keeps its role until it is gone: what it has begun comes before what another one would send.
  private retire(connection: MessageConnection): boolean {
    const at = this.active.indexOf(connection)
    if (at >= 0) this.active.splice(at, 1)
    if (this.main === connection) {
      this.main = undefined
      if (this.active.length > 0) this.appoint(this.active[0]!)
    }
    return at >= 0
  }

  // In front of those that wait, in the order they were sent (SF-28).
  private sendAgain(messages: Outgoing[]): void {
    messages.sort((a, b) => b.sequence - a.sequence)
    for (const outgoing of messages) {
      if (outgoing.state === 'done') continue
      if (outgoing.packet >= 0) this.counts.resent++
      outgoing.rewind()
      outgoing.holder = this
      this.queuedBytes += bytesOf(outgoing)
      if ((outgoing.flags & synchronousFlag) !== 0) this.ordered.unshift(outgoing)
      else this.queue.unshift(outgoing)
    }
  }

  private wakeOthers(): void {
    for (const other of [...this.active]) {
      this.roomFor(other)
      other.touch()
    }
  }

  // Source: SF-44.
  private appoint(connection: MessageConnection): void {
    this.main = connection
    this.epoch++
    this.roomFor(connection)
    connection.touch()
  }

  /** @internal A connection is gone, with messages that have not left it, and others that may have arrived. */
  lost(
    connection: MessageConnection,
    unsent: Outgoing[],
    others: Outgoing[],
    error: SluiceError,
    cause: SluiceError | undefined,
  ): void {
    this.connections.delete(connection)
    const again: Outgoing[] = []
    const over: Outgoing[] = []
    const maySendAgain = this.state !== 'closed'
    for (const outgoing of unsent)
      (maySendAgain && !outgoing.oneShot && isWhole(outgoing) ? again : over).push(outgoing)
    for (const outgoing of others)
      (maySendAgain && !outgoing.oneShot && outgoing.isRepeatable ? again : over).push(outgoing)
    this.sendAgain(again)
    const wasActive = this.retire(connection) || this.left.delete(connection)
    for (const outgoing of over) outgoing.complete(error, undefined)
    if (wasActive && this.active.length === 0) {
      // None of these waits for the next connection (trap 34).
      this.failQueued(({ oneShot }) => oneShot, error)
      this.senderOwner.disconnected(this, cause)
    }
    this.connector.lost(connection, wasActive, cause)
    this.wakeOthers()
    this.scale()
  }

  /** @internal No connection came about. */
  connectFailed(error: SluiceError): void {
    if (this.active.length > 0) return
    const code = error.code as `ERR_SLUICE_${ErrorName}`
    // Waiting would not help: the peer is there, and speaks something else.
    if (code === 'ERR_SLUICE_MESSAGE_VERSION') {
      this.failQueued(() => true, error)
      return
    }
    this.failQueued(({ oneShot }) => oneShot, messageError('MESSAGE_NOT_CONNECTED', undefined, { cause: error }))
  }

  private failQueued(isMeant: (outgoing: Outgoing) => boolean, error: SluiceError): void {
    for (const queue of [this.queue, this.ordered]) {
      for (const outgoing of queue.drain()) {
        if (isMeant(outgoing)) {
          this.queuedBytes -= bytesOf(outgoing)
          outgoing.complete(error, undefined)
        } else {
          queue.push(outgoing)
        }
      }
    }
  }

  // ---- Ending

  /**
   * Takes no more, finishes what it has been given, and closes its connections; after `timeoutMs` (default 5 000; 0 for as
   * long as it takes) what is left completes with `ERR_SLUICE_MESSAGE_CONNECTION`. Source: SF-46.
   */
  async close({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<void> {
    closeTimeout.parse(timeoutMs, 'timeoutMs')
    if (this.state === 'open') this.state = 'closing'
    const cancel = timeoutMs > 0 ? this.senderOwner.clock.after(timeoutMs, () => this.destroy()) : () => {}
    if (this.underWay.size > 0) await new Promise<void>((resolve) => this.whenDone.push(resolve))
    this.stop()
    await Promise.all([...this.connections].map((connection) => connection.close()))
    cancel()
  }

  /** Ends it now: what is under way completes with `ERR_SLUICE_MESSAGE_CONNECTION`. */
  destroy(error?: SluiceError): void {
    this.stop()
    const cause = error ?? messageError('MESSAGE_POOL_CLOSED')
    this.failQueued(() => true, new SluiceError('MESSAGE_CONNECTION', { phase: 'message', cause }))
    for (const connection of this.connections) connection.destroy(error)
  }

  private stop(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.connector.stop()
    this.senderOwner.stopped(this)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** How it stands. */
  stats(): PoolStats {
    return {
      active: this.active.length,
      pending: this.connector.pending,
      queued: this.queue.length + this.ordered.length,
      queuedBytes: this.queuedBytes,
      ...this.counts,
      latency: this.latency.stats(),
      failures: this.connector.failures,
      nextAttemptMs: this.connector.nextAttemptMs,
    }
  }
}

function bytesOf({ body }: Outgoing): number {
  return typeof body === 'string' || body instanceof Uint8Array ? body.length : 0
}

// A stream of which something has been read cannot be sent from its beginning.
function isWhole(outgoing: Outgoing): boolean {
  return !outgoing.isStream || outgoing.sentBytes === 0
}
