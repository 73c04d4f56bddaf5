import type { Parser } from '../options.js'
import { expected } from '../options.js'

/** A number of bytes: a whole number, or text such as `'10 MB'`, `'512 KiB'`, `'100 Mbit'`. */
export type ByteSize = number | string

const units: Readonly<Record<string, number>> = {
  ...{ '': 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 },
  ...{ kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 },
  ...{ kbit: 125, mbit: 125e3, gbit: 125e6 },
}

const allowed = `a whole number of bytes from 1 to ${Number.MAX_SAFE_INTEGER}, or text such as '10 MB', '512 KiB' or '100 Mbit'`

/** Takes bytes as {@link ByteSize} has them; decimal units count in thousands, `KiB` and the like in 1024. */
export const byteSize: Parser<number> = {
  allowed,
  parse(value, option) {
    const bytes = typeof value === 'string' ? bytesOf(value) : value
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 1) throw expected(allowed, value, option)
    return bytes as number
  },
}

function bytesOf(text: string): number | undefined {
  const [, count, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? []
  const size = unit === undefined ? undefined : units[unit.toLowerCase()]
  if (count === undefined || size === undefined) return undefined
  // Binary fractions make 0.29 MB a little less than it is.
  const bytes = Number(count) * size
  return Math.abs(bytes - Math.round(bytes)) < 1e-6 ? Math.round(bytes) : bytes
}
