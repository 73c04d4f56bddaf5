import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { ListenOptions } from '../listener.js'
import type { ListenerPlan } from './plan.js'

export interface AcceptProxyOptions {
  /** Addresses and networks of proxies. */
  from?: readonly string[]
  /** 1, 2, or `'any'`. */
  version?: 1 | 2 | 'any'
}

export interface MonitorOptions {
  networks?: readonly string[]
  answer?: 'plain' | 'http' | 'none'
}

export interface ProxySendOptions {
  version?: 1 | 2
  onBehalfOf?: Connection
  source?: unknown
  destination?: unknown
  local?: boolean
  tlvs?: unknown
}

/** What a listener does with a connection before its session. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function openingOptions(
  options: Record<string, unknown>,
  within: string,
  _routes: unknown,
): Partial<ListenOptions> {
  for (const name of ['acceptProxy', 'monitor', 'plain']) {
    if (options[name] !== undefined && options[name] !== false)
      throw new SluiceError('NOT_SUPPORTED', { detail: `${within}.${name}` })
  }
  return {}
}

/** Which header to send. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkSendProxy(_choice: unknown, _within: string): void {}

/** The PROXY header that a server gets about a client. */
export function prefaceFor(_choice: unknown, _client: Connection): Uint8Array | undefined {
  return undefined
}

/** Whom a connection comes from: as a PROXY header says, or else as the system does. */
export function clientOf(connection: Connection): { address: string | undefined; port: number | undefined } {
  return { address: connection.remoteAddress, port: connection.remotePort }
}

export type { ListenerPlan }

/** What a client shows of itself in TLS. */
export function facesOf(client: Connection): {
  tls: boolean
  serverName: string | undefined
  alpn: string | undefined
} {
  const { tls } = client
  return { tls: tls !== undefined, serverName: tls?.serverName || undefined, alpn: tls?.alpn || undefined }
}
