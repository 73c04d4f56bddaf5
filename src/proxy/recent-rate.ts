/** Events per second, over the last second: what this one has so far, and of the last one the part that is not over yet.
 *  Source: HP-60. */
export class RecentRate {
  private second = 0
  private current = 0
  private last = 0

  count(nowMs: number): void {
    this.roll(nowMs)
    this.current++
  }

  /** The most exact whole number that this can tell. */
  perSecond(nowMs: number): number {
    this.roll(nowMs)
    const leftMs = 1000 - (nowMs - this.second * 1000)
    return Math.round(this.current + (this.last * leftMs) / 1000)
  }

  private roll(nowMs: number): void {
    const second = Math.floor(nowMs / 1000)
    if (second === this.second) return
    this.last = second === this.second + 1 ? this.current : 0
    this.current = 0
    this.second = second
  }
}
