/** How many idle connections are kept, and for how long. Source: HP-77, HP-78. */
export interface IdleRules {
  /** Most that are kept; Infinity for no bound. */
  readonly maxIdle: number
  /** Kept beside what is needed, when idle ones are there already. */
  readonly lowIdle: number
  /** Length of a round; 0 keeps none. */
  readonly purgeDelayMs: number
  /** Sockets of the process from which no idle connection is kept. */
  readonly highSockets: number
  /** Sockets of the process from which one idle connection per server has to do. */
  readonly lowSockets: number
}

/** May a first request of a session have it: any, one that has been shared before, or none. */
export type Sharing = 'any' | 'proven' | 'none'

interface Idle<C> {
  readonly connection: C
  readonly key: string
  /** Whether it has been reused before. */
  readonly proven: boolean
}

/**
 * The connections to one server that nobody uses now, by what makes them interchangeable. The latest to come is the first
 * to go out again, so that the older ones fall to the purge.
 */
export class IdleConnections<C> {
  private readonly idle = new Map<C, Idle<C>>() // the oldest first
  private readonly byKey = new Map<string, Idle<C>[]>()
  private used = 0
  private maxUsed = 0
  private estimate = 0

  constructor(private readonly rules: IdleRules) {}

  /** Connections kept now. */
  get count(): number {
    return this.idle.size
  }

  /** Whether a purge could have something to do, now or later. */
  get isQuiet(): boolean {
    return this.idle.size === 0
  }

  /** In use now, the most of this round, and what is thought to be needed. */
  get demand(): { used: number; maxUsed: number; estimate: number } {
    return { used: this.used, maxUsed: this.maxUsed, estimate: this.estimate }
  }

  /** One more is in use. */
  began(): void {
    this.used++
    this.maxUsed = Math.max(this.maxUsed, this.used)
    this.estimate = Math.max(this.estimate, this.used)
  }

  /** One less. Where the connection is to be kept, `offer()` comes before. */
  ended(): void {
    this.used--
  }

  /** A connection of this key; undefined where there is none that may be shared so. */
  take(key: string, sharing: Sharing): { connection: C; proven: boolean } | undefined {
    const list = sharing === 'none' ? undefined : this.byKey.get(key)
    // Proven ones first: they are known to survive being shared.
    const newest = [...(list ?? [])].reverse()
    const found = newest.find(({ proven }) => proven) ?? (sharing === 'any' ? newest[0] : undefined)
    if (found === undefined) return undefined
    this.remove(found.connection)
    return found
  }

  /**
   * Keeps a connection that still counts as used, unless the rules are against it: the caller closes it then. Source: HP-77.
   *
   * @param openSockets of the whole process.
   */
  offer(connection: C, key: string, proven: boolean, openSockets: number): boolean {
    const { maxIdle, lowIdle, purgeDelayMs, highSockets, lowSockets } = this.rules
    if (purgeDelayMs === 0 || openSockets >= highSockets || this.idle.size >= maxIdle) return false
    const isNeeded = this.used + this.idle.size <= Math.max(this.used, this.estimate) + lowIdle
    if (this.idle.size > 0 && !(isNeeded && openSockets < lowSockets)) return false
    const entry = { connection, key, proven }
    this.idle.set(connection, entry)
    const list = this.byKey.get(key)
    if (list === undefined) this.byKey.set(key, [entry])
    else list.push(entry)
    return true
  }

  /** Forgets a connection that has ended by itself. */
  remove(connection: C): boolean {
    const entry = this.idle.get(connection)
    if (entry === undefined) return false
    this.idle.delete(connection)
    const list = this.byKey.get(entry.key)!
    list.splice(list.lastIndexOf(entry), 1)
    if (list.length === 0) this.byKey.delete(entry.key)
    return true
  }

  /**
   * Ends a round: half of what is not needed, rounded up, the oldest first, so that a pool shrinks step by step.
   *
   * @returns what the caller closes. Source: HP-78.
   */
  purge(): C[] {
    const excess = this.used + this.idle.size - Math.max(this.maxUsed, this.estimate)
    const gone = [...this.idle.keys()].slice(0, Math.max(0, Math.ceil(excess / 2)))
    for (const connection of gone) this.remove(connection)
    this.estimate = Math.max(Math.floor((this.estimate + this.maxUsed) / 2), this.maxUsed)
    this.maxUsed = this.used
    return gone
  }

  /** All of them, for closing. */
  clear(): C[] {
    const gone = [...this.idle.keys()]
    this.idle.clear()
    this.byKey.clear()
    return gone
  }
}
