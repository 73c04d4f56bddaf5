import { type CheckEnvironment, probe } from './health-probe.js'
import type { UpstreamServer } from './server.js'

/** Checks servers again and again, and turns them up and down by what it finds. */
export class HealthChecker {
  private readonly timers = new Map<UpstreamServer, () => void>()
  private stopped = false

  constructor(private readonly environment: CheckEnvironment) {}

  /** Begins with a check at once, unless one is due or under way. */
  start(server: UpstreamServer): void {
    if (server.isChecked && !this.timers.has(server)) this.schedule(server, 0)
  }

  stop(server: UpstreamServer): void {
    this.timers.get(server)?.()
    this.timers.delete(server)
    server.checkDueMs = undefined
  }

  stopAll(): void {
    this.stopped = true
    for (const server of [...this.timers.keys()]) this.stop(server)
  }

  /** Counts a check whose result is known from elsewhere, e.g. from failed attempts to connect. */
  count(server: UpstreamServer, isGood: boolean, text: string): void {
    server.counts[isGood ? 'checksGood' : 'checksBad']++
    if (server.health.checked(isGood)) server.setUp(server.health.isUp, text)
  }

  /** Looks again soon: something happened to it. */
  hurry(server: UpstreamServer): void {
    const { checkDueMs } = server
    const soonMs = server.check?.fastIntervalMs ?? 0
    if (checkDueMs === undefined || checkDueMs - this.environment.clock.nowMs() <= soonMs) return
    this.stop(server)
    this.schedule(server, soonMs)
  }

  private schedule(server: UpstreamServer, ms: number): void {
    const { clock } = this.environment
    server.checkDueMs = clock.nowMs() + ms
    this.timers.set(
      server,
      clock.inBackground(ms, () => void this.check(server)),
    )
  }

  private async check(server: UpstreamServer): Promise<void> {
    const { clock } = this.environment
    const beganMs = clock.nowMs()
    server.checkDueMs = undefined
    // Whoever stops meanwhile finds this in place of the timer.
    let isCurrent = true
    const forget = () => {
      isCurrent = false
    }
    this.timers.set(server, forget)
    const result = await probe(server.rules, server.check!, this.environment).then(
      (verdict) => ({ isGood: true, text: verdict.text ?? 'well', verdict }),
      (error: Error) => ({ isGood: false, text: error.message, verdict: undefined }),
    )
    if (!isCurrent || this.stopped) return
    const atMs = clock.nowMs()
    server.lastCheck = { isGood: result.isGood, text: result.text, atMs, tookMs: atMs - beganMs }
    const { verdict } = result
    if (verdict?.weight !== undefined) server.weight = verdict.weight
    if (verdict?.state !== undefined) server.setAdmin(verdict.state, `the agent: ${result.text}`)
    this.count(server, result.isGood, result.text)
    // All of that may have stopped it.
    if (isCurrent && !this.stopped) this.schedule(server, server.health.nextCheckMs)
  }
}
