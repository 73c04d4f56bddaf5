import type { SocksServer } from '../handshake/connect-shorthand.js'
import { connectShorthand } from '../handshake/connect-shorthand.js'
import { expected } from '../options.js'
import { inside } from './openings.js'

const allowed =
  'an address such as 127.0.0.1:1080 or socks4://user@host:1080, or { host, port, version, user, password }'

/**
 * A SOCKS server as text: `host:port`, `socks5://user:password@host:port`, `socks4://user@host`; or as options.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function socksOf(value: unknown, option: string): SocksServer | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw expected(allowed, value, option)
    return connectShorthand.socks.parse(value, option) as SocksServer
  }
  const shown = value.replace(/\/\/.*@/, '//…@')
  const text = value.includes('://') ? value : `socks5://${value}`
  if (!URL.canParse(text)) throw expected(allowed, shown, option)
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text)
  const version = { 'socks5:': 5, 'socks4:': 4, 'socks:': 5 }[protocol]
  if (version === undefined || hostname === '' || !['', '/'].includes(pathname) || search !== '' || hash !== '')
    throw expected(allowed, shown, option)
  const server: Record<string, unknown> = { host: hostname.replace(/^\[|\]$/g, ''), version }
  if (port !== '') server.port = Number(port)
  if (username !== '') server.user = decodeURIComponent(username)
  if (password !== '') server.password = decodeURIComponent(password)
  return inside(option, () => connectShorthand.socks.parse(server, 'options') as SocksServer)
}
