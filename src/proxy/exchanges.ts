import { isDeepStrictEqual } from 'node:util'
import { RedisStickTablePeers } from '../redis/redis-stick-table-peers.js'
import type { RedisPlan, TablePlan } from './tables.js'

/** What of a plan is about tables. */
export interface TablesPlan {
  readonly tables: ReadonlyMap<string, TablePlan>
  readonly redis: RedisPlan | undefined
}

/** The tables of a proxy that exchange with those of others, for as long as their plan is in force. */
export class Exchanges {
  private peers: RedisStickTablePeers | undefined
  private now: TablesPlan = { tables: new Map(), redis: undefined }

  /** Begins what is new in a plan, and ends what is no longer in it. */
  put(plan: TablesPlan): void {
    const former = this.now
    const staying = new Set([...plan.tables.values()].map(({ table }) => table))
    for (const { table } of former.tables.values()) if (!staying.has(table)) table.close()
    const known = new Set([...former.tables.values()].map(({ table }) => table))
    const old = this.peers
    if (!isDeepStrictEqual(plan.redis, former.redis)) this.peers = undefined
    for (const { table, exchange } of plan.tables.values()) {
      if (exchange === undefined || known.has(table)) continue
      this.peers ??= new RedisStickTablePeers(plan.redis!)
      table.exchangeBy({ ...exchange, peers: this.peers })
    }
    // Whoever exchanged through it is closed by now: the Redis is part of what a table is made of.
    if (old !== this.peers) void old?.close()
    this.now = plan
  }

  /** Ends all of it now. */
  cut(): void {
    for (const { table } of this.now.tables.values()) table.close()
    void this.peers?.close()
    this.peers = undefined
    this.now = { tables: new Map(), redis: undefined }
  }

  /** Tells the others what they have not heard of yet, and ends all of it. */
  async close(): Promise<void> {
    const { tables } = this.now
    const telling = [...tables.values()].filter(({ exchange }) => exchange !== undefined)
    await Promise.all(telling.map(({ table }) => table.flushExchange()))
    this.cut()
  }
}
