import { expected, integer, string } from '../options.js'
import { type AnyCodec, type ReceivedWith, requireCodec, type SentWith } from './codec.js'
import { StreamCodec } from './stream-codec.js'

/** How a message is answered: not, once, or in parts. */
export type MessageKind = 'oneWay' | 'request' | 'parts'

/** A message without an answer. */
export interface OneWayType<Body extends AnyCodec = AnyCodec> {
  /** How it is answered. */
  readonly kind: 'oneWay'
  /** Of its body. */
  readonly body: Body
}

/** A message with one answer. */
export interface RequestType<Body extends AnyCodec = AnyCodec, Answer extends AnyCodec = AnyCodec> {
  /** How it is answered. */
  readonly kind: 'request'
  /** Of its body. */
  readonly body: Body
  /** Of the body of its answer. */
  readonly answer: Answer
}

/** A message that is answered in parts, any number of them. */
export interface PartsType<Body extends AnyCodec = AnyCodec, Part extends AnyCodec = AnyCodec> {
  /** How it is answered. */
  readonly kind: 'parts'
  /** Of its body. */
  readonly body: Body
  /** Of the body of each part. */
  readonly answer: Part
}

/** What a protocol is made of. */
export type AnyMessageType = OneWayType | RequestType | PartsType

/** One message of a protocol: what `send()` and `request()` are told, as `protocol.messages.name`. */
export type Message<T extends AnyMessageType = AnyMessageType> = T & {
  /** Within its protocol. */
  readonly name: string
  /** Which protocol it belongs to: name and version. */
  readonly protocol: { readonly name: string; readonly version: number }
}

/** Messages that belong together; comes from {@link defineProtocol}. */
export interface Protocol<
  M extends Readonly<Record<string, AnyMessageType>> = Readonly<Record<string, AnyMessageType>>,
> {
  /** By which the two sides find each other's protocols. */
  readonly name: string
  /** The two sides must have the same one; a service may have several at once. */
  readonly version: number
  /** By their names. */
  readonly messages: { readonly [K in keyof M]: Message<M[K]> }
}

/** What {@link defineProtocol} takes. */
export interface ProtocolDefinition<M> {
  /** 1 to 255 characters. */
  name: string
  /** 0 to 1 073 741 823. Default 1. */
  version?: number
  /** By names of 1 to 255 characters. A peer may know some of them, in any order. */
  messages: M
}

/** A message that is not answered. */
export function oneWay<Body extends AnyCodec>(body: Body): OneWayType<Body> {
  requireCodec(body, 'body')
  return { kind: 'oneWay', body }
}

/** A message with one answer, which is what its handler gives back. */
export function request<Body extends AnyCodec, Answer extends AnyCodec>(
  body: Body,
  answer: Answer,
): RequestType<Body, Answer> {
  requireCodec(body, 'body')
  requireCodec(answer, 'answer')
  return { kind: 'request', body, answer }
}

/** A message whose handler is an async generator, or gives back what can be iterated: each step is a part. Source: SF-19. */
export function parts<Body extends AnyCodec, Part extends AnyCodec>(body: Body, part: Part): PartsType<Body, Part> {
  requireCodec(body, 'body')
  requireCodec(part, 'part')
  if (part instanceof StreamCodec) throw expected('no stream: it has parts of its own', part, 'part')
  return { kind: 'parts', body, answer: part }
}

const protocolName = string({ maxLength: 255 })
const protocolVersion = integer({ min: 0, max: 1_073_741_823 })

/**
 * Describes what two services say to each other. Both sides import the same definition, or one of them has a part of it.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function defineProtocol<const M extends Readonly<Record<string, AnyMessageType>>>(
  definition: ProtocolDefinition<M>,
): Protocol<M> {
  const { name, version = 1, messages } = definition
  protocolName.parse(name, 'name')
  protocolVersion.parse(version, 'version')
  if (typeof messages !== 'object' || messages === null) throw expected('an object of messages', messages, 'messages')
  const protocol = { name, version }
  const named = Object.entries(messages).map(([key, type]) => {
    protocolName.parse(key, `messages.${key}`)
    if (!['oneWay', 'request', 'parts'].includes(type?.kind))
      throw expected('what oneWay(), request() or parts() gives', type, `messages.${key}`)
    return [key, Object.freeze({ ...type, name: key, protocol })] as const
  })
  return { ...protocol, messages: Object.fromEntries(named) as unknown as Protocol<M>['messages'] }
}

/** What handlers of a protocol are: for each message a function. */
export type HandlersOf<P extends Protocol, Context> = {
  [K in keyof P['messages']]?: HandlerOf<P['messages'][K], Context>
}

/** The handler of one type: of its body, and the context; the answer is what it gives back. */
export type HandlerOf<T, Context> =
  T extends OneWayType<infer Body>
    ? (body: ReceivedWith<Body>, context: Context) => void | Promise<void>
    : T extends RequestType<infer Body, infer Answer>
      ? (body: ReceivedWith<Body>, context: Context) => SentWith<Answer> | Promise<SentWith<Answer>>
      : T extends PartsType<infer Body, infer Part>
        ? (body: ReceivedWith<Body>, context: Context) => AsyncIterable<SentWith<Part>> | Iterable<SentWith<Part>>
        : never

/** What is sent as the body of a message. */
export type BodyOf<T> = T extends { readonly body: infer Body } ? SentWith<Body> : never

/** What is received as the answer to a message, or as a part of it. */
export type AnswerOf<T> = T extends { readonly answer: infer Answer } ? ReceivedWith<Answer> : never
