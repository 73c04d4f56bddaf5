import type { Clock } from '../clock.js'
import type { Runtime } from '../runtime.js'

/** Time of a pool. */
export interface PoolClock extends Clock {
  nowMs(): number
  /** As `after()`, for work that nobody waits for: it keeps no process alive. */
  inBackground(ms: number, callback: () => void): () => void
}

/** The time of the connections' own runtime where that is virtual, else the system's. */
export function clockOf(runtime: Runtime): PoolClock {
  if (runtime.engine === 'sim') {
    const after = (ms: number, callback: () => void) => runtime.after(Math.ceil(ms), callback)
    return { nowMs: () => runtime.nowMs(), after, inBackground: after }
  }
  const start = (isBackground: boolean) => (ms: number, callback: () => void) => {
    const timer = setTimeout(callback, ms)
    if (isBackground) timer.unref()
    return () => clearTimeout(timer)
  }
  return { nowMs: () => performance.now(), after: start(false), inBackground: start(true) }
}
