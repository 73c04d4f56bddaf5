import type { SluiceError } from '../errors.js'
import { boolean, expected, milliseconds, oneOf, signal } from '../options.js'
import { checkRelayTarget, type RelayTarget } from './relay-target.js'

/** How one message is sent. */
export interface MessageOptions {
  /** Cancels it, wherever it is by then: it completes at once with `ERR_SLUICE_MESSAGE_CANCELED`. Source: SF-30…32. */
  signal?: AbortSignal
  /** Bound on all of it, waiting for a connection included; 0 for none. Default: that of the service. */
  timeoutMs?: number
  /** It may be handled more than once: if the connection is lost, it is sent again, until it has been answered, or, without
   *  answer, until its handler has finished. Default false: it is handled once at most. Source: SF-26, D13. */
  idempotent?: boolean
  /** It goes over the connection that is there, or being made, or not at all. Default false. Source: SF-27. */
  oneShot?: boolean
  /** In order with the other synchronous ones of its pool, over one connection. Default false. Source: SF-18. */
  synchronous?: boolean
  /** Those of a higher priority begin first; those under way share the connection. Default `'normal'`. */
  priority?: 'high' | 'normal' | 'low'
  /** Whom the relay that the pool connects to passes it on to. Default: nobody, it is for the peer itself. */
  relay?: RelayTarget
  /** Handed to the handler as it is. Source: W3C Trace Context, traceparent of version 00. */
  traceparent?: string
}

const checks: { [K in keyof MessageOptions]-?: (value: unknown, option: string) => unknown } = {
  signal: (value, option) => signal().parse(value, option),
  timeoutMs: (value, option) => timeout.parse(value, option),
  idempotent: (value, option) => flag.parse(value, option),
  oneShot: (value, option) => flag.parse(value, option),
  synchronous: (value, option) => flag.parse(value, option),
  priority: (value, option) => priority.parse(value, option),
  relay: checkRelayTarget,
  traceparent(value, option) {
    if (
      typeof value === 'string' &&
      /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/.test(value)
    )
      return value
    throw expected('a traceparent of W3C Trace Context', value, option)
  },
}
const timeout = milliseconds()
const flag = boolean()
const levels = ['high', 'normal', 'low'] as const
const priority = oneOf(levels)

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkMessageOptions(options: MessageOptions): void {
  // One message costs less than parse() would.
  for (const key in options) {
    const value = options[key as keyof MessageOptions]
    if (value === undefined) continue
    if (!Object.hasOwn(checks, key)) throw expected('absent: there is no such option', value, key)
    checks[key as keyof MessageOptions](value, key)
  }
}

/** The place of a priority in the queue. */
export function levelOf(options: MessageOptions | undefined): number {
  const { priority: given } = options ?? {}
  return given === undefined ? 1 : levels.indexOf(given)
}

/** The bytes of a traceparent in the header of a message. */
export function traceBytesOf(traceparent: string): Uint8Array {
  return Buffer.from(traceparent.replaceAll('-', ''), 'hex')
}

/** What is known of a message that nobody waits for, when it does not arrive. */
export interface Undelivered {
  /** Its type. */
  message: { readonly name: string; readonly protocol: { readonly name: string; readonly version: number } }
  /** Why. */
  error: SluiceError
}
