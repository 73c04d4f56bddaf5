import { expected, integer, string } from '../options.js'
import type { TlsContext } from '../tls/context.js'
import type { TlsClientOptions } from '../tls/options.js'

/** Where a pool connects to. Either `port` or `path`. */
export interface Destination {
  /** Name or address. Default `'localhost'`. */
  host?: string
  /** Port, 1 to 65 535. */
  port?: number
  /** Path of a Unix socket. */
  path?: string
  /** TLS from the first byte on; true, options, or a context. Default: as the service's `tls`. */
  tls?: boolean | TlsClientOptions | TlsContext
}

/** One address of a name. */
export interface Endpoint {
  /** IP address; with `port`. */
  address?: string
  /** Port, 1 to 65 535. */
  port?: number
  /** Path of a Unix socket, in place of both. */
  path?: string
}

const port = integer({ min: 1, max: 65_535 })
const text = string()

/** `'host:port'`, `'[::1]:port'`, or a path that begins with `/` or `.`; undefined for other names. */
export function parseDestination(name: string): Destination | undefined {
  if (/^[/.]/.test(name)) return { path: name }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(name)
  if (match === null) return undefined
  const number = Number(match[3])
  return number >= 1 && number <= 65_535 ? { host: match[1] ?? match[2]!, port: number } : undefined
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkDestination(value: Destination): void {
  if (typeof value !== 'object' || value === null)
    throw expected("'host:port', a path, a name, or { host, port } or { path }", value, 'destination')
  if (value.path !== undefined) {
    text.parse(value.path, 'destination.path')
    if (value.port !== undefined) throw expected('absent beside "destination.path"', value.port, 'destination.port')
    return
  }
  port.parse(value.port, 'destination.port')
  if (value.host !== undefined) text.parse(value.host, 'destination.host')
}

/** How a pool is called when it is not given a name. */
export function nameOfDestination({ host = 'localhost', port, path }: Destination): string {
  if (path !== undefined) return path
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
