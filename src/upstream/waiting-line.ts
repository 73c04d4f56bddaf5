/** Somebody who waits for a place. */
export interface Waiter<T> {
  /** Called once, when it is its turn. */
  readonly admit: (place: T) => void
  /** Called once, when there is nothing left to wait for there. */
  readonly dismiss: () => void
}

interface Entry<T> extends Waiter<T> {
  readonly order: number
  readonly target: T | undefined
  gone: boolean
}

/**
 * Those who wait, first come first served: some for whatever place comes free, some for a place at one server. Whoever came
 * first of both kinds is next. Source: HP-76.
 */
export class WaitingLine<T extends object> {
  private readonly anywhere: Entry<T>[] = []
  private readonly targeted = new Map<T, Entry<T>[]>()
  private order = 0
  private waiting = 0

  /** How many wait altogether. */
  get length(): number {
    return this.waiting
  }

  /** How many wait for whatever place comes free. */
  get lengthAnywhere(): number {
    return this.anywhere.length
  }

  /** How many wait for a place at `target` and nowhere else. */
  lengthAt(target: T): number {
    return this.targeted.get(target)?.length ?? 0
  }

  /** Joins the line; the returned function leaves it. */
  join(waiter: Waiter<T>, target?: T): () => void {
    const entry: Entry<T> = { ...waiter, order: this.order++, target, gone: false }
    if (target !== undefined && !this.targeted.has(target)) this.targeted.set(target, [])
    this.listOf(target).push(entry)
    this.waiting++
    return () => this.leave(entry)
  }

  /** Admits whoever is next to a place of `place`. @returns false when nobody waits for it. */
  admit(place: T): boolean {
    const here = this.targeted.get(place)?.[0]
    const anywhere = this.anywhere[0]
    const next = (here?.order ?? Infinity) < (anywhere?.order ?? Infinity) ? here : anywhere
    if (next === undefined) return false
    this.leave(next)
    next.admit(place)
    return true
  }

  /** Sends away those who wait for a place at `target` alone. */
  dismiss(target: T): void {
    for (const entry of [...(this.targeted.get(target) ?? [])]) {
      this.leave(entry)
      entry.dismiss()
    }
  }

  private leave(entry: Entry<T>): void {
    if (entry.gone) return
    entry.gone = true
    this.waiting--
    const list = this.listOf(entry.target)
    list.splice(list.indexOf(entry), 1)
    if (entry.target !== undefined && list.length === 0) this.targeted.delete(entry.target)
  }

  private listOf(target: T | undefined): Entry<T>[] {
    return target === undefined ? this.anywhere : this.targeted.get(target)!
  }
}
