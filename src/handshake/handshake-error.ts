import { type ErrorFacts, type ErrorName, SluiceError } from '../errors.js'
import { native } from '../native/binding.js'

/** The row of the error table for each reason that native code tells; a test compares the two lists. */
export const nameOfReason: Readonly<Record<string, ErrorName>> = {
  PRX_EMPTY: 'PROXY_EMPTY',
  PRX_ABORT: 'PROXY_ABORTED',
  PRX_TIMEOUT: 'PROXY_TIMEOUT',
  PRX_TRUNCATED: 'PROXY_TRUNCATED',
  PRX_NOT_HDR: 'PROXY_MISSING',
  PRX_BAD_HDR: 'PROXY_INVALID',
  PRX_BAD_PROTO: 'PROXY_BAD_PROTOCOL',
  CIP_EMPTY: 'NETSCALER_EMPTY',
  CIP_ABORT: 'NETSCALER_ABORTED',
  CIP_TIMEOUT: 'NETSCALER_TIMEOUT',
  CIP_TRUNCATED: 'NETSCALER_TRUNCATED',
  CIP_BAD_MAGIC: 'NETSCALER_MISSING',
  CIP_BAD_PROTO: 'NETSCALER_BAD_PROTOCOL',
  SOCKS4_SEND: 'SOCKS_NOT_SENT',
  SOCKS4_RECV: 'SOCKS_FAILED',
  SOCKS4_DENY: 'SOCKS_DENIED',
  SOCKS4_ABORT: 'SOCKS_ABORTED',
  SOCKS4_BAD_REPLY: 'SOCKS_BAD_REPLY',
  SOCKS5_SEND: 'SOCKS_NOT_SENT',
  SOCKS5_RECV: 'SOCKS_FAILED',
  SOCKS5_DENY: 'SOCKS_DENIED',
  SOCKS5_ABORT: 'SOCKS_ABORTED',
  SOCKS5_BAD_REPLY: 'SOCKS_BAD_REPLY',
  SOCKS5_NO_METHOD: 'SOCKS_NO_METHOD',
  SOCKS5_AUTH_DENY: 'SOCKS_AUTH_DENIED',
  SOCKS_TIMEOUT: 'SOCKS_TIMEOUT',
  PRX_SEND: 'PROXY_NOT_SENT',
  SNIFF_EMPTY: 'SNIFF_EMPTY',
  SNIFF_ABORT: 'SNIFF_ABORTED',
  SNIFF_TIMEOUT: 'SNIFF_TIMEOUT',
  PLAIN_REFUSED: 'PLAINTEXT_REFUSED',
  SSLV2_REFUSED: 'SSLV2_REFUSED',
  NO_PROTOCOL: 'PROTOCOL_UNKNOWN',
  RULE_REJECT: 'RULE_REJECTED',
  RULE_SILENT_DROP: 'RULE_DROPPED',
  RULE_TIMEOUT: 'RULE_TIMEOUT',
  RULE_ABORT: 'RULE_ABORTED',
  STEP_REJECT: 'STEP_REJECTED',
  STEP_ERROR: 'STEP_THREW',
  STEP_TIMEOUT: 'STEP_TIMEOUT',
  STEP_ABORT: 'STEP_ABORTED',
  STEP_TOO_LONG: 'STEP_TOO_LONG',
}

/** The error of a connection that did not get to its session, by the number that an event carries. */
export function handshakeError(number: number, facts: ErrorFacts & { text?: string } = {}): SluiceError {
  const { text: said, address: knownAddress, port: knownPort, ...known } = facts
  const failure = native.opening.takeFailure(number)
  const { reason, meaning, text, step } = failure
  const [address, port] = knownAddress === undefined ? [failure.address, failure.port] : [knownAddress, knownPort]
  const why = said ?? text
  return new SluiceError(nameOfReason[reason] ?? 'OPENING_FAILED', {
    phase: 'handshake',
    detail: why === '' ? meaning : `${meaning} (${why})`,
    reason,
    step: step || undefined,
    ...(address === '' ? {} : { address, port }),
    ...known,
  })
}
