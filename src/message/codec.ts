import { deserialize, serialize } from 'node:v8'
import { SluiceError } from '../errors.js'
import { expected } from '../options.js'

/**
 * Turns values into bytes and back. `encode` may give a string, which is sent as UTF-8. What it gives, and what it was
 * given, must not change until the message is done. The bytes for `decode` are a view that is valid until it returns, unless
 * they are `owned`: then they may be kept.
 */
export interface Codec<Sent, Received = Sent> {
  /** Called when the message is sent. What it throws is the `cause` of `ERR_SLUICE_MESSAGE_CODEC`. */
  encode(value: Sent): Uint8Array | string
  /** Called when the message has come in as a whole. */
  decode(bytes: Uint8Array, owned: boolean): Received
  /** What `decode` gives is used by the handler alone, until it has finished; then its memory serves again. */
  readonly lends?: boolean
}

/** A codec, of whatever values. */
// biome-ignore lint/suspicious/noExplicitAny: of whatever values
export type AnyCodec = Codec<any, any>

/** What is sent with a codec. */
export type SentWith<C> = C extends Codec<infer Sent, infer _> ? Sent : never

/** What is received with a codec. */
export type ReceivedWith<C> = C extends Codec<infer _, infer Received> ? Received : never

type Slicer = (this: Uint8Array, from: number, to: number) => string
const { utf8Slice } = Buffer.prototype as unknown as { utf8Slice: Slicer }
const noBytes = new Uint8Array(0)

const bytesCodec: Codec<Uint8Array> = {
  encode(value) {
    if (!(value instanceof Uint8Array)) throw new TypeError('bytes() takes a Uint8Array')
    return value
  },
  decode: (bytes, owned) => (owned ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) : Buffer.from(bytes)),
}

const lentBytesCodec: Codec<Uint8Array> = { ...bytesCodec, lends: true }

const utf8Codec: Codec<string> = {
  encode(value) {
    if (typeof value !== 'string') throw new TypeError('utf8() takes a string')
    return value
  },
  decode: (bytes) => utf8Slice.call(bytes, 0, bytes.length),
}

const jsonCodec: Codec<unknown> = {
  encode(value) {
    const text = JSON.stringify(value)
    if (text === undefined) throw new TypeError('JSON has nothing for this value')
    return text
  },
  decode: (bytes) => JSON.parse(utf8Slice.call(bytes, 0, bytes.length)),
}

const cloneCodec: Codec<unknown> = {
  encode: (value) => serialize(value),
  // Typed arrays in it would lie in the receive buffer.
  decode: (bytes, owned) => deserialize(owned ? bytes : Buffer.from(bytes)),
}

const emptyCodec: Codec<void> = {
  encode: () => noBytes,
  decode: () => undefined,
}

/** Bytes as they are; the receiver gets a copy of its own. Up to 16 KiB are copied when sent, more are used in place. */
export function bytes(): Codec<Uint8Array> {
  return bytesCodec
}

/**
 * The same bytes, lent to the handler that takes them: when it has finished, i.e. has returned or its promise has settled,
 * another body is laid where this one was. That spares large bodies the collection of garbage. Answers are not lent.
 */
export function lentBytes(): Codec<Uint8Array> {
  return lentBytesCodec
}

/** A string as UTF-8; lone surrogates arrive as U+FFFD. */
export function utf8(): Codec<string> {
  return utf8Codec
}

/** What JSON can say. The type is yours to keep: nothing is checked when it arrives, unless by {@link checked}. */
export function json<T = unknown>(): Codec<T> {
  return jsonCodec as Codec<T>
}

/** What `structuredClone` can: Map, Set, Date, BigInt, typed arrays, cycles. Both sides must be Node. */
export function clone<T = unknown>(): Codec<T> {
  return cloneCodec as Codec<T>
}

/** Nothing: a message that is only its type. */
export function empty(): Codec<void> {
  return emptyCodec
}

/**
 * The same with a look at what has arrived: `check` gives it back, perhaps changed, or throws, which the sender hears of
 * as `ERR_SLUICE_MESSAGE_CODEC`.
 */
export function checked<T, U>(codec: Codec<T>, check: (value: T) => U & T): Codec<U & T> {
  requireCodec(codec, 'codec')
  return { encode: (value) => codec.encode(value), decode: (from, owned) => check(codec.decode(from, owned)) }
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function requireCodec(value: unknown, option: string): void {
  const { encode, decode } = (value ?? {}) as Partial<Codec<unknown>>
  if (typeof encode !== 'function' || typeof decode !== 'function')
    throw expected('a codec: an object with encode() and decode()', value, option)
}

/** What a codec throws, as an error of ours. */
export function codecError(thrown: unknown, what: string): SluiceError {
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  const detail = `${what} could not be encoded or decoded: ${text}`
  return new SluiceError('MESSAGE_CODEC', { phase: 'message', detail, cause: thrown })
}
