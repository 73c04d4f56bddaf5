import type { RouteTarget } from '../routing/routes.js'

/** An entry of a SniPolicy, as connections find it. */
export interface ServedEntry {
  readonly label: string
  readonly handlers: RouteTarget | undefined
}

const entries = new Map<number, ServedEntry>()
let nextNumber = 1

/** Gives an entry the number by which native code tells it. */
export function numberEntry(entry: ServedEntry): number {
  const number = nextNumber++
  entries.set(number, entry)
  return number
}

/** The entry of a number; undefined for 0, and for what was forgotten. */
export function entryOf(number: number): ServedEntry | undefined {
  return entries.get(number)
}

/** No handshake can tell these numbers any more. */
export function forgetEntries(numbers: Iterable<number>): void {
  for (const number of numbers) entries.delete(number)
}
