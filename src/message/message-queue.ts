import { type Outgoing, queueLevels } from './outgoing.js'

/** A queue of one level: an array with a moving front. */
class Level {
  private items: Outgoing[] = []
  private front = 0

  get length(): number {
    return this.items.length - this.front
  }

  push(item: Outgoing): void {
    this.items.push(item)
  }

  unshift(item: Outgoing): void {
    if (this.front > 0) this.items[--this.front] = item
    else this.items.unshift(item)
  }

  peek(): Outgoing | undefined {
    return this.items[this.front]
  }

  shift(): Outgoing | undefined {
    const item = this.items[this.front]
    if (item === undefined) return undefined
    this.items[this.front++] = undefined as never
    if (this.front === this.items.length) {
      this.items.length = 0
      this.front = 0
    } else if (this.front >= 1024 && this.front * 2 >= this.items.length) {
      this.items.splice(0, this.front)
      this.front = 0
    }
    return item
  }

  find(fits: (item: Outgoing) => boolean): Outgoing | undefined {
    for (let i = this.front; i < this.items.length; i++) {
      if (fits(this.items[i]!)) return this.items[i]
    }
    return undefined
  }

  remove(item: Outgoing): boolean {
    const at = this.items.indexOf(item, this.front)
    if (at < 0) return false
    this.items.splice(at, 1)
    return true
  }
}

/**
 * Messages that wait, those of a higher priority first, others in the order they came; those sent again stand in front
 * (SF-28).
 */
export class MessageQueue {
  private readonly levels = Array.from({ length: queueLevels }, () => new Level())
  private count = 0
  private answerCount = 0

  get length(): number {
    return this.count
  }

  /** Of these, those that answer. */
  get answers(): number {
    return this.answerCount
  }

  push(outgoing: Outgoing): void {
    this.levels[outgoing.level]!.push(outgoing)
    this.added(outgoing)
  }

  /** In front of all others of its level. */
  unshift(outgoing: Outgoing): void {
    this.levels[outgoing.level]!.unshift(outgoing)
    this.added(outgoing)
  }

  private added(outgoing: Outgoing): void {
    this.count++
    if (outgoing.message === undefined) this.answerCount++
  }

  private removed(outgoing: Outgoing): void {
    this.count--
    if (outgoing.message === undefined) this.answerCount--
  }

  peek(): Outgoing | undefined {
    if (this.count === 0) return undefined
    for (const level of this.levels) {
      if (level.length > 0) return level.peek()
    }
    return undefined
  }

  shift(): Outgoing | undefined {
    if (this.count === 0) return undefined
    for (const level of this.levels) {
      const outgoing = level.shift()
      if (outgoing === undefined) continue
      this.removed(outgoing)
      return outgoing
    }
    return undefined
  }

  /** The first that fits, which stays where it is. */
  find(fits: (outgoing: Outgoing) => boolean): Outgoing | undefined {
    for (const level of this.levels) {
      const found = level.find(fits)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** Answers whether it was there. */
  remove(outgoing: Outgoing): boolean {
    if (!this.levels[outgoing.level]!.remove(outgoing)) return false
    this.removed(outgoing)
    return true
  }

  /** Takes all of them out, in order. */
  drain(): Outgoing[] {
    const all: Outgoing[] = []
    for (let next = this.shift(); next !== undefined; next = this.shift()) all.push(next)
    return all
  }
}
