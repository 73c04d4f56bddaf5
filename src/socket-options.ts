import { boolean, either, integer, milliseconds, optional, type Shape, string } from './options.js'

/**
 * Options of the system's sockets, for listeners (whose connections inherit them) and connections. Sizes are bytes,
 * times milliseconds. Left out means: as the system has it, save `noDelay`. What a system lacks fails with
 * `ERR_SLUICE_NOT_SUPPORTED`, and so does on Unix sockets what only TCP has, save `noDelay` and `keepAlive`, which are
 * true of them anyway.
 */
export interface SocketOptions {
  /** Sends small pieces at once instead of collecting them (Nagle). Default true: one turn's writes leave together
   *  anyway. Source: TCP_NODELAY, tcp(7); the default is our choice. */
  noDelay?: boolean
  /** Probes a silent peer. Default false. Source: SO_KEEPALIVE, socket(7). */
  keepAlive?: boolean
  /** Silence before the first probe, rounded up to whole seconds; 1 s to 32 767 s. Default 7 200 000, from the system.
   *  Source: TCP_KEEPIDLE, tcp(7). */
  keepAliveIdleMs?: number
  /** Time between probes, rounded up to whole seconds; 1 s to 32 767 s. Default 75 000, from the system.
   *  Source: TCP_KEEPINTVL, tcp(7). */
  keepAliveIntervalMs?: number
  /** Unanswered probes after which the peer counts as gone, 1 to 127. Default 9, from the system.
   *  Source: TCP_KEEPCNT, tcp(7). */
  keepAliveCount?: number
  /** Time that sent bytes may stay unacknowledged before the connection fails; 0 leaves it to the system. Linux only.
   *  Source: TCP_USER_TIMEOUT, tcp(7). */
  userTimeoutMs?: number
  /** Acknowledges at once instead of delaying; the system may fall back by itself. Linux only.
   *  Source: TCP_QUICKACK, tcp(7). */
  quickAck?: boolean
  /** Data in the first packet. A listener takes the length of its queue, or `true` for 256; to connect, `true`.
   *  Default false. Source: TCP_FASTOPEN and TCP_FASTOPEN_CONNECT, tcp(7). */
  fastOpen?: boolean | number
  /** Unsent bytes in the kernel below which a socket counts as writable. Default unlimited, from the system: a small
   *  value such as 16 384 keeps what was written longer where it can still be changed.
   *  Source: TCP_NOTSENT_LOWAT, Linux Documentation/networking/ip-sysctl. */
  notSentLowWaterBytes?: number
  /** The kernel's send buffer; Linux doubles the value, and no longer tunes it. Source: SO_SNDBUF, socket(7). */
  sendBufferBytes?: number
  /** The kernel's receive buffer; Linux doubles the value, and no longer tunes it. Source: SO_RCVBUF, socket(7). */
  receiveBufferBytes?: number
  /** The type-of-service byte, DSCP in its upper six bits, 0 to 255. Default 0.
   *  Source: IP_TOS, ip(7); IPV6_TCLASS, RFC 3542. */
  typeOfService?: number
  /** Mark for routing and firewall rules, 0 to 2 147 483 647. Linux only, needs CAP_NET_ADMIN.
   *  Source: SO_MARK, socket(7). */
  mark?: number
  /** Algorithm by its kernel name, e.g. `'bbr'`, at most 15 characters.
   *  Source: TCP_CONGESTION, tcp(7); /proc/sys/net/ipv4/tcp_available_congestion_control. */
  congestionControl?: string
  /** Routers that a packet may pass, 1 to 255. Default 64, from the system. Source: IP_TTL, ip(7); IPV6_UNICAST_HOPS, ipv6(7). */
  hopLimit?: number
  /** Largest segment to send and to announce, 88 to 32 767; the system may take less. Before connecting or listening. Default
   *  from the route. Source: TCP_MAXSEG, tcp(7); HP-128. */
  maxSegmentBytes?: number
  /** Of listeners: a connection is accepted when its first bytes are there, or after so long, rounded up to whole seconds. 1 s to
   *  65 535 s. For protocols in which the client speaks first. Linux only. Source: TCP_DEFER_ACCEPT, tcp(7); HP-128. */
  deferAcceptMs?: number
  /** Sends and receives by this network device alone, by its name, at most 15 characters. Linux only. Source: SO_BINDTODEVICE,
   *  socket(7); HP-128. */
  device?: string
  /** Listens at, or connects from, addresses that are not this machine's, where routes lead their packets here. Linux only, needs
   *  CAP_NET_ADMIN. Default false. Source: IP_TRANSPARENT, ip(7); HP-128. */
  transparent?: boolean
}

const maxInt = 2_147_483_647
const keepAliveTime = () => optional(milliseconds({ min: 1, max: 32_767_000 }))

/** For `setOptions()`: only what is given changes. */
export const socketOptionChanges = {
  noDelay: optional(boolean()),
  keepAlive: optional(boolean()),
  keepAliveIdleMs: keepAliveTime(),
  keepAliveIntervalMs: keepAliveTime(),
  keepAliveCount: optional(integer({ min: 1, max: 127 })),
  userTimeoutMs: optional(milliseconds()),
  quickAck: optional(boolean()),
  fastOpen: optional(either(boolean(), integer({ min: 0, max: 65_535 }))),
  notSentLowWaterBytes: optional(integer({ min: 1, max: maxInt })),
  sendBufferBytes: optional(integer({ min: 1, max: maxInt })),
  receiveBufferBytes: optional(integer({ min: 1, max: maxInt })),
  typeOfService: optional(integer({ min: 0, max: 255 })),
  mark: optional(integer({ min: 0, max: maxInt })),
  congestionControl: optional(string({ maxLength: 15 })),
  hopLimit: optional(integer({ min: 1, max: 255 })),
  maxSegmentBytes: optional(integer({ min: 88, max: 32_767 })),
  deferAcceptMs: optional(milliseconds({ min: 1, max: 65_535_000 })),
  device: optional(string({ maxLength: 15 })),
  transparent: optional(boolean()),
} satisfies Shape<SocketOptions>

/** For new listeners and connections: with the defaults. */
export const socketOptions = {
  ...socketOptionChanges,
  noDelay: boolean({ default: true }),
} satisfies Shape<SocketOptions>

// The order of `enum class SocketOption` in native/engine/socket_option.h; the position is the number native code takes.
const nativeOrder = [
  'noDelay',
  'keepAlive',
  'keepAliveIdleMs',
  'keepAliveIntervalMs',
  'keepAliveCount',
  'userTimeoutMs',
  'quickAck',
  'fastOpen',
  'notSentLowWaterBytes',
  'sendBufferBytes',
  'receiveBufferBytes',
  'typeOfService',
  'mark',
  'congestionControl',
  'hopLimit',
  'maxSegmentBytes',
  'deferAcceptMs',
  'device',
  'transparent',
] as const satisfies readonly (keyof SocketOptions)[]

const fastOpenQueueLength = 256

/** Checked options as native code takes them: pairs of option number and value, booleans as 0 and 1. */
export function encodeSocketOptions(
  options: SocketOptions,
  role: 'listener' | 'connection',
): Array<[number, number | string]> {
  const encoded: Array<[number, number | string]> = []
  nativeOrder.forEach((name, id) => {
    const value = name === 'fastOpen' ? fastOpenValue(options.fastOpen, role) : options[name]
    if (value !== undefined) encoded.push([id, typeof value === 'boolean' ? Number(value) : value])
  })
  return encoded
}

// A listener has a queue, a connection only on and off.
function fastOpenValue(value: boolean | number | undefined, role: 'listener' | 'connection') {
  if (role === 'connection') return value === undefined ? undefined : Boolean(value)
  return value === true ? fastOpenQueueLength : value
}
