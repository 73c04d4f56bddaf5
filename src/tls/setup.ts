import { isIP } from 'node:net'
import { failureFacts } from '../connection/facts.js'
import type { Connection } from '../connection.js'
import { type ErrorFacts, SluiceError } from '../errors.js'
import { expected, parse } from '../options.js'
import type { ConnectionTls } from '../settings.js'
import type { CertificateInfo } from './certificate.js'
import { clientContext, TlsContext } from './context.js'
import type { TlsInfo } from './info.js'
import { nameIn } from './names.js'
import {
  clientRules,
  clientShape,
  connectionPart,
  overlay,
  type StartTlsOptions,
  serverRules,
  serverShape,
  startTlsShape,
} from './options.js'
import { SniPolicy } from './sni-policy.js'

type Input = Readonly<Record<string, unknown>>

/** What the connections of one listener, connect() or startTls() need to know of TLS, and the context that is in it. */
export interface TlsSetup extends ConnectionTls {
  readonly context: TlsContext
}

/** Whom a connection was made to. */
export interface TlsPeer {
  /** Name or address. */
  host?: string
  /** Port or path. */
  port?: number | string
}

/**
 * Makes of a user's `tls` what servers need.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_…` naming the option.
 */
export function serverTls(value: unknown, within: string): TlsSetup {
  const { context, connection } = split('server', value, within)
  const parsed = parse(serverShape, { ...connection, context }, serverRules, within)
  // Options in their own right have their protocols in the policy, which names may switch.
  const alpn = isContextGiven(value) ? (parsed.alpn ?? parsed.ALPNProtocols ?? []) : []
  const { handshakeTimeoutMs, allowTruncation, maxHandshakes, maxHandshakesWaiting, maxHandshakesPerSecond } = parsed
  if (maxHandshakesWaiting > 0 && maxHandshakes === 0 && maxHandshakesPerSecond === 0)
    throw expected(
      '0 without "maxHandshakes" and "maxHandshakesPerSecond"',
      maxHandshakesWaiting,
      nameIn(within, 'maxHandshakesWaiting'),
    )
  return {
    context,
    discardPlaintext: false,
    config: {
      ...noPeer,
      context: context.native,
      ...{ alpn, handshakeTimeoutMs, allowTruncation, maxHandshakes, maxHandshakesWaiting, maxHandshakesPerSecond },
    },
  }
}

/** Makes of a user's `tls` what a client needs to connect to `peer`. @throws {SluiceError} likewise. */
export function clientTls(value: unknown, peer: TlsPeer, within: string): TlsSetup {
  const { context, connection } = split('client', value === true ? {} : value, within)
  const parsed = parse(clientShape, { ...connection, context }, clientRules, within)
  const { handshakeTimeoutMs, allowTruncation, checkServerIdentity, checkCommonName, session } = parsed
  const host = peer.host?.replace(/\.$/, '')
  const asked = parsed.serverName ?? parsed.servername
  const serverName = asked ?? (host === undefined || isIP(host.replace(/%.*$/, '')) !== 0 ? '' : host)
  const name = parsed.verifyName ?? (asked || host)
  if (name === undefined && context.input.rejectUnauthorized !== false && context.input.psk === undefined)
    throw expected('given, to verify the certificate', name, nameIn(within, 'serverName'))
  return {
    context,
    discardPlaintext: false,
    config: {
      ...noPeer,
      context: context.native,
      serverName: serverName.replace(/\.$/, ''),
      verifyName: checkServerIdentity === undefined ? (name ?? '') : '',
      alpn: parsed.alpn ?? parsed.ALPNProtocols ?? [],
      sessionKey: parsed.sessionKey ?? (host === undefined ? '' : `${host}:${peer.port}`),
      ...{ checkCommonName, session, handshakeTimeoutMs, allowTruncation },
    },
    check: checkServerIdentity && ((connection) => checkIdentity(checkServerIdentity, name ?? '', connection, context)),
  }
}

/** Makes of the options of startTls() what it needs; `byDefault` is the role where none is given. */
export function startTlsSetup(
  value: StartTlsOptions | TlsContext,
  peer: TlsPeer,
  byDefault: 'server' | 'client',
): TlsSetup {
  const input = asInput(value, 'options')
  const own: Record<string, unknown> = {}
  const rest: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(input)) (Object.hasOwn(startTlsShape, name) ? own : rest)[name] = option
  const { role, discardPlaintext } = parse(startTlsShape, own)
  const given = rest.context instanceof TlsContext ? rest.context.role : undefined
  const chosen = role ?? given ?? byDefault
  const setup = chosen === 'server' ? serverTls(rest, '') : clientTls(rest, peer, '')
  return { ...setup, discardPlaintext, config: { ...setup.config, discardPlaintext } }
}

const noPeer = {
  serverName: '',
  verifyName: '',
  checkCommonName: false,
  alpn: [] as string[],
  sessionKey: '',
  session: undefined,
  maxHandshakes: 0,
  maxHandshakesWaiting: 0,
  maxHandshakesPerSecond: 0,
  discardPlaintext: false,
}

// The context, given or made, and the options of connections: those of the context under those given beside it.
function split(role: 'server' | 'client', value: unknown, within: string): { context: TlsContext; connection: Input } {
  const input = asInput(value, within || 'options')
  const { context, ...others } = input
  const given = context instanceof SniPolicy ? context.context : context
  const where = nameIn(within, 'context')
  if (given === undefined) {
    const context = role === 'client' ? clientContext(input, within) : TlsContext.make('server', input, within)
    return { context, connection: connectionPart(input) }
  }
  if (!(given instanceof TlsContext)) throw expected('a TlsContext', given, where)
  if (given.role !== role) throw expected(`a context of ${role}s`, given, where)
  return { context: given, connection: overlay(connectionPart(given.input), others) }
}

function isContextGiven(value: unknown): boolean {
  return (
    value instanceof TlsContext || value instanceof SniPolicy || (value as { context?: unknown }).context !== undefined
  )
}

function asInput(value: unknown, option: string): Input {
  if (value instanceof TlsContext || value instanceof SniPolicy) return { context: value }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Input
  throw expected('options of TLS, or a TlsContext', value, option)
}

function checkIdentity(
  check: (name: string, certificate: CertificateInfo) => Error | undefined,
  name: string,
  connection: Connection,
  { input }: TlsContext,
): SluiceError | undefined {
  const tls = connection.tls
  if (tls === undefined || tls.authorizationError !== undefined || tls.peerCertificate === undefined) return undefined
  const error = refusal(check, name, tls, failureFacts(connection))
  if (error === undefined || input.rejectUnauthorized !== false) return error
  tls.refuse(error)
  return undefined
}

function refusal(
  check: (name: string, certificate: CertificateInfo) => Error | undefined,
  name: string,
  tls: TlsInfo,
  { address, port }: ErrorFacts,
): SluiceError | undefined {
  let cause: unknown
  try {
    cause = check(name, tls.peerCertificate!)
  } catch (thrown) {
    cause = thrown
  }
  if (cause === undefined) return undefined
  const told = cause instanceof Error ? cause.message : String(cause)
  const detail = `checkServerIdentity refused the certificate: ${told}`
  const facts = { address, port, phase: 'handshake', detail, reason: 'SSL_MISMATCH_SNI', cause } as const
  return new SluiceError('TLS_CERTIFICATE_NAME_MISMATCH', facts)
}
