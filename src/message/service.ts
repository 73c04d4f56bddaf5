import { randomBytes } from 'node:crypto'
import type { Connection } from '../connection.js'
import { defaultRuntime } from '../default-runtime.js'
import { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import type { Listener } from '../listener.js'
import { expected, type Parsed, parse } from '../options.js'
import type { Runtime } from '../runtime.js'
import type { TlsContext } from '../tls/context.js'
import type { StartTlsOptions } from '../tls/options.js'
import { agreeOn } from './compression.js'
import type { AnyHandler, ConnectionOwner, LocalType } from './connection-owner.js'
import type { MessageContext } from './context.js'
import { type DeadlineClock, Deadlines } from './deadlines.js'
import {
  checkDestination,
  type Destination,
  type Endpoint,
  nameOfDestination,
  parseDestination,
} from './destination.js'
import { messageError } from './failure.js'
import type { Hello } from './hello.js'
import { MessageConnection } from './message-connection.js'
import type { Outgoing } from './outgoing.js'
import { MessagePool, type PoolOwner } from './pool.js'
import { type PoolOptions, poolOptions } from './pool-options.js'
import type { HandlersOf, Message, Protocol } from './protocol.js'
import { Relay } from './relay.js'
import { relayProtocol } from './relay-protocol.js'
import { withdraw } from './sender.js'
import {
  type MessageListenOptions,
  type MessageServiceOptions,
  type StartState,
  serviceOptions,
} from './service-options.js'
import { type MessageTypeStats, TypeCounters } from './type-counters.js'

type Checked = Parsed<typeof serviceOptions>

/** What stands behind a connection of the transport. */
interface Side {
  start: StartState
  pool: MessagePool | undefined
  target: Endpoint | undefined
  startTls: StartTlsOptions | TlsContext | undefined
  accepted: MessageListenOptions['accepted']
}

/** The connections that the pool of a peer has made. Source: SF-40. */
export interface MessagePeerStats {
  /** As of {@link MessageConnection.peerPool}. */
  pool: string
  /** Connections of it. */
  connections: number
  /** Of these, those that are active. */
  active: number
}

/** Counters of a service. */
export interface MessageServiceStats {
  /** Connections, those of pools and accepted ones. */
  connections: number
  /** Of these, those that are active. */
  active: number
  /** Pools. */
  pools: number
  /** Synchronous messages that came too late, over a connection that the sender had given up, and were dropped. */
  outdated: number
  /** Messages that were passed on for others. */
  relayed: number
  /** Per type. */
  types: MessageTypeStats[]
  /** Those that have connected, by their pools. */
  peers: MessagePeerStats[]
}

/**
 * Sends and handles messages. One service has any number of pools, which connect to others, and of listeners, which accept
 * connections; over both, messages go both ways.
 */
export class MessageService implements AsyncDisposable {
  private readonly options: Checked
  private readonly runtime: Runtime
  private readonly types: LocalType[] = []
  private readonly messages = new Map<Message, TypeCounters>()
  private readonly hello: Hello
  private readonly deadlines: Deadlines
  private readonly pools = new Map<string, { pool: MessagePool; destination: Destination | undefined }>()
  private readonly listeners = new Set<Listener>()
  private readonly open = new Set<MessageConnection>()
  private readonly sides = new Map<MessageConnection, Side>()
  private readonly handlers: ConnectionHandlers<MessageConnection>
  private readonly epochs = new Map<string, number>()
  /** Accepted connections, by the pool that has made them. */
  private readonly ofPeers = new Map<string, number>()
  private activeAccepted = 0
  private outdated = 0
  private relay: Relay | undefined
  private isClosed = false

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: MessageServiceOptions) {
    this.options = parse(serviceOptions, options)
    if (this.options.startTls !== undefined && this.options.tls)
      throw expected('absent beside "startTls"', this.options.tls, 'tls')
    this.runtime = this.options.runtime ?? defaultRuntime()
    // The runtime's clock has milliseconds only.
    const { runtime } = this
    const nowMs = runtime.engine === 'sim' ? () => runtime.nowMs() : () => performance.now()
    for (const protocol of this.options.protocols) {
      for (const message of Object.values(protocol.messages) as Message[]) {
        this.types.push({ message, handler: undefined, beforeActivation: false, received: 0, receivedBytes: 0 })
        this.messages.set(message, new TypeCounters(nowMs))
      }
    }
    const { maxIncomingMessages, windowBytes, maxRequests } = this.options
    this.hello = {
      slots: maxIncomingMessages,
      window: windowBytes,
      requests: maxRequests,
      protocols: this.options.protocols.map(({ name, version, messages }) => {
        return { name, version, types: Object.keys(messages) }
      }),
      compression: this.options.compression,
      pool: '',
    }
    if (this.options.relay) this.startRelay()
    this.deadlines = new Deadlines(this.clock, (outgoing) => withdraw(outgoing, messageError('MESSAGE_TIMEOUT')))
    this.handlers = {
      data: ({ data }, bytes) => data.received(bytes),
      drain: ({ data }) => data.drained(),
      end: ({ data }) => data.ended(),
      timeout: ({ data }, kind) => data.timedOut(kind),
      close: ({ data }, error) => data?.closed(error),
    }
  }

  private startRelay(): void {
    if (!this.options.protocols.includes(relayProtocol as Protocol))
      throw expected('a list with relayProtocol in it, with "relay"', this.options.protocols, 'protocols')
    const relay = new Relay()
    this.relay = relay
    this.handle(relayProtocol, {
      register: ({ group, replica }, { connection }) => relay.register(connection, group, replica),
    })
  }

  // Whose runtime has been closed has nothing to wait for any more.
  private readonly clock: DeadlineClock = {
    nowMs: () => this.runtime.nowMs(),
    after: (ms, callback) => {
      try {
        return this.runtime.after(ms, callback)
      } catch (error) {
        if (!this.isClosed) queueMicrotask(() => void this.destroy(error as SluiceError))
        return () => {}
      }
    },
  }

  // ---- Handling

  /**
   * Says what becomes of the messages of a protocol. What a handler returns, or resolves to, is the answer.
   *
   * @param options `beforeActivation`: names of messages that are taken before a connection is active, e.g. a login.
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what the protocol does not have.
   */
  handle<P extends Protocol>(
    protocol: P,
    handlers: HandlersOf<P, MessageContext>,
    options: { beforeActivation?: readonly (keyof P['messages'] & string)[] } = {},
  ): this {
    const names = Object.keys(protocol.messages)
    const { beforeActivation = [] } = options
    for (const [name, handler] of Object.entries(handlers)) {
      const type = this.types.find(({ message }) => message === protocol.messages[name])
      if (type === undefined)
        throw expected(`a message of a protocol of this service: ${names.join(', ')}`, name, 'handlers')
      if (handler === undefined) continue
      if (typeof handler !== 'function') throw expected('a function', handler, `handlers.${name}`)
      type.handler = handler as AnyHandler
      type.beforeActivation = beforeActivation.includes(name)
    }
    for (const name of beforeActivation) {
      if (!names.includes(name)) throw expected(`one of ${names.join(', ')}`, name, 'beforeActivation')
    }
    return this
  }

  /**
   * Accepts connections. `listener.address` tells where.
   *
   * @throws {SluiceError} as `Runtime.listen`.
   */
  async listen(options: MessageListenOptions): Promise<Listener> {
    this.refuseClosed()
    const { startTls, start = 'active', accepted, ...rest } = options
    const side: Side = {
      ...{ start, pool: undefined, target: undefined, accepted },
      startTls: startTls as StartTlsOptions | undefined,
    }
    serviceOptions.start.parse(start, 'start')
    if (accepted !== undefined && typeof accepted !== 'function') throw expected('a function', accepted, 'accepted')
    const owner = this.ownerOf(undefined)
    const listener = await this.runtime.listen<MessageConnection>(
      { ...this.transportOptions(), ...rest },
      { ...this.handlers, open: (transport) => void this.begin(transport, owner, side, false) },
    )
    if (this.isClosed) {
      await listener.destroy()
      this.refuseClosed()
    }
    this.listeners.add(listener)
    return listener
  }

  private transportOptions() {
    const { sendBufferBytes, inactivityTimeoutMs, sendTimeoutMs } = this.options
    return {
      ...{ highWaterBytes: sendBufferBytes, lowWaterBytes: Math.floor(sendBufferBytes / 2) },
      ...{ readTimeoutMs: inactivityTimeoutMs, writeTimeoutMs: sendTimeoutMs },
    }
  }

  private begin(
    transport: Connection<MessageConnection>,
    owner: ConnectionOwner,
    side: Side,
    isClient: boolean,
  ): MessageConnection {
    const connection = new MessageConnection(owner, transport as Connection, isClient)
    transport.data = connection
    connection.target = side.target
    this.open.add(connection)
    this.sides.set(connection, side)
    connection.start(side.start === 'raw')
    this.options.events?.connectionStart?.(connection)
    side.pool?.connected(connection)
    if (side.start === 'raw') this.prepare(connection, side)
    return connection
  }

  private prepare(connection: MessageConnection, side: Side): void {
    const { pool, accepted } = side
    const hook = pool === undefined ? accepted : this.options.prepare
    const fail = (error: unknown) => {
      const isOurs = error instanceof SluiceError
      if (connection.state === 'closed') return
      connection.fail(
        isOurs ? error : messageError('MESSAGE_INVALID_STATE', 'it could not be prepared', { cause: error }),
      )
    }
    const done = () => {
      if (pool === undefined) return
      if (connection.state === 'inactive') connection.activate()
    }
    let result: unknown
    try {
      result = hook?.(connection, pool as MessagePool)
    } catch (error) {
      fail(error)
      return
    }
    if (typeof (result as Promise<void> | undefined)?.then !== 'function') done()
    else
      (result as Promise<void>).then(() => {
        try {
          done()
        } catch (error) {
          fail(error)
        }
      }, fail)
  }

  // ---- Pools

  /**
   * The pool of a destination: the same for the same name, made at the first call, with its options. Source: SF-40.
   *
   * @param destination `'host:port'`, a path, a name for the `resolver`, or `{ host, port }` or `{ path }`.
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_MESSAGE_TOO_MANY_POOLS`.
   */
  pool(destination: string | Destination, options?: PoolOptions): MessagePool {
    this.refuseClosed()
    const given = typeof destination === 'string' ? this.parseName(destination) : destination
    if (given !== undefined) checkDestination(given)
    const name = typeof destination === 'string' ? destination : nameOfDestination(destination)
    const known = this.pools.get(name)
    if (known !== undefined) return known.pool
    const parsed = parse(poolOptions, options)
    if (this.pools.size >= this.options.maxPools)
      throw messageError('MESSAGE_TOO_MANY_POOLS', `${this.options.maxPools} are open`)
    const { resolver } = this.options
    const id = randomBytes(8).toString('hex')
    const owner: PoolOwner = {
      ...this.senderPart(),
      clock: this.clock,
      connect: (pool, target, signal) => this.connect(pool, given, target, id, signal),
      resolve: (pool, signal) => this.resolve(pool, given, signal),
      watch:
        given === undefined && resolver?.watch !== undefined
          ? (pool, changed) => resolver.watch!(pool.name, changed)
          : undefined,
      areSpread: given === undefined,
      random: () => (this.options.random ?? Math.random)(),
      disconnected: (pool, error) => this.options.events?.poolDisconnect?.(pool, error),
      stopped: (pool) => {
        this.pools.delete(name)
        this.options.events?.poolStop?.(pool)
      },
    }
    const pool = new MessagePool(owner, name, parsed)
    this.pools.set(name, { pool, destination: given })
    return pool
  }

  private parseName(name: string): Destination | undefined {
    const given = this.options.resolver === undefined ? parseDestination(name) : undefined
    if (given === undefined && this.options.resolver === undefined)
      throw expected("'host:port', or a path; other names need a resolver", name, 'destination')
    return given
  }

  private async resolve(
    pool: MessagePool,
    given: Destination | undefined,
    signal: AbortSignal,
  ): Promise<readonly Endpoint[]> {
    if (given === undefined) return this.options.resolver!.resolve(pool.name, signal)
    const { path, host = 'localhost', port } = given
    if (path !== undefined) return [{ path }]
    const addresses = await this.runtime.resolveAddresses(host, signal)
    return addresses.map(({ address }) => ({ address, port }))
  }

  private async connect(
    pool: MessagePool,
    given: Destination | undefined,
    target: Endpoint,
    id: string,
    signal: AbortSignal,
  ): Promise<MessageConnection> {
    const { tls = this.options.tls, host } = given ?? {}
    const { path, address, port } = target
    const at =
      path !== undefined
        ? { path }
        : {
            // The name is what its certificate must have; only the one address is tried.
            ...{ host: host ?? address!, port: port ?? given?.port },
            lookup: onlyAddress(address!),
          }
    const side: Side = {
      ...{ start: this.options.start ?? 'active', pool, target, accepted: undefined },
      startTls: this.options.startTls as StartTlsOptions | undefined,
    }
    const owner = this.ownerOf(pool, id)
    const transport = await this.runtime.connect<MessageConnection>(
      {
        ...this.transportOptions(),
        ...at,
        ...{ signal, connectTimeoutMs: pool.options.connectTimeoutMs },
        ...(tls !== undefined && tls !== false && { tls }),
      },
      { ...this.handlers, open: (opened) => void this.begin(opened, owner, side, true) },
    )
    return transport.data
  }

  // ---- What connections and pools ask

  private senderPart() {
    return {
      timeoutMs: this.options.timeoutMs,
      countersOf: (message: Message) => {
        const counters = this.messages.get(message)
        if (counters !== undefined) return counters
        throw messageError('MESSAGE_UNKNOWN_TYPE', `${message?.name} is of no protocol of this service`)
      },
      limitTime: (outgoing: Outgoing, timeoutMs: number) => this.deadlines.add(outgoing, timeoutMs),
      undelivered: (message: Message, error: SluiceError) => this.options.events?.undelivered?.({ message, error }),
    }
  }

  private ownerOf(pool: MessagePool | undefined, id = ''): ConnectionOwner {
    const { options } = this
    return {
      ...this.senderPart(),
      clock: this.clock,
      hello: { ...this.hello, pool: id },
      types: this.types,
      maxRequests: pool?.options.maxRequestsPerConnection ?? options.maxRequests,
      maxQueuedMessages: pool?.options.maxQueuedMessages ?? poolOptions.maxQueuedMessages.absent,
      maxMessageBytes: options.maxMessageBytes,
      maxStrangerMessageBytes: Math.min(options.maxStrangerMessageBytes, options.maxMessageBytes),
      keepAliveMs: options.keepAliveMs,
      keepAliveIntervalMs: options.keepAliveIntervalMs,
      maxKeepAlives: options.maxKeepAlives,
      ...{ activationTimeoutMs: options.activationTimeoutMs, slowSendMs: options.slowSendMs },
      ...{ closeTimeoutMs: 5000, sendBufferBytes: options.sendBufferBytes },
      numbersFor: (hello) => this.numbersFor(hello),
      unknownType: (message, hello) => unknownType(message, hello),
      compressionFor: (hello) => agreeOn(options.compression, hello.compression),
      tlsOf: (connection) => this.sides.get(connection)?.startTls,
      met: ({ peerPool, isClient }) => {
        if (!isClient && peerPool !== undefined) this.ofPeers.set(peerPool, (this.ofPeers.get(peerPool) ?? 0) + 1)
      },
      greeted: (connection) => this.greeted(connection),
      admit: (connection) => this.admit(connection),
      activated: (connection) => {
        this.options.events?.connectionActivate?.(connection)
        pool?.activated(connection)
      },
      slow: (connection) => this.options.events?.connectionSlow?.(connection),
      leaving: (connection, unsent) => pool?.leaving(connection, unsent),
      roomFor: (connection) => pool?.roomFor(connection),
      lost: (connection, unsent, others, error, cause) => {
        this.forget(connection, cause)
        if (pool !== undefined) pool.lost(connection, unsent, others, error, cause)
        else for (const outgoing of [...unsent, ...others]) outgoing.complete(error, undefined)
        this.options.events?.connectionStop?.(connection, cause)
      },
      handlerFailed: (error, context) => {
        const listener = this.options.events?.handlerError
        if (listener !== undefined) listener(error, context)
        else process.emitWarning(new SluiceError('HANDLER_THREW', { phase: 'handler', cause: error }))
      },
      relay: this.relay,
      mayHandle: (name, epoch) => this.mayHandle(name, epoch),
    }
  }

  private numbersFor(hello: Hello): { numbers: Map<Message, number>; isCommon: boolean } {
    const numbers = new Map<Message, number>()
    let isCommon = false
    let number = 0
    for (const { name, version, types } of hello.protocols) {
      const own = this.options.protocols.find((one) => one.name === name && one.version === version)
      isCommon ||= own !== undefined
      for (const type of types) {
        const message = own !== undefined && Object.hasOwn(own.messages, type) ? own.messages[type] : undefined
        if (message !== undefined) numbers.set(message, number)
        number++
      }
    }
    return { numbers, isCommon }
  }

  private greeted(connection: MessageConnection): void {
    const side = this.sides.get(connection)!
    if (side.start === 'active') connection.activate()
    else if (side.start === 'inactive') this.prepare(connection, side)
  }

  private admit(connection: MessageConnection): void {
    if (connection.isClient) return
    const { maxConnections } = this.options
    if (maxConnections > 0 && this.activeAccepted >= maxConnections) {
      const error = messageError('MESSAGE_TOO_MANY_CONNECTIONS', `${maxConnections} are active`)
      connection.fail(error)
      throw error
    }
    this.activeAccepted++
    connection.whenGone(() => this.activeAccepted--)
  }

  private forget(connection: MessageConnection, cause: SluiceError | undefined): void {
    this.open.delete(connection)
    this.sides.delete(connection)
    const { peerPool } = connection
    if (peerPool === undefined || connection.isClient) return
    const left = (this.ofPeers.get(peerPool) ?? 1) - 1
    if (left > 0) {
      this.ofPeers.set(peerPool, left)
      return
    }
    this.ofPeers.delete(peerPool)
    this.epochs.delete(peerPool)
    this.options.events?.peerDisconnect?.(peerPool, cause)
  }

  // A synchronous message must not come after later ones, which went over a connection that took the place of its own.
  private mayHandle(name: string, epoch: number): boolean {
    if (name === '') return true
    const known = this.epochs.get(name) ?? 0
    if (epoch < known) {
      this.outdated++
      return false
    }
    if (epoch > known) this.epochs.set(name, epoch)
    return true
  }

  // ---- Facts

  /** All connections, of pools and accepted ones. */
  get connections(): readonly MessageConnection[] {
    return [...this.open]
  }

  /** How it stands. */
  stats(): MessageServiceStats {
    return {
      connections: this.open.size,
      active: [...this.open].filter(({ state }) => state === 'active').length,
      pools: this.pools.size,
      outdated: this.outdated,
      relayed: this.relay?.relayed ?? 0,
      types: this.types.map(({ message, received, receivedBytes }) => {
        const { sent, sentBytes, completed, failed, latency } = this.messages.get(message)!
        const { protocol, name } = message
        const counts = { received, receivedBytes, sent, sentBytes, completed, failed, latency: latency.stats() }
        return { protocol: protocol.name, version: protocol.version, name, ...counts }
      }),
      peers: this.peers(),
    }
  }

  private peers(): MessagePeerStats[] {
    const groups = new Map<string, MessagePeerStats>()
    for (const { isClient, peerPool: pool, state } of this.open) {
      if (isClient || pool === undefined) continue
      const group = groups.get(pool) ?? { pool, connections: 0, active: 0 }
      group.connections++
      if (state === 'active') group.active++
      groups.set(pool, group)
    }
    return [...groups.values()]
  }

  // ---- Ending

  /**
   * Accepts no more, finishes what has begun, and closes all connections; what takes longer than `timeoutMs` (default
   * 5 000) completes with `ERR_SLUICE_MESSAGE_CONNECTION`.
   */
  async close({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<void> {
    serviceOptions.timeoutMs.parse(timeoutMs, 'timeoutMs')
    this.isClosed = true
    const stopped = [...this.listeners].map((listener) => listener.close({ timeoutMs: 0 }))
    await Promise.all([...this.pools.values()].map(({ pool }) => pool.close({ timeoutMs })))
    await Promise.all([...this.open].map((connection) => connection.close({ timeoutMs })))
    await Promise.all(stopped)
    this.deadlines.close()
  }

  /** Ends everything now. */
  async destroy(error?: SluiceError): Promise<void> {
    this.isClosed = true
    for (const { pool } of [...this.pools.values()]) pool.destroy(error)
    await Promise.all([...this.listeners].map((listener) => listener.destroy(error)))
    const gone = [...this.open].map((connection) => connection.gone)
    for (const connection of [...this.open]) connection.destroy(error)
    await Promise.all(gone)
    this.deadlines.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private refuseClosed(): void {
    if (this.isClosed) throw messageError('MESSAGE_POOL_CLOSED', 'the service is closed')
  }
}

function unknownType(message: Message, hello: Hello): SluiceError {
  const { name, version } = message.protocol
  const same = hello.protocols.filter((one) => one.name === name)
  const exact = same.find((one) => one.version === version)
  const told =
    exact !== undefined
      ? `${name} ${version} of the peer has no ${message.name}`
      : same.length > 0
        ? `the peer has ${same.map((one) => `${name} ${one.version}`).join(', ')}, not ${version}`
        : `the peer has no ${name}`
  return messageError('MESSAGE_UNKNOWN_TYPE', told)
}

function onlyAddress(address: string) {
  return (
    _host: string,
    _options: unknown,
    done: (error: null, addresses: { address: string; family: number }[]) => void,
  ) => done(null, [{ address, family: address.includes(':') ? 6 : 4 }])
}
