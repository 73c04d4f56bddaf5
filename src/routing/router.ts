import { redeliver, useSettings } from '../connection/reading.js'
import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { ConnectionHandlers } from '../handlers.js'
import { collecting } from '../input.js'
import { expected } from '../options.js'
import type { ConnectionSettings } from '../settings.js'
import type { TlsContext } from '../tls/context.js'
import { entryOf } from '../tls/sni-entries.js'
import { SniPolicy } from '../tls/sni-policy.js'
import { Routes, type RouteTarget } from './routes.js'

/** Who gets the connections of a listener that has routes, or names with handlers of their own. */
export class Router {
  private readonly known = new Map<ConnectionHandlers<never>, ConnectionSettings>()
  private readonly waiting = new WeakMap<Routes, ConnectionHandlers<never>>()

  /** `byName` tells the target that the connection's name has of its own. */
  constructor(
    private readonly target: RouteTarget | undefined,
    private readonly byName: (connection: Connection) => RouteTarget | undefined,
    private readonly settings: ConnectionSettings,
  ) {}

  /** Gives a connection that has just been accepted its handlers. Undefined when there are none; the reason otherwise. */
  begin(connection: Connection): SluiceError | undefined {
    const named = connection.tls === undefined ? undefined : this.byName(connection)
    const handlers = this.resolve(connection, named ?? this.target)
    if (handlers === undefined) return refusal(connection)
    useSettings(connection, this.settingsFor(handlers))
    return undefined
  }

  private resolve(connection: Connection, start: RouteTarget | undefined): ConnectionHandlers<never> | undefined {
    let target = start
    while (target instanceof Routes) {
      const routes: Routes = target
      const next = routes.next(connection)
      if (next === 'firstBytes') return this.waitingFor(routes)
      target = next
    }
    return target
  }

  private settingsFor(handlers: ConnectionHandlers<never>): ConnectionSettings {
    let settings = this.known.get(handlers)
    if (settings === undefined) {
      settings = { ...this.settings, handlers: collecting(handlers), base: this.settings }
      this.known.set(handlers, settings)
    }
    return settings
  }

  // Handlers that hold back the first bytes until they tell whose they are.
  private waitingFor(routes: Routes): ConnectionHandlers<never> {
    const made = this.waiting.get(routes) ?? this.makeWaiting(routes)
    this.waiting.set(routes, made)
    return made
  }

  private makeWaiting(routes: Routes): ConnectionHandlers<never> {
    const held = new WeakMap<object, { bytes: Uint8Array; cancel: () => void }>()
    const refuse = (connection: Connection) => {
      held.get(connection)?.cancel()
      held.delete(connection)
      this.settings.handlers?.handshakeError?.(refusal(connection))
      connection.reset()
    }
    return {
      open: (connection: Connection) => {
        const { timeoutMs } = routes.firstBytes!
        const cancel = timeoutMs === 0 ? () => {} : connection.channel.after(timeoutMs, () => refuse(connection))
        held.set(connection, { bytes: nothing, cancel })
      },
      data: (connection: Connection, bytes: Uint8Array) => {
        const state = held.get(connection)!
        const all = state.bytes.length === 0 ? bytes : Buffer.concat([state.bytes, bytes])
        const target = routes.byFirstBytes(all)
        if (target === 'needMore') {
          state.bytes = Uint8Array.from(all)
          return
        }
        const handlers = target && this.resolve(connection, target)
        if (handlers === undefined) return refuse(connection)
        state.cancel()
        held.delete(connection)
        const settings = this.settingsFor(handlers)
        useSettings(connection, settings)
        settings.handlers?.open?.(connection as never)
        // What `open` may have done: another reader, an end. Then the bytes go where all others go.
        redeliver(connection, all)
      },
      end: refuse,
      close: (connection: Connection) => {
        held.get(connection)?.cancel()
        held.delete(connection)
      },
    } as ConnectionHandlers<never>
  }
}

const nothing = new Uint8Array(0)

function refusal(connection: Connection): SluiceError {
  const { remoteAddress: address, remotePort: port } = connection
  return new SluiceError('PROTOCOL_UNKNOWN', { phase: 'handshake', address, port, reason: 'NO_PROTOCOL' })
}

/**
 * What a listener with routes, or with a policy whose names have handlers, needs to know. `handlers` are undefined for all
 * others; `release` is to be called when the listener has ended.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` where some names have handlers and others have none, or where there is a
 *   way around what a name demands.
 */
export function routed(target: RouteTarget | undefined, context: TlsContext | undefined, servesPlaintext: boolean) {
  const policy = SniPolicy.of(context)
  const { some, all } = policy?.handlers ?? { some: false, all: true }
  if (some && target === undefined && !all)
    throw expected('given, as not all entries of "tls" have some', target, 'handlers')
  const release = policy?.use({ handlers: target, servesPlaintext }) ?? (() => {})
  const handshakeError = target?.handshakeError?.bind(target)
  return {
    target,
    release,
    byName: (connection: Connection) => entryOf(connection.tls!.entryNumber)?.handlers,
    handlers:
      some || target instanceof Routes
        ? ((handshakeError === undefined ? {} : { handshakeError }) as ConnectionHandlers<never>)
        : undefined,
  }
}
