import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { SluiceError } from '../errors.js'
import { HandOver, HandOverOffer } from '../hand-over.js'
import { Runtime } from '../runtime.js'
import { UpstreamPool } from '../upstream/pool.js'
import { Exchanges } from './exchanges.js'
import { Front, type FrontOwner } from './front.js'
import { fillNetworkLists } from './network-lists.js'
import { keyOf, type ListenerPlan, type ProxyPlan, type UpstreamPlan, type Where } from './plan.js'
import type { SessionEnd, Upstream } from './session.js'
import { proxyStats, serverKey } from './stats.js'
import { StatsServer } from './stats-server.js'
import type { ProxyStats } from './stats-types.js'

/** What a proxy tells besides its statistics. */
export interface ProxyEvents {
  /** A session is over. */
  session?(front: Front, end: SessionEnd): void
  /** A client did not get to its session. */
  handshakeFailed?(front: Front, error: SluiceError): void
  /** A server changed. */
  server?(upstream: string, change: { server: string; isUp: boolean; admin: string; reason: string }): void
  /** A successor has taken the sockets over: this proxy drains, and `ended` resolves. */
  handedOver?(): void
}

/** How long a successor waits for what its predecessor hands over. */
const takeTimeoutMs = 5000
const statsName = 'statistics'
/** How often a proxy that drains looks for handshakes under way. */
const lookMs = 10

/** A proxy at work: listeners, upstreams and what joins them. */
export class ProxyServer implements FrontOwner, AsyncDisposable {
  readonly runtime: Runtime
  readonly upstreams = new Map<string, Upstream>()
  readonly startedAt = new Date()
  readonly counts = { reloads: 0, failedReloads: 0 }
  /** Bytes to and from servers in sessions that are over. */
  readonly serverBytes = new Map<string, [number, number]>()
  /** Why the last reload failed, if it did. */
  lastReloadError: string | undefined
  plan: ProxyPlan
  private fronts: Front[] = []
  private readonly retired = new Set<Front>()
  private readonly closingPools = new Set<Promise<void>>()
  private readonly exchanges = new Exchanges()
  private stats_: StatsServer | undefined
  private offer: HandOverOffer | undefined
  private state: 'running' | 'draining' | 'ended' = 'running'
  private reloading: Promise<void> = Promise.resolve()
  private pendingReloads = 0
  private ending: Promise<boolean> | undefined

  private constructor(
    plan: ProxyPlan,
    private readonly events: ProxyEvents,
  ) {
    this.plan = plan
    this.runtime = new Runtime(plan.runtime)
  }

  /**
   * Binds all that the plan names, or nothing. Where a predecessor hands over, its sockets are taken, and it drains once
   * everything here is ready.
   *
   * @throws {SluiceError} of `listen()`, naming the address.
   */
  static async start(plan: ProxyPlan, events: ProxyEvents = {}): Promise<ProxyServer> {
    const proxy = new ProxyServer(plan, events)
    let inherited: HandOver | undefined
    try {
      if (proxy.runtime.engine === 'sim')
        throw new SluiceError('ENGINE_UNAVAILABLE', { detail: "'sim' is a network that no other process can reach" })
      if (plan.handOver !== undefined) inherited = HandOver.take(proxy.runtime, plan.handOver, takeTimeoutMs)
      await proxy.open(inherited)
      return proxy
    } catch (error) {
      inherited?.abandon()
      await proxy.destroy()
      throw error
    }
  }

  private async open(inherited: HandOver | undefined): Promise<void> {
    const { plan } = this
    for (const each of plan.upstreams) this.upstreams.set(each.name, this.startUpstream(each))
    this.exchanges.put(plan)
    for (const each of plan.listeners) {
      const front = new Front(each, this)
      await front.open(inherited?.claim(each.key))
      this.fronts.push(front)
    }
    if (plan.stats !== undefined)
      this.stats_ = await StatsServer.open(this, plan.stats, inherited?.claim(statsKey(plan.stats)))
    // From here on the predecessor's clients are ours.
    await inherited?.ready()
    if (plan.handOver !== undefined) this.offer = await this.offerAt(plan.handOver)
  }

  private offerAt(path: string): Promise<HandOverOffer> {
    return HandOverOffer.make(
      this.runtime,
      path,
      () => {
        const sockets = this.fronts.map((front) => ({ name: front.socketKey, listener: front.socket }))
        if (this.stats_ === undefined) return sockets
        const { listener } = this.stats_
        const where = this.plan.stats!
        const bound = 'path' in where ? where : { ...where, port: listener.address.port! }
        return [...sockets, { name: statsKey(bound), listener }]
      },
      () => {
        this.events.handedOver?.()
        void this.finish(this.plan.drainTimeoutMs, true)
      },
    )
  }

  private startUpstream(plan: UpstreamPlan): Upstream {
    const onServerChange = (change: { server: string; isUp: boolean; admin: string; reason: string }) =>
      this.events.server?.(plan.name, change)
    return { plan, pool: new UpstreamPool({ ...plan.pool, runtime: this.runtime, onServerChange }) }
  }

  // ---- Facts

  /** Where it listens. */
  get listeners(): readonly Front[] {
    return this.fronts
  }

  /** Listeners that are gone, and have sessions still. */
  get leaving(): readonly Front[] {
    return [...this.retired]
  }

  /** Where statistics are served. */
  get statsAddress() {
    return this.stats_?.listener.address
  }

  /** @internal */
  get logsSessions(): boolean {
    return this.plan.log === 'sessions'
  }

  /** Whether it takes new connections. */
  get isRunning(): boolean {
    return this.state === 'running'
  }

  /** How it stands. */
  stats(): ProxyStats {
    return proxyStats(this)
  }

  /** Sessions that are open. */
  get sessionCount(): number {
    return [...this.fronts, ...this.retired].reduce((sum, front) => sum + front.sessions.size, 0)
  }

  // ---- Reloading

  /**
   * Puts another plan in place. What is the same in both stays as it is; sockets of listeners that have changed stay, with
   * who waits in them; connections go on as they began.
   *
   * @throws {SluiceError} of what cannot be bound, or changed while it runs; everything is as before then.
   */
  reload(plan: ProxyPlan): Promise<void> {
    this.pendingReloads++
    const done = this.reloading.then(() => this.exchange(plan)).finally(() => this.pendingReloads--)
    this.reloading = done.catch(() => {})
    return done.then(
      () => {
        this.counts.reloads++
        this.lastReloadError = undefined
      },
      (error: Error) => {
        this.reloadFailed(error)
        throw error
      },
    )
  }

  /** Counts a reload that failed before it began. */
  reloadFailed(error: Error): void {
    this.counts.failedReloads++
    this.lastReloadError = error.message
  }

  private async exchange(plan: ProxyPlan): Promise<void> {
    if (!this.isRunning) throw new SluiceError('CLOSED', { detail: 'the proxy is about to end' })
    const fixed = Object.entries(plan.runtime).find(
      ([name, value]) => !isDeepStrictEqual(value, this.plan.runtime[name as keyof ProxyPlan['runtime']]),
    )
    if (fixed !== undefined) throw cannotChange(fixed[0])
    if (plan.handOver !== this.plan.handOver) throw cannotChange('handOver')
    // First what can fail, then what cannot.
    const fresh: Front[] = []
    let stats: StatsServer | undefined
    const moved = !isDeepStrictEqual(plan.stats, this.plan.stats)
    try {
      for (const each of plan.listeners) {
        if (this.frontOf(each) !== undefined) continue
        const front = new Front(each, this)
        await front.open()
        fresh.push(front)
      }
      if (moved && plan.stats !== undefined) stats = await StatsServer.open(this, plan.stats)
    } catch (error) {
      for (const front of fresh) front.stop(false)
      throw error
    }
    fillNetworkLists(plan.networks, this.plan.networks)
    this.exchanges.put(plan)
    const oldPools = this.exchangeUpstreams(plan)
    const former = this.fronts
    const next: Front[] = []
    for (const each of plan.listeners) {
      const kept = this.frontOf(each)
      const front = kept ?? fresh.find((other) => other.plan === each)!
      if (kept !== undefined && !isDeepStrictEqual(kept.plan.source, each.source)) await kept.replace(each)
      else if (kept !== undefined && kept.plan.to !== each.to) await kept.replace(each)
      next.push(front)
    }
    this.fronts = next
    for (const front of former) if (!next.includes(front)) this.retire(front)
    if (moved) {
      this.stats_?.close()
      this.stats_ = stats
    }
    this.plan = plan
    for (const pool of oldPools) this.closePool(pool)
  }

  private frontOf(plan: ListenerPlan): Front | undefined {
    return this.fronts.find((front) => front.plan.key === plan.key)
  }

  // Answers the pools that nobody will use any more.
  private exchangeUpstreams(plan: ProxyPlan): UpstreamPool[] {
    const old: UpstreamPool[] = []
    const former = new Map(this.upstreams)
    this.upstreams.clear()
    for (const each of plan.upstreams) {
      const known = former.get(each.name)
      if (known === undefined || !isDeepStrictEqual(known.plan.source.rest, each.source.rest)) {
        this.upstreams.set(each.name, this.startUpstream(each))
        continue
      }
      former.delete(each.name)
      if (!isDeepStrictEqual(known.plan.source.servers, each.source.servers))
        known.pool.setServers(each.pool.servers, { timeoutMs: plan.drainTimeoutMs })
      this.upstreams.set(each.name, { plan: each, pool: known.pool })
    }
    for (const { pool } of former.values()) old.push(pool)
    return old
  }

  private closePool(pool: UpstreamPool): void {
    const closing = pool.close({ timeoutMs: this.plan.drainTimeoutMs })
    this.closingPools.add(closing)
    void closing.then(() => this.closingPools.delete(closing))
  }

  private retire(front: Front): void {
    front.stop(false)
    if (front.sessions.size > 0) this.retired.add(front)
  }

  // ---- What fronts tell

  /** @internal */
  sessionEnded(front: Front, end: SessionEnd): void {
    const { upstream, server, bytes } = end.session
    if (upstream !== undefined && server !== undefined) {
      const key = serverKey(upstream, server)
      const known = this.serverBytes.get(key) ?? [0, 0]
      this.serverBytes.set(key, [known[0] + bytes[0], known[1] + bytes[1]])
    }
    this.events.session?.(front, end)
    if (front.sessions.size === 0) this.retired.delete(front)
    if (this.sessionCount === 0) for (const resolve of this.emptied.splice(0)) resolve()
  }

  /** @internal */
  handshakeFailed(front: Front, error: SluiceError): void {
    this.events.handshakeFailed?.(front, error)
  }

  private readonly emptied: (() => void)[] = []

  // ---- Ending

  /**
   * Accepts no more, and lets sessions go on for up to `timeoutMs` (default: `drainTimeoutMs` of the plan; 0: for as long as
   * they take). Resolves when all is over: with true when all sessions ended by themselves.
   */
  close(options: { timeoutMs?: number } = {}): Promise<boolean> {
    return this.finish(options.timeoutMs ?? this.plan.drainTimeoutMs, false)
  }

  /** Ends everything now. */
  async destroy(): Promise<void> {
    this.exchanges.cut()
    void this.finish(0, false)
    for (const front of [...this.fronts, ...this.retired]) for (const session of front.sessions) session.destroy()
    await this.end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy()
  }

  /** Resolves when it is over, however that came about. */
  get ended(): Promise<boolean> {
    return this.over
  }

  private tellOver!: (inOrder: boolean) => void
  private readonly over = new Promise<boolean>((resolve) => {
    this.tellOver = resolve
  })

  private finish(timeoutMs: number, isHandedOver: boolean): Promise<boolean> {
    this.ending ??= this.drain(timeoutMs, isHandedOver)
    return this.ending
  }

  private async drain(timeoutMs: number, isHandedOver: boolean): Promise<boolean> {
    this.state = 'draining'
    // Without a reload under way nobody is let in from here on.
    if (this.pendingReloads > 0) await this.reloading
    for (const front of this.fronts) front.stop(isHandedOver)
    await this.offer?.close()
    // Statistics stay until the end, unless their socket is somebody else's now.
    if (isHandedOver) this.stats_?.handOver()
    let isCut = false
    const cut = () => {
      isCut = true
      const error = new SluiceError('CLOSE_TIMEOUT', { phase: 'close' })
      for (const front of [...this.fronts, ...this.retired])
        for (const session of front.sessions) session.destroy(error)
    }
    const timer = timeoutMs > 0 ? setTimeout(cut, timeoutMs) : undefined
    await this.emptyBefore(() => isCut)
    clearTimeout(timer)
    await this.end()
    return !isCut
  }

  // Sessions tell when they end. Who is still on its way to one is only counted, and between its last step and its session
  // by neither: nobody has to be seen twice.
  private async emptyBefore(isOver: () => boolean): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      if (this.sessionCount > 0) await new Promise<void>((resolve) => this.emptied.push(resolve))
      if (isOver() || this.isEnded) return
      if (this.sessionCount > 0 || this.runtime.unannouncedCount > 0) quiet = 0
      else quiet++
      if (quiet < 2) await sleep(lookMs)
    }
  }

  private get isEnded(): boolean {
    return this.state === 'ended'
  }

  private async end(): Promise<void> {
    if (this.state === 'ended') return
    this.state = 'ended'
    this.stats_?.close()
    await this.exchanges.close()
    await Promise.all([...this.upstreams.values()].map(({ pool }) => pool.destroy()))
    await this.runtime.destroy()
    this.tellOver(true)
  }
}

function statsKey(where: Where): string {
  return `${statsName} ${keyOf(where)}`
}

function cannotChange(option: string): SluiceError {
  const detail = `option "${option}" cannot be changed by a reload; start a successor instead`
  return new SluiceError('INVALID_OPTION', { phase: 'options', option, detail })
}
