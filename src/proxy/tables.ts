import { isDeepStrictEqual } from 'node:util'
import { expected, integer, milliseconds, optional, parse, string } from '../options.js'
import { StickTable, type StickTableOptions } from '../rules/stick-table.js'
import { inside } from './openings.js'

/** How a table exchanges with those of the same name, through the Redis of the configuration. */
export interface ExchangePlan {
  readonly name: string
  readonly everyMs: number
  readonly timeoutMs: number
}

/** A table, and what it was made of. */
export interface TablePlan {
  readonly table: StickTable
  readonly exchange: ExchangePlan | undefined
  readonly source: unknown
}

/** The Redis in which tables meet. */
export interface RedisPlan {
  readonly url: string
  readonly keyPrefix: string
  readonly reconnectMs: number
  readonly maxChanges: number
}

const redisShape = {
  url: string(),
  keyPrefix: string({ maxLength: 200, default: 'sluice:table:' }),
  reconnectMs: integer({ min: 1, max: 60_000, default: 500 }),
  maxChanges: integer({ min: 100, max: 10_000_000, default: 10_000 }),
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also where the package `redis` is not there. */
export function redisOf(input: unknown): RedisPlan | undefined {
  if (input === undefined) return undefined
  const given = typeof input === 'string' ? { url: input } : input
  const plan = parse(redisShape, given, [], 'redis')
  const option = typeof input === 'string' ? 'redis' : 'redis.url'
  if (!URL.canParse(plan.url) || !/^rediss?:$/.test(new URL(plan.url).protocol))
    throw expected('an address such as redis://127.0.0.1:6379', hidden(plan.url), option)
  try {
    require.resolve('redis')
  } catch {
    throw expected('absent as long as the package `redis` is not installed', hidden(plan.url), option)
  }
  return plan
}

// What may hold a password is not told to a log.
function hidden(url: string): string {
  return url.replace(/\/\/.*@/, '//…@')
}

const exchangeShape = {
  name: optional(string({ maxLength: 200 })),
  everyMs: milliseconds({ min: 10, max: 60_000, default: 200 }),
  timeoutMs: milliseconds({ min: 1, default: 1000 }),
}

/** Checks the tables; those whose options have not changed stay. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function tablesOf(
  input: unknown,
  redis: RedisPlan | undefined,
  former: ReadonlyMap<string, TablePlan> | undefined,
): Map<string, TablePlan> {
  if (input === undefined) return new Map()
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw expected('an object of tables by name', input, 'tables')
  return new Map(Object.entries(input).map(([name, options]) => [name, tablePlan(name, options, redis, former)]))
}

function tablePlan(
  name: string,
  input: unknown,
  redis: RedisPlan | undefined,
  former: ReadonlyMap<string, TablePlan> | undefined,
): TablePlan {
  const within = `tables.${name}`
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw expected('options of a table', input, within)
  const { exchange: choice, ...options } = input as { exchange?: unknown } & StickTableOptions
  const exchange = exchangeOf(choice, name, redis, `${within}.exchange`)
  const source = { options, exchange, redis: exchange && redis }
  const known = former?.get(name)
  if (known !== undefined && isDeepStrictEqual(known.source, source)) return known
  return { table: inside(within, () => new StickTable(options)), exchange, source }
}

function exchangeOf(
  input: unknown,
  table: string,
  redis: RedisPlan | undefined,
  option: string,
): ExchangePlan | undefined {
  if (input === undefined) return undefined
  if (input === false) return undefined
  if (input !== true && (typeof input !== 'object' || input === null || Array.isArray(input)))
    throw expected('true, false, or { name, everyMs, timeoutMs }', input, option)
  if (redis === undefined) throw expected('absent without "redis", where tables meet', input, option)
  const { name, everyMs, timeoutMs } = parse(exchangeShape, input === true ? {} : input, [], option)
  return { name: name ?? table, everyMs, timeoutMs }
}
