import type { Connection } from '../connection.js'
import { nativeError, SluiceError, tlsError } from '../errors.js'
import { isFailure } from '../native/binding.js'
import { eventData } from '../native/records.js'
import type { ConnectionTls } from '../settings.js'
import type { TlsContext } from '../tls/context.js'
import { TlsInfo } from '../tls/info.js'
import type { StartTlsOptions } from '../tls/options.js'
import { startTlsSetup } from '../tls/setup.js'
import { knownRemote } from './facts.js'
import { unstashSoon } from './reading.js'
import { extrasOf, knownExtras, layered, securing } from './state.js'
import { requireWritable } from './writing.js'

// TLS, of connect() and of startTls(); listeners have theirs begun by native code.

/** As of {@link Connection.tls}. */
export function tlsOf(connection: Connection): TlsInfo | undefined {
  const known = knownExtras(connection)?.tls
  if (known !== undefined) return known
  const { channel, slot, tag } = connection
  const info = channel.native.tlsInfo(slot, tag)
  if (info === undefined) return undefined
  const made = new TlsInfo(channel.native, slot, tag, info)
  extrasOf(connection).tls = made
  return made
}

/** As of {@link Connection.startTls}. */
export async function startTls(connection: Connection, options: StartTlsOptions | TlsContext): Promise<void> {
  const { peer } = connection.settings
  const setup = startTlsSetup(options, peer ?? {}, peer === undefined ? 'server' : 'client')
  await secure(connection, setup)
}

/** Secures the connection; resolves when the handshake is done. @throws {SluiceError} of what is wrong. */
export function secure(connection: Connection, tls: ConnectionTls): Promise<void> {
  requireWritable(connection)
  beginTls(connection, tls)
  const own = extrasOf(connection)
  delete own.tls
  return new Promise((resolve, reject) => {
    own.secured = { tls, resolve, reject }
  })
}

/** Until the channel says `securing` what comes is plaintext, and waits to be judged by onSecuring(). */
export function beginTls(connection: Connection, tls: ConnectionTls): void {
  const failure = connection.channel.native.startTls(connection.slot, connection.tag, tls.config)
  if (failure !== undefined) throw isFailure(failure) ? nativeError(failure) : tlsError(failure)
  connection.hold |= securing
  connection.flags |= layered
}

/** Data before this came in plaintext: commands smuggled in before the handshake (LE-88). */
export function onSecuring(connection: Connection): void {
  connection.hold &= ~securing
  const own = extrasOf(connection)
  const early = own.stash.some(({ type }) => type === eventData)
  if (early && own.secured?.tls.discardPlaintext !== true) {
    // Who was connected to for TLS should have waited for our hello.
    const name = own.secured === undefined ? 'TLS_NOT_TLS' : 'PLAINTEXT_BEFORE_TLS'
    const where = own.target ?? knownRemote(connection)
    connection.destroy(new SluiceError(name, { phase: 'handshake', ...where }))
    return
  }
  if (early) own.stash = own.stash.filter(({ type }) => type !== eventData)
  unstashSoon(connection)
}
