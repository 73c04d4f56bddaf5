/** How many checks in a row decide. */
export interface HealthRules {
  /** Checks in a row that bring a server back. */
  readonly rise: number
  /** Failed checks in a row that take a server out. */
  readonly fall: number
  /** Time between checks. */
  readonly intervalMs: number
  /** The same while it is on its way from up to down or back. */
  readonly fastIntervalMs: number
  /** The same while it is down. */
  readonly downIntervalMs: number
}

/**
 * The health of a server as a number: 0 is down, `rise + fall − 1` is well, and from `rise` on it counts as up. A good check
 * adds 1, a bad one takes 1 away; whoever crosses the middle goes all the way.
 */
export class Health {
  private level: number

  constructor(
    private readonly rules: HealthRules,
    isUp: boolean,
  ) {
    // Not trusted fully before the first check: a single bad one takes it out.
    this.level = isUp ? rules.rise : 0
  }

  get isUp(): boolean {
    return this.level >= this.rules.rise
  }

  /** Checks that would have to fail to take it out, or to succeed to bring it back. */
  get checksLeft(): number {
    return this.isUp ? this.level - this.rules.rise + 1 : this.rules.rise - this.level
  }

  /** Time until the next check. */
  get nextCheckMs(): number {
    const { rise, fall, intervalMs, fastIntervalMs, downIntervalMs } = this.rules
    if (this.level === 0) return downIntervalMs
    return this.level === rise + fall - 1 ? intervalMs : fastIntervalMs
  }

  /** Counts a check. @returns whether that has turned it from up to down or back. */
  checked(isGood: boolean): boolean {
    const wasUp = this.isUp
    const { rise, fall } = this.rules
    const best = rise + fall - 1
    if (isGood) this.level = this.level + 1 >= rise ? (wasUp ? Math.min(best, this.level + 1) : best) : this.level + 1
    else this.level = wasUp && this.level > rise ? this.level - 1 : 0
    return this.isUp !== wasUp
  }

  /** Turns it to one side without a check. @returns whether that is a change. */
  set(isUp: boolean): boolean {
    const changes = this.isUp !== isUp
    if (changes) this.level = isUp ? this.rules.rise + this.rules.fall - 1 : 0
    return changes
  }
}
