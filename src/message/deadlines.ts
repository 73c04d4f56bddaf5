import type { Clock } from '../clock.js'
import type { Outgoing } from './outgoing.js'

/** The clock of a runtime. */
export interface DeadlineClock extends Clock {
  nowMs(): number
}

/** Messages of one time limit: the order they were sent in is that in which their time is over. */
export class DeadlineList {
  private first: Outgoing | undefined
  private last: Outgoing | undefined
  private cancelTimer: (() => void) | undefined

  constructor(
    private readonly clock: DeadlineClock,
    private readonly timeoutMs: number,
    private readonly expired: (outgoing: Outgoing) => void,
    private readonly emptied: () => void,
  ) {}

  add(outgoing: Outgoing): void {
    outgoing.dueMs = this.clock.nowMs() + this.timeoutMs
    outgoing.deadlines = this
    outgoing.earlier = this.last
    if (this.last === undefined) this.first = outgoing
    else this.last.later = outgoing
    this.last = outgoing
    if (this.cancelTimer === undefined) this.arm(this.timeoutMs)
  }

  remove(outgoing: Outgoing): void {
    const { earlier, later } = outgoing
    if (earlier === undefined) this.first = later
    else earlier.later = later
    if (later === undefined) this.last = earlier
    else later.earlier = earlier
    outgoing.earlier = undefined
    outgoing.later = undefined
    outgoing.deadlines = undefined
  }

  cancel(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
  }

  // The timer stays as it is when messages are done in time: it looks at the list when it fires.
  private arm(ms: number): void {
    this.cancelTimer = this.clock.after(ms, () => this.check())
  }

  private check(): void {
    this.cancelTimer = undefined
    const now = this.clock.nowMs()
    while (this.first !== undefined && this.first.dueMs <= now) {
      const outgoing = this.first
      this.remove(outgoing)
      this.expired(outgoing)
    }
    if (this.first === undefined) this.emptied()
    else this.arm(Math.max(1, Math.ceil(this.first.dueMs - now)))
  }
}

/** The time limits of all messages of a service: a list and at most one timer per limit. */
export class Deadlines {
  private readonly lists = new Map<number, DeadlineList>()

  constructor(
    private readonly clock: DeadlineClock,
    private readonly expired: (outgoing: Outgoing) => void,
  ) {}

  add(outgoing: Outgoing, timeoutMs: number): void {
    let list = this.lists.get(timeoutMs)
    if (list === undefined) {
      list = new DeadlineList(this.clock, timeoutMs, this.expired, () => this.lists.delete(timeoutMs))
      this.lists.set(timeoutMs, list)
    }
    list.add(outgoing)
  }

  close(): void {
    for (const list of this.lists.values()) list.cancel()
    this.lists.clear()
  }
}
