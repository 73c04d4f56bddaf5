import * as records from './native/records.js'

const { eventOpened, maxSlots } = records
const recordWords = 4
// Those whose id is no slot.
const ofNoConnection = new Set([
  ...[records.eventReleased, records.eventTimer],
  ...[records.eventListenerFailed, records.eventHandshakeFailed],
])

/** Which connections' events of a turn are handled before those of others. */
export class Priorities {
  private readonly bySlot = new Int8Array(maxSlots)

  of(slot: number): number {
    return this.bySlot[slot]!
  }

  set(slot: number, priority: number): void {
    this.bySlot[slot] = priority
  }

  /**
   * Where the records of a batch begin, the highest priority first and otherwise as they came; undefined where all are of
   * the same. A connection keeps its order, as all its events have one priority.
   *
   * @param priorityOfListener the priority with which connections of a listener begin
   */
  order(
    words: Int32Array,
    first: number,
    count: number,
    priorityOfListener: (key: number) => number | undefined,
  ): number[] | undefined {
    const { bySlot } = this
    const order: number[] = []
    const ranks = new Int8Array(count)
    let differ = false
    for (let i = 0; i < count; i++) {
      const k = (first + i) * recordWords
      const type = words[k]! & 0xff
      const id = words[k + 1]!
      // What follows `opened` in the same batch belongs to it already.
      if (type === eventOpened) bySlot[id] = priorityOfListener(words[k + 2]!) ?? 0
      ranks[i] = ofNoConnection.has(type) ? 0 : bySlot[id]!
      if (ranks[i] !== ranks[0]) differ = true
      order.push(i)
    }
    if (!differ) return undefined
    order.sort((a, b) => ranks[b]! - ranks[a]!)
    return order.map((i) => (first + i) * recordWords)
  }
}
