import type { NativeNetworks } from '../native/binding.js'
import {
  boolean,
  excludes,
  integer,
  milliseconds,
  oneOf,
  optional,
  parse,
  type Shape,
  withDefault,
} from '../options.js'
import type { CidrSet } from '../rules/cidr-set.js'
import { HandshakeStep } from './handshake-step.js'
import { networks } from './networks.js'
import { type ProxyLimits, proxyLimits } from './proxy-header.js'

/** From whom a header is to come. It is never guessed whether one does. Source: HP-30. */
export interface HeaderSources {
  /**
   * Addresses and networks of proxies: from these the header must come, and from others none is read. IPv4 in IPv6
   * (`::ffff:10.0.0.1`) counts as IPv4. The content of a {@link CidrSet} may change. Default: it must come from everybody.
   */
  from?: readonly string[] | CidrSet
  /** It must come from those of whom an earlier `rules()` says `expectProxy`, and from others none is read. Default false. */
  byRule?: boolean
}

/** Which PROXY headers are taken. */
export interface AcceptProxyOptions extends HeaderSources, ProxyLimits {
  /** 1, 2, or `'any'`. Default `'any'`. */
  version?: 1 | 2 | 'any'
}

const headerSources = {
  from: optional(networks),
  byRule: boolean({ default: false }),
}
const sourceRules = [excludes('byRule', ['from'])]

const acceptProxyOptions = {
  ...headerSources,
  ...proxyLimits,
  version: oneOf([1, 2, 'any'], { default: 'any' }),
} satisfies Shape<Omit<AcceptProxyOptions, 'from'> & { from?: NativeNetworks }>

/**
 * Reads a PROXY header, of version 1 or 2, that a proxy in front of us sends first. `connection.proxy` holds it, and
 * `connection.remoteAddress` stays the proxy's. Without the header the connection ends with `ERR_SLUICE_PROXY_…`, told to
 * `handshakeError`.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function acceptProxy(options?: AcceptProxyOptions): HandshakeStep {
  const { version, ...checked } = parse(acceptProxyOptions, options, sourceRules)
  const versions = { version1: version !== 2, version2: version !== 1 }
  return new HandshakeStep('acceptProxy', 'accept', { kind: 'acceptProxy', ...checked, ...versions })
}

/** Which client-IP headers are taken. */
export interface AcceptNetscalerOptions extends HeaderSources {
  /** The number agreed on with the NetScaler, 0 to 4 294 967 295. */
  magic: number
}

const acceptNetscalerOptions = {
  ...headerSources,
  magic: integer({ min: 0, max: 0xffffffff }),
} satisfies Shape<Omit<AcceptNetscalerOptions, 'from'> & { from?: NativeNetworks }>

/**
 * Reads the client-IP header of a Citrix NetScaler, in its legacy or its standard form; otherwise as {@link acceptProxy}.
 * Source: HP-50.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function acceptNetscaler(options: AcceptNetscalerOptions): HandshakeStep {
  const checked = parse(acceptNetscalerOptions, options, sourceRules)
  return new HandshakeStep('acceptNetscaler', 'accept', { kind: 'acceptNetscaler', ...checked })
}

/** Who is answered, and how. */
export interface MonitorOptions {
  /** Addresses and networks of those who only want to know whether we are there. Default: everybody. */
  networks?: readonly string[] | CidrSet
  /** `'plain'`: `OK` and a newline; `'http'`: `HTTP/1.0 200 OK` and an empty line; `'none'`: just the end. Default
   *  `'plain'`. */
  answer?: 'plain' | 'http' | 'none'
}

const monitorOptions = {
  networks: optional(networks),
  answer: oneOf(['plain', 'http', 'none'], { default: 'plain' }),
} satisfies Shape<Omit<MonitorOptions, 'networks'> & { networks?: NativeNetworks }>

/**
 * Answers health checks at once and ends their connections, before anything else is done with them: they are no sessions,
 * and nobody is told. `listener.stats().turnedAway` counts them. Source: HP-18, HP-19, D11.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function monitor(options?: MonitorOptions): HandshakeStep {
  return new HandshakeStep('monitor', 'accept', { kind: 'monitor', ...parse(monitorOptions, options) })
}

/** What becomes of those who do not speak TLS. */
export interface SniffOptions {
  /** `'allow'` serves them in the clear, `'refuse'` ends them with `ERR_SLUICE_PLAINTEXT_REFUSED`. Default `'refuse'`. */
  plain?: 'refuse' | 'allow'
  /** With `'allow'`: who has sent nothing for so long waits for us to begin, as in SMTP, and is served in the clear.
   *  Default 0: nobody is. */
  plainAfterMs?: number
}

const sniffOptions = {
  plain: oneOf(['refuse', 'allow'], { default: 'refuse' }),
  plainAfterMs: withDefault(milliseconds(), 0),
} satisfies Shape<SniffOptions>

/**
 * One port for TLS and plaintext: the first bytes tell which it is, and stay where they are. Needs `tls` of `listen()`, and
 * is the last step before it. Who greets in SSL 2 is refused. Source: SV-01, SV-02.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function sniff(options?: SniffOptions): HandshakeStep {
  const { plain, plainAfterMs } = parse(sniffOptions, options)
  if (plain === 'refuse' && plainAfterMs > 0)
    throw HandshakeStep.misplaced('plainAfterMs', 'needs "plain" to be "allow"')
  return new HandshakeStep('sniff', 'accept', { kind: 'sniff', allowPlain: plain === 'allow', plainAfterMs })
}
