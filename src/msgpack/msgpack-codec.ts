import { Packr } from 'msgpackr'
import type { Codec } from '../message/codec.js'
import { expected } from '../options.js'

/** What is used of a `Packr` of the package msgpackr, version 1.9 and newer. */
export interface MessagePacker {
  /** The value in MessagePack; the bytes must not be used again. */
  pack(value: unknown): Uint8Array
  /** The value that the bytes say; throws for what they do not. */
  unpack(bytes: Uint8Array): unknown
}

// Without records it is what everybody else's MessagePack is too.
const plain = { useRecords: false, mapsAsObjects: true, variableMapSize: true }
let own: { owning: Packr; copying: Packr } | undefined

/**
 * MessagePack, by the package msgpackr: smaller than JSON, with bytes, dates and big integers. By default objects are plain
 * maps, which all implementations read. As with `json()` nothing is checked when it arrives, unless by `checked()`.
 *
 * @param packer a `Packr` with options of your own, e.g. `new Packr({ structuredClone: true })`, the same on both sides. It
 *   must not have `sequential` or shared `structures`: messages are read in any order, and by anybody.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function msgpack<T = unknown>(packer?: MessagePacker): Codec<T> {
  if (packer !== undefined) {
    const { pack, unpack } = (packer ?? {}) as Partial<MessagePacker>
    if (typeof pack !== 'function' || typeof unpack !== 'function')
      throw expected('a Packr of the package msgpackr', packer, 'packer')
    return {
      encode: (value) => packer.pack(value),
      // Bytes in it would lie in the receive buffer.
      decode: (bytes, owned) => packer.unpack(owned ? bytes : Buffer.from(bytes)) as T,
    }
  }
  own ??= { owning: new Packr(plain), copying: new Packr({ ...plain, copyBuffers: true }) }
  const { owning, copying } = own
  return {
    encode(value) {
      if (value === undefined) throw new TypeError('MessagePack has nothing for undefined')
      return owning.pack(value)
    },
    decode: (bytes, owned) => (owned ? owning : copying).unpack(bytes) as T,
  }
}
