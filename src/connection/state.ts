import type { Connection } from '../connection.js'
import type { RuleMarks } from '../connection-facts.js'
import { SluiceError } from '../errors.js'
import type { FilterStack } from '../filter/stack.js'
import type { ConnectionHandlers } from '../handlers.js'
import type { ProxyHeader } from '../handshake/proxy-header.js'
import type { NativeAddress } from '../native/binding.js'
import type { OwnRates } from '../rate-limit/connection-rates.js'
import type { ConnectionTls } from '../settings.js'
import type { TlsInfo } from '../tls/info.js'

// What the parts of a connection share: its bits, and what only few of them have. The parts are functions of a
// connection, each file a topic; any of them may read a bit, and those named here alone set it.

// Bits of `flags`.
/** From the constructor on, until opening.ts says that it is there. */
export const connecting = 1
/** The peer's end has been told: reading.ts. */
export const peerEnded = 2
/** end(), or what comes to the same: writing.ts, relaying.ts, below.ts where filters fail. */
export const endAsked = 4
/** close(): ending.ts. */
export const closeAsked = 8
/** destroy(), reset(): ending.ts; relaying.ts for a reset that waits. */
export const destroyed = 16
/** The last event has come: ending.ts. */
export const closed = 32
/** ref() and unref(). */
export const unreferenced = 64
/** FIN is in the kernel's hands: writing.ts. */
export const finWritten = 128
/** The handlers are a FilterStack: filtering.ts. */
export const filtered = 256
/** Its error has been told before its end: below.ts. */
export const failureTold = 512
/** TLS (securing.ts), or a pair: what is written is not what the system is given. */
export const layered = 1024
/** It belongs to a relay: relaying.ts. */
export const relayed = 2048
/** Native code moves the bytes of its relay: relaying.ts. */
export const relayedNatively = 4096

/** Nothing more can be asked of it. */
export const gone = destroyed | closed
export const notWritable = endAsked | closeAsked | gone | relayed

// Bits of `hold`, beside the reasons of a pause; they belong to reading.ts, and `securing` to securing.ts.
/** Earlier events wait to be delivered first. */
export const stashed = 0x100
/** Nobody wants data or its end any more. */
export const deaf = 0x200
/** startTls() has been called, and what comes is still plaintext. */
export const securing = 0x400

/** An event that arrived while its connection was paused. */
export interface StashedEvent {
  type: number
  a: number
  b?: number
  bytes?: Uint8Array
}

/** What becomes of a connection that only few have; kept apart so that the others stay small. */
export interface Extras {
  stash: StashedEvent[]
  drained: (() => void)[]
  finished: (() => void)[]
  closed: ((error?: SluiceError) => void)[]
  connected?: { claim: () => boolean; resolve: () => void; reject: (error: SluiceError) => void }
  secured?: { tls: ConnectionTls; resolve: () => void; reject: (error: SluiceError) => void }
  destroyError?: SluiceError
  target?: { address: string; port?: number }
  endpoints?: { local?: NativeAddress; remote?: NativeAddress }
  tls?: TlsInfo
  rates?: OwnRates
  proxy?: ProxyHeader
  marks?: RuleMarks
}

const extras = new WeakMap<object, Extras>()

/** Its extras; undefined while it has none. */
export function knownExtras(connection: object): Extras | undefined {
  return extras.get(connection)
}

/** The same, made if there are none. */
export function extrasOf(connection: object): Extras {
  let own = extras.get(connection)
  if (own === undefined) {
    own = { stash: [], drained: [], finished: [], closed: [] }
    extras.set(connection, own)
  }
  return own
}

export const noHandlers: ConnectionHandlers<never> = {}

/** Its filters; undefined while it has none. */
export function filtersOf(connection: Connection): FilterStack | undefined {
  return (connection.flags & filtered) === 0 ? undefined : (connection.handlers as unknown as FilterStack)
}

/** Whom to tell what is no data: handlers, or what stands in their place. */
export function upperOf(connection: Connection): ConnectionHandlers<never> {
  return filtersOf(connection)?.upper ?? connection.handlers
}

/** Other handlers from now on, above the filters if there are some. */
export function setUpper(connection: Connection, handlers: ConnectionHandlers<never>): void {
  const filters = filtersOf(connection)
  if (filters === undefined) connection.handlers = handlers
  else filters.upper = handlers
}

/** Whether only its relay may use it. */
export function isRelayed({ flags }: Connection): boolean {
  return (flags & (relayed | gone)) === relayed
}

export function relayedError(): SluiceError {
  return new SluiceError('RELAYED', { phase: 'write' })
}

/** Why nothing can be written any more. */
export function closedError(connection: Connection): SluiceError {
  return knownExtras(connection)?.destroyError ?? new SluiceError('CLOSED', { phase: 'write' })
}

/** Wakes those who wait for it. */
export function settle(connection: Connection, what: 'drained' | 'finished'): void {
  knownExtras(connection)
    ?.[what].splice(0)
    .forEach((wake) => {
      wake()
    })
}

export function refuseOverflow(connection: Connection, queued: number): never {
  const { hardLimitBytes } = connection.settings
  const detail = `${queued} bytes would be queued, the limit hardLimitBytes is ${hardLimitBytes}; nothing was taken`
  throw new SluiceError('QUEUE_FULL', { phase: 'write', detail })
}
