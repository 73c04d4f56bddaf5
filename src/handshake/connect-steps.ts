import { native } from '../native/binding.js'
import { expected, integer, optional, parse, requires, type Shape, string } from '../options.js'
import { HandshakeStep } from './handshake-step.js'
import { type ProxySendOptions, parseProxySend, writeProxySend } from './proxy-options.js'

/** Whom a SOCKS server is asked to connect to. */
interface SocksTarget {
  /** Name or address; the server resolves names. At most 255 bytes. */
  host: string
  /** Port, 1 to 65 535. */
  port: number
}

/** What a server of SOCKS 4 is asked for. */
export interface Socks4Options extends SocksTarget {
  /** The user id. Default: none. */
  user?: string
}

/** What a server of SOCKS 5 is asked for. */
export interface Socks5Options extends SocksTarget {
  /** User name for servers that want one, with `password`; 1 to 255 bytes each. Source: RFC 1929. */
  user?: string
  /** Password, with `user`. */
  password?: string
}

const target = {
  host: string({ maxLength: 255 }),
  port: integer({ min: 1, max: 65_535 }),
}
const word = () => optional(string({ maxLength: 255 }))
const socks4Options = { ...target, user: word() } satisfies Shape<Socks4Options>
const loginShape = { user: word(), password: word() }
const bothOrNone = [requires('user', 'password'), requires('password', 'user')]
const socks5Options = { ...target, user: word(), password: word() } satisfies Shape<Socks5Options>

/**
 * Asks the server that `connect()` has connected to for a connection to somewhere else, by SOCKS 4, or for names by SOCKS
 * 4a. With `tls` the certificate is to be that of the target. Failures are `ERR_SLUICE_SOCKS_…`. Source: HP-49.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also for an IPv6 address, which SOCKS 4 does not know.
 */
export function socks4(options: Socks4Options): HandshakeStep {
  const { host, port, user = '' } = parse(socks4Options, options)
  return socks('socks4', { version: 4, host, port, user, password: '' })
}

/**
 * The same by SOCKS 5, with user name and password if the server wants them. Source: RFC 1928, RFC 1929.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function socks5(options: Socks5Options): HandshakeStep {
  const { host, port, user = '', password = '' } = parse(socks5Options, options, bothOrNone)
  return socks('socks5', { version: 5, host, port, user, password })
}

/**
 * The step of a server that was given without one. What is wrong with the target is told as of `connect()` itself.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function socksTo(
  { version, user, password }: { version: 4 | 5; user?: string | undefined; password?: string | undefined },
  to: { host: string; port: number },
): HandshakeStep {
  const name = `socks${version}`
  if (version === 4) {
    if (password !== undefined) throw expected('absent in version 4', '(hidden)', 'socks.password')
    return socks(name, { version, ...to, user: user ?? '', password: '' }, 'socks.')
  }
  parse(loginShape, { user, password }, bothOrNone, 'socks')
  return socks(name, { version, ...to, user: user ?? '', password: password ?? '' }, 'socks.')
}

function socks(
  name: string,
  request: { version: 4 | 5; host: string; port: number; user: string; password: string },
  within = '',
): HandshakeStep {
  const wrong = native.opening.checkSocks(request)
  if (wrong === 'host')
    throw expected(`a name or address that SOCKS ${request.version} can express`, request.host, wrong)
  if (wrong !== undefined) throw expected('text of 1 to 255 bytes', '(hidden)', `${within}${wrong}`)
  return new HandshakeStep(name, 'connect', { kind: 'socks', ...request }, request)
}

/**
 * Sends a PROXY header before anything else of ours: behind SOCKS, before TLS. Without `onBehalfOf` and `source` it names
 * the socket's own addresses. Source: HP-45.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function sendProxy(options: ProxySendOptions = {}): HandshakeStep {
  const header = parseProxySend(options, '')
  writeProxySend(header) // refused here when it is too long
  return new HandshakeStep('sendProxy', 'connect', { kind: 'sendProxy', header })
}
