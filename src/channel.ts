import { onFileFailed } from './connection/below.js'
import { onClosed, onTimeout } from './connection/ending.js'
import { failureFacts } from './connection/facts.js'
import { onConnected, onSecured } from './connection/opening.js'
import { onEnd, outwaits, stash } from './connection/reading.js'
import { onRelaying } from './connection/relaying.js'
import { onSecuring } from './connection/securing.js'
import { onDrain, onFinished } from './connection/writing.js'
import { Connection } from './connection.js'
import { type ErrorName, nativeError, SluiceError, tlsError } from './errors.js'
import type { TimeoutKind } from './handlers.js'
import { handshakeError } from './handshake/handshake-error.js'
import { OpeningRun } from './handshake/opening-run.js'
import { isFailure, type NativeChannel, native } from './native/binding.js'
import * as records from './native/records.js'
import { Priorities } from './priorities.js'
import type { Relay } from './relay.js'
import type { ConnectionSettings } from './settings.js'

const { eventClosed, eventConnected, eventData, eventDrain, eventEnd, eventFinished } = records
const { eventListenerFailed, eventOpened, eventReleased, eventTimeout, eventTimer } = records
const { eventFileFailed, eventHandshakeFailed, eventSecured, eventSecuring } = records
const { eventOpeningFailed, eventRuleLogged, eventStepBegins, eventStepBytes } = records
const { eventRelayCount, eventRelayTimeout, eventRelaying } = records
const { controlInTurn, controlOpCount, controlOutBytes, controlReferenceCount, controlWords } = records

/** What a channel needs to know to start. Sizes in bytes. */
export interface ChannelOptions {
  engine: string
  threaded: boolean
  slabBytes: number
  receiveChunkBytes: number
  receiveTurnBytes: number
  acceptTurnCount: number
  busyPollMicros: number
  handshakeThreads: number
  debug: boolean
  sim?: Record<string, number>
}

/** A listener as a channel sees it. */
export interface ChannelListener {
  readonly settings: ConnectionSettings
  accepted(connection: Connection): void
  failed(error: SluiceError): void
  /** Whether anybody wants to know of failed handshakes. */
  readonly hearsFailures: boolean
  /** Nobody was told of the connection. */
  handshakeFailed(error: SluiceError): void
  /** A rule has said what has this number. */
  ruleLogged(number: number): void
}

const framesPerThread = 4
// For what TLS decrypts in a turn; as with the slab, more would not stay in the processor's cache.
const plainBytes = 524_288
const recordsPerFrame = 4096
const recordWords = 4
const opCapacity = 16_384
const outBytes = 1_048_576
// Copying into the out-slab is cheaper than pinning, up to here; measured (ARCHITECTURE.md, boundary).
const copyLimitBytes = 16_384
// V8 keeps typed arrays up to this size on its heap, where asking for `.buffer` moves them off it at some cost.
const onHeapBytes = 64

const timeoutKinds: readonly TimeoutKind[] = ['read', 'read', 'write', 'halfClosed']
/** What a connection that nobody watches ends with. */
export const timeoutErrors: Record<TimeoutKind, ErrorName> = {
  read: 'READ_TIMEOUT',
  write: 'WRITE_TIMEOUT',
  halfClosed: 'HALF_CLOSED_TIMEOUT',
}

const phaseOfSyscall: Record<string, SluiceError['phase']> = {
  ...{ recv: 'read', send: 'write', sendmsg: 'write', shutdown: 'write' },
}

/** Events of listeners, relays and lent bytes, which no connection is to blame for. */
const eventsOfNone = new Set([
  ...[eventReleased, eventListenerFailed, eventHandshakeFailed, eventOpeningFailed, eventRuleLogged],
  ...[eventRelayCount, eventRelayTimeout],
])

/**
 * JavaScript's end of one loop: dispatches the events of a batch to the handlers of their connections, and stages what
 * those ask for until native code takes it, once per batch. Internal; all of it runs on Node's thread.
 */
export class Channel {
  readonly native: NativeChannel = new native.Channel()
  readonly engine: string
  readonly threaded: boolean
  /** What a connection may receive in a turn. */
  readonly receiveTurnBytes: number
  /** Per slot, bytes that the kernel has taken, modulo 2^32; written by native code. */
  readonly taken = new Int32Array(records.maxSlots)
  readonly listeners = new Map<number, ChannelListener>()
  /** By slot. */
  readonly connections: (Connection | undefined)[] = []
  /** By number. */
  readonly relays = new Map<number, Relay>()
  batches = 0
  events = 0

  private readonly slab: ArrayBuffer
  private readonly eventWords: Int32Array
  private readonly ops = new Int32Array(opCapacity * recordWords)
  private readonly out = new Uint8Array(outBytes)
  private readonly control = new Int32Array(controlWords)
  private readonly references: (Uint8Array | Float64Array | undefined)[] = []
  private readonly freeReferences: number[] = []
  /** Whom to tell when a reference is not needed any more. */
  private readonly lent = new Map<number, () => void>()
  private readonly timers = new Map<number, () => void>()
  /** There from the first connection on that is not like the others. */
  private priorities: Priorities | undefined
  readonly debug: boolean
  private readonly flushStaged = () => this.flush()
  /** The view being handed to a handler, and where it lies: writing it back needs no look at its buffer. */
  private view: Uint8Array | undefined
  private viewOffset = 0
  /** By slot, connections whose handshake has steps of JavaScript's. */
  private readonly openings = new Map<number, OpeningRun>()
  /** Connections open now, or being closed. */
  connectionCount = 0
  private readonly emptied: (() => void)[] = []
  private alive = 0
  private referenced = true
  private nextTimer = 1
  private closed = false

  /** @throws {SluiceError} `ERR_SLUICE_ENGINE_UNAVAILABLE` and others of the engine's start. */
  constructor(options: ChannelOptions) {
    const frames = options.threaded ? framesPerThread : 1
    this.threaded = options.threaded
    this.receiveTurnBytes = options.receiveTurnBytes
    this.debug = options.debug
    const receiveBytes = options.slabBytes * frames
    const slab = new Uint8Array(receiveBytes + (options.threaded ? plainBytes / 2 : plainBytes) * frames)
    this.slab = slab.buffer
    this.eventWords = new Int32Array(recordsPerFrame * frames * recordWords)
    const answer = this.native.start({
      engine: options.engine,
      threaded: options.threaded,
      frames,
      ...{ slab, receiveBytes, handshakeThreads: options.handshakeThreads },
      events: this.eventWords,
      ops: this.ops,
      out: this.out,
      taken: this.taken,
      control: this.control,
      references: this.references,
      batch: (first, count) => this.batch(first, count),
      receiveChunkBytes: options.receiveChunkBytes,
      receiveTurnBytes: options.receiveTurnBytes,
      acceptTurnCount: options.acceptTurnCount,
      busyPollMicros: options.busyPollMicros,
      sim: options.sim,
    })
    if (isFailure(answer)) throw engineError(options.engine, answer)
    this.engine = answer
  }

  // ---- Events

  private batch(first: number, count: number): void {
    this.batches++
    this.events += count
    if (this.priorities !== undefined && this.batchByPriority(this.priorities, first, count)) return
    const end = (first + count) * recordWords
    let k = first * recordWords
    // An exception leaves the inner loop with k at its event; the loop goes on behind it.
    while (k < end) {
      try {
        for (; k < end; k += recordWords) this.dispatch(k)
      } catch (thrown) {
        this.handlerThrew(k, thrown)
        k += recordWords
      }
    }
    this.view = undefined
  }

  private batchByPriority(priorities: Priorities, first: number, count: number): boolean {
    const order = priorities.order(this.eventWords, first, count, (key) => this.listeners.get(key)?.settings.priority)
    if (order === undefined) return false
    for (const k of order) {
      try {
        this.dispatch(k)
      } catch (thrown) {
        this.handlerThrew(k, thrown)
      }
    }
    this.view = undefined
    return true
  }

  /** Of the connection in that slot; 0 unless something else has been said. */
  priorityOf(slot: number): number {
    return this.priorities?.of(slot) ?? 0
  }

  setPriority(slot: number, priority: number): void {
    if (this.priorities === undefined && priority === 0) return
    this.priorities ??= new Priorities()
    this.priorities.set(slot, priority)
  }

  private dispatch(k: number): void {
    const words = this.eventWords
    const head = words[k]!
    const id = words[k + 1]!
    const type = head & 0xff
    if (type === eventData) {
      const connection = this.connections[id]
      if (connection === undefined || connection.tag !== (head & ~0xff)) return
      const offset = words[k + 2]!
      const view = new Uint8Array(this.slab, offset, words[k + 3]!)
      if (connection.hold !== 0) {
        stash(connection, { type, a: 0, bytes: view.slice() })
        return
      }
      if (this.debug) {
        this.deliverPoisoned(connection, view)
        return
      }
      this.view = view
      this.viewOffset = offset
      connection.handlers.data?.(connection as never, view)
      return
    }
    this.dispatchRare(type, head & ~0xff, id, words[k + 2]!, words[k + 3]!)
  }

  private dispatchRare(type: number, tag: number, id: number, a: number, b: number): void {
    switch (type) {
      case eventReleased:
        this.references[id] = undefined
        this.freeReferences.push(id)
        if (this.lent.size > 0) this.giveBack(id)
        return
      case eventTimer: {
        const callback = this.timers.get(id)
        this.timers.delete(id)
        this.drop()
        try {
          callback?.()
        } catch (thrown) {
          // No connection is to blame: it goes the way of what a timer of Node's throws.
          process.nextTick(() => {
            throw thrown
          })
        }
        return
      }
      case eventListenerFailed:
        this.listeners.get(id)?.failed(this.error(a, b, { phase: 'accept' }))
        return
      case eventHandshakeFailed:
        this.listeners.get(id)?.handshakeFailed(secureError(a))
        return
      case eventOpened:
        this.opened(id, tag, a)
        return
      case eventStepBegins:
        this.stepBegins(id, tag, a, b)
        return
      case eventStepBytes: {
        const run = this.openings.get(id)
        if (run?.tag === tag) run.bytes(new Uint8Array(this.slab, a, b))
        return
      }
      case eventOpeningFailed: {
        // An error takes its time to make, and there may be a storm of them.
        const listener = a === 0 ? undefined : this.listeners.get(b)
        if (listener?.hearsFailures !== true && !this.openings.has(id)) return
        const error = this.openingError(id, tag, a)
        listener?.handshakeFailed(error)
        return
      }
      case eventRuleLogged:
        this.listeners.get(id)?.ruleLogged(a)
        return
      case eventRelayCount:
        this.relays.get(id)?.counted(tag >>> 8, a, b)
        return
      case eventRelayTimeout:
        this.relays.get(id)?.timedOut(a === 1)
        return
    }
    const connection = this.connections[id]
    if (connection === undefined || connection.tag !== tag) return
    if (
      connection.hold !== 0 &&
      (type === eventEnd || type === eventRelaying || (type === eventClosed && outwaits(connection, (a & 0xff) !== 0)))
    ) {
      stash(connection, { type, a, b })
      return
    }
    this.deliver(connection, type, a, b)
  }

  /** Gives one event to its connection; also what was stashed while it was paused. */
  deliver(connection: Connection, type: number, a: number, b: number): void {
    // Who has destroyed it is told of its end alone.
    if (connection.isDestroyed && type !== eventClosed && type !== eventFinished) return
    switch (type) {
      case eventEnd:
        onEnd(connection)
        return
      case eventDrain:
        onDrain(connection)
        return
      case eventFileFailed:
        onFileFailed(connection, a)
        return
      case eventFinished:
        onFinished(connection)
        return
      case eventConnected:
        onConnected(connection)
        return
      case eventSecured:
        onSecured(connection)
        return
      case eventSecuring:
        onSecuring(connection)
        return
      case eventRelaying:
        onRelaying(connection)
        return
      case eventTimeout:
        onTimeout(connection, timeoutKinds[a]!, timeoutErrors[timeoutKinds[a]!])
        return
      case eventClosed:
        this.connections[connection.slot] = undefined
        // Unless it is the steps that failed, which say more.
        if (this.openings.size > 0 && (a & 0xff) !== records.errorOpening) this.dropSteps(connection)
        this.setPriority(connection.slot, 0)
        if (connection.referenced) this.drop()
        if (--this.connectionCount === 0) for (const resolve of this.emptied.splice(0)) resolve()
        try {
          onClosed(connection, (a & 0xff) === 0 ? undefined : this.closeError(connection, a, b))
        } finally {
          // Only now: the handlers may still ask for its numbers.
          this.stage(records.opForget | connection.tag, connection.slot, 0, 0)
        }
    }
  }

  private opened(slot: number, tag: number, key: number): void {
    const listener = this.listeners.get(key)
    if (listener === undefined) {
      // Its listener has been closed meanwhile.
      this.stage(records.opDestroy | tag, slot, 0, 0)
      this.adoptConnection(new Connection(this, slot, tag, unattended))
      return
    }
    const connection = new Connection(this, slot, tag, listener.settings)
    this.adoptConnection(connection)
    if (this.openings.size > 0) this.takeStepData(connection)
    listener.accepted(connection)
  }

  // ---- Steps of openings

  private stepBegins(slot: number, tag: number, key: number, step: number): void {
    const settings = key === 0 ? this.connections[slot]?.settings : this.listeners.get(key)?.settings
    const script = settings?.steps?.[step]
    // Its listener has been closed meanwhile.
    if (script === undefined) {
      this.stage(records.opStepAnswer | tag, slot, records.stepCloses, 0)
      return
    }
    let run = this.openings.get(slot)
    if (run?.tag !== tag) {
      run = new OpeningRun(this, slot, tag)
      this.openings.set(slot, run)
    }
    run.begin(script)
  }

  /** What steps have put aside for the connection is its own now. */
  takeStepData(connection: Connection): void {
    const run = this.openings.get(connection.slot)
    if (run?.tag !== connection.tag) return
    this.openings.delete(connection.slot)
    connection.data = run.connection.data
    run.end()
  }

  // It has ended while it was connecting.
  private dropSteps({ slot, tag }: Connection): void {
    const run = this.openings.get(slot)
    if (run?.tag !== tag) return
    this.openings.delete(slot)
    run.end(new SluiceError('ABORTED', { phase: 'handshake' }))
  }

  private openingError(slot: number, tag: number, number: number, facts: { address?: string; port?: number } = {}) {
    const run = this.openings.get(slot)
    if (run?.tag !== tag) return handshakeError(number, facts)
    const { cause, text } = run
    const error = handshakeError(number, { ...facts, text, ...(cause === undefined ? {} : { cause }) })
    this.openings.delete(slot)
    run.end(error)
    return error
  }

  private closeError(connection: Connection, a: number, b: number): SluiceError {
    const facts = failureFacts(connection)
    if ((a & 0xff) !== records.errorOpening) return this.error(a, b, facts)
    return this.openingError(connection.slot, connection.tag, b, { address: facts.address, port: facts.port })
  }

  /** Enters a connection that native code knows already. */
  adoptConnection(connection: Connection): void {
    this.connections[connection.slot] = connection
    this.connectionCount++
    this.hold()
    this.setPriority(connection.slot, connection.settings.priority)
  }

  // A copy that turns to 0xdb once the handler has returned: whoever kept the view sees it at once.
  private deliverPoisoned(connection: Connection, view: Uint8Array): void {
    const copy = view.slice()
    try {
      connection.handlers.data?.(connection as never, copy)
    } finally {
      copy.fill(0xdb)
    }
  }

  // The number in an event is not always that of a connection's slot.
  private handlerThrew(k: number, thrown: unknown): void {
    const isOfNone = eventsOfNone.has(this.eventWords[k]! & 0xff)
    const connection = isOfNone ? undefined : this.connections[this.eventWords[k + 1]!]
    if (connection === undefined) {
      process.emitWarning(new SluiceError('HANDLER_THREW', { phase: 'handler', cause: thrown }))
      return
    }
    connection.handlerThrew(thrown)
  }

  private error(word: number, errno: number, facts: { phase?: SluiceError['phase']; address?: string; port?: number }) {
    if ((word & 0xff) === records.errorTls) return secureError(errno, facts)
    const syscall = native.syscallName(word >>> 8)
    return nativeError({
      ...{ codeName: native.errorName(word & 0xff), errno, syscall },
      ...facts,
      phase: facts.phase ?? phaseOfSyscall[syscall],
    })
  }

  // ---- Operations

  /** Stages one operation; native code takes it at the end of the batch, or of the current tick. */
  stage(head: number, id: number, a: number, b: number): void {
    const control = this.control
    let n = control[controlOpCount]!
    if (n === opCapacity) {
      this.native.flush()
      n = 0
    }
    if (n === 0 && control[controlInTurn] === 0) process.nextTick(this.flushStaged)
    const k = n * recordWords
    const ops = this.ops
    ops[k] = head
    ops[k + 1] = id
    ops[k + 2] = a
    ops[k + 3] = b
    control[controlOpCount] = n + 1
  }

  /** Stages the bytes of a write: from where they lie in the slab, as a copy, or by reference. */
  stageBytes(slot: number, tag: number, bytes: Uint8Array, length: number): void {
    if (bytes === this.view) {
      this.stage(records.opWriteSlab | tag, slot, this.viewOffset, length)
      return
    }
    const control = this.control
    if (length > onHeapBytes && control[controlInTurn] === 1 && bytes.buffer === this.slab) {
      this.stage(records.opWriteSlab | tag, slot, bytes.byteOffset, length)
      return
    }
    if (length <= copyLimitBytes || this.debug) {
      let position = control[controlOutBytes]!
      if (position + length > outBytes) {
        this.native.flush()
        position = 0
      }
      if (length <= outBytes) {
        this.out.set(bytes, position)
        this.stage(records.opWriteOut | tag, slot, position, length)
        control[controlOutBytes] = (position + length + 7) & ~7
        return
      }
    }
    this.stageReference(slot, tag, this.debug ? bytes.slice() : bytes, length)
  }

  /** Stages bytes by reference, whatever their size; `released` is called once, when nobody looks at them any more. */
  stageLent(slot: number, tag: number, bytes: Uint8Array, length: number, released: () => void): void {
    this.lent.set(this.stageReference(slot, tag, bytes, length), released)
  }

  private stageReference(slot: number, tag: number, bytes: Uint8Array, length: number): number {
    const reference = this.freeReferences.pop() ?? this.references.length
    this.references[reference] = bytes
    this.stage(records.opWriteReference | tag, slot, reference, length)
    this.control[controlReferenceCount]!++
    return reference
  }

  /** Stages a part of a file for the system to send; `released` is called once, when it is not needed any more. */
  stageFile(slot: number, tag: number, fd: number, position: number, length: number, released: () => void): void {
    const reference = this.freeReferences.pop() ?? this.references.length
    this.references[reference] = Float64Array.of(fd, position)
    this.lent.set(reference, released)
    this.stage(records.opWriteFile | tag, slot, reference, length)
    this.control[controlReferenceCount]!++
  }

  /** Whether the engine has the system send files. */
  get sendsFiles(): boolean {
    fileSenders ??= new Set(native.engines().flatMap(({ name, features }) => (features.sendsFiles ? [name] : [])))
    return fileSenders.has(this.engine)
  }

  private giveBack(reference: number): void {
    const released = this.lent.get(reference)
    this.lent.delete(reference)
    released?.()
  }

  /** Hands over what is staged, outside a turn. */
  flush(): void {
    if (this.control[controlOpCount] !== 0 && !this.closed) this.native.flush()
  }

  /** The same, unless native code takes what is staged by itself, at the end of the turn. */
  flushOutsideTurn(): void {
    if (this.control[controlInTurn] === 0) this.flush()
  }

  // ---- Time

  /** Whether time passes only where the simulated engine says so. */
  get isVirtual(): boolean {
    return this.engine === 'sim'
  }

  /** The loop's clock, virtual in the simulated engine. */
  nowMs(): number {
    return this.native.nowMs()
  }

  /** Calls back once after `ms` of the loop's clock, unless the returned function is called first. */
  after(ms: number, callback: () => void): () => void {
    const timer = this.nextTimer
    this.nextTimer = (this.nextTimer + 1) & 0x7fffffff
    this.timers.set(timer, callback)
    this.hold()
    this.stage(records.opArmTimer, timer, Math.max(0, Math.min(ms, 0x7fffffff)), 0)
    return () => {
      if (!this.timers.delete(timer)) return
      this.drop()
      if (!this.closed) this.stage(records.opCancelTimer, timer, 0, 0)
    }
  }

  /** Resolves when everything that had happened on the loop before this call has been delivered. */
  fence(): Promise<void> {
    return new Promise((resolve) => {
      if (this.closed) resolve()
      else this.after(0, resolve)
    })
  }

  // ---- Staying alive

  /** One more thing that keeps the event loop alive. */
  hold(): void {
    if (this.alive++ === 0 && this.referenced) this.native.reference(true)
  }

  drop(): void {
    if (--this.alive === 0 && this.referenced) this.native.reference(false)
  }

  setReferenced(referenced: boolean): void {
    if (this.referenced === referenced) return
    this.referenced = referenced
    if (this.alive > 0) this.native.reference(referenced)
  }

  get openConnections(): Connection[] {
    return this.connections.filter((connection) => connection !== undefined)
  }

  /** Resolves when no connection is left. */
  whenEmpty(): Promise<void> {
    if (this.connectionCount === 0) return Promise.resolve()
    return new Promise((resolve) => this.emptied.push(resolve))
  }

  /** Stops the loop; nothing is delivered any more. */
  close(): void {
    if (this.closed) return
    this.flush()
    this.closed = true
    this.native.close()
    for (const run of this.openings.values()) run.end(new SluiceError('CLOSED', { phase: 'handshake' }))
    this.openings.clear()
    // Nobody will tell of these any more. Two rounds later the engine has gone, and with it the last look at them.
    if (this.lent.size > 0) setImmediate(() => setImmediate(() => this.giveAllBack()))
  }

  private giveAllBack(): void {
    for (const reference of [...this.lent.keys()]) this.giveBack(reference)
  }
}

// Asking every engine takes its time.
let fileSenders: Set<string> | undefined

/** The error of a failed handshake or session, by the number that an event carries. */
function secureError(number: number, facts: { address?: string; port?: number } = {}): SluiceError {
  const failure = native.takeTlsFailure(number)
  if (failure === undefined) return new SluiceError('TLS_FATAL', { phase: 'tls', ...facts })
  const { address, port } = failure
  return tlsError(failure, address === '' ? facts : { address, port })
}

const unattended: ConnectionSettings = {
  handlers: {},
  allowHalfOpen: false,
  highWaterBytes: 1,
  lowWaterBytes: 0,
  hardLimitBytes: 1,
  readLowWaterBytes: 0,
  readHighWaterBytes: undefined,
  filters: undefined,
  priority: 0,
  gone: undefined,
}

function engineError(engine: string, failure: Parameters<typeof nativeError>[0]): SluiceError {
  const info = native.engines().find(({ name }) => name === engine)
  const detail = info && !info.available ? `engine '${engine}' is not available: ${info.reason}` : undefined
  return nativeError({ ...failure, codeName: detail ? 'ENGINE_UNAVAILABLE' : failure.codeName, phase: 'start', detail })
}
