/** Where waiting gets its time from: the system, a simulated network, or a test. */
export interface Clock {
  /** Calls back once after `ms`, unless the returned function is called first. */
  after(ms: number, callback: () => void): () => void
}

/** The timers of Node. They keep the process alive: somebody waits for what they bound. */
export const systemClock: Clock = {
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
}
