import type { Connection } from '../connection.js'
import { parse } from '../options.js'
import { ConnectionRates, type OwnRates } from '../rate-limit/connection-rates.js'
import { KeyedRateLimitGroups } from '../rate-limit/keyed-rate-limit-groups.js'
import { type RateLimit, rateLimitParser } from '../rate-limit/rate-limit.js'
import { groupParser, type RateLimitGroup } from '../rate-limit/rate-limit-group.js'
import {
  type ConnectionTimeouts,
  checkSizes,
  connectionTimeouts,
  type OperationBounds,
  operationBounds,
  type WriteWaterMarks,
  writeWaterMarks,
} from '../settings.js'
import { extrasOf, knownExtras } from './state.js'

// How much, how fast and how long: the marks of writing, bounds, and rates.

/** As of {@link Connection.setWriteWaterMarks}. */
export function setWriteWaterMarks(connection: Connection, marks: WriteWaterMarks): void {
  const given = Object.entries(parse(writeWaterMarks, marks)).filter(([, value]) => value !== undefined)
  const settings = { ...connection.settings, ...Object.fromEntries(given) }
  // Those of reading are set elsewhere.
  checkSizes({ ...settings, readLowWaterBytes: 0 })
  connection.settings = settings
  connection.channel.native.setLowWater(connection.slot, connection.tag, settings.lowWaterBytes)
}

/** As of {@link Connection.setOperationBounds}. */
export function setOperationBounds({ channel, slot, tag }: Connection, bounds: OperationBounds): void {
  const { maxReadBytes, maxWriteBytes } = parse(operationBounds, bounds)
  channel.native.setOperationBounds(slot, tag, maxReadBytes, maxWriteBytes)
}

/** As of {@link Connection.setTimeouts}. */
export function setTimeouts({ channel, slot, tag }: Connection, bounds: ConnectionTimeouts): void {
  const { readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs } = parse(connectionTimeouts, bounds)
  channel.native.setTimeouts(slot, tag, readTimeoutMs, writeTimeoutMs, halfClosedTimeoutMs)
}

/** As of {@link Connection.setRateLimit}. */
export function setRateLimit(connection: Connection, limit: RateLimit | undefined): void {
  const checked = limit === undefined ? undefined : rateLimitParser.parse(limit, 'limit')
  extrasOf(connection).rates = { ...ownRates(connection), limit: checked }
  connection.channel.native.setRateLimit(connection.slot, connection.tag, checked?.native)
}

/** As of {@link Connection.setRateLimitGroup}. */
export function setRateLimitGroup(connection: Connection, group: RateLimitGroup | undefined): void {
  const checked = group === undefined ? undefined : groupParser.parse(group, 'group')
  checked?.useClock(connection.channel)
  extrasOf(connection).rates = { ...ownRates(connection), group: checked }
  connection.channel.native.setRateGroup(connection.slot, connection.tag, checked?.handle)
}

/** As of {@link Connection.rates}. */
export function ratesOf(connection: Connection): ConnectionRates {
  const { limit, group } = ownRates(connection)
  return new ConnectionRates(connection, limit, group)
}

/** Its group by what the user's function says of it. */
export function findRateLimitGroup(connection: Connection): void {
  const groups = connection.settings.rateLimitGroup
  if (!(groups instanceof KeyedRateLimitGroups) || groups.groupBy === 'remoteAddress') return
  setRateLimitGroup(connection, groups.group(groups.groupBy(connection)))
}

function ownRates(connection: Connection): OwnRates {
  const { rateLimit, rateLimitGroup } = connection.settings
  const given = rateLimitGroup instanceof KeyedRateLimitGroups ? undefined : rateLimitGroup
  return knownExtras(connection)?.rates ?? { limit: rateLimit, group: given }
}
