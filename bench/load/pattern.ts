// As bench/native/pattern.h: prime, so that no buffer or message size ever lines up with it.
const period = 4093

const table = makeTable()

/** Where the pattern of a connection begins. */
export function patternStart(connection: number): number {
  return Math.imul(connection, 2654435761) >>> 0
}

/** The `size` bytes of a stream from `offset` on. */
export function patternAt(start: number, offset: number, size: number): Buffer {
  const from = (start + offset) % period
  if (from + size <= table.length) return table.subarray(from, from + size)
  const whole = Buffer.allocUnsafe(size)
  for (let done = 0; done < size; done += period)
    patternAt(start, offset + done, Math.min(period, size - done)).copy(whole, done)
  return whole
}

/** Throws at the first byte that is not as it should be. */
export function checkPattern(connection: number, start: number, offset: number, bytes: Buffer): void {
  const expected = patternAt(start, offset, bytes.length)
  if (expected.equals(bytes)) return
  const at = bytes.findIndex((byte, index) => byte !== expected[index])
  const [got, wanted] = [bytes[at]!, expected[at]!].map((byte) => `0x${byte.toString(16).padStart(2, '0')}`)
  throw new Error(`connection ${connection}: byte ${offset + at} is ${got}, expected ${wanted}`)
}

function makeTable(): Buffer {
  const longestRun = 1 << 20
  const bytes = Buffer.alloc(period + longestRun)
  let state = 0x9e3779b9
  for (let i = 0; i < period; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[i] = state >>> 11
  }
  for (let i = period; i < bytes.length; i++) bytes[i] = bytes[i - period]!
  return bytes
}
