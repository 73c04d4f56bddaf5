import * as zlib from 'node:zlib'
import { SluiceError } from '../errors.js'
import { expected } from '../options.js'
import { messageError } from './failure.js'
import { maxPayloadBytes } from './packet.js'
import type { PacketCompressor } from './packet-buffer.js'

/** Engines that packets may be compressed with. */
export type CompressionEngine = 'zstd' | 'brotli' | 'deflate' | 'snappy'

interface Engine {
  compress(payload: Uint8Array): Uint8Array
  /** Throws for what is corrupt, or would be larger than a packet may be. */
  decompress(payload: Uint8Array): Uint8Array
}

const bound = { maxOutputLength: maxPayloadBytes }
const brotliQuality = { [zlib.constants.BROTLI_PARAM_QUALITY]: 3, [zlib.constants.BROTLI_PARAM_LGWIN]: 16 }

interface ZstdFunctions {
  constants: { ZSTD_c_windowLog: number; ZSTD_d_windowLogMax: number }
  zstdCompressSync?(payload: Uint8Array, options: { params: Record<number, number> }): Buffer
  zstdDecompressSync?(payload: Uint8Array, options: { maxOutputLength: number; params: Record<number, number> }): Buffer
}
// As much as a packet holds: a frame that asks for a larger window asks for memory that it does not need.
const zstdWindowLog = 16

interface SnappyPackage {
  compressSync(payload: Uint8Array): Buffer
  uncompressSync(payload: Uint8Array, options: { asBuffer: true }): Buffer
}

const loaders: Record<CompressionEngine, () => Engine> = {
  deflate: () => ({
    compress: (payload) => zlib.deflateRawSync(payload, { level: 1 }),
    decompress: (payload) => zlib.inflateRawSync(payload, bound),
  }),
  brotli: () => ({
    compress: (payload) => zlib.brotliCompressSync(payload, { params: brotliQuality }),
    decompress: (payload) => zlib.brotliDecompressSync(payload, bound),
  }),
  zstd() {
    const { constants, zstdCompressSync, zstdDecompressSync } = zlib as unknown as ZstdFunctions
    if (zstdCompressSync === undefined || zstdDecompressSync === undefined)
      throw unavailable('zstd', 'this Node has none; it came with 22.15 and 23.8')
    const sending = { params: { [constants.ZSTD_c_windowLog]: zstdWindowLog } }
    const receiving = { ...bound, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog } }
    return {
      compress: (payload) => zstdCompressSync(payload, sending),
      decompress: (payload) => zstdDecompressSync(payload, receiving),
    }
  },
  snappy() {
    let snappy: SnappyPackage
    try {
      snappy = require('snappy') as SnappyPackage
    } catch (error) {
      throw unavailable('snappy', 'the package snappy is not installed', error)
    }
    return {
      compress: (payload) => snappy.compressSync(payload),
      decompress(payload) {
        if (snappyLength(payload) > maxPayloadBytes) throw new RangeError('it says that it is too large')
        return snappy.uncompressSync(payload, { asBuffer: true })
      },
    }
  },
}

// A block begins with the length it will have, 7 bits to a byte. Source: the format description of snappy, section 1.
function snappyLength(payload: Uint8Array): number {
  let length = 0
  for (let i = 0; i < 5 && i < payload.length; i++) {
    length += (payload[i]! & 0x7f) * 2 ** (7 * i)
    if (payload[i]! < 0x80) return length
  }
  throw new RangeError('it does not begin with a length')
}

const loaded = new Map<CompressionEngine, Engine>()

function engineOf(name: CompressionEngine): Engine {
  let engine = loaded.get(name)
  if (engine === undefined) {
    engine = loaders[name]()
    loaded.set(name, engine)
  }
  return engine
}

function unavailable(name: string, why: string, cause?: unknown): SluiceError {
  const detail = `option "compression": ${name} is not available: ${why}`
  return new SluiceError('INVALID_OPTION', { phase: 'options', option: 'compression', detail, cause })
}

/** Checks a list of engines, and that they are there. */
export const compressionParser = {
  allowed: `a list of ${Object.keys(loaders).join(', ')}`,
  absent: [] as readonly CompressionEngine[],
  parse(value: unknown, option: string): readonly CompressionEngine[] {
    if (!Array.isArray(value) || !value.every((name) => Object.hasOwn(loaders, name)))
      throw expected(this.allowed, value, option)
    for (const name of value) engineOf(name)
    return value
  },
}

/** What is done with packets, given the lists of both sides: each direction takes the first of its receiver's. */
export function agreeOn(
  own: readonly CompressionEngine[],
  peer: readonly string[],
): {
  compressor: PacketCompressor | undefined
  decompress: ((payload: Uint8Array) => Uint8Array) | undefined
} {
  const outgoing = peer.find((name): name is CompressionEngine => (own as readonly string[]).includes(name))
  const incoming = own.find((name) => peer.includes(name))
  return {
    compressor: outgoing && { compress: (payload) => engineOf(outgoing).compress(payload) },
    decompress:
      incoming &&
      ((payload) => {
        try {
          return engineOf(incoming).decompress(payload)
        } catch (cause) {
          throw messageError('MESSAGE_COMPRESSION_FAILED', (cause as Error).message, { cause })
        }
      }),
  }
}
