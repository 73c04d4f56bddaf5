/** How long messages took, from the moment that they were sent until they were answered or, without answer, had left. */
export interface LatencyStats {
  /** Messages that were measured: of those that went well all, while few are under way, and of many one in sixteen. */
  count: number
  /** Mean, in milliseconds; 0 while there are none. */
  meanMs: number
  /** Longest. */
  maxMs: number
  /** Bound on the faster half of them, to the next power of two of microseconds. */
  p50Ms: number
  /** The same for 99 of 100. */
  p99Ms: number
}

const buckets = 40

/** Adds up latencies. */
export class Latency {
  private count = 0
  private sumMs = 0
  private maxMs = 0
  // By powers of two, in microseconds.
  private readonly counts = new Uint32Array(buckets)

  add(ms: number): void {
    this.count++
    this.sumMs += ms
    if (ms > this.maxMs) this.maxMs = ms
    this.counts[Math.min(buckets - 1, 32 - Math.clz32(Math.min(ms * 1000, 0x7fffffff)))]!++
  }

  private percentile(part: number): number {
    let left = Math.ceil(this.count * part)
    for (let i = 0; i < buckets; i++) {
      left -= this.counts[i]!
      if (left <= 0) return Math.min(this.maxMs, 2 ** i / 1000)
    }
    return this.maxMs
  }

  stats(): LatencyStats {
    const { count, sumMs, maxMs } = this
    if (count === 0) return { count, meanMs: 0, maxMs, p50Ms: 0, p99Ms: 0 }
    return { count, meanMs: sumMs / count, maxMs, p50Ms: this.percentile(0.5), p99Ms: this.percentile(0.99) }
  }
}
