/** What balancing knows of a server. */
export interface Candidate {
  /** What keeps its place in a consistent hash. */
  readonly name: string
  /** Its part of the load now; above 0. */
  readonly effectiveWeight: number
  /** Connections in use, and those being made. */
  readonly load: number
}

/** Chooses one of several servers. `candidates` is never empty. */
export interface Balancer {
  /** @param key what the same choice is to be made for, where the way of balancing looks at it. */
  pick<C extends Candidate>(candidates: readonly C[], key: string | Uint8Array | undefined): C
}

/** How servers are chosen, see `UpstreamPoolOptions.balance`. */
export type BalanceMethod = 'roundRobin' | 'leastConnections' | 'hash' | 'random'

export const balanceMethods = ['roundRobin', 'leastConnections', 'hash', 'random'] as const

/** A balancer, with a memory of its own. `random` answers numbers from 0 to below 1. */
export function balancerOf(method: BalanceMethod, random: () => number = Math.random): Balancer {
  switch (method) {
    case 'roundRobin':
      return new RoundRobin()
    case 'leastConnections':
      return new LeastConnections()
    case 'hash':
      return new ConsistentHash()
    case 'random':
      return new RandomOfTwo(random)
  }
}

/**
 * Weighted round robin in its smooth form: of 5, 1 and 1 not the first five times in a row, but a a b a c a a. Each
 * server saves up its weight, and who is chosen pays the sum of all.
 */
export class RoundRobin implements Balancer {
  private readonly saved = new WeakMap<object, number>()

  pick<C extends Candidate>(candidates: readonly C[]): C {
    let best = candidates[0]!
    let most = -Infinity
    let sum = 0
    for (const candidate of candidates) {
      const saved = (this.saved.get(candidate) ?? 0) + candidate.effectiveWeight
      this.saved.set(candidate, saved)
      sum += candidate.effectiveWeight
      if (saved > most) [best, most] = [candidate, saved]
    }
    this.saved.set(best, most - sum)
    return best
  }
}

/** The least load for its weight; among equals the one that has waited longest for its turn. */
export class LeastConnections implements Balancer {
  private readonly turns = new WeakMap<object, number>()
  private turn = 0

  pick<C extends Candidate>(candidates: readonly C[]): C {
    let best = candidates[0]!
    for (const candidate of candidates) {
      // As it would be with one connection more, so that weights count among idle servers too.
      const difference = loadWithOneMore(candidate) - loadWithOneMore(best)
      if (difference < 0 || (difference === 0 && this.turnOf(candidate) < this.turnOf(best))) best = candidate
    }
    this.turns.set(best, ++this.turn)
    return best
  }

  private turnOf(candidate: object): number {
    return this.turns.get(candidate) ?? 0
  }
}

/** Draws two by their weights and takes the one with less load: nearly as even as the best of all, and no herd runs to
 *  a server that has just come. Source: HP-75. */
export class RandomOfTwo implements Balancer {
  constructor(private readonly random: () => number) {}

  pick<C extends Candidate>(candidates: readonly C[]): C {
    const first = this.draw(candidates)
    const others = candidates.filter((candidate) => candidate !== first)
    if (others.length === 0) return first
    const second = this.draw(others)
    return loadWithOneMore(second) < loadWithOneMore(first) ? second : first
  }

  private draw<C extends Candidate>(candidates: readonly C[]): C {
    const sum = candidates.reduce((total, { effectiveWeight }) => total + effectiveWeight, 0)
    let at = this.random() * sum
    for (const candidate of candidates) {
      at -= candidate.effectiveWeight
      if (at < 0) return candidate
    }
    return candidates.at(-1)!
  }
}

/**
 * The same server for the same key, for as long as it is there: a server that goes or comes moves the keys that are, or
 * become, its own, and no others. Each server draws a lot from key and name, scaled by its weight, and the highest wins
 * (rendezvous hashing), which needs no ring and follows weights exactly. Without a key: round robin.
 */
export class ConsistentHash implements Balancer {
  private readonly withoutKey = new RoundRobin()

  pick<C extends Candidate>(candidates: readonly C[], key: string | Uint8Array | undefined): C {
    if (key === undefined) return this.withoutKey.pick(candidates)
    const ofKey = hashOf(typeof key === 'string' ? Buffer.from(key) : key)
    let best = candidates[0]!
    let highest = -Infinity
    for (const candidate of candidates) {
      // −w / ln(u) with u evenly between 0 and 1: the winner is drawn in proportion to w.
      const lot = -candidate.effectiveWeight / Math.log(unitOf(ofKey, hashOf(Buffer.from(candidate.name))))
      if (lot > highest) [best, highest] = [candidate, lot]
    }
    return best
  }
}

function loadWithOneMore({ load, effectiveWeight }: Candidate): number {
  return (load + 1) / effectiveWeight
}

// FNV-1a, 32 bits: short keys, and mixed again below.
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

// Two hashes mixed into a number above 0 and below 1.
function unitOf(a: number, b: number): number {
  const high = mix(a ^ mix(b))
  const low = mix(high ^ b)
  return ((high >>> 6) * 0x8000000 + (low >>> 5) + 0.5) / 2 ** 53
}

// The last step of MurmurHash3: each bit of the input changes half of the output.
function mix(value: number): number {
  let mixed = value ^ (value >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
