import { expected, integer, optional, parse, requiresOneOf, type Shape, string } from '../options.js'
import type { Lease, LeaseRequest, RateLimitStore } from '../rate-limit/rate-limit-store.js'
import { clientParser, RedisConnection, type RedisEvalClient } from './redis-connection.js'

/** Options of {@link RedisRateLimitStore}. One of `client` and `url`. */
export interface RedisRateLimitStoreOptions {
  /** A connected client of yours, best with `disableOfflineQueue`: what waits for a lost server is out of date. */
  client?: RedisEvalClient
  /** Connects by itself, with the package `redis`, e.g. `'redis://127.0.0.1:6379'`. */
  url?: string
  /** What the names of keys begin with. Default `'sluice:rate:'`. */
  keyPrefix?: string
  /** Least time between two attempts to connect, for `url`. Default 500. */
  reconnectMs?: number
}

const storeOptions = {
  client: optional(clientParser),
  url: optional(string()),
  keyPrefix: string({ maxLength: 200, default: 'sluice:rate:' }),
  reconnectMs: integer({ min: 1, max: 60_000, default: 500 }),
} satisfies Shape<RedisRateLimitStoreOptions>

/**
 * Lets groups of any number of machines share rate limits through Redis 5 and newer: one hash per budget, one script
 * per lease, by the server's clock. Needs the package `redis` where it is given a `url`.
 */
export class RedisRateLimitStore implements RateLimitStore, AsyncDisposable {
  private readonly keyPrefix: string
  private readonly connection: RedisConnection

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: RedisRateLimitStoreOptions) {
    const parsed = parse(storeOptions, options, [requiresOneOf('client', 'url')])
    if (parsed.client !== undefined && parsed.url !== undefined)
      throw expected('absent, with "client"', parsed.url, 'url')
    this.connection = new RedisConnection(parsed.client, parsed.url, parsed.reconnectMs)
    this.keyPrefix = parsed.keyPrefix
  }

  /** Renews the lease of a sharer. Rejects when Redis does not answer. */
  async lease(request: LeaseRequest): Promise<Lease> {
    const { name, sharer, rates, demand, sliceMs, forgetMs } = request
    const slices = 1000 / sliceMs
    const numbers = [
      ...[rates.readBytesPerSecond, rates.writeBytesPerSecond],
      ...[demand.readBytes * slices, demand.writeBytes * slices],
    ]
    const answer = await this.connection.eval(leaseScript, {
      keys: [this.keyPrefix + name],
      arguments: [sharer, String(forgetMs), ...numbers.map(encode)],
    })
    const [read, write, sharers] = (answer as [string, string, number]).map(decode)
    return { readBytes: read! / slices, writeBytes: write! / slices, sharers: sharers! }
  }

  /** Gives a sharer's part back to the others. */
  async release(name: string, sharer: string): Promise<void> {
    await this.connection.eval("return redis.call('HDEL', KEYS[1], ARGV[1])", {
      keys: [this.keyPrefix + name],
      arguments: [sharer],
    })
  }

  /** Closes the connection that it made by itself. */
  close(): Promise<void> {
    return this.connection.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

// Infinity is no number in Lua's text.
function encode(value: number): string {
  return value === Infinity ? '-1' : String(value)
}

function decode(value: string | number): number {
  const number = Number(value)
  return number === -1 ? Infinity : number
}

// The same as MemoryRateLimitStore. A hash of sharer → "demand read, demand written, part read, part written, seen".
const leaseScript = `
local function number(text)
  local value = tonumber(text)
  if value < 0 then return math.huge end
  return value
end
local function text(value)
  if value == math.huge then return '-1' end
  return string.format('%.17g', value)
end
local function fairPart(own, others, capacity)
  local demands = { own }
  for _, demand in ipairs(others) do demands[#demands + 1] = demand end
  table.sort(demands)
  local left = capacity
  for i, demand in ipairs(demands) do
    local level = left / (#demands - i + 1)
    if demand > level then return math.min(own, level) end
    left = left - demand
  end
  return own + left / #demands
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local forget = tonumber(ARGV[2])
local demands, taken, count = { {}, {} }, { 0, 0 }, 1
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local d1, d2, p1, p2, seen = string.match(all[i + 1], '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  if now - tonumber(seen) > forget then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    count = count + 1
    table.insert(demands[1], number(d1))
    table.insert(demands[2], number(d2))
    taken[1] = taken[1] + number(p1)
    taken[2] = taken[2] + number(p2)
  end
end
local parts = {}
for direction = 1, 2 do
  local capacity, own = number(ARGV[2 + direction]), number(ARGV[4 + direction])
  if capacity == math.huge then
    parts[direction] = capacity
  else
    parts[direction] = math.max(0, math.min(fairPart(own, demands[direction], capacity), capacity - taken[direction]))
  end
end
local entry = ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. text(parts[1]) .. ' ' .. text(parts[2]) .. ' ' .. string.format('%.0f', now)
redis.call('HSET', KEYS[1], ARGV[1], entry)
redis.call('PEXPIRE', KEYS[1], forget)
return { text(parts[1]), text(parts[2]), count }
`
