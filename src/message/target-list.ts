import type { Endpoint } from './destination.js'
import { keyOf } from './resolver.js'

// A place that has failed is behind the others for so long.
const avoidedMs = 10_000

/**
 * The addresses of a pool, and which one is next: one at a time, another one after a failure (SF-42). Those of one host
 * stand for each other: the one that works is taken again. Those that a resolver gave are different places, and
 * connections are spread over them.
 */
export class TargetList {
  private targets: readonly Endpoint[] = []
  private spreads = false
  /** By key, since when. */
  private readonly failed = new Map<string, number>()
  /** Times that all have failed, one after the other, since the name was resolved. */
  private rounds = 0

  constructor(private readonly nowMs: () => number) {}

  /** Whether the name should be asked for again: at first, and at every second attempt (SF-45). */
  get isDue(): boolean {
    return this.targets.length === 0 || this.rounds >= 2
  }

  get endpoints(): readonly Endpoint[] {
    return this.targets
  }

  /** A new list; what is known about those that stay is kept. */
  set(targets: readonly Endpoint[], spreads: boolean): void {
    const keys = new Set(targets.map(keyOf))
    for (const key of this.failed.keys()) if (!keys.has(key)) this.failed.delete(key)
    this.targets = targets
    this.spreads = spreads
    this.rounds = 0
  }

  has(endpoint: Endpoint): boolean {
    const key = keyOf(endpoint)
    return this.targets.some((target) => keyOf(target) === key)
  }

  /** The next one to try. `uses` are those that connections go to already, or are being made to. */
  pick(uses: readonly Endpoint[]): Endpoint {
    const candidates = this.untried()
    const among = candidates.length > 0 ? candidates : this.targets
    if (!this.spreads) return among[0]!
    const counts = new Map<string, number>()
    for (const use of uses) counts.set(keyOf(use), (counts.get(keyOf(use)) ?? 0) + 1)
    const usesOf = (target: Endpoint) => counts.get(keyOf(target)) ?? 0
    return among.reduce((best, target) => (usesOf(target) < usesOf(best) ? target : best))
  }

  private untried(): Endpoint[] {
    const oldest = this.spreads ? this.nowMs() - avoidedMs : Number.NEGATIVE_INFINITY
    return this.targets.filter((target) => (this.failed.get(keyOf(target)) ?? Number.NEGATIVE_INFINITY) <= oldest)
  }

  succeeded(target: Endpoint): void {
    this.failed.delete(keyOf(target))
    this.rounds = 0
  }

  /** Answers whether there is another one that has not failed: it comes at once, before any wait. */
  hasFailed(target: Endpoint | undefined): boolean {
    if (target !== undefined) this.failed.set(keyOf(target), this.nowMs())
    if (this.untried().length > 0 && target !== undefined) return true
    this.failed.clear()
    this.rounds++
    return false
  }
}
