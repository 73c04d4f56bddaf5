// gzip and its kin as filters, against Node's own zlib, and with what peers send instead of compressed data.
import { randomBytes } from 'node:crypto'
import zlib from 'node:zlib'
import { brotli, type CompressionOptions, deflate, deflateRaw, type Filter, gzip, zstd } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, echo, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const hasZstd = 'createZstdCompress' in zlib
const zstdSync = zlib as unknown as {
  zstdCompressSync(bytes: Uint8Array): Buffer
  zstdDecompressSync(bytes: Uint8Array): Buffer
}

interface Format {
  name: string
  filter(options?: CompressionOptions): Filter
  compress(bytes: Uint8Array): Buffer
  decompress(bytes: Uint8Array): Buffer
}

const formats: Format[] = [
  { name: 'gzip', filter: gzip, compress: zlib.gzipSync, decompress: zlib.gunzipSync },
  { name: 'deflate', filter: deflate, compress: zlib.deflateSync, decompress: zlib.inflateSync },
  { name: 'deflateRaw', filter: deflateRaw, compress: zlib.deflateRawSync, decompress: zlib.inflateRawSync },
  { name: 'brotli', filter: brotli, compress: zlib.brotliCompressSync, decompress: zlib.brotliDecompressSync },
]
if (hasZstd) {
  const { zstdCompressSync: compress, zstdDecompressSync: decompress } = zstdSync
  formats.push({ name: 'zstd', filter: zstd, compress, decompress })
}

const text = Buffer.from('It was the best of times, it was the worst of times. '.repeat(4000))

describe.each(modes())('compression on $name', (mode) => {
  it.each(formats)('carries every byte both ways, in fewer: $name', async ({ filter }) => {
    const filters = () => [filter()]
    await using pair = await connectedPair(mode, { listen: { filters }, connect: { filters }, server: echo })
    const noise = randomBytes(100_000)
    for (const piece of [text, noise, text]) {
      pair.client.write(piece)
      await nextTurn()
    }
    await pair.atClient.received(2 * text.length + noise.length)
    const { bytesRead } = pair.server.stats()
    expect(bytesRead).toBeGreaterThan(noise.length)
    expect(bytesRead).toBeLessThan(noise.length + text.length / 10)
    pair.client.end()
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
    expect(pair.atServer.hash).toBe(hashOf(text, noise, text))
    expect(pair.atClient.hash).toBe(hashOf(text, noise, text))
  })

  it.each(formats)('is read by Node, and reads what Node writes: $name', async ({ filter, compress, decompress }) => {
    await using pair = await connectedPair(mode, {
      connect: { filters: () => [filter()] },
      listen: { allowHalfOpen: true },
    })
    pair.client.end(text)
    await pair.atServer.saw('end')
    expect(hashOf(decompress(pair.atServer.bytes))).toBe(hashOf(text))
    for (const byte of compress(text.subarray(0, 500))) pair.server.write(Uint8Array.of(byte))
    pair.server.end(compress(Buffer.alloc(0)).subarray(0, 0))
    await pair.atClient.closed()
    expect(pair.atClient.text).toBe(text.subarray(0, 500).toString())
  })

  it.each(formats)('brings each message across at once, or when asked to: $name', async ({ filter }) => {
    const filters = () => [filter({ flush: 'asked' })]
    await using pair = await connectedPair(mode, {
      listen: { filters: () => [filter()] },
      connect: { filters },
      server: echo,
    })
    for (let i = 0; i < 5; i++) {
      pair.client.write(`message ${i}`)
      for (let turn = 0; turn < 5; turn++) await nextTurn()
      expect(pair.atServer.sizeBytes).toBe(9 * i)
      await pair.client.flush()
      await pair.atClient.received(9 * (i + 1))
    }
    expect(pair.atClient.text).toBe('message 0message 1message 2message 3message 4')
  })

  it.each(formats)('makes a valid end of nothing, and an end of a peer that said nothing: $name', async (format) => {
    const { filter, decompress } = format
    await using pair = await connectedPair(mode, { connect: { filters: () => [filter()] } })
    await pair.client.close()
    await pair.atServer.closed()
    expect(decompress(pair.atServer.bytes)).toHaveLength(0)
    expect(pair.atClient.error).toBeUndefined()
  })

  it.each(formats)('ends reading where data is cut off or none: $name', async ({ filter, compress }) => {
    for (const bytes of [compress(pattern(1000)).subarray(0, 20), Buffer.from('GET / HTTP/1.1\r\n\r\n')]) {
      await using pair = await connectedPair(mode, { listen: { filters: () => [filter()] } })
      pair.client.end(bytes)
      const error = await pair.atServer.closed()
      expect(error).toMatchObject({ code: 'ERR_SLUICE_FILTER_FAILED', phase: 'read' })
      expect(error?.cause).toBeInstanceOf(Error)
      expect(pair.atServer.count('end')).toBe(0)
    }
  })

  it.each(formats)('ends reading where a little becomes too much: $name', async ({ filter, compress }) => {
    const bomb = compress(Buffer.alloc(20_000_000))
    await using pair = await connectedPair(mode, { listen: { filters: () => [filter()] } })
    pair.client.end(bomb)
    const error = await pair.atServer.closed()
    expect(error?.code).toBe('ERR_SLUICE_FILTER_EXPANSION')
    expect(pair.atServer.sizeBytes).toBeLessThan(1_048_576 + 100 * bomb.length + 200_000)
    await using trusting = await connectedPair(mode, {
      listen: { filters: () => [filter({ maxExpansion: Number.POSITIVE_INFINITY })] },
    })
    trusting.client.end(bomb)
    await trusting.atServer.closed()
    expect(trusting.atServer.sizeBytes).toBe(20_000_000)
  })

  it('ends where the compressed stream does, and drops what follows', async () => {
    await using pair = await connectedPair(mode, { listen: { filters: () => [deflate()] } })
    pair.client.write(zlib.deflateSync('all of it'))
    pair.client.end('and something else')
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe('all of it')
    expect(pair.atServer.error).toBeUndefined()
  })
})

describe('compression', () => {
  it.each([
    [gzip, { level: 10 }, 'level'],
    [deflate, { level: 1.5 }, 'level'],
    [deflateRaw, { flush: 'never' }, 'flush'],
    [brotli, { maxExpansion: 0 }, 'maxExpansion'],
    [brotli, { levle: 1 }, 'levle'],
  ] as const)('refuses wrong options: %o', (filter, options, option) => {
    expect(() => filter(options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option }),
    )
  })

  it.runIf(!hasZstd)('says that this Node has no zstd', () => {
    expect(() => zstd()).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_NOT_SUPPORTED', message: expect.stringContaining('22.15') }),
    )
  })
})
