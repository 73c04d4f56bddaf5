import { isReusable, readBy } from '../connection/reading.js'
import type { Connection } from '../connection.js'
import { defaultRuntime } from '../default-runtime.js'
import { abortError, asSluiceError, SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import { checkHandlers } from '../handlers.js'
import { parse } from '../options.js'
import type { Runtime } from '../runtime.js'
import { type ShutdownOptions, shutdownOptions } from '../shutdown.js'
import { Acquisition, AcquisitionState, type AcquisitionStep } from './acquisition.js'
import { balancerOf } from './balance.js'
import { clockOf, type PoolClock } from './clock.js'
import { descriptorLimit } from './descriptors.js'
import { HealthChecker } from './health-checker.js'
import type { Sharing } from './idle-connections.js'
import { type LeaseOwner, UpstreamLease } from './lease.js'
import { checkConnect, openConnection } from './open-connection.js'
import {
  type AcquireOptions,
  type AcquireRules,
  acquireShape,
  drainShape,
  type PoolRules,
  poolRulesOf,
  type UpstreamConnectOptions,
  type UpstreamDrainOptions,
  type UpstreamPoolOptions,
  type UpstreamServerOptions,
} from './options.js'
import { type PlaceOwner, Places } from './places.js'
import { Roster, type RosterOwner } from './roster.js'
import { safely } from './safely.js'
import type { UpstreamServer } from './server.js'
import type { UpstreamPoolStats } from './stats.js'

const { requested, turnAround, assigned, connecting, connectError, established, disconnecting, closed } =
  AcquisitionState

/** What a pool knows of a connection of its own. */
interface Member {
  readonly server: UpstreamServer
  /** What makes it the same as others. */
  readonly key: string
  lease: UpstreamLease | undefined
}

/** What a pool knows of a lease. */
interface Deal {
  readonly acquisition: Acquisition
  readonly request: AcquireRules
  readonly member: Member
  /** Servers that have failed this request. */
  readonly avoid: Set<UpstreamServer>
}

/** Default of `connect.connectTimeoutMs`: with other servers there, waiting for long is no use. */
const connectTimeoutMs = 5000
/** Source: HP-03. */
const longestRestMs = 1000

/**
 * Connections to several servers that can stand in for each other: chooses one for each request, bounds how many are in
 * use, lets the rest wait, tries again elsewhere what fails before the first byte, keeps connections for later, and checks
 * who is well. Source: HP-03, HP-76…79.
 */
export class UpstreamPool implements LeaseOwner, RosterOwner, PlaceOwner, AsyncDisposable {
  /** @internal */ readonly clock: PoolClock
  private readonly rules: PoolRules
  private readonly runtime: Runtime
  private readonly connect: UpstreamConnectOptions
  private readonly checker: HealthChecker
  private readonly places: Places
  private readonly members = new Map<Connection, Member>()
  private readonly deals = new WeakMap<UpstreamLease, Deal>()
  private readonly resting = new Set<{ untilMs: number; wake: () => void }>()
  private readonly attempts = new Set<AbortController>()
  private readonly emptied: (() => void)[] = []
  private readonly failures: Record<string, number> = {}
  private readonly counts = { requested: 0, established: 0, retries: 0 }
  private readonly roster: Roster
  private active = 0
  private purging = false
  private stopPurge = () => {}
  private closing: Promise<void> | undefined

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; nothing was begun then. */
  constructor(options: UpstreamPoolOptions) {
    this.rules = poolRulesOf(options)
    checkConnect(this.rules.connect)
    this.connect = { connectTimeoutMs, ...this.rules.connect }
    this.runtime = this.rules.runtime ?? defaultRuntime()
    this.clock = clockOf(this.runtime)
    const { queueTimeoutMs = this.connect.connectTimeoutMs ?? 0 } = this.rules
    this.places = new Places(this.rules, balancerOf(this.rules.balance), queueTimeoutMs, this)
    const { maxIdle = Infinity, lowIdle, purgeDelayMs, idleHighRatio, idleLowRatio } = this.rules
    const sockets = descriptorLimit()
    const idleRules = {
      ...{ maxIdle, lowIdle, purgeDelayMs },
      highSockets: sockets * idleHighRatio,
      lowSockets: sockets * idleLowRatio,
    }
    this.checker = new HealthChecker({ runtime: this.runtime, clock: this.clock })
    this.roster = new Roster(this, { rules: this.rules, idleRules, checker: this.checker, places: this.places })
    this.roster.start()
  }

  // ---- Connections

  /**
   * A connection to one of the servers, an idle one where that is allowed. It is there, with TLS if that is wanted, and
   * `preface` sent, when this resolves.
   *
   * @throws {SluiceError} `ERR_SLUICE_UPSTREAM_UNAVAILABLE` when no server is usable, `ERR_SLUICE_UPSTREAM_QUEUE_FULL`,
   *   `ERR_SLUICE_UPSTREAM_QUEUE_TIMEOUT`, `ERR_SLUICE_ABORTED`; those of `connect()`, of the last attempt.
   */
  async acquire(options?: AcquireOptions): Promise<UpstreamLease> {
    const request = parse(acquireShape, options)
    checkHandlers(request.handlers)
    return this.begin(request, new Set())
  }

  /** @internal */
  again(lease: UpstreamLease): Promise<UpstreamLease> {
    const { request, member, avoid } = this.deals.get(lease)!
    member.server.counts.redispatched++
    this.counts.retries++
    return this.begin(request, new Set(avoid).add(member.server))
  }

  private async begin(request: AcquireRules, avoid: Set<UpstreamServer>): Promise<UpstreamLease> {
    if (this.closing !== undefined) throw poolClosed()
    if (request.signal?.aborted) throw abortError(request.signal, { phase: 'connect' })
    const acquisition = new Acquisition(++this.counts.requested, (step) => this.stepped(step))
    this.active++
    // One more may be what raises the limits; then those who waited are first.
    if (this.rules.fullConnections !== undefined) for (const server of this.usable) this.places.admit(server)
    acquisition.moveTo(requested)
    // One signal for all that may end it: the caller's, and the pool's end.
    const controller = new AbortController()
    const follow = () => controller.abort(request.signal!.reason)
    request.signal?.addEventListener('abort', follow)
    this.attempts.add(controller)
    try {
      return await this.establish(acquisition, request, avoid, controller.signal)
    } catch (thrown) {
      const error = this.closing === undefined ? asSluiceError(thrown, 'SYSTEM') : poolClosed()
      this.failures[error.code] = (this.failures[error.code] ?? 0) + 1
      acquisition.moveTo(closed, { error })
      this.over()
      throw error
    } finally {
      this.attempts.delete(controller)
      request.signal?.removeEventListener('abort', follow)
    }
  }

  private async establish(
    acquisition: Acquisition,
    request: AcquireRules,
    avoid: Set<UpstreamServer>,
    signal: AbortSignal,
  ): Promise<UpstreamLease> {
    const key = sharingKey(request, request.beside === undefined ? -1 : this.runtime.loopOf(request.beside))
    let wanted = request.server
    for (;;) {
      const server = await this.places.take(acquisition, request, { avoid, wanted, signal })
      acquisition.moveTo(assigned, { server: server.name })
      const kept = this.takeIdle(server, key, request)
      if (kept !== undefined) {
        server.counts.reused++
        return this.lend(kept, { acquisition, request, avoid, member: this.members.get(kept)! }, true)
      }
      acquisition.moveTo(connecting, { server: server.name })
      try {
        const connection = await openConnection(this.runtime, this.connect, server.rules, request, signal)
        server.counts.opened++
        server.failuresInRow = 0
        const member: Member = { server, key, lease: undefined }
        this.members.set(connection, member)
        connection.whenClosed(() => this.gone(connection, member))
        return this.lend(connection, { acquisition, request, avoid, member }, false)
      } catch (thrown) {
        server.pending--
        const error = asSluiceError(thrown, 'SYSTEM', { phase: 'connect' })
        if (signal.aborted || error.code === 'ERR_SLUICE_INVALID_OPTION') {
          this.freed(server)
          throw error
        }
        this.roster.attemptFailed(server, error)
        this.freed(server)
        acquisition.moveTo(connectError, { server: server.name, error })
        if (++acquisition.failures > this.rules.retries) throw error
        avoid.add(server)
        wanted = await this.next(acquisition, { server, error, avoid, signal })
      }
    }
  }

  // What comes after a failed attempt: another server at once, or a rest. Answers the name of the server to keep to.
  private async next(
    acquisition: Acquisition,
    after: { server: UpstreamServer; error: SluiceError; avoid: Set<UpstreamServer>; signal: AbortSignal },
  ): Promise<string | undefined> {
    const { server, error, avoid, signal } = after
    const { redispatch } = this.rules
    this.counts.retries++
    if (redispatch && this.usable.some((other) => !avoid.has(other))) {
      server.counts.redispatched++
      acquisition.moveTo(requested)
      return undefined
    }
    // It was reached, and did not prove itself: that does not change within a second.
    if (error.code.startsWith('ERR_SLUICE_TLS_CERTIFICATE')) throw error
    acquisition.moveTo(turnAround, { server: server.name })
    await this.rest(signal)
    avoid.clear()
    server.counts.retried++
    acquisition.moveTo(requested)
    return redispatch ? undefined : server.name
  }

  private rest(signal: AbortSignal): Promise<void> {
    const { connectTimeoutMs: bound = 0 } = this.connect
    const restMs = bound === 0 ? longestRestMs : Math.min(bound, longestRestMs)
    return new Promise((resolve, reject) => {
      const settle = (then: () => void) => {
        cancel()
        signal.removeEventListener('abort', abort)
        this.resting.delete(entry)
        then()
      }
      const abort = () => settle(() => reject(abortError(signal, { phase: 'connect' })))
      const entry = { untilMs: this.clock.nowMs() + restMs, wake: () => settle(resolve) }
      const cancel = this.clock.after(restMs, entry.wake)
      this.resting.add(entry)
      signal.addEventListener('abort', abort)
    })
  }

  // ---- A place at a server

  /** @internal */
  get usable(): UpstreamServer[] {
    return this.roster.usable
  }

  // A place has come free, or there are more of them.
  private freed(server: UpstreamServer): void {
    server.settled()
    this.places.admit(server)
  }

  // ---- Connections that are made, lent, kept

  private takeIdle(server: UpstreamServer, key: string, request: AcquireRules): Connection | undefined {
    if (request.private) return undefined
    const sharing = this.sharingOf(request.first)
    for (;;) {
      const connection = server.idle.take(key, sharing)?.connection
      // What has ended by now tells so by itself.
      if (connection === undefined || connection.state === 'open') return connection
    }
  }

  private sharingOf(isFirst: boolean): Sharing {
    const { reuse } = this.rules
    if (reuse === 'never') return 'none'
    if (reuse === 'always' || !isFirst) return 'any'
    return reuse === 'aggressive' ? 'proven' : 'none'
  }

  private lend(connection: Connection, deal: Deal, reused: boolean): UpstreamLease {
    const { server } = deal.member
    const { handlers } = deal.request
    const lease = new UpstreamLease(connection, server.name, reused, this)
    server.pending--
    server.used++
    server.counts.mostUsed = Math.max(server.counts.mostUsed, server.used)
    server.idle.began()
    deal.member.lease = lease
    this.deals.set(lease, deal)
    this.counts.established++
    deal.acquisition.moveTo(established, { server: server.name })
    connection.ref()
    readBy(connection, handlers)
    this.startPurge()
    try {
      if (!reused) handlers?.open?.(connection)
    } catch (thrown) {
      connection.handlerThrew(thrown)
    }
    return lease
  }

  /** @internal */
  giveBack(lease: UpstreamLease, reusable: boolean): void {
    const { acquisition, member, request } = this.deals.get(lease)!
    const { server, key } = member
    const { connection } = lease
    acquisition.moveTo(disconnecting, { server: server.name })
    member.lease = undefined
    const mayKeep = reusable && this.rules.reuse !== 'never' && !request.private && isReusable(connection)
    const isWanted = server.isUp && server.state === 'ready' && !server.removed && this.closing === undefined
    if (mayKeep && isWanted && server.idle.offer(connection, key, lease.reused, this.runtime.connectionCount)) {
      readBy(connection, idleHandlers)
      connection.unref()
    } else if (connection.state !== 'closed' && connection.state !== 'closing') {
      void connection.close()
    }
    server.idle.ended()
    server.used--
    acquisition.moveTo(closed, { server: server.name })
    this.over()
    this.freed(server)
  }

  private gone(connection: Connection, member: Member): void {
    this.members.delete(connection)
    member.server.idle.remove(connection)
    member.lease?.release()
  }

  private over(): void {
    if (--this.active === 0) for (const resolve of this.emptied.splice(0)) resolve()
  }

  private startPurge(): void {
    if (this.purging || this.rules.purgeDelayMs === 0 || this.rules.reuse === 'never') return
    this.purging = true
    this.stopPurge = this.clock.inBackground(this.rules.purgeDelayMs, () => {
      this.purging = false
      for (const server of this.roster.all) {
        const excess = server.idle.purge()
        server.counts.purged += excess.length
        for (const connection of excess) void connection.close()
      }
      // With nothing there, and nothing expected, no time need pass.
      if (this.roster.present.some(({ idle }) => idle.count > 0 || idle.demand.estimate > 0)) this.startPurge()
    })
  }

  // ---- Servers

  /** The servers, in the order they were given. */
  get servers(): readonly UpstreamServer[] {
    return this.roster.present
  }

  /** The server of that name. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when there is none. */
  server(name: string): UpstreamServer {
    return this.roster.server(name)
  }

  /** One more server, from now on. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also for a name that is taken. */
  addServer(options: UpstreamServerOptions): UpstreamServer {
    return this.roster.addServer(options)
  }

  /**
   * Takes a server out. New requests go elsewhere at once; resolves when no connection to it is in use any more, those that
   * last longer than `timeoutMs` being destroyed.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when there is none of that name.
   */
  async removeServer(name: string, options?: UpstreamDrainOptions): Promise<void> {
    const { timeoutMs } = parse(drainShape, options)
    await this.roster.remove(this.server(name), timeoutMs)
  }

  /**
   * Puts other servers in place, all at once: those of the same name and options stay as they are, with their connections,
   * counters and health, and get the `weight` and `state` given here; others come and go as by `addServer()` and
   * `removeServer()`.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`; nothing has changed then.
   */
  setServers(servers: UpstreamServerOptions[], options?: UpstreamDrainOptions): void {
    const { timeoutMs } = parse(drainShape, options)
    this.roster.setServers(servers, timeoutMs)
  }

  /** @internal */
  changed(server: UpstreamServer, reason: string): void {
    this.roster.changed(server, reason)
  }

  /** @internal */
  cut(server: UpstreamServer): void {
    const error = new SluiceError('UPSTREAM_UNAVAILABLE', { detail: `the server ${server.name} went away` })
    for (const [connection, member] of this.members) {
      if (member.server === server && member.lease !== undefined) connection.destroy(error)
    }
  }

  // ---- Numbers

  /** @internal */
  get isClosing(): boolean {
    return this.closing !== undefined
  }

  /** @internal */
  get load(): number {
    return this.active
  }

  /** @internal */
  get fullConnections(): number {
    return this.rules.fullConnections ?? Infinity
  }

  /** @internal */
  queuedAt(server: UpstreamServer): number {
    return this.places.waitingAt(server)
  }

  /** How it stands. */
  stats(): UpstreamPoolStats {
    const servers = this.roster.present.map((server) => server.stats())
    const sum = (key: 'used' | 'connecting' | 'idle') => servers.reduce((total, each) => total + each[key], 0)
    const next = Math.min(...[...this.resting].map(({ untilMs }) => untilMs))
    return {
      servers,
      used: sum('used'),
      connecting: sum('connecting'),
      idle: sum('idle'),
      queued: this.places.waiting,
      waited: this.places.waited,
      mostQueued: this.places.mostWaiting,
      resting: this.resting.size,
      nextAttemptInMs: this.resting.size === 0 ? undefined : Math.max(0, next - this.clock.nowMs()),
      ...this.counts,
      failures: { ...this.failures },
    }
  }

  private stepped(step: AcquisitionStep): void {
    if (this.rules.onStep !== undefined) safely(() => this.rules.onStep?.(step))
  }

  // ---- Ending

  /**
   * Takes no more requests, refuses those that wait, closes what is idle, and lets connections in use finish, which are
   * destroyed after `timeoutMs`. Resolves when all is over.
   */
  close(options?: ShutdownOptions): Promise<void> {
    const { timeoutMs } = parse(shutdownOptions, options)
    this.closing ??= this.finish(timeoutMs)
    return this.closing
  }

  /** Ends everything now. */
  destroy(): Promise<void> {
    const ended = this.close({ timeoutMs: 0 })
    for (const [connection] of this.members) connection.destroy()
    return ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async finish(timeoutMs: number): Promise<void> {
    // Not before `closing` is set: who is refused may look.
    await undefined
    this.checker.stopAll()
    this.stopPurge()
    for (const controller of this.attempts) controller.abort(poolClosed())
    for (const server of this.roster.present) for (const connection of server.idle.clear()) void connection.close()
    if (this.active === 0) return
    const cutAll = () => {
      const error = new SluiceError('CLOSE_TIMEOUT', { phase: 'close' })
      for (const [connection] of this.members) connection.destroy(error)
    }
    const cancel = timeoutMs === 0 ? () => {} : this.clock.after(timeoutMs, cutAll)
    await new Promise<void>((resolve) => this.emptied.push(resolve))
    cancel()
  }
}

// A peer that says something to nobody has lost its way: it must not be the beginning of somebody else's answer.
const idleHandlers: ConnectionHandlers = {
  data: (connection) => connection.destroy(),
  end: (connection) => void connection.close(),
  error: () => {},
  close: () => {},
}

function poolClosed(): SluiceError {
  return new SluiceError('CLOSED', { phase: 'connect', detail: 'the pool is closed' })
}

function sharingKey({ preface, serverName, localAddress }: AcquireRules, loop: number): string {
  if (preface === undefined && serverName === undefined && localAddress === undefined && loop < 0) return ''
  const text = preface === undefined ? null : Buffer.from(preface).toString('base64')
  return JSON.stringify([text, serverName ?? null, localAddress ?? null, loop])
}
