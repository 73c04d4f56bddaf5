import { integer, nested, type OptionalParser, oneOf, optional, type Parsed, string } from '../options.js'
import { sendProxy, socksTo } from './connect-steps.js'
import type { CustomStep } from './custom-step.js'
import type { HandshakeStep } from './handshake-step.js'
import { type ProxySendOptions, parseProxySend } from './proxy-options.js'

/** A SOCKS server to go through. */
export interface SocksServer {
  /** Name or address. Default `'localhost'`. */
  host?: string
  /** Port, 1 to 65 535. Default 1080. */
  port?: number
  /** 5, or 4 (4a for names). Default 5. */
  version?: 4 | 5
  /** User name, with `password`; for version 4 the user id. */
  user?: string
  /** Password, with `user`; version 4 knows none. */
  password?: string
}

/** What `connect()` can be told of steps without a list of them. */
export interface ConnectShorthand {
  /** Goes through this SOCKS server, before all other steps: it is whom we connect to, and `host` and `port` are whom it is
   *  asked for, names unresolved. As `socks5()` and `socks4()`. Source: HP-49. */
  socks?: SocksServer
  /** Sends a PROXY header, behind all other steps and before TLS: `true` for the socket's own addresses, or what
   *  `sendProxy()` takes. Source: HP-45. */
  sendProxy?: boolean | ProxySendOptions
}

const socksShape = {
  host: string({ default: 'localhost', maxLength: 255 }),
  port: integer({ min: 1, max: 65_535, default: 1080 }),
  version: oneOf([4, 5], { default: 5 }),
  user: optional(string({ maxLength: 255 })),
  password: optional(string({ maxLength: 255 })),
}

const sendProxyOptions: OptionalParser<ProxySendOptions | undefined> = {
  allowed: 'true, false, or what sendProxy() takes',
  absent: undefined,
  parse(value, option) {
    if (typeof value === 'boolean') return value ? {} : undefined
    parseProxySend(value, option) // what is wrong is told by its whole name
    return value as ProxySendOptions
  },
}

/** Parsers of {@link ConnectShorthand}. */
export const connectShorthand = {
  socks: optional(nested(socksShape)),
  sendProxy: sendProxyOptions,
}
const checkedShorthand: Readonly<Record<keyof ConnectShorthand, unknown>> = connectShorthand
void checkedShorthand

interface Given extends Parsed<typeof connectShorthand> {
  host: string
  port: number | undefined
  handshake: (HandshakeStep | CustomStep)[] | undefined
}

/** All steps in their order, and how many of them stand before those of `handshake`. @throws {SluiceError} of SOCKS. */
export function connectSteps({ host, port, socks, sendProxy: header, handshake }: Given): {
  handshake: (HandshakeStep | CustomStep)[] | undefined
  firstIndex: number
} {
  const before = socks === undefined ? [] : [socksTo(socks, { host, port: port! })]
  const behind = header === undefined ? [] : [sendProxy(header)]
  const all = [...before, ...(handshake ?? []), ...behind]
  return { handshake: all.length === 0 ? undefined : all, firstIndex: before.length }
}
