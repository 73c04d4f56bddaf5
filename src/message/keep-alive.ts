import type { ConnectionOwner } from './connection-owner.js'
import { messageError } from './failure.js'

type Limits = Pick<ConnectionOwner, 'clock' | 'keepAliveMs' | 'maxKeepAlives' | 'keepAliveIntervalMs'>

/** The keep-alives of one connection: clients send them in their own silence, servers answer and count (SF-60…63). */
export class KeepAlive {
  /** When anything was sent last. */
  lastSentMs: number
  private cancelTimer: (() => void) | undefined
  /** One is on its way to the server, or its answer back: what is slow must not bring many at once. */
  private isAwaited = false
  private count = 0
  private sinceMs = 0

  /** @param send sends one, if that is possible now; answers whether it was. */
  constructor(
    private readonly limits: Limits,
    private readonly isClient: boolean,
    private readonly send: () => boolean,
  ) {
    this.lastSentMs = limits.clock.nowMs()
  }

  /** Begins to send them, if this is the client. */
  start(): void {
    const { keepAliveMs } = this.limits
    if (this.isClient && keepAliveMs > 0) this.arm(keepAliveMs)
  }

  /** Whether nothing was sent for as long as a client may be silent. */
  get isQuiet(): boolean {
    const { clock, keepAliveMs } = this.limits
    return keepAliveMs > 0 && clock.nowMs() - this.lastSentMs >= keepAliveMs
  }

  private arm(ms: number): void {
    const { clock, keepAliveMs } = this.limits
    this.cancelTimer = clock.after(ms, () => {
      const silentMs = clock.nowMs() - this.lastSentMs
      if (silentMs >= keepAliveMs && !this.isAwaited) this.isAwaited = this.send()
      this.arm(silentMs >= keepAliveMs ? keepAliveMs : Math.max(1, Math.ceil(keepAliveMs - silentMs)))
    })
  }

  /** One has come: from a client it is counted, in intervals that begin with their first one, and answered. */
  received(): void {
    if (this.isClient) {
      this.isAwaited = false
      return
    }
    const { clock, maxKeepAlives, keepAliveIntervalMs } = this.limits
    const now = clock.nowMs()
    if (this.count === 0) this.sinceMs = now
    this.count++
    if (this.count >= maxKeepAlives) {
      if (now - this.sinceMs < keepAliveIntervalMs)
        throw messageError('MESSAGE_TOO_MANY_KEEPALIVES', `${this.count} within ${keepAliveIntervalMs} ms`)
      this.count = 1
      this.sinceMs = now
    }
    this.send()
  }

  stop(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
  }
}
