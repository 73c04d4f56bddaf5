import { Channel } from './channel.js'
import type { Clock } from './clock.js'
import type { ConnectOptions } from './connect-options.js'
import { type ConnectAddress, ConnectPlan } from './connect-plan.js'
import { type Attempt, connectRace } from './connect-race.js'
import { findRateLimitGroup } from './connection/limits.js'
import { connected } from './connection/opening.js'
import { Connection } from './connection.js'
import type { EngineName } from './engines.js'
import { abortError, type ErrorFacts, type NativeFailure, nativeError, SluiceError } from './errors.js'
import { type ConnectionHandlers, checkHandlers } from './handlers.js'
import { handshakePlan } from './handshake/handshake-plan.js'
import { Listener, type ListenOptions, listenOptions, listenRules } from './listener.js'
import { isFailure, type NativeAddress, type NativeGate, type NativeListenOptions, native } from './native/binding.js'
import { expected, integer, type Parsed, parse } from './options.js'
import { type ResolvedAddress, resolveHost } from './resolve.js'
import { Router, routed } from './routing/router.js'
import { Routes, type RouteTarget } from './routing/routes.js'
import { type RuntimeOptions, runtimeOptions } from './runtime-options.js'
import {
  type AdoptOptions,
  adoptOptions,
  checkSizes,
  nativeConfigOf,
  nativeRatesOf,
  type PairOptions,
  pairOptions,
  settingsOf,
} from './settings.js'
import { type ShutdownOptions, shutdownOptions } from './shutdown.js'
import { parseSimulation } from './simulation.js'
import { encodeSocketOptions } from './socket-options.js'
import { Stop, type StopSignal } from './stop.js'
import { serverTls } from './tls/setup.js'

/** Counters of a runtime, summed over its loops. */
export interface RuntimeStats {
  /** Open now, or being closed. */
  connections: number
  /** Calls into JavaScript. */
  batches: number
  /** Events that they brought. */
  events: number
  /** Times that the engine was asked for what has happened. */
  turns: number
  /** System calls that wait for events. */
  waits: number
  /** System calls that receive. */
  receives: number
  /** Of these, those that found nothing. */
  receivesWithoutData: number
  /** System calls that send; with io_uring, submissions. */
  sends: number
  /** Changes of what the kernel watches for. */
  interestChanges: number
  /** Events for sockets that had been replaced; dropped. */
  staleEvents: number
  /** io_uring: receives that found no buffer, and were repeated. */
  buffersExhausted: number
  /** io_uring: multishot operations that the kernel had ended, and that were started again. */
  multishotRearmed: number
  /** Times that bytes of a relay went from socket to socket without being copied (splice(2)). */
  splices: number
}

const statNames = [
  ...(['connections', 'turns', 'waits', 'receives', 'receivesWithoutData', 'sends', 'interestChanges'] as const),
  ...(['staleEvents', 'buffersExhausted', 'multishotRearmed', 'splices'] as const),
]

/**
 * An engine and its loops: one inline on Node's event loop, or several on I/O threads. Most programs need one, and get it
 * from {@link listen} and {@link connect}; several live side by side, also one or more per worker thread.
 */
export class Runtime implements Clock, AsyncDisposable {
  /** The engine in use; where `'auto'` was asked for, the one that was picked. */
  readonly engine: Exclude<EngineName, 'auto'>
  /** I/O threads; 0 when the loop runs inline. */
  readonly threads: number
  private readonly channels: Channel[] = []
  private readonly gate: NativeGate | undefined
  private readonly listeners = new Set<Listener>()
  private readonly connecting = new Set<Stop>()
  private nextKey = 1
  private nextChannel = 0
  private closing: Promise<void> | undefined

  /**
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; `ERR_SLUICE_ENGINE_UNAVAILABLE` when the named engine does not
   *   work here, and says why: no other is taken instead.
   */
  constructor(options?: RuntimeOptions) {
    const parsed = parse(runtimeOptions, options)
    const engine = parsed.engine ?? engineOfEnvironment() ?? 'auto'
    const sim = parsed.sim === undefined && engine !== 'sim' ? undefined : parseSimulation(parsed.sim)
    if (sim !== undefined && engine !== 'sim') throw expected('absent unless "engine" is \'sim\'', parsed.sim, 'sim')
    if (engine === 'sim' && parsed.threads > 0) throw expected("0 with engine 'sim'", parsed.threads, 'threads')
    if (engine === 'sim' && parsed.handshakeThreads > 0)
      throw expected("0 with engine 'sim'", parsed.handshakeThreads, 'handshakeThreads')
    const isAsleep = parsed.threads > 0 || engine === 'sim'
    if (isAsleep && parsed.busyPollMicros > 0)
      throw expected("0 with threads, and with engine 'sim'", parsed.busyPollMicros, 'busyPollMicros')
    const { threads, slabBytes, receiveTurnBytes, acceptTurnCount, busyPollMicros, debug } = parsed
    // One call for all that a connection may receive in a turn; two connections fill the slab.
    const receiveChunkBytes = Math.min(receiveTurnBytes, slabBytes / 2)
    try {
      for (let i = 0; i < Math.max(1, threads); i++) {
        this.channels.push(
          new Channel({
            ...{ engine, threaded: threads > 0, slabBytes, receiveChunkBytes, receiveTurnBytes, acceptTurnCount },
            ...{ debug, sim, handshakeThreads: parsed.handshakeThreads, busyPollMicros },
          }),
        )
      }
    } catch (error) {
      for (const channel of this.channels) channel.close()
      throw error
    }
    this.engine = this.channels[0]!.engine as Runtime['engine']
    this.threads = threads
    this.gate = this.createGate(parsed)
  }

  /**
   * Binds, starts to accept, and resolves once `address` is final. Without `handlers` the connections come from
   * `for await (const connection of listener)`, and wait unread until somebody reads them.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` before any system call; `option` names the culprit.
   * @throws {SluiceError} `ERR_SLUICE_ADDRESS_IN_USE` and others of the system, with `errno`, `syscall` and `address`.
   */
  async listen<Data = unknown>(
    options: ListenOptions,
    handlers?: ConnectionHandlers<Data> | Routes,
  ): Promise<Listener> {
    const parsed = parse(listenOptions, options, listenRules)
    checkSizes(parsed)
    if (!(handlers instanceof Routes)) checkHandlers(handlers)
    this.refuseClosed('listen')
    if (parsed.signal?.aborted) throw abortError(parsed.signal, { phase: 'listen' })
    const tls = parsed.tls === undefined ? undefined : serverTls(parsed.tls, 'tls')
    const plan = handshakePlan(parsed, 'accept', tls !== undefined)
    const servesPlaintext = plan?.native.steps.some((step) => step.kind === 'sniff' && step.allowPlain) ?? false
    const route = routed(handlers as RouteTarget | undefined, tls?.context, servesPlaintext)
    const settings = settingsOf(parsed, route.handlers ?? (handlers as ConnectionHandlers<never> | undefined))
    if (route.handlers !== undefined) settings.router = new Router(route.target, route.byName, settings)
    if (tls !== undefined) settings.layered = true
    if (plan !== undefined) settings.steps = plan.scripts
    plan?.useClock(this.channels[0]!)
    const gates = [this.gate, this.createGate(parsed)].filter((gate) => gate !== undefined)
    const common: Omit<NativeListenOptions, 'host' | 'port' | 'path' | 'fd'> = {
      ...nativeConfigOf(parsed, settings.handlers === undefined),
      ...nativeRatesOf(parsed, this.channels[0]!),
      key: this.nextKey++,
      backlog: parsed.backlog,
      ipv6Only: parsed.ipv6Only,
      reusePort: parsed.reusePort,
      shared: this.channels.length > 1 && !parsed.reusePort,
      options: encodeSocketOptions(parsed, 'listener'),
      gates,
      tls: tls?.config,
      opening: plan?.native,
    }
    const bound = await this.bind(parsed, common).catch((error) => {
      route.release()
      throw error
    })
    this.bindOtherLoops(bound, parsed, common)
    const unlinkPath = parsed.path === undefined || parsed.path.startsWith('\0') ? undefined : parsed.path
    const listener = new Listener(
      ...([this.channels, common.key, bound, settings, tls?.context, unlinkPath, parsed.signal] as const),
      (gone) => {
        route.release()
        this.listeners.delete(gone)
      },
    )
    for (const channel of this.channels) channel.listeners.set(common.key, listener)
    this.listeners.add(listener)
    return listener
  }

  /**
   * Connects. Names are resolved on threads of sluice's own, and several addresses tried side by side (RFC 8305).
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_NAME_NOT_RESOLVED`, `ERR_SLUICE_RESOLVE_TIMEOUT`,
   *   `ERR_SLUICE_CONNECTION_REFUSED`, `ERR_SLUICE_CONNECT_TIMEOUT`, `ERR_SLUICE_ABORTED` and others of the system;
   *   where several addresses failed, `errors` holds one for each.
   */
  async connect<Data = unknown>(
    options: ConnectOptions,
    handlers?: ConnectionHandlers<Data>,
  ): Promise<Connection<Data>> {
    const plan = new ConnectPlan(options)
    return this.connectBy(plan, { beside: undefined, handlers, signal: plan.options.signal })
  }

  /** @internal The same for options that have been checked before; in the loop of `beside`, so that both can be relayed natively. */
  async connectBy<Data = unknown>(
    plan: ConnectPlan,
    { beside, handlers, signal }: { beside: Connection | undefined; handlers?: ConnectionHandlers<Data>; signal: StopSignal | undefined }, // biome-ignore format: one line
  ): Promise<Connection<Data>> {
    checkHandlers(handlers)
    this.refuseClosed('connect')
    // Aborted by the caller's signal, or by the runtime's end: a name may take longer to resolve than the runtime lives.
    const stop = new Stop()
    const unfollow = stop.follow(signal)
    this.connecting.add(stop)
    try {
      const own = beside?.channel
      const channel = own !== undefined && this.channels.includes(own) ? own : this.pickChannel()
      return (await this.race(
        plan,
        channel,
        handlers as ConnectionHandlers<never> | undefined,
        stop,
      )) as Connection<Data>
    } finally {
      this.connecting.delete(stop)
      unfollow()
    }
  }

  private async race(
    plan: ConnectPlan,
    channel: Channel,
    handlers: ConnectionHandlers<never> | undefined,
    signal: StopSignal,
  ): Promise<Connection> {
    const { path, family, lookup, resolveTimeoutMs, connectTimeoutMs, attemptDelayMs } = plan.options
    const { host, port } = plan.options.socks ?? plan.options
    const settings = plan.settingsFor(handlers)
    const clock = channel
    const addresses: ConnectAddress[] =
      path !== undefined
        ? [{ address: path, family: 4, path }]
        : await resolveHost(host, {
            ...{ resolve: native.resolve, family, lookup, signal, clock },
            timeoutMs: resolveTimeoutMs,
          })
    let winner: Connection | undefined
    const attempt = (to: ConnectAddress): Attempt<Connection> => {
      const target: ErrorFacts = to.path === undefined ? { address: to.address, port } : { address: to.path }
      const prepared = plan.nativeFor(channel, to, handlers === undefined)
      const answer = isFailure(prepared) ? prepared : channel.native.connect(prepared)
      if (isFailure(answer)) throw nativeError({ ...answer, phase: 'connect', ...target })
      const connection = new Connection(channel, answer.slot, answer.tag, settings, true)
      channel.adoptConnection(connection)
      const claim = () => {
        winner ??= connection
        return winner === connection
      }
      const promise = connected(connection, target as { address: string; port?: number }, claim).then(() => connection)
      return { promise, cancel: () => connection.destroy() }
    }
    const race = {
      attemptDelayMs,
      connectTimeoutMs,
      signal,
      clock,
      address: path ?? host,
      port: path ? undefined : port,
    }
    return connectRace(addresses, attempt, race)
  }

  /** @internal The addresses of a name. */
  resolveAddresses(host: string, signal: StopSignal): Promise<ResolvedAddress[]> {
    return resolveHost(host, { resolve: native.resolve, family: 0, timeoutMs: 0, signal, clock: this.channels[0] })
  }

  /**
   * Takes over a connected stream socket by its descriptor, e.g. one inherited from inetd. Its `open` handler is not
   * called: it is open when this returns.
   *
   * @throws {SluiceError} `ERR_SLUICE_NOT_POLLABLE` and others when the descriptor is no such socket.
   */
  adopt<Data = unknown>(options: AdoptOptions, handlers?: ConnectionHandlers<Data>): Connection<Data> {
    const parsed = parse(adoptOptions, options)
    checkSizes(parsed)
    checkHandlers(handlers)
    this.refuseClosed('connect')
    const channel = this.pickChannel()
    const answer = channel.native.adopt({
      ...nativeConfigOf(parsed, handlers === undefined),
      ...nativeRatesOf(parsed, channel),
      fd: parsed.fd,
    })
    if (isFailure(answer)) throw nativeError({ ...answer, phase: 'connect' })
    const settings = settingsOf(parsed, handlers as ConnectionHandlers<never> | undefined)
    const connection = new Connection(channel, answer.slot, answer.tag, settings)
    channel.adoptConnection(connection)
    findRateLimitGroup(connection)
    if (settings.filters !== undefined) connection.filter(settings.filters(connection))
    return connection as Connection<Data>
  }

  /**
   * Two connections that are connected to each other, in memory: each is all that a connection is, but for addresses and
   * socket options. Both are open when this returns; their `open` handlers are not called. Source: LE-60…66.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_CONNECTION_LIMIT`.
   */
  pair<First = unknown, Second = unknown>(
    options?: PairOptions,
    first?: ConnectionHandlers<First>,
    second?: ConnectionHandlers<Second>,
  ): [Connection<First>, Connection<Second>] {
    const parsed = parse(pairOptions, options)
    checkSizes(parsed)
    checkHandlers(first)
    checkHandlers(second)
    this.refuseClosed('connect')
    const channel = this.pickChannel()
    const { bufferBytes, endOnDestroy } = parsed
    const configOf = (handlers: unknown) => ({
      ...nativeConfigOf(parsed, handlers === undefined),
      ...nativeRatesOf(parsed, channel),
    })
    const answer = channel.native.pair({ bufferBytes, endOnDestroy }, configOf(first), configOf(second))
    if (isFailure(answer)) throw nativeError({ ...answer, phase: 'connect' })
    return [first, second].map((handlers, i) => {
      const { slot, tag } = answer[i]!
      const settings = settingsOf(parsed, handlers as ConnectionHandlers<never> | undefined)
      settings.layered = true
      const connection = new Connection(channel, slot, tag, settings)
      channel.adoptConnection(connection)
      findRateLimitGroup(connection)
      if (settings.filters !== undefined) connection.filter(settings.filters(connection))
      return connection
    }) as unknown as [Connection<First>, Connection<Second>]
  }

  // ---- Time

  /** Milliseconds of the runtime's clock: monotonic, and virtual with the simulated engine. */
  nowMs(): number {
    return this.channels[0]!.nowMs()
  }

  /** Calls back once after `ms` of the runtime's clock, unless the returned function is called first. */
  after(ms: number, callback: () => void): () => void {
    this.refuseClosed('start')
    return this.channels[0]!.after(delayMs.parse(ms, 'ms'), callback)
  }

  // ---- Ending

  /** Accepts no more, lets connections finish, then ends them and the loops. Resolves when all is gone. */
  close(options?: ShutdownOptions): Promise<void> {
    const { timeoutMs } = parse(shutdownOptions, options)
    this.closing ??= this.finish(timeoutMs)
    return this.closing
  }

  /** Ends everything now. `error` is what the handlers of open connections get. */
  destroy(error?: SluiceError): Promise<void> {
    const ending = this.closing ?? this.finish(0)
    this.closing ??= ending
    this.destroyConnections(error)
    for (const listener of this.listeners) void listener.destroy(error)
    return ending
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async finish(timeoutMs: number): Promise<void> {
    for (const controller of this.connecting) controller.abort(new SluiceError('CLOSED', { detail: closedText }))
    const cutOff = () => this.destroyConnections(new SluiceError('CLOSE_TIMEOUT', { phase: 'close' }))
    const cancel = timeoutMs > 0 ? this.channels[0]!.after(timeoutMs, cutOff) : () => {}
    await Promise.all([...this.listeners].map((listener) => listener.close({ timeoutMs: 0 })))
    await Promise.all(this.channels.map((channel) => channel.whenEmpty()))
    cancel()
    for (const channel of this.channels) channel.close()
  }

  private destroyConnections(error: SluiceError | undefined): void {
    for (const channel of this.channels) {
      for (const connection of channel.openConnections) connection.destroy(error)
    }
  }

  // ---- Staying alive

  /** Lets the event loop stay alive for open connections and listeners, as it does by default. */
  ref(): this {
    for (const channel of this.channels) channel.setReferenced(true)
    return this
  }

  /** Lets the event loop end although connections and listeners are open. */
  unref(): this {
    for (const channel of this.channels) channel.setReferenced(false)
    return this
  }

  /** Counters, summed over all loops; each call waits for each I/O thread, so ask rarely. */
  stats(): RuntimeStats {
    const each = this.channels.map((channel) => channel.native.stats())
    const sums = statNames.map((name) => [name, each.reduce((total, stats) => total + (stats[name] ?? 0), 0)])
    const total = (key: 'batches' | 'events') => this.channels.reduce((sum, channel) => sum + channel[key], 0)
    return { ...Object.fromEntries(sums), batches: total('batches'), events: total('events') } as RuntimeStats
  }

  /** @internal The number of the loop that a connection belongs to; -1 for one of another runtime. */
  loopOf(connection: Connection): number {
    return this.channels.indexOf(connection.channel)
  }

  /** @internal Connections accepted that nobody has been told of: in their steps before the session, or in TLS. */
  get unannouncedCount(): number {
    return this.channels.reduce((sum, { native, connectionCount }) => sum + Math.max(0, native.stats().connections - connectionCount), 0) // biome-ignore format: one line
  }

  /** @internal Connections open now, or being closed; asks no thread. */
  get connectionCount(): number {
    return this.channels.reduce((sum, channel) => sum + channel.connectionCount, 0)
  }

  // ---- Parts of listen() and connect()

  private async bind(
    parsed: Parsed<typeof listenOptions>,
    common: Omit<NativeListenOptions, 'host' | 'port' | 'path' | 'fd'>,
  ): Promise<NativeAddress> {
    const { native: loop } = this.channels[0]!
    const { fd, path, host, port } = parsed
    if (fd !== undefined) return boundOr(loop.listen({ ...common, fd }), {})
    if (path !== undefined) return boundOr(loop.listen({ ...common, path }), { address: path })
    if (host !== undefined) {
      const [first] = await resolveHost(host, {
        resolve: native.resolve,
        family: 0,
        timeoutMs: 0,
        signal: parsed.signal,
      })
      this.refuseClosed('listen')
      return boundOr(loop.listen({ ...common, host: first!.address, port }), { address: host, port })
    }
    const dual = loop.listen({ ...common, host: '::', port })
    const lacksIpv6 = isFailure(dual) && ['NOT_SUPPORTED', 'ADDRESS_NOT_AVAILABLE'].includes(dual.codeName)
    if (!lacksIpv6) return boundOr(dual, { address: '::', port })
    return boundOr(loop.listen({ ...common, host: '0.0.0.0', port }), { address: '0.0.0.0', port })
  }

  // The other loops get sockets of their own if they may share the port, else a second descriptor of the same one.
  private bindOtherLoops(
    bound: NativeAddress,
    { reusePort }: { reusePort: boolean },
    common: Omit<NativeListenOptions, 'host' | 'port' | 'path' | 'fd'>,
  ): void {
    const [first, ...others] = this.channels
    others.forEach((channel, i) => {
      const where =
        reusePort && bound.address !== undefined
          ? { host: bound.address, port: bound.port }
          : native.duplicateFd(first!.native.listenerFd(common.key))
      const answer = isFailure(where)
        ? where
        : channel.native.listen({ ...common, ...(typeof where === 'number' ? { fd: where } : where) })
      if (!isFailure(answer)) return
      for (const begun of this.channels.slice(0, i + 1)) begun.native.closeListener(common.key)
      throw nativeError({ ...answer, phase: 'listen' })
    })
  }

  private createGate(limits: { maxConnections: number; maxConnectionsPerSecond: number }): NativeGate | undefined {
    const { maxConnections, maxConnectionsPerSecond } = limits
    if (maxConnections === 0 && maxConnectionsPerSecond === 0) return undefined
    return native.createGate(maxConnections, maxConnectionsPerSecond, this.channels.length)
  }

  private pickChannel(): Channel {
    const channel = this.channels[this.nextChannel % this.channels.length]!
    this.nextChannel++
    return channel
  }

  private refuseClosed(phase: ErrorFacts['phase']): void {
    if (this.closing !== undefined) throw new SluiceError('CLOSED', { phase, detail: closedText })
  }
}

const closedText = 'the runtime is closed'
const delayMs = integer({ min: 0, max: 2_147_483_647 })

function boundOr(answer: NativeAddress | NativeFailure, facts: ErrorFacts): NativeAddress {
  if (isFailure(answer)) throw nativeError({ ...answer, phase: 'listen', address: facts.address, port: facts.port })
  return answer
}

function engineOfEnvironment(): EngineName | undefined {
  const value = process.env.SLUICE_ENGINE
  if (value === undefined || value === '') return undefined
  return runtimeOptions.engine.parse(value, 'SLUICE_ENGINE')
}
