import type { ConnectPlan } from '../connect-plan.js'
import type { Connection } from '../connection.js'
import { expected, parse } from '../options.js'
import type { Candidate } from './balance.js'
import type { PoolClock } from './clock.js'
import { Health } from './health.js'
import { IdleConnections, type IdleRules } from './idle-connections.js'
import { dynamicLimit } from './limit.js'
import {
  adminState,
  type CheckRules,
  drainShape,
  type ServerRules,
  type UpstreamAdminState,
  type UpstreamDrainOptions,
  weightOption,
} from './options.js'
import type { UpstreamServerStats } from './stats.js'

/** What a server asks its pool to do. */
export interface ServerOwner {
  readonly clock: PoolClock
  /** Requests of all servers, waiting or in use. */
  readonly load: number
  readonly fullConnections: number
  queuedAt(server: UpstreamServer): number
  /** It has changed: whoever waits may have a place now, or has none any more. */
  changed(server: UpstreamServer, reason: string): void
  /** Ends the connections in use. */
  cut(server: UpstreamServer): void
}

/** A server of a pool; comes from `UpstreamPool.server()`. */
export class UpstreamServer implements Candidate {
  /** @internal */ readonly idle: IdleConnections<Connection>
  /** @internal Leases in use. */ used = 0
  /** @internal Places taken by attempts that are under way. */ pending = 0
  /** @internal */ readonly health: Health
  /** @internal */ lastCheck: { isGood: boolean; text: string; atMs: number; tookMs: number } | undefined
  /** @internal */ checkDueMs: number | undefined
  /** @internal */ removed = false
  /** @internal */ failuresInRow = 0
  /** @internal How it is connected to: with TLS from the start if that is wanted, and without, for those who send something first. */
  readonly plans: { whole?: ConnectPlan; plain?: ConnectPlan } = {}
  /** @internal */ readonly counts = {
    ...{ opened: 0, reused: 0, failed: 0, retried: 0, redispatched: 0, purged: 0, refused: 0 },
    ...{ checksGood: 0, checksBad: 0, downs: 0, mostUsed: 0 },
  }
  private admin: UpstreamAdminState
  private ownWeight: number
  private isUpNow: boolean
  private changedMs: number
  private upSinceMs = -Infinity
  private downtimeMs = 0
  private readonly emptied: (() => void)[] = []

  /** @internal */
  constructor(
    /** @internal */ readonly rules: ServerRules,
    /** @internal */ readonly check: CheckRules | undefined,
    idleRules: IdleRules,
    private readonly owner: ServerOwner,
  ) {
    this.idle = new IdleConnections(idleRules)
    this.admin = rules.state
    this.ownWeight = rules.weight
    this.isUpNow = check?.startUp ?? true
    this.health = new Health(
      check ?? { rise: 1, fall: 1, intervalMs: 0, fastIntervalMs: 0, downIntervalMs: 0 },
      this.isUpNow,
    )
    this.changedMs = owner.clock.nowMs()
  }

  /** What it is called. */
  get name(): string {
    return this.rules.name
  }

  /** Whether it is well, as far as is known. */
  get isUp(): boolean {
    return this.isUpNow
  }

  /** Whether it may be used. */
  get state(): UpstreamAdminState {
    return this.admin
  }

  /** Its part of the load, 0 to 256; may be changed at any time. */
  get weight(): number {
    return this.ownWeight
  }

  set weight(weight: number) {
    this.ownWeight = weightOption.parse(weight, 'weight')
    this.owner.changed(this, 'weight')
  }

  /** The same while it starts slowly. */
  get effectiveWeight(): number {
    return this.ownWeight * this.startRatio
  }

  /** @internal Connections in use, and those being made. */
  get load(): number {
    return this.used + this.pending
  }

  /** @internal Whether new requests may come here. */
  get isUsable(): boolean {
    return this.isUpNow && this.admin === 'ready' && this.ownWeight > 0 && !this.removed
  }

  /** @internal Whether it is looked at: in maintenance it is expected to be away. */
  get isChecked(): boolean {
    return this.check !== undefined && this.admin !== 'maintenance' && !this.removed
  }

  /** @internal */
  get limit(): number {
    const { maxConnections, minConnections = maxConnections } = this.rules
    if (maxConnections === 0) return Infinity
    const { fullConnections, load } = this.owner
    return dynamicLimit({ maxConnections, minConnections, fullConnections }, load, this.startRatio)
  }

  /** @internal */
  get hasRoom(): boolean {
    return this.load < this.limit
  }

  private get startRatio(): number {
    const { slowStartMs } = this.rules
    if (slowStartMs === 0) return 1
    // Never nothing: it would not be tried at all.
    return Math.min(1, Math.max(0.01, (this.owner.clock.nowMs() - this.upSinceMs) / slowStartMs))
  }

  /** @internal Time until it has its full weight and limit. */
  get startsForMs(): number {
    return Math.max(0, this.upSinceMs + this.rules.slowStartMs - this.owner.clock.nowMs())
  }

  /** @internal */
  setUp(isUp: boolean, reason: string): void {
    if (this.isUpNow === isUp) return
    const now = this.owner.clock.nowMs()
    if (isUp) {
      this.downtimeMs += now - this.changedMs
      this.upSinceMs = now
      this.failuresInRow = 0
    } else {
      this.counts.downs++
    }
    this.changedMs = now
    this.isUpNow = isUp
    this.owner.changed(this, reason)
  }

  /** @internal */
  setAdmin(state: UpstreamAdminState, reason: string): void {
    const checked = adminState.parse(state, 'state')
    if (this.admin === checked) return
    const wasAway = this.admin === 'maintenance'
    this.admin = checked
    if (wasAway) this.upSinceMs = this.owner.clock.nowMs()
    this.owner.changed(this, reason)
  }

  /** Takes new requests again, after `drain()` or `maintain()`. */
  ready(): void {
    this.setAdmin('ready', 'by request')
  }

  /**
   * Takes no more requests; those that wait for it go elsewhere. Resolves when no connection is in use any more, those that
   * last longer than `timeoutMs` being destroyed.
   */
  drain(options?: UpstreamDrainOptions): Promise<void> {
    const { timeoutMs } = parse(drainShape, options)
    this.setAdmin('drain', 'by request')
    return this.emptyWithin(timeoutMs)
  }

  /** The same, and it is not checked and keeps no idle connection meanwhile. */
  maintain(options?: UpstreamDrainOptions): Promise<void> {
    const { timeoutMs } = parse(drainShape, options)
    this.setAdmin('maintenance', 'by request')
    return this.emptyWithin(timeoutMs)
  }

  /** @internal */
  async emptyWithin(timeoutMs: number): Promise<void> {
    if (this.load === 0) return
    const cancel = timeoutMs === 0 ? () => {} : this.owner.clock.after(timeoutMs, () => this.owner.cut(this))
    await new Promise<void>((resolve) => this.emptied.push(resolve))
    cancel()
  }

  /** @internal A place has come free. */
  settled(): void {
    if (this.load > 0) return
    for (const resolve of this.emptied.splice(0)) resolve()
  }

  /** @internal Takes over what may change while it runs. */
  adopt(weight: number): void {
    this.ownWeight = weight
  }

  /** How it stands. */
  stats(): UpstreamServerStats {
    const { rules, counts, lastCheck, check } = this
    const { host, port, path, backup } = rules
    const now = this.owner.clock.nowMs()
    const limit = this.limit
    const { maxUsed, estimate } = this.idle.demand
    return {
      name: this.name,
      address: path ?? host,
      port: path === undefined ? port : undefined,
      isUp: this.isUpNow,
      state: this.admin,
      isUsable: this.isUsable,
      isBackup: backup,
      weight: this.ownWeight,
      effectiveWeight: this.effectiveWeight,
      used: this.used,
      connecting: this.pending,
      idle: this.idle.count,
      queued: this.owner.queuedAt(this),
      limit: limit === Infinity ? undefined : limit,
      mostUsed: counts.mostUsed,
      mostUsedLately: maxUsed,
      estimatedNeed: estimate,
      opened: counts.opened,
      reused: counts.reused,
      failed: counts.failed,
      failedInRow: this.failuresInRow,
      retried: counts.retried,
      redispatched: counts.redispatched,
      purged: counts.purged,
      downs: counts.downs,
      sinceChangeMs: now - this.changedMs,
      downtimeMs: this.downtimeMs + (this.isUpNow ? 0 : now - this.changedMs),
      check:
        check === undefined
          ? undefined
          : {
              good: counts.checksGood,
              bad: counts.checksBad,
              checksLeft: this.health.checksLeft,
              nextInMs: this.checkDueMs === undefined ? undefined : Math.max(0, this.checkDueMs - now),
              last: lastCheck && {
                isGood: lastCheck.isGood,
                text: lastCheck.text,
                agoMs: now - lastCheck.atMs,
                tookMs: lastCheck.tookMs,
              },
            },
    }
  }
}

/** For who names servers. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function unknownServer(name: unknown, known: readonly string[]): Error {
  return expected(
    known.length === 0 ? 'absent: there are none' : `one of ${known.map((each) => JSON.stringify(each)).join(', ')}`,
    name,
    'server',
  )
}
