/** What bounds the connections to a server. */
export interface LimitRules {
  /** Bound at full load; Infinity for none. */
  readonly maxConnections: number
  /** Bound at no load; the same as `maxConnections` where it does not vary. */
  readonly minConnections: number
  /** Load of the whole pool at which the full bound holds; Infinity: it holds always. */
  readonly fullConnections: number
}

/**
 * How many connections a server may have now: from its least up to its most, in proportion to what the whole pool has to
 * do, so that a little load stays on few connections and a server is not pushed to its limit before there is need. While it
 * starts slowly, a part of that. Source: HP-76.
 *
 * @param poolLoad requests of all servers of the pool, waiting or in use.
 * @param startRatio 1, or below while the server starts slowly.
 */
export function dynamicLimit(rules: LimitRules, poolLoad: number, startRatio: number): number {
  const { maxConnections, minConnections, fullConnections } = rules
  if (maxConnections === Infinity) return Infinity
  const isFull = fullConnections === Infinity || poolLoad >= fullConnections
  const scaled = isFull
    ? maxConnections
    : Math.max(minConnections, Math.floor((poolLoad * maxConnections) / fullConnections))
  return startRatio >= 1 ? scaled : Math.max(1, Math.floor(scaled * startRatio))
}
