/** Latencies of one round, in microseconds. */
export interface Latency {
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

const steps = 64

/** Counts of durations in log-linear buckets, 64 per power of two: a value is known to within 1.6 %. */
export class Histogram {
  readonly #counts = new Float64Array(47 * steps)
  #total = 0
  #sum = 0
  #largest = 0

  /** Adds a duration of 0 to 2^52 nanoseconds. */
  add(nanoseconds: number): void {
    const value = Math.max(0, Math.round(nanoseconds))
    this.#counts[bucketOf(value)]!++
    this.#total++
    this.#sum += value
    if (value > this.#largest) this.#largest = value
  }

  get total(): number {
    return this.#total
  }

  /** The smallest value, in nanoseconds, that `share` (0 to 1) of all values do not exceed. */
  percentile(share: number): number {
    const needed = Math.max(1, Math.ceil(this.#total * share - 1e-9))
    let seen = 0
    for (const [bucket, count] of this.#counts.entries()) {
      seen += count
      if (seen >= needed) return middleOf(bucket)
    }
    return 0
  }

  /** The usual percentiles in microseconds, or undefined while empty. */
  summary(): Latency | undefined {
    if (this.#total === 0) return undefined
    const at = (share: number) => this.percentile(share) / 1e3
    const mean = this.#sum / this.#total / 1e3
    return { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: this.#largest / 1e3 }
  }
}

function bucketOf(value: number): number {
  if (value < steps) return value
  const shift = Math.floor(Math.log2(value)) - 6
  // log2 of a value just below a power of two may round up to it; the quotient tells.
  const quotient = Math.floor(value / 2 ** shift)
  return quotient < steps ? shift * steps + steps - 1 : (shift + 1) * steps + quotient - steps
}

function middleOf(bucket: number): number {
  if (bucket < steps) return bucket
  const shift = Math.floor(bucket / steps) - 1
  return ((bucket % steps) + steps + 0.5) * 2 ** shift
}
