import type { UpstreamAdminState } from './options.js'

/** How one server of a pool stands. Times are milliseconds. */
export interface UpstreamServerStats {
  /** What it is called. */
  name: string
  /** Name, address or path. */
  address: string
  /** Port; undefined on Unix sockets. */
  port: number | undefined
  /** Whether it is well, as far as is known. */
  isUp: boolean
  /** Whether it may be used. */
  state: UpstreamAdminState
  /** Both of it, and its weight is above 0. */
  isUsable: boolean
  /** Used when no other is usable. */
  isBackup: boolean
  /** Its part of the load. */
  weight: number
  /** The same while it starts slowly. */
  effectiveWeight: number
  /** Connections in use. */
  used: number
  /** Connections being made. */
  connecting: number
  /** Connections kept for later. */
  idle: number
  /** Requests that wait for this server alone. */
  queued: number
  /** Most connections in use at once, now; undefined for no limit. */
  limit: number | undefined
  /** Most connections that were in use at once. */
  mostUsed: number
  /** The same in this round of the purge. */
  mostUsedLately: number
  /** Connections that are thought to be needed. */
  estimatedNeed: number
  /** Connections made. */
  opened: number
  /** Times that an idle one was used again. */
  reused: number
  /** Attempts that failed. */
  failed: number
  /** The same since the last that succeeded. */
  failedInRow: number
  /** Attempts here after a failed one here. */
  retried: number
  /** Requests that went to another server after a failed attempt here. */
  redispatched: number
  /** Idle connections closed because they were not needed. */
  purged: number
  /** Times that it went down. */
  downs: number
  /** Since it came up or went down. */
  sinceChangeMs: number
  /** Down altogether. */
  downtimeMs: number
  /** Of health checks; undefined without. */
  check: UpstreamCheckStats | undefined
}

/** How the health checks of a server went. */
export interface UpstreamCheckStats {
  /** Checks that succeeded. */
  good: number
  /** Checks that failed. */
  bad: number
  /** How many would have to fail to take it out, or to succeed to bring it back. */
  checksLeft: number
  /** Time until the next one; undefined while one is under way. */
  nextInMs: number | undefined
  /** The last one. */
  last: { isGood: boolean; text: string; agoMs: number; tookMs: number } | undefined
}

/** How a pool stands: its servers, and what has become of requests. */
export interface UpstreamPoolStats {
  /** One row per server, in the order they were given. */
  servers: UpstreamServerStats[]
  /** Connections in use. */
  used: number
  /** Connections being made. */
  connecting: number
  /** Connections kept for later. */
  idle: number
  /** Requests that wait for a place. */
  queued: number
  /** Most that waited at once. */
  mostQueued: number
  /** Requests that rest after a failed attempt. */
  resting: number
  /** Time until the first of these tries again; undefined when there is none. */
  nextAttemptInMs: number | undefined
  /** Requests so far. */
  requested: number
  /** Requests that got a connection. */
  established: number
  /** Requests that had to wait for a place. */
  waited: number
  /** Attempts after a failed one, at whatever server. */
  retries: number
  /** Requests that failed, by the code of their error. */
  failures: Record<string, number>
}
