import type { Duplex } from 'node:stream'
import * as zlib from 'node:zlib'
import { SluiceError } from '../errors.js'
import { integer, number, oneOf, optional, type Parsed, parse, type Shape } from '../options.js'
import type { Filter, TransformSource } from './filter.js'

/** Options of {@link gzip} and its kin. */
export interface CompressionOptions {
  /** How hard to try: 0 to 9 (default 6); brotli 0 to 11 (default 4: 11, Node's own default, is for files, not for
   *  traffic); zstd 1 to 22 (default 3). */
  level?: number
  /** When what has been written goes out: `'turn'`, everything at the end of the turn (the default); `'asked'`, as the
   *  compressor likes, or on `flush()`: smaller, and the peer waits. */
  flush?: 'turn' | 'asked'
  /** Bytes that may come out of the decompressor for each that went in, after the first 1 048 576; else
   *  `ERR_SLUICE_FILTER_EXPANSION`. 1 or more, Infinity for no bound. Default 100. Source: our choice, as Envoy's. */
  maxExpansion?: number
}

const shape = (minLevel: number, maxLevel: number) =>
  ({
    level: optional(integer({ min: minLevel, max: maxLevel })),
    flush: oneOf(['turn', 'asked'], { default: 'turn' }),
    maxExpansion: {
      ...number({ min: 1, default: 100 }),
      parse: (value: unknown, option: string) =>
        value === Number.POSITIVE_INFINITY ? value : number({ min: 1 }).parse(value, option),
    },
  }) satisfies Shape<CompressionOptions>

type Options = Parsed<ReturnType<typeof shape>>
type Flushing = Duplex & { flush(kind: number, callback: () => void): void }

const { Z_NO_FLUSH, Z_SYNC_FLUSH, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_PROCESS, BROTLI_PARAM_QUALITY } =
  zlib.constants

/** Compresses what is written and decompresses what is read: RFC 1952. One filter serves any number of connections. */
export function gzip(options?: CompressionOptions): Filter {
  return ofZlib('gzip', options, zlib.createGzip, zlib.createGunzip)
}

/** The same in the format of zlib: RFC 1950, as in HTTP's "deflate". */
export function deflate(options?: CompressionOptions): Filter {
  return ofZlib('deflate', options, zlib.createDeflate, zlib.createInflate)
}

/** The same without header and checksum: RFC 1951, as in IMAP's COMPRESS. */
export function deflateRaw(options?: CompressionOptions): Filter {
  return ofZlib('deflateRaw', options, zlib.createDeflateRaw, zlib.createInflateRaw)
}

/** The same by Brotli: RFC 7932. */
export function brotli(options?: CompressionOptions): Filter {
  const parsed = parse(shape(0, 11), options)
  const { level = 4 } = parsed
  const create = () =>
    zlib.createBrotliCompress({
      flush: parsed.flush === 'turn' ? BROTLI_OPERATION_FLUSH : BROTLI_OPERATION_PROCESS,
      params: { [BROTLI_PARAM_QUALITY]: level },
    })
  return compression('brotli', parsed, create, zlib.createBrotliDecompress, BROTLI_OPERATION_FLUSH)
}

// Node 22.15 and 23.8 have it; the types of Node 20 do not.
const zstdZlib = zlib as unknown as {
  createZstdCompress?: (options: { flush: number; params: Record<number, number> }) => Duplex
  createZstdDecompress?: () => Duplex
  constants: { ZSTD_e_continue: number; ZSTD_e_flush: number; ZSTD_c_compressionLevel: number }
}

/** The same by Zstandard: RFC 8878. @throws {SluiceError} `ERR_SLUICE_NOT_SUPPORTED` before Node 22.15. */
export function zstd(options?: CompressionOptions): Filter {
  const parsed = parse(shape(1, 22), options)
  const { createZstdCompress, createZstdDecompress, constants } = zstdZlib
  if (createZstdCompress === undefined || createZstdDecompress === undefined) {
    const detail = `zstd is in Node 22.15 and newer, this is ${process.versions.node}; gzip, deflate and brotli are here`
    throw new SluiceError('NOT_SUPPORTED', { detail })
  }
  const { level = 3 } = parsed
  const create = () =>
    createZstdCompress({
      flush: parsed.flush === 'turn' ? constants.ZSTD_e_flush : constants.ZSTD_e_continue,
      params: { [constants.ZSTD_c_compressionLevel]: level },
    })
  return compression('zstd', parsed, create, () => createZstdDecompress(), constants.ZSTD_e_flush)
}

function ofZlib(
  name: string,
  options: CompressionOptions | undefined,
  createCompressor: (options: zlib.ZlibOptions) => Duplex,
  createDecompressor: () => Duplex,
): Filter {
  const parsed = parse(shape(0, 9), options)
  const { level, flush } = parsed
  const create = () => createCompressor({ level, flush: flush === 'turn' ? Z_SYNC_FLUSH : Z_NO_FLUSH })
  return compression(name, parsed, create, () => createDecompressor(), Z_SYNC_FLUSH)
}

function compression(
  name: string,
  { flush, maxExpansion }: Options,
  createCompressor: () => Duplex,
  createDecompressor: () => Duplex,
  flushKind: number,
): Filter {
  const output: TransformSource = { create: createCompressor }
  if (flush === 'asked') output.flush = (stream, done) => (stream as Flushing).flush(flushKind, done)
  return { name, output, input: { create: createDecompressor, keepsEmpty: true }, maxExpansion }
}
