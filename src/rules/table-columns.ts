import type { NativeColumn, NativeStoredColumn } from '../native/binding.js'
import {
  boolean,
  expected,
  integer,
  nested,
  type OptionalParser,
  optional,
  type Parser,
  parse,
  type Shape,
} from '../options.js'

/** A rate: events within the last period. */
export interface TableRate {
  /** Length of the sliding window, 1 to 1 073 741 824 ms. */
  periodMs: number
}

/** What a table counts for each key; nothing else. Counts have 32 bits and wrap, but for bytes, which have 64. Source:
 *  HP-58. */
export interface TableStore {
  /** Connections that were tracked. `conn_cnt` */
  connCount?: boolean
  /** Connections that are tracked now. `conn_cur` */
  connCurrent?: boolean
  /** Connections per period. `conn_rate` */
  connRate?: TableRate
  /** Connections that got to their session, all handshakes done. `sess_cnt` */
  sessionCount?: boolean
  /** Sessions per period. `sess_rate` */
  sessionRate?: TableRate
  /** Bytes received. `bytes_in_cnt` */
  bytesInCount?: boolean
  /** Bytes received per period. `bytes_in_rate` */
  bytesInRate?: TableRate
  /** Bytes sent. `bytes_out_cnt` */
  bytesOutCount?: boolean
  /** Bytes sent per period. `bytes_out_rate` */
  bytesOutRate?: TableRate
  /** Handshakes that failed, and whatever else you count as such. `glitch_cnt` */
  glitchCount?: boolean
  /** Glitches per period. `glitch_rate` */
  glitchRate?: TableRate
  /** Counters of your own: how many, up to 100. `gpc` */
  gpc?: number
  /** Rates of your own: how many, and their period. `gpc_rate` */
  gpcRate?: TableRate & {
    /** Up to 100. Default 1. */
    count?: number
  }
  /** Tags of your own, numbers of 32 bits: how many, up to 100. `gpt` */
  gpt?: number
}

/** Name of a counter. */
export type TableCounter = keyof TableStore

/** Values of an entry, of what its table stores; those of your own in a list. */
export type TableCounters = {
  -readonly [K in TableCounter]?: K extends 'gpc' | 'gpcRate' | 'gpt' ? number[] : number
}

/** What native code calls them, which is HAProxy's name. */
export const columnNames: Readonly<Record<TableCounter, string>> = {
  connCount: 'conn_cnt',
  connCurrent: 'conn_cur',
  connRate: 'conn_rate',
  sessionCount: 'sess_cnt',
  sessionRate: 'sess_rate',
  bytesInCount: 'bytes_in_cnt',
  bytesInRate: 'bytes_in_rate',
  bytesOutCount: 'bytes_out_cnt',
  bytesOutRate: 'bytes_out_rate',
  glitchCount: 'glitch_cnt',
  glitchRate: 'glitch_rate',
  gpc: 'gpc',
  gpcRate: 'gpc_rate',
  gpt: 'gpt',
}
export const counterNames = Object.keys(columnNames) as TableCounter[]

const arrays: ReadonlySet<string> = new Set<TableCounter>(['gpc', 'gpcRate', 'gpt'])
const byColumnName = new Map(counterNames.map((name) => [columnNames[name], name]))

const periodMs = integer({ min: 1, max: 1 << 30 })
const flag: OptionalParser<boolean> = boolean({ default: false })
const rate = optional(nested({ periodMs }))
const array = integer({ min: 0, max: 100, default: 0 })

const storeShape = {
  connCount: flag,
  connCurrent: flag,
  connRate: rate,
  sessionCount: flag,
  sessionRate: rate,
  bytesInCount: flag,
  bytesInRate: rate,
  bytesOutCount: flag,
  bytesOutRate: rate,
  glitchCount: flag,
  glitchRate: rate,
  gpc: array,
  gpcRate: optional(nested({ periodMs, count: integer({ min: 1, max: 100, default: 1 }) })),
  gpt: array,
} satisfies Shape<TableStore>

/** A table's `store`, as native code takes it. At least one counter. */
export const storeParser: Parser<NativeStoredColumn[]> = {
  allowed: 'an object of counters, e.g. { connCurrent: true, connRate: { periodMs: 10_000 } }',
  parse(value, option) {
    if (value === undefined || value === null) throw expected(this.allowed, value, option)
    const parsed = parse(storeShape, value, [], option)
    const columns = counterNames.flatMap((name) => {
      const wanted: boolean | number | { periodMs: number; count?: number } | undefined = parsed[name]
      if (wanted === undefined || wanted === false || wanted === 0) return []
      const data = columnNames[name]
      if (typeof wanted === 'object') return [{ data, count: wanted.count ?? 1, periodMs: wanted.periodMs }]
      return [{ data, count: Number(wanted), periodMs: 0 }]
    })
    if (columns.length === 0) throw expected(this.allowed, value, option)
    return columns
  },
}

/** Puts a row's values under their names. */
export function countersOf(columns: readonly NativeColumn[], values: readonly number[]): TableCounters {
  const counters: Record<string, number | number[]> = {}
  for (const [i, { data }] of columns.entries()) {
    const name = byColumnName.get(data)!
    const value = values[i]!
    if (!arrays.has(name)) counters[name] = value
    else if (Array.isArray(counters[name])) counters[name].push(value)
    else counters[name] = [value]
  }
  return counters as TableCounters
}

/** Columns with values, from counters that somebody gives. `columns` are those of the table. */
export function changesOf(
  columns: readonly NativeColumn[],
  counters: unknown,
  option: string,
): (NativeColumn & { value: number })[] {
  const known = new Map<string, number>()
  for (const { data } of columns) {
    const name = byColumnName.get(data)!
    if (name !== 'connCurrent') known.set(name, (known.get(name) ?? 0) + 1)
  }
  if (typeof counters !== 'object' || counters === null) throw expected('an object of counters', counters, option)
  return Object.entries(counters).flatMap(([name, value]) => {
    if (value === undefined) return []
    const count = known.get(name)
    const within = option === '' ? name : `${option}.${name}`
    if (count === undefined)
      throw expected(
        `absent: the table stores ${[...known.keys()].join(', ') || 'nothing that can be set'}`,
        value,
        within,
      )
    const data = columnNames[name as TableCounter]
    const number = integer({ min: 0, max: /^bytes.*Count$/.test(name) ? Number.MAX_SAFE_INTEGER : 0xffffffff })
    if (!arrays.has(name)) return [{ data, index: 0, value: number.parse(value, within) }]
    if (!Array.isArray(value) || value.length > count)
      throw expected(`a list of at most ${count} numbers`, value, within)
    return value.flatMap((item, index) =>
      item === undefined ? [] : [{ data, index, value: number.parse(item, `${within}[${index}]`) }],
    )
  })
}
