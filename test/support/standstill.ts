import { nextTurn } from './pair.js'

/** Resolves when a number has stayed the same for many turns of the event loop: nothing moves any more. */
export async function standstill(value: () => number): Promise<void> {
  let last = value()
  for (let turns = 0; turns < 500; turns++) {
    await nextTurn()
    if (value() === last) continue
    last = value()
    turns = 0
  }
}
