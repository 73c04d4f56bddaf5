import { watchBy } from '../connection/reading.js'
import type { Connection } from '../connection.js'
import { asSluiceError, SluiceError } from '../errors.js'
import { type Relay, type RelayError, relay } from '../relay.js'
import type { AcquireOptions } from '../upstream/options.js'
import type { UpstreamPool } from '../upstream/pool.js'
import { clientOf, facesOf, prefaceFor } from './openings.js'
import type { ListenerPlan, RoutePlan, UpstreamPlan } from './plan.js'

/** An upstream at work. */
export interface Upstream {
  readonly plan: UpstreamPlan
  readonly pool: UpstreamPool
}

/** How a session has gone, for the log and for counting. */
export interface SessionEnd {
  readonly session: Session
  /** `'ended'` in good order; `'closed'` by us; else a code. */
  readonly outcome: string
  /** `'client'`, `'server'` or `'proxy'`: whose fault it was. */
  readonly side: 'client' | 'server' | 'proxy' | undefined
  readonly error: SluiceError | undefined
}

/** One client, from its connection until both sides are gone. */
export class Session {
  readonly beganMs: number
  /** The upstream's name, once one is chosen. */
  upstream: string | undefined
  /** The server's name, once there is a connection to it. */
  server: string | undefined
  /** When the connection to the server was there. */
  joinedMs: number | undefined
  private joined: Relay | undefined
  private readonly controller = new AbortController()
  private known: readonly [number, number] = [0, 0]

  constructor(
    readonly client: Connection,
    readonly from: { address: string | undefined; port: number | undefined },
    readonly nowMs: () => number,
  ) {
    this.beganMs = nowMs()
  }

  /** Bytes from the client, and to it. */
  get bytes(): readonly [number, number] {
    return this.joined?.bytes ?? this.known
  }

  /** Finds a server and joins both sides; resolves when it is over. Never rejects. */
  async run(plan: ListenerPlan, upstreams: ReadonlyMap<string, Upstream>): Promise<SessionEnd> {
    const { client } = this
    watchBy(client, quiet)
    client.whenClosed((error) => this.controller.abort(error))
    const upstream = upstreamOf(plan, upstreams, client, this.from.address)
    if (upstream === undefined) {
      client.reset()
      return this.end('refused', 'proxy', undefined)
    }
    this.upstream = upstream.plan.name
    try {
      const lease = await upstream.pool.acquire(this.wish(upstream))
      this.server = lease.server
      this.joinedMs = this.nowMs()
      try {
        this.joined = relay(client, lease.connection, plan.relay)
      } catch (error) {
        lease.connection.destroy()
        throw error
      }
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SYSTEM')
      const isClients = this.controller.signal.aborted
      // Nothing was served: RST tells that better than an end that looks complete.
      client.reset()
      return this.end(error.code, isClients ? 'client' : 'server', error)
    }
    const outcome = await this.joined.done.then(
      ({ reason }) => this.end(reason, undefined, undefined),
      (error: RelayError) => {
        const cause = error.cause instanceof SluiceError ? error.cause : error
        const side = error.side === undefined ? 'proxy' : error.side === 'a' ? 'client' : 'server'
        return this.end(cause.code, side, cause)
      },
    )
    return outcome
  }

  /** Ends it in good order, or at once where nothing has been joined yet. */
  destroy(error?: SluiceError): void {
    if (this.joined !== undefined) this.joined.destroy(error)
    else this.client.destroy(error)
  }

  private wish({ plan }: Upstream): AcquireOptions {
    const { client } = this
    const key = plan.hashBy === 'serverName' ? facesOf(client).serverName : this.from.address
    return {
      ...{ key: key || undefined, beside: client, signal: this.controller.signal },
      preface: prefaceFor(plan.sendProxy, client),
    }
  }

  private end(outcome: string, side: SessionEnd['side'], error: SluiceError | undefined): SessionEnd {
    this.known = this.bytes
    this.joined = undefined
    return { session: this, outcome, side, error }
  }
}

/** Whom a listener takes in. */
export function sessionOf(client: Connection, nowMs: () => number): Session {
  return new Session(client, clientOf(client), nowMs)
}

function upstreamOf(
  plan: ListenerPlan,
  upstreams: ReadonlyMap<string, Upstream>,
  client: Connection,
  address: string | undefined,
): Upstream | undefined {
  const to =
    plan.routes.length === 0 ? plan.to : (plan.routes.find((route) => fits(route, client, address))?.to ?? plan.to)
  return to === undefined ? undefined : upstreams.get(to)
}

function fits(route: RoutePlan, client: Connection, address: string | undefined): boolean {
  const { serverName, alpn, tls } = facesOf(client)
  if (route.tls !== undefined && route.tls !== tls) return false
  if (route.from !== undefined && (address === undefined || !route.from.has(address))) return false
  if (route.alpn !== undefined && !alpn.some((name) => route.alpn!.includes(name))) return false
  return route.serverNames === undefined || route.serverNames.some((pattern) => matches(pattern, serverName))
}

// `*.` stands for one label, as in certificates. Source: HP-86.
function matches(pattern: string, name: string | undefined): boolean {
  if (name === undefined) return false
  const lower = name.toLowerCase()
  if (!pattern.startsWith('*.')) return lower === pattern
  const dot = lower.indexOf('.')
  return dot > 0 && lower.slice(dot) === pattern.slice(1)
}

const quiet = { error() {}, close() {} }
