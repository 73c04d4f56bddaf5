import { type Codec, requireCodec } from './codec.js'
import { putCompact } from './compact.js'
import { IterableSource, type StreamSource } from './iterable-source.js'
import type { MessageStream } from './message-stream.js'
import type { OutgoingBody } from './outgoing.js'

/** What is sent as a stream: a value in front, and bytes that come as they are made. */
export interface StreamToSend<Head> {
  /** Arrives first, as a whole. */
  head: Head
  /** Pieces are used where they are: each must stay as it is until the message is done. */
  body: StreamSource
}

/** Of bodies of any length, which are neither collected when sent nor when received. */
export class StreamCodec<Head> implements Codec<StreamToSend<Head> | StreamSource, MessageStream<Head>> {
  /** @internal */
  constructor(/** @internal */ readonly head: Codec<Head> | undefined) {}

  /** @internal Streams are not encoded as a whole. */
  encode(): never {
    throw new TypeError('a stream is not encoded as a whole')
  }

  /** @internal */
  decode(): never {
    throw new TypeError('a stream is not decoded as a whole')
  }

  /** @internal */
  sourceOf(value: unknown): IterableSource {
    if (this.head === undefined) return new IterableSource(value as StreamSource, undefined)
    const { head, body } = (value ?? {}) as StreamToSend<Head>
    const encoded = this.head.encode(head)
    const bytes = typeof encoded === 'string' ? Buffer.from(encoded) : encoded
    const prefix = new Uint8Array(9)
    const length = putCompact(prefix, 0, bytes.length)
    return new IterableSource(body, Buffer.concat([prefix.subarray(0, length), bytes]))
  }
}

/** Bytes of any length, and nothing else: sent from an iterable, received as a {@link MessageStream}. */
export function stream(): Codec<StreamSource, MessageStream<undefined>>
/** The same with a value in front. */
export function stream<Head>(head: Codec<Head>): Codec<StreamToSend<Head>, MessageStream<Head>>
export function stream(head?: Codec<unknown>): unknown {
  if (head !== undefined) requireCodec(head, 'head')
  return new StreamCodec(head)
}

/** What is sent for a value. @throws what the codec throws. */
export function encodeBody(codec: Codec<unknown, unknown>, value: unknown): OutgoingBody {
  return codec instanceof StreamCodec ? codec.sourceOf(value) : codec.encode(value)
}
