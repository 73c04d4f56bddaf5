import type { Connection } from '../connection.js'
import type { SluiceError } from '../errors.js'
import { findRateLimitGroup } from './limits.js'
import { beginTls } from './securing.js'
import { connecting, extrasOf, knownExtras } from './state.js'

// From an address to the first event.

/** For connect(): resolves when connected; `claim` answers false when another address was faster. */
export function connected(
  connection: Connection,
  target: { address: string; port?: number },
  claim: () => boolean,
): Promise<void> {
  const own = extrasOf(connection)
  own.target = target
  return new Promise((resolve, reject) => {
    own.connected = { claim, resolve, reject }
  })
}

/** The system has connected it. */
export function onConnected(connection: Connection): void {
  const { settings } = connection
  if (settings.steps !== undefined) connection.channel.takeStepData(connection)
  if (extrasOf(connection).connected?.claim() === false) {
    connection.destroy()
    return
  }
  if (settings.tls === undefined) {
    opened(connection)
    return
  }
  try {
    beginTls(connection, settings.tls)
  } catch (error) {
    connection.destroy(error as SluiceError)
  }
}

/** The handshake is done. */
export function onSecured(connection: Connection): void {
  const secured = knownExtras(connection)?.secured
  const error = (secured?.tls ?? connection.settings.tls)?.check?.(connection)
  if (error !== undefined) {
    connection.destroy(error)
    return
  }
  if (secured === undefined) {
    opened(connection)
    return
  }
  extrasOf(connection).secured = undefined
  secured.resolve()
}

/** Connected, and secured where that was asked for. */
function opened(connection: Connection): void {
  connection.flags &= ~connecting
  findRateLimitGroup(connection)
  const own = knownExtras(connection)
  own?.connected?.resolve()
  if (own !== undefined) own.connected = undefined
  begin(connection)
}

/** It is there: its first event. */
export function begin(connection: Connection): void {
  const { filters, handlers } = connection.settings
  if (filters !== undefined) connection.filter(filters(connection as never))
  handlers?.open?.(connection as never)
}
