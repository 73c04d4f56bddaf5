// Compact numbers: one byte up to 127, else a byte -n and n bytes, little-endian. Source: SF-07.

/** Longest form of a number that JavaScript holds exactly. */
export const maxCompactBytes = 8

/** Bytes that `value` takes, a whole number from 0 to 2^53 - 1. */
export function compactLength(value: number): number {
  if (value < 0x80) return 1
  if (value < 0x100) return 2
  if (value < 0x10000) return 3
  if (value < 0x1000000) return 4
  if (value < 0x100000000) return 5
  let length = 5
  for (let rest = Math.floor(value / 0x100000000); rest > 0; rest = Math.floor(rest / 0x100)) length++
  return length
}

/** Writes `value` at `at`, where there is room for it, and answers where it ends. */
export function putCompact(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0x80) {
    bytes[at] = value
    return at + 1
  }
  const length = compactLength(value) - 1
  bytes[at++] = -length & 0xff
  let rest = value
  for (let i = 0; i < length; i++) {
    bytes[at++] = rest % 0x100
    rest = Math.floor(rest / 0x100)
  }
  return at
}

/** What {@link readCompact} has read; undefined in `value` means: cut off, or not in its shortest form. */
export interface CompactCursor {
  /** Where to read, and afterwards where it ends. */
  at: number
}

/** Nothing there yet: the number goes on behind `to`. */
export const compactCutOff = -1
/** No number: too long, not the shortest form, or above 2^53 - 1. */
export const compactInvalid = -2

/** Reads a number at `cursor.at`, and moves that behind it; answers a negative number if there is none. */
export function readCompact(bytes: Uint8Array, cursor: CompactCursor, to: number): number {
  const at = cursor.at
  if (at >= to) return compactCutOff
  const first = bytes[at]!
  if (first < 0x80) {
    cursor.at = at + 1
    return first
  }
  const length = 0x100 - first
  if (length > maxCompactBytes) return compactInvalid
  if (at + 1 + length > to) return compactCutOff
  let value = 0
  for (let i = length; i > 0; i--) value = value * 0x100 + bytes[at + i]!
  if (value > Number.MAX_SAFE_INTEGER || compactLength(value) !== length + 1) return compactInvalid
  cursor.at = at + 1 + length
  return value
}
