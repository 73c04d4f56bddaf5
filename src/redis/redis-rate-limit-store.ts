import { expected, integer, optional, type Parser, parse, requiresOneOf, type Shape, string } from '../options.js'
import type { Lease, LeaseRequest, RateLimitStore } from '../rate-limit/rate-limit-store.js'

/** What is used of a client of the package `redis`, version 4 and newer. */
export interface RedisEvalClient {
  /** Runs a script in the server. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

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

const clientParser: Parser<RedisEvalClient> = {
  allowed: 'a client of the package redis',
  parse(value, option) {
    if (typeof (value as RedisEvalClient | null)?.eval !== 'function') throw expected(this.allowed, value, option)
    return value as RedisEvalClient
  },
}

const storeOptions = {
  client: optional(clientParser),
  url: optional(string()),
  keyPrefix: string({ maxLength: 200, default: 'sluice:rate:' }),
  reconnectMs: integer({ min: 1, max: 60_000, default: 500 }),
} satisfies Shape<RedisRateLimitStoreOptions>

interface OwnClient extends RedisEvalClient {
  connect(): Promise<unknown>
  destroy?(): void
  disconnect?(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/**
 * Lets groups of any number of machines share rate limits through Redis 5 and newer: one hash per budget, one script
 * per lease, by the server's clock. Needs the package `redis` where it is given a `url`.
 */
export class RedisRateLimitStore implements RateLimitStore, AsyncDisposable {
  private readonly keyPrefix: string
  private readonly url: string | undefined
  private readonly reconnectMs: number
  private client: RedisEvalClient | undefined
  private connecting: Promise<RedisEvalClient> | undefined
  private own: OwnClient | undefined
  private closed = false

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: RedisRateLimitStoreOptions) {
    const parsed = parse(storeOptions, options, [requiresOneOf('client', 'url')])
    if (parsed.client !== undefined && parsed.url !== undefined)
      throw expected('absent, with "client"', parsed.url, 'url')
    this.client = parsed.client
    this.url = parsed.url
    this.keyPrefix = parsed.keyPrefix
    this.reconnectMs = parsed.reconnectMs
  }

  /** Renews the lease of a sharer. Rejects when Redis does not answer. */
  async lease(request: LeaseRequest): Promise<Lease> {
    const { name, sharer, rates, demand, sliceMs, forgetMs } = request
    const slices = 1000 / sliceMs
    const numbers = [
      ...[rates.readBytesPerSecond, rates.writeBytesPerSecond],
      ...[demand.readBytes * slices, demand.writeBytes * slices],
    ]
    const client = this.client ?? (await this.connect())
    const answer = await client.eval(leaseScript, {
      keys: [this.keyPrefix + name],
      arguments: [sharer, String(forgetMs), ...numbers.map(encode)],
    })
    const [read, write, sharers] = (answer as [string, string, number]).map(decode)
    return { readBytes: read! / slices, writeBytes: write! / slices, sharers: sharers! }
  }

  /** Gives a sharer's part back to the others. */
  async release(name: string, sharer: string): Promise<void> {
    const client = this.client ?? (await this.connect())
    await client.eval("return redis.call('HDEL', KEYS[1], ARGV[1])", {
      keys: [this.keyPrefix + name],
      arguments: [sharer],
    })
  }

  /** Closes the connection that it made by itself. */
  async close(): Promise<void> {
    this.closed = true
    const { own } = this
    this.own = this.client = undefined
    if (own?.destroy !== undefined) own.destroy()
    else await own?.disconnect?.()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // One attempt at a time; whoever asks meanwhile waits for it.
  private connect(): Promise<RedisEvalClient> {
    this.connecting ??= this.open().finally(() => {
      this.connecting = undefined
    })
    return this.connecting
  }

  private async open(): Promise<RedisEvalClient> {
    if (this.closed) throw new Error('the store is closed')
    if (this.own === undefined) {
      const { createClient } = await import('redis')
      const socket = { reconnectStrategy: () => this.reconnectMs, connectTimeout: 5000 }
      this.own = createClient({ url: this.url, socket, disableOfflineQueue: true }) as unknown as OwnClient
      // Each failed lease tells what is wrong; an event without a listener would end the process.
      this.own.on('error', () => {})
      const { own } = this
      // It resolves when the first attempt succeeds, however late: leases before that fail, and say so.
      own.connect().catch(() => {})
      this.client = own
    }
    return this.own
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
