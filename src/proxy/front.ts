import type { Connection } from '../connection.js'
import type { SluiceError } from '../errors.js'
import type { Listener, ListenerAddress, ListenerStats } from '../listener.js'
import type { Runtime } from '../runtime.js'
import { keyOf, type ListenerPlan } from './plan.js'
import { RecentRate } from './recent-rate.js'
import { Session, type SessionEnd, type Upstream } from './session.js'

/** What a front needs of the proxy that it is part of. */
export interface FrontOwner {
  readonly runtime: Runtime
  readonly upstreams: ReadonlyMap<string, Upstream>
  /** Whether each session is told of, with its client. */
  readonly logsSessions: boolean
  sessionEnded(front: Front, end: SessionEnd): void
  handshakeFailed(front: Front, error: SluiceError): void
}

/** A port of the proxy: its socket, which outlives its options, and what has become of those who connected. */
export class Front {
  plan: ListenerPlan
  readonly sessions = new Set<Session>()
  readonly counts = { total: 0, most: 0, refused: 0, bytesIn: 0, bytesOut: 0 }
  /** Sessions that failed, and handshakes, by code. */
  readonly failures: Record<string, number> = {}
  readonly handshakeFailures: Record<string, number> = {}
  readonly rate = new RecentRate()
  private listener: Listener | undefined
  /** What listeners before this one had counted. */
  private former: Partial<Record<string, number>> = {}
  private formerTurnedAway: Record<string, number> = {}

  constructor(
    plan: ListenerPlan,
    private readonly owner: FrontOwner,
  ) {
    this.plan = plan
  }

  get name(): string {
    return this.plan.name ?? this.socketKey
  }

  /** What a successor calls its socket: with the port that the system picked. */
  get socketKey(): string {
    const { where } = this.plan
    return keyOf('path' in where ? where : { ...where, port: this.address.port! })
  }

  /** Where it listens, with the port that the system picked. */
  get address(): ListenerAddress {
    return this.listener!.address
  }

  get socket(): Listener {
    return this.listener!
  }

  /** Binds, or takes over a socket that listens already. @throws {SluiceError} of `listen()`. */
  async open(fd?: number): Promise<void> {
    const { where, options } = this.plan
    this.listener = await this.owner.runtime.listen(fd === undefined ? { ...options, ...where } : withFd(options, fd))
    if (fd !== undefined && 'path' in where && !where.path.startsWith('\0')) this.listener.unlinkPath = where.path
    this.listener.giveTo(this.takerOf(this.plan))
  }

  /** Puts other options in place, for those who connect from now on. The socket stays, with who waits in it. */
  async replace(plan: ListenerPlan): Promise<void> {
    const old = this.listener!
    const { unlinkPath } = old
    const fresh = await this.owner.runtime.listen(withFd(plan.options, old.duplicateSocket()))
    fresh.unlinkPath = unlinkPath
    old.unlinkPath = undefined
    this.remember(old.stats())
    this.plan = plan
    this.listener = fresh
    fresh.giveTo(this.takerOf(plan))
    // Its connections go on for as long as they like.
    old.retire()
  }

  /** Accepts no more. Whoever took the socket over keeps the path too. */
  stop(isHandedOver: boolean): void {
    if (isHandedOver) this.listener!.unlinkPath = undefined
    this.listener!.retire()
  }

  /** Counters of the socket, over all listeners that it has had. */
  get socketStats(): ListenerStats & { turnedAway?: Record<string, number> } {
    const now = this.listener!.stats() as ListenerStats & { turnedAway?: Record<string, number> }
    const sums = Object.entries(now).map(([name, value]) => {
      const isSum = typeof value === 'number' && summed.includes(name)
      return [name, isSum ? value + (this.former[name] ?? 0) : value]
    })
    const turnedAway = { ...this.formerTurnedAway }
    add(turnedAway, now.turnedAway ?? {})
    return { ...(Object.fromEntries(sums) as unknown as ListenerStats), turnedAway }
  }

  private remember(stats: ListenerStats & { turnedAway?: Record<string, number> }): void {
    for (const name of summed) {
      this.former[name] = (this.former[name] ?? 0) + (stats[name as keyof ListenerStats] as number)
    }
    add(this.formerTurnedAway, stats.turnedAway ?? {})
  }

  // Each set of options has a taker of its own, so that connections keep to those they began with.
  private takerOf(plan: ListenerPlan) {
    return {
      accepted: (connection: Connection) => void this.serve(connection, plan),
      handshakeError: (error: SluiceError) => {
        add(this.handshakeFailures, { [error.code]: 1 })
        this.owner.handshakeFailed(this, error)
      },
    }
  }

  private async serve(connection: Connection, plan: ListenerPlan): Promise<void> {
    const { runtime, upstreams } = this.owner
    const session = new Session(connection, runtime, this.owner.logsSessions)
    this.sessions.add(session)
    this.counts.total++
    this.counts.most = Math.max(this.counts.most, this.sessions.size)
    this.rate.count(session.beganMs)
    const end = await session.run(plan, upstreams)
    this.sessions.delete(session)
    const [bytesIn, bytesOut] = session.bytes
    this.counts.bytesIn += bytesIn
    this.counts.bytesOut += bytesOut
    if (end.outcome === 'refused') this.counts.refused++
    else if (end.error !== undefined) add(this.failures, { [end.error.code]: 1 })
    this.owner.sessionEnded(this, end)
  }
}

const summed = ['accepted', 'acceptFailures', 'handshakesDone', 'handshakesFailed']

function add(to: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) to[name] = (to[name] ?? 0) + count
}

// A socket that listens already has its backlog.
function withFd({ backlog: _, ...options }: ListenerPlan['options'], fd: number) {
  return { ...options, fd }
}
