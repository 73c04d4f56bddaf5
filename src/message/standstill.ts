import type { DeadlineClock } from './deadlines.js'

/** Tells when nothing that was written to a connection has left for a while. Source: SF-56. */
export class Standstill {
  private cancelTimer: (() => void) | undefined
  private isBlocked = false

  /** @param sentBytes what has left until now. */
  constructor(
    private readonly clock: DeadlineClock,
    private readonly timeoutMs: number,
    private readonly sentBytes: () => number,
    private readonly tell: () => void,
  ) {}

  /** The connection has no room. */
  blocked(): void {
    this.isBlocked = true
    // One timer for many times of no room: they come and go with each window of the peer.
    if (this.timeoutMs > 0 && this.cancelTimer === undefined) this.watch()
  }

  /** It has room again. */
  drained(): void {
    this.isBlocked = false
  }

  private watch(): void {
    const before = this.sentBytes()
    this.cancelTimer = this.clock.after(this.timeoutMs, () => {
      this.cancelTimer = undefined
      if (!this.isBlocked) return
      if (this.sentBytes() > before) this.watch()
      else this.tell()
    })
  }

  stop(): void {
    this.isBlocked = false
    this.cancelTimer?.()
    this.cancelTimer = undefined
  }
}
