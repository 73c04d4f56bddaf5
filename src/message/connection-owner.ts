import type { SluiceError } from '../errors.js'
import type { TlsContext } from '../tls/context.js'
import type { StartTlsOptions } from '../tls/options.js'
import type { MessageContext } from './context.js'
import type { DeadlineClock } from './deadlines.js'
import type { Hello } from './hello.js'
import type { MessageConnection } from './message-connection.js'
import type { Outgoing } from './outgoing.js'
import type { PacketCompressor } from './packet-buffer.js'
import type { Message } from './protocol.js'
import type { RelayDesk } from './relay.js'
import type { SenderOwner } from './sender.js'

/** The handler of a type, whatever that is. */
export type AnyHandler = (body: unknown, context: MessageContext) => unknown

/** A type as this side knows it; its place in the list is its number. */
export interface LocalType {
  readonly message: Message
  handler: AnyHandler | undefined
  /** Taken before the connection is active. */
  beforeActivation: boolean
  /** Messages that have come in. */
  received: number
  /** Bytes of their bodies. */
  receivedBytes: number
}

/** What a connection is told, and whom it tells: a service, for one side of its connections. Times in milliseconds. */
export interface ConnectionOwner extends SenderOwner {
  readonly clock: DeadlineClock
  readonly hello: Hello
  readonly types: readonly LocalType[]
  readonly maxRequests: number
  readonly maxQueuedMessages: number
  readonly maxMessageBytes: number
  readonly maxStrangerMessageBytes: number
  readonly keepAliveMs: number
  readonly keepAliveIntervalMs: number
  readonly maxKeepAlives: number
  readonly activationTimeoutMs: number
  readonly slowSendMs: number
  readonly closeTimeoutMs: number
  readonly sendBufferBytes: number
  /** The numbers that the peer has for our types, and whether the two have anything in common. */
  numbersFor(hello: Hello): { numbers: Map<Message, number>; isCommon: boolean }
  /** The error for a type that the peer does not have. */
  unknownType(message: Message, hello: Hello): SluiceError
  compressionFor(hello: Hello): {
    compressor: PacketCompressor | undefined
    decompress: ((payload: Uint8Array) => Uint8Array) | undefined
  }
  tlsOf(connection: MessageConnection): StartTlsOptions | TlsContext | undefined
  /** The peer has said hello. */
  met(connection: MessageConnection): void
  /** Both have said hello, and it is not to be active at once. */
  greeted(connection: MessageConnection): void
  /** @throws {SluiceError} when no further one may become active. */
  admit(connection: MessageConnection): void
  activated(connection: MessageConnection): void
  /** Nothing has left it for `slowSendMs`. */
  slow(connection: MessageConnection): void
  /** The peer wants nothing new on it; messages that it has not begun go elsewhere. */
  leaving(connection: MessageConnection, unsent: Outgoing[]): void
  /** It may take another message. */
  roomFor(connection: MessageConnection): void
  /** It is gone, with messages that have not left it, and others that may have arrived. */
  lost(
    connection: MessageConnection,
    unsent: Outgoing[],
    others: Outgoing[],
    error: SluiceError,
    cause: SluiceError | undefined,
  ): void
  /** What a handler threw that is not for the peer. */
  handlerFailed(error: unknown, context: MessageContext): void
  /** Passes on what is for others; undefined where that is not done (SF-73). */
  readonly relay: RelayDesk | undefined
  /** Whether a synchronous message of that epoch is in order, from the peer's pool. */
  mayHandle(pool: string, epoch: number): boolean
}
