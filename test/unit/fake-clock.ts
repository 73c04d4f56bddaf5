import type { Clock } from '../../src/clock.js'

/** Time that moves only when asked to, from one timer to the next. */
export class FakeClock implements Clock {
  now = 0
  #timers = new Set<{ at: number; callback: () => void }>()

  /** Timers that were neither fired nor cancelled. */
  get pending(): number {
    return this.#timers.size
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.now + ms, callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  /** Fires timer after timer, letting promises settle in between, until none is left. */
  async run(): Promise<void> {
    await settled()
    for (let next = this.#earliest(); next; next = this.#earliest()) {
      this.#timers.delete(next)
      this.now = next.at
      next.callback()
      await settled()
    }
  }

  #earliest() {
    // Timers of the same time fire in the order they were set.
    return [...this.#timers].sort((a, b) => a.at - b.at)[0]
  }
}

/** Everything that promises had to do is done. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
