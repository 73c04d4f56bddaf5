import type { Outgoing } from './outgoing.js'

/** The requests of a connection that wait for an answer, by the index that the peer answers with. */
export class RequestTable {
  private readonly waiting: (Outgoing | undefined)[] = []
  private readonly uniques: number[] = []
  private readonly free: number[] = []
  private count = 0

  constructor(private max: number) {}

  /** The peer takes no more than that. */
  limit(max: number): void {
    this.max = Math.min(this.max, max)
  }

  get size(): number {
    return this.count
  }

  get hasRoom(): boolean {
    return this.count < this.max
  }

  /** Gives the request its index and unique. */
  add(outgoing: Outgoing): void {
    const index = this.free.pop() ?? this.waiting.length
    const unique = ((this.uniques[index] ?? 0) + 1) >>> 0
    this.waiting[index] = outgoing
    this.uniques[index] = unique
    this.count++
    outgoing.index = index
    outgoing.unique = unique
  }

  /** That which is answered; undefined when nobody waits for it any more. */
  find(index: number, unique: number): Outgoing | undefined {
    const outgoing = this.waiting[index]
    return outgoing !== undefined && this.uniques[index] === unique ? outgoing : undefined
  }

  remove(outgoing: Outgoing): void {
    const { index } = outgoing
    if (this.waiting[index] !== outgoing) return
    this.waiting[index] = undefined
    this.free.push(index)
    this.count--
  }

  /** Takes all of them out. */
  drain(): Outgoing[] {
    const all = this.waiting.filter((outgoing) => outgoing !== undefined)
    this.waiting.length = 0
    this.free.length = 0
    this.count = 0
    return all
  }
}
