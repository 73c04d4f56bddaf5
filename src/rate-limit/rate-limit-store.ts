/** A limit that several processes share: bytes per second together. Infinity where a direction has none. */
export interface SharedRates {
  /** Bytes per second that all sharers together may read. */
  readBytesPerSecond: number
  /** Bytes per second that all sharers together may write. */
  writeBytesPerSecond: number
}

/** What a group asks its store for, once per slice. */
export interface LeaseRequest {
  /** Which budget. */
  name: string
  /** Who asks; the same in each request of a group, and nobody else's. */
  sharer: string
  /** What there is for all together. */
  rates: SharedRates
  /** Bytes that the sharer could use in a slice, per direction; Infinity when it was short of them. */
  demand: { readBytes: number; writeBytes: number }
  /** Length of a slice. */
  sliceMs: number
  /** How long the part of a sharer that is not heard of is kept for it. */
  forgetMs: number
}

/** A sharer's part of the budget: so much per slice, until it has the next lease. */
export interface Lease {
  /** Bytes it may read in each slice. */
  readBytes: number
  /** Bytes it may write in each slice. */
  writeBytes: number
  /** How many share the budget now. */
  sharers: number
}

/**
 * Where processes agree on who may use how much of a budget. A store promises that the leases it has given out at any
 * time add up to no more than the budget, and that each sharer gets what it asks for as far as the others leave it, or
 * else an equal part. So who comes new may get little at first, until the others have renewed.
 */
export interface RateLimitStore {
  /** Renews the lease of a sharer. Rejects when the store cannot be reached; the old lease then goes on. */
  lease(request: LeaseRequest): Promise<Lease>
  /** Gives a sharer's part back to the others. */
  release(name: string, sharer: string): Promise<void>
}

interface Sharer {
  demand: Record<Direction, number>
  part: Record<Direction, number>
  seenMs: number
}

type Direction = 'read' | 'write'

/** A store for groups of one process, and for tests. */
export class MemoryRateLimitStore implements RateLimitStore {
  private readonly budgets = new Map<string, Map<string, Sharer>>()

  /** `nowMs`: the time by which sharers are forgotten. Default: the system's monotonic clock. */
  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  async lease(request: LeaseRequest): Promise<Lease> {
    const { name, sharer, rates, demand, sliceMs, forgetMs } = request
    const now = this.nowMs()
    const sharers = this.budgets.get(name) ?? new Map<string, Sharer>()
    this.budgets.set(name, sharers)
    for (const [id, { seenMs }] of sharers) if (now - seenMs > forgetMs) sharers.delete(id)
    const own = sharers.get(sharer) ?? { demand: { read: 0, write: 0 }, part: { read: 0, write: 0 }, seenMs: now }
    sharers.set(sharer, own)
    own.seenMs = now
    // Sharers may have slices of different lengths, so all is kept per second.
    const slices = 1000 / sliceMs
    own.demand = { read: demand.readBytes * slices, write: demand.writeBytes * slices }
    const others = [...sharers.values()].filter((each) => each !== own)
    const part = (direction: Direction, capacity: number) => {
      if (capacity === Infinity) return Infinity
      const taken = others.reduce((sum, other) => sum + other.part[direction], 0)
      const demands = others.map((other) => other.demand[direction])
      return Math.max(0, Math.min(fairPart(own.demand[direction], demands, capacity), capacity - taken))
    }
    own.part = { read: part('read', rates.readBytesPerSecond), write: part('write', rates.writeBytesPerSecond) }
    return { readBytes: own.part.read / slices, writeBytes: own.part.write / slices, sharers: sharers.size }
  }

  async release(name: string, sharer: string): Promise<void> {
    const sharers = this.budgets.get(name)
    sharers?.delete(sharer)
    if (sharers?.size === 0) this.budgets.delete(name)
  }
}

/**
 * What one of several gets of `capacity`: what it asks for where all can have that, and an equal part of what is left
 * then; else as much as everybody else who asks for more. RedisRateLimitStore does the same in Lua.
 */
export function fairPart(own: number, others: readonly number[], capacity: number): number {
  const demands = [own, ...others].sort((a, b) => a - b)
  let left = capacity
  for (const [i, demand] of demands.entries()) {
    const level = left / (demands.length - i)
    if (demand > level) return Math.min(own, level)
    left -= demand
  }
  return own + left / demands.length
}
