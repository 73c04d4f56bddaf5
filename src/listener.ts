import { unlinkSync } from 'node:fs'
import type { Channel, ChannelListener } from './channel.js'
import { findRateLimitGroup } from './connection/limits.js'
import { begin } from './connection/opening.js'
import type { Connection } from './connection.js'
import { nativeError, SluiceError } from './errors.js'
import { type HandshakeOptions, handshakeOptions } from './handshake/handshake-plan.js'
import { isFailure, type NativeAddress, native } from './native/binding.js'
import {
  anything,
  boolean,
  excludes,
  integer,
  type OptionalParser,
  optional,
  parse,
  requires,
  requiresOneOf,
  type Shape,
  signal,
  string,
} from './options.js'
import { type ConnectionOptions, type ConnectionSettings, connectionOptions } from './settings.js'
import { type ShutdownOptions, shutdownOptions } from './shutdown.js'
import type { TlsContext } from './tls/context.js'
import type { TlsServerOptions } from './tls/options.js'
import type { SniPolicy } from './tls/sni-policy.js'

const maxLimit = 1_000_000_000
/** More than handshakes may take by default. */
const handshakeGraceMs = 60_000

/** Where to listen, and what the connections start with. Exactly one of `port`, `path` and `fd`. */
export interface ListenOptions extends ConnectionOptions, HandshakeOptions {
  /** Port to bind, 0 to 65 535. With 0 the system picks one; {@link Listener.address} tells which. */
  port?: number
  /** Address or name to bind. Default: all addresses, of IPv6 and IPv4 both where the machine has IPv6. */
  host?: string
  /** Path of a Unix socket; one that begins with NUL stands in Linux's abstract namespace. Removed on close. */
  path?: string
  /** A descriptor that listens already, e.g. from systemd; the listener owns it from now on. */
  fd?: number
  /** Connections the kernel may queue. Default 511, as in `node:net`; the system may have a lower bound.
   *  Source: listen(2), net.core.somaxconn. */
  backlog?: number
  /** Leaves IPv4 to others on an IPv6 address. Default false. Source: IPV6_V6ONLY, ipv6(7). */
  ipv6Only?: boolean
  /** Lets several sockets listen on one port, the kernel spreading connections; with I/O threads, each has its own.
   *  Default false. Source: SO_REUSEPORT, socket(7). */
  reusePort?: boolean
  /** Connections open at once. Further ones wait in the kernel's backlog. Default 0: no limit. Source: HP-71. */
  maxConnections?: number
  /** New connections per second, over a sliding second. Further ones wait. Default 0: no limit. Source: HP-71. */
  maxConnectionsPerSecond?: number
  /** Serves TLS: options, or a context or policy by name that several listeners may share. */
  tls?: TlsServerOptions | TlsContext | SniPolicy
  /** Closes the listener when it aborts. */
  signal?: AbortSignal
}

const limit = () => integer({ min: 0, max: maxLimit, default: 0 })

export const listenOptions = {
  ...connectionOptions,
  ...handshakeOptions,
  port: optional(integer({ min: 0, max: 65_535 })),
  host: optional(string()),
  path: optional(string({ abstract: true })),
  fd: optional(integer({ min: 0, max: 2_147_483_647 })),
  backlog: integer({ min: 1, max: 65_535, default: 511 }),
  ipv6Only: boolean({ default: false }),
  reusePort: boolean({ default: false }),
  maxConnections: limit(),
  maxConnectionsPerSecond: limit(),
  tls: anything() as OptionalParser<TlsServerOptions | TlsContext | SniPolicy | undefined>, // src/tls/setup.ts looks at it
  signal: optional(signal()),
} satisfies Shape<Omit<ListenOptions, 'handshake'>> & { handshake: unknown }

export const listenRules = [
  requiresOneOf('port', 'path', 'fd'),
  excludes('port', ['path', 'fd']),
  excludes('path', ['fd', 'host', 'ipv6Only', 'reusePort']),
  excludes('fd', ['host', 'ipv6Only', 'reusePort', 'backlog']),
  requires('handshakeTimeoutMs', 'handshake'),
]

/** Where a listener listens. */
export type ListenerAddress = NativeAddress

/** Counters of a listener. */
export interface ListenerStats {
  /** Connections open now. */
  connections: number
  /** Connections accepted so far. */
  accepted: number
  /** Times that accept failed, for example for want of descriptors. */
  acceptFailures: number
  /** TLS: handshakes that succeeded. */
  handshakesDone: number
  /** TLS: handshakes that failed, for whatever reason. */
  handshakesFailed: number
  /** TLS: handshakes under way. */
  handshakesUnderWay: number
  /** TLS: connections that wait for a handshake, because of `maxHandshakes` or `maxHandshakesPerSecond`. */
  handshakesWaiting: number
  /** Connections that did not get to their session because of a step of `handshake`, by reason, e.g. `PRX_TIMEOUT`; also
   *  those of monitors, `MONITOR_ANSWERED`, which do not count as accepted. */
  turnedAway: Readonly<Record<string, number>>
  /** `'waiting'`: a limit is reached; `'backingOff'`: accept failed, and is tried again within a second. */
  state: 'accepting' | 'waiting' | 'backingOff' | 'closed'
}

/** @internal Who gets connections that nobody reads yet. */
export interface ConnectionTaker {
  accepted(connection: Connection): void
  handshakeError(error: SluiceError): void
}

/**
 * Accepts connections; comes from {@link listen}. With handlers, they get them; without, `for await` does:
 * `for await (const connection of listener) …`.
 */
export class Listener implements ChannelListener, AsyncDisposable {
  /** @internal */ readonly settings: ConnectionSettings
  private readonly waiting: Connection[] = []
  private readonly takers: ((result: IteratorResult<Connection, undefined>) => void)[] = []
  private readonly idle: (() => void)[] = []
  private open = 0
  private state: 'open' | 'closing' | 'closed' = 'open'
  private referenced = true
  private stopping: Promise<void> | undefined
  private unwatch = () => {}
  private taker: ConnectionTaker | undefined
  private letsHandshakesFinish = false

  /** @internal */
  constructor(
    private readonly channels: readonly Channel[],
    private readonly key: number,
    /** Where it listens, with the port that the system picked. */
    readonly address: ListenerAddress,
    settings: ConnectionSettings,
    /** Its policy of TLS, e.g. to `reload()` it; undefined without TLS. */
    readonly tls: TlsContext | undefined,
    /** @internal The path to remove in the end. */ public unlinkPath: string | undefined,
    abort: AbortSignal | undefined,
    private readonly forget: (listener: Listener) => void,
  ) {
    this.settings = settings
    settings.gone = () => this.connectionGone()
    channels[0]!.hold()
    if (abort === undefined) return
    const close = () => void this.close()
    abort.addEventListener('abort', close, { once: true })
    this.unwatch = () => abort.removeEventListener('abort', close)
  }

  /** Connections open now. */
  get connections(): number {
    return this.open
  }

  /** @internal */
  accepted(connection: Connection): void {
    this.open++
    findRateLimitGroup(connection)
    const refused = this.settings.router?.begin(connection)
    if (refused !== undefined) {
      this.handshakeFailed(refused)
      connection.reset()
      return
    }
    begin(connection)
    if (this.settings.handlers !== undefined) return
    if (this.taker !== undefined) {
      this.taker.accepted(connection)
      return
    }
    const taker = this.takers.shift()
    if (taker === undefined) this.waiting.push(connection)
    else taker({ done: false, value: connection })
  }

  /** @internal One warning for a period of trouble; accepting goes on by itself. */
  failed(error: SluiceError): void {
    process.emitWarning(error)
  }

  /** @internal */
  get hearsFailures(): boolean {
    return this.settings.handlers?.handshakeError !== undefined || this.taker !== undefined
  }

  /** @internal One handshake failed; `handshakeError` wants to know, nobody else. */
  handshakeFailed(error: SluiceError): void {
    this.settings.handlers?.handshakeError?.(error)
    this.taker?.handshakeError(error)
  }

  /** @internal Connections go to `taker`, unread, in place of handlers and iterators. */
  giveTo(taker: ConnectionTaker): void {
    this.taker = taker
    for (const connection of this.waiting.splice(0)) taker.accepted(connection)
  }

  /** @internal Accepts no more, and still takes those whose handshakes are under way. */
  retire(): void {
    this.letsHandshakesFinish = true
    void this.stop()
  }

  /** @internal A second descriptor of its socket. @throws {SluiceError} e.g. `ERR_SLUICE_DESCRIPTOR_LIMIT`. */
  duplicateSocket(): number {
    const answer = native.duplicateFd(this.channels[0]!.native.listenerFd(this.key))
    if (isFailure(answer)) throw nativeError({ ...answer, phase: 'listen' })
    return answer
  }

  /** The connections that no handlers take, in order; ends when the listener closes. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Connection> {
    if (this.settings.handlers !== undefined) {
      throw new SluiceError('INVALID_ARGUMENT', { detail: 'the connections of this listener go to its handlers' })
    }
    const next = (): Promise<IteratorResult<Connection, undefined>> => {
      const value = this.waiting.shift()
      if (value !== undefined) return Promise.resolve({ done: false, value })
      if (this.state !== 'open') return Promise.resolve({ done: true, value: undefined })
      return new Promise((resolve) => this.takers.push(resolve))
    }
    const iterator: AsyncIterableIterator<Connection> = {
      next,
      // Who leaves the loop may begin another one.
      return: () => Promise.resolve({ done: true, value: undefined }),
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  /** Counters, summed over all I/O threads. */
  stats(): ListenerStats {
    const each = this.state === 'open' ? this.channels.map(({ native }) => native.listenerStats(this.key)) : []
    const sum = (key: Exclude<keyof ListenerStats, 'connections' | 'state' | 'turnedAway'>) =>
      each.reduce((total, stats) => total + stats[key], 0)
    const turnedAway: Record<string, number> = {}
    for (const stats of each) {
      for (const [reason, count] of Object.entries(stats.turnedAway)) {
        turnedAway[reason] = (turnedAway[reason] ?? 0) + count
      }
    }
    return {
      connections: this.open,
      turnedAway,
      accepted: sum('accepted'),
      acceptFailures: sum('acceptFailures'),
      handshakesDone: sum('handshakesDone'),
      handshakesFailed: sum('handshakesFailed'),
      handshakesUnderWay: sum('handshakesUnderWay'),
      handshakesWaiting: sum('handshakesWaiting'),
      state: each.find(({ state }) => state !== 'accepting')?.state ?? (this.state === 'open' ? 'accepting' : 'closed'),
    }
  }

  /** Accepts no more, lets open connections finish, then ends them. Resolves when all are gone. */
  async close(options?: ShutdownOptions): Promise<void> {
    const { timeoutMs } = parse(shutdownOptions, options)
    await this.stop()
    if (this.open === 0) return
    let cancel = () => {}
    if (timeoutMs > 0) {
      cancel = this.channels[0]!.after(timeoutMs, () =>
        this.destroyConnections(new SluiceError('CLOSE_TIMEOUT', { phase: 'close' })),
      )
    }
    await new Promise<void>((resolve) => this.idle.push(resolve))
    cancel()
  }

  /** Ends it now, its connections too. `error` is what their handlers get. */
  async destroy(error?: SluiceError): Promise<void> {
    const stopped = this.stop()
    this.destroyConnections(error)
    await stopped
    if (this.open === 0) return
    this.destroyConnections(error)
    await new Promise<void>((resolve) => this.idle.push(resolve))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Lets the event loop stay alive for this listener, as it does by default. */
  ref(): this {
    if (!this.referenced && this.state === 'open') this.channels[0]!.hold()
    this.referenced = true
    return this
  }

  /** Lets the event loop end although this listener is open. */
  unref(): this {
    if (this.referenced && this.state === 'open') this.channels[0]!.drop()
    this.referenced = false
    return this
  }

  // Resolves when everything accepted by then has been told of.
  private stop(): Promise<void> {
    this.stopping ??= this.stopAccepting()
    return this.stopping
  }

  private async stopAccepting(): Promise<void> {
    this.state = 'closing'
    this.unwatch()
    for (const channel of this.channels) channel.native.closeListener(this.key)
    if (this.unlinkPath !== undefined) removeSocket(this.unlinkPath)
    if (this.referenced) this.channels[0]!.drop()
    await Promise.all(this.channels.map((channel) => channel.fence()))
    this.state = 'closed'
    const forgetKey = () => {
      for (const channel of this.channels) channel.listeners.delete(this.key)
    }
    // Whoever has been accepted and is not through its handshake yet is still served.
    if (this.letsHandshakesFinish) setTimeout(forgetKey, handshakeGraceMs).unref()
    else forgetKey()
    for (const taker of this.takers.splice(0)) taker({ done: true, value: undefined })
    this.forget(this)
  }

  private destroyConnections(error: SluiceError | undefined): void {
    for (const channel of this.channels) {
      for (const connection of channel.openConnections) {
        if ((connection.settings.base ?? connection.settings) === this.settings) connection.destroy(error)
      }
    }
  }

  private connectionGone(): void {
    if (--this.open === 0) for (const resolve of this.idle.splice(0)) resolve()
  }
}

// Gone already, or somebody else's by now: either way nothing is left to do.
function removeSocket(path: string): void {
  try {
    unlinkSync(path)
  } catch {}
}
