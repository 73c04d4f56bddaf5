import { expected, integer, optional, parse, requiresOneOf, type Shape, string } from '../options.js'
import type { PeerAnswer, PeerExchange, StickTablePeers } from '../rules/stick-table-peers.js'
import { clientParser, RedisConnection, type RedisEvalClient } from './redis-connection.js'

/** Options of {@link RedisStickTablePeers}. One of `client` and `url`. */
export interface RedisStickTablePeersOptions {
  /** A connected client of yours, best with `disableOfflineQueue`: what waits for a lost server is out of date. */
  client?: RedisEvalClient
  /** Connects by itself, with the package `redis`, e.g. `'redis://127.0.0.1:6379'`. */
  url?: string
  /** What the names of keys begin with. Default `'sluice:table:'`. */
  keyPrefix?: string
  /** Least time between two attempts to connect, for `url`. Default 500. */
  reconnectMs?: number
  /** Changes that the log of a table holds at most: what a machine that was away may have missed. Default 10 000, about an
   *  hour of three machines that exchange every second. */
  maxChanges?: number
}

const peersOptions = {
  client: optional(clientParser),
  url: optional(string()),
  keyPrefix: string({ maxLength: 200, default: 'sluice:table:' }),
  reconnectMs: integer({ min: 1, max: 60_000, default: 500 }),
  maxChanges: integer({ min: 100, max: 10_000_000, default: 10_000 }),
} satisfies Shape<RedisStickTablePeersOptions>

const perAnswer = 100

/**
 * Lets stick tables of any number of machines exchange through Redis 5 and newer: one stream per table, one script per
 * exchange, by the server's clock. Needs the package `redis` where it is given a `url`.
 */
export class RedisStickTablePeers implements StickTablePeers, AsyncDisposable {
  private readonly keyPrefix: string
  private readonly maxChanges: number
  private readonly connection: RedisConnection

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: RedisStickTablePeersOptions) {
    const parsed = parse(peersOptions, options, [requiresOneOf('client', 'url')])
    if (parsed.client !== undefined && parsed.url !== undefined)
      throw expected('absent, with "client"', parsed.url, 'url')
    this.connection = new RedisConnection(parsed.client, parsed.url, parsed.reconnectMs)
    this.keyPrefix = parsed.keyPrefix
    this.maxChanges = parsed.maxChanges
  }

  /** Adds changes and answers those of the others. Rejects when Redis does not answer. */
  async exchange(request: PeerExchange): Promise<PeerAnswer> {
    const { table, node, sequence, changes, ageMs, since, keepMs } = request
    const numbers = [sequence, Math.round(ageMs), keepMs === Infinity ? 0 : keepMs, this.maxChanges, perAnswer]
    const answer = await this.connection.eval(exchangeScript, {
      keys: [this.keyPrefix + table],
      arguments: [node, Buffer.from(changes).toString('base64'), since ?? '', ...numbers.map(String)],
    })
    const [cursor, more, others] = answer as [string, number, [string, string, string, string][]]
    return {
      cursor,
      more: more === 1,
      changes: others.map(([node, sequence, ageMs, text]) => {
        return { node, sequence: Number(sequence), ageMs: Number(ageMs), changes: Buffer.from(text, 'base64') }
      }),
    }
  }

  /** Closes the connection that it made by itself. */
  close(): Promise<void> {
    return this.connection.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

// A stream whose entries are: n node, s sequence, a age in ms when it came, c changes in base64. Ids are the server's time.
const exchangeScript = `
local node, changes, since = ARGV[1], ARGV[2], ARGV[3]
local keep, most, count = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first = '-'
if keep > 0 then first = string.format('%.0f', math.max(0, now - keep)) .. '-0' end
local ms, sequence = string.match(since, '^(%d+)-(%d+)$')
if ms then first = ms .. '-' .. string.format('%.0f', sequence + 1) end
if changes ~= '' then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', most, '*', 'n', node, 's', ARGV[4], 'a', ARGV[5], 'c', changes)
  if keep > 0 then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', keep)) end
end
local entries = redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', count)
local cursor, others = since, {}
for i = 1, #entries do
  cursor = entries[i][1]
  local fields = {}
  for f = 1, #entries[i][2], 2 do fields[entries[i][2][f]] = entries[i][2][f + 1] end
  local age = now - tonumber(string.match(cursor, '^%d+')) + tonumber(fields.a)
  if fields.n ~= node and (keep == 0 or age < keep) then
    others[#others + 1] = { fields.n, fields.s, string.format('%.0f', math.max(0, age)), fields.c }
  end
end
local more = 0
if #entries == count then more = 1 end
return { cursor, more, others }
`
