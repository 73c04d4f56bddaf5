import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteQueue } from '../../src/byte-queue/queue.js'
import { AsyncFrameReader } from '../../src/framing/async-frame-reader.js'
import { FrameReader } from '../../src/framing/frame-reader.js'
import { FrameWriter, type LengthPrefix } from '../../src/framing/frame-writer.js'

const invalid = expect.objectContaining({ code: 'ERR_SLUICE_FRAME_INVALID' })
const refused = expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })
const prefixes: LengthPrefix[] = ['u8', 'u16', 'u16le', 'u32', 'u32le', 'u64', 'u64le', 'varint']

function readerOf(bytes: string | Uint8Array): FrameReader {
  const queue = new ByteQueue()
  queue.append(bytes)
  return new FrameReader(queue)
}

/** Written bytes as hex. */
function hex(write: (writer: FrameWriter) => unknown): string {
  const writer = new FrameWriter()
  write(writer)
  return writer.queue.read().toString('hex')
}

type Item = [write: (writer: FrameWriter) => unknown, read: (reader: FrameReader) => unknown, value: unknown]

const content = fc.uint8Array({ maxLength: 255 }).map((bytes) => Buffer.from(bytes))
const number = (name: 'u8' | 'u16' | 'u16le' | 'u32' | 'u32le', max: number) =>
  fc.integer({ min: 0, max }).map((n): Item => [(w) => w[name](n), (r) => r[name](), n])
const big = (name: 'u64' | 'u64le' | 'varint') =>
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map((n): Item => [(w) => w[name](n), (r) => r[name](), n])
const items = fc.array(
  fc.oneof(
    number('u8', 0xff),
    number('u16', 0xffff),
    number('u16le', 0xffff),
    number('u32', 0xffffffff),
    number('u32le', 0xffffffff),
    big('u64'),
    big('u64le'),
    big('varint'),
    content.map((b): Item => [(w) => w.netstring(b), (r) => r.netstring(), b]),
    content.map((b): Item => [(w) => w.bytes(b), (r) => r.bytes(b.length), b]),
    fc
      .tuple(content, fc.constantFrom(...prefixes))
      .map(([b, prefix]): Item => [(w) => w.lengthPrefixed(b, prefix), (r) => r.lengthPrefixed(prefix), b]),
    fc.string({ unit: 'grapheme' }).map((text): Item => {
      const line = text.replaceAll(/[\r\n]/g, '')
      return [(w) => w.line(line), (r) => r.line(), line]
    }),
  ),
  { minLength: 1, maxLength: 12 },
)

describe('what FrameWriter writes', () => {
  it('is what FrameReader reads, however it is cut into pieces, and never before it is whole', () => {
    fc.assert(
      fc.property(items, fc.integer({ min: 1, max: 9 }), (all, step) => {
        const writer = new FrameWriter()
        for (const [write] of all) write(writer)
        const bytes = writer.queue.read()
        const queue = new ByteQueue()
        const reader = new FrameReader(queue)
        const got: unknown[] = []
        for (let at = 0; at <= bytes.length; at += step) {
          queue.appendReference(bytes.subarray(at, at + step))
          while (got.length < all.length) {
            const size = queue.sizeBytes
            const value = all[got.length][1](reader)
            if (value === undefined) {
              expect(queue.sizeBytes).toBe(size)
              break
            }
            got.push(value)
          }
        }
        expect(got).toEqual(all.map(([, , value]) => value))
        expect(queue.sizeBytes).toBe(0)
      }),
    )
  })

  it('has the layout that others expect', () => {
    expect(hex((w) => w.u8(1).u16(0x0203).u16le(0x0203).u32(0x04050607).u32le(0x04050607))).toBe(
      '01' + '0203' + '0302' + '04050607' + '07060504',
    )
    expect(hex((w) => w.u64(0x0102030405060708n).u64le(1))).toBe('0102030405060708' + '0100000000000000')
    expect(hex((w) => w.varint(0).varint(127).varint(128).varint(300))).toBe('00' + '7f' + '8001' + 'ac02')
    expect(hex((w) => w.varint((1n << 64n) - 1n))).toBe('ffffffffffffffffff01')
    expect(hex((w) => w.netstring('hello').lengthPrefixed('hi', 'u16'))).toBe(
      `${Buffer.from('5:hello,').toString('hex')}00026869`,
    )
    expect(hex((w) => w.line('a').line('b', '\n').line('c', '\0'))).toBe('610d0a' + '620a' + '6300')
  })

  it('is refused as a whole if it is out of range', () => {
    const writer = new FrameWriter()
    const calls: ((writer: FrameWriter) => unknown)[] = [
      (w) => w.u8(256),
      (w) => w.u8(-1),
      (w) => w.u16(1.5),
      (w) => w.u16le(65_536),
      (w) => w.u32(2 ** 32),
      (w) => w.u32le('1' as never),
      (w) => w.u64(1n << 64n),
      (w) => w.u64le(2 ** 60),
      (w) => w.varint(-1n),
      (w) => w.bytes(5 as never),
      (w) => w.lengthPrefixed(Buffer.alloc(256), 'u8'),
      (w) => w.lengthPrefixed('x', 'u24' as never),
      (w) => w.netstring(null as never),
      (w) => w.line('a\nb'),
      (w) => w.line('a\0b', '\0'),
      (w) => w.line('a', 'x' as never),
    ]
    for (const call of calls) expect(() => call(writer)).toThrow(refused)
    expect(writer.queue.sizeBytes).toBe(0)
  })
})

describe('FrameReader', () => {
  const wrong: [string, string, (reader: FrameReader) => unknown][] = [
    ['a netstring without a length', ':,', (r) => r.netstring()],
    ['a netstring with a padded length', '01:a,', (r) => r.netstring()],
    ['a netstring with a sign', '-1:a,', (r) => r.netstring()],
    ['a netstring without its comma', '1:ab', (r) => r.netstring()],
    ['a netstring too long, before it has come', '100', (r) => r.netstring({ maxBytes: 99 })],
    ['a frame too long, before it has come', '\xff', (r) => r.lengthPrefixed('u8', { maxBytes: 99 })],
    ['a line too long', 'abcd\r\n', (r) => r.line({ maxBytes: 3 })],
    ['a line too long, before its end has come', 'abcde', (r) => r.line({ maxBytes: 3 })],
    ['a varint of 71 bits', `${'\xff'.repeat(9)}\x02`, (r) => r.varint()],
    ['a varint without an end', '\xff'.repeat(10), (r) => r.varint()],
  ]

  it.each(wrong)('refuses %s, and takes nothing', (_, bytes, read) => {
    const reader = readerOf(Buffer.from(bytes, 'latin1'))
    expect(() => read(reader)).toThrow(invalid)
    expect(reader.queue.read().toString('latin1')).toBe(bytes)
  })

  it('lets a frame be as long as the limit', () => {
    const limits = { maxBytes: 3 }
    expect(readerOf('3:abc,').netstring(limits)?.toString()).toBe('abc')
    expect(readerOf('\x03abc').lengthPrefixed('u8', limits)?.toString()).toBe('abc')
    expect(readerOf('abc\r\n').line(limits)).toBe('abc')
    expect(readerOf('abc\r').line(limits)).toBeUndefined()
  })

  it('reads several things as one frame, or takes nothing', () => {
    const reader = readerOf('\x01\x02ab\x01\x03ab')
    const parse = (r: FrameReader) => {
      const type = r.u8()
      const body = r.lengthPrefixed('u8')
      return body && { type, body: body.toString() }
    }
    expect(reader.frame(parse)).toEqual({ type: 1, body: 'ab' })
    expect(reader.frame(parse)).toBeUndefined()
    expect(reader.queue.sizeBytes).toBe(4)
    // What the inner frame had read is not taken when it comes to nothing.
    expect(reader.frame((r) => [r.u8(), r.lengthPrefixed('u8') ?? r.u8()])).toEqual([1, 3])
    expect(() =>
      reader.frame((r) => {
        r.u8()
        throw new Error('no')
      }),
    ).toThrow('no')
    expect(reader.queue.read().toString()).toBe('ab')
  })

  it('refuses wrong arguments', () => {
    const reader = readerOf('abc')
    expect(() => reader.bytes(-1)).toThrow(refused)
    expect(() => reader.netstring({ maxBytes: -1 })).toThrow(refused)
    expect(() => reader.lengthPrefixed('x' as never)).toThrow(refused)
    expect(() => reader.line({ endOfLine: 'x' as never })).toThrow(refused)
  })
})

describe('AsyncFrameReader', () => {
  async function* chunks(...texts: string[]) {
    for (const text of texts) yield [Buffer.from(text, 'latin1')]
  }

  it('waits for what is not there, answers in turn, and tells the end', async () => {
    const reader = new AsyncFrameReader(chunks('\x01\x00', '\x02li', 'ne\r', '\n3:ab', 'c,'))
    const all = [reader.u8(), reader.u16(), reader.line(), reader.netstring(), reader.u8(), reader.u8()]
    const [one, two, line, netstring, ...end] = await Promise.all(all)
    expect([one, two, line, String(netstring), ...end]).toEqual([1, 2, 'line', 'abc', undefined, undefined])
  })

  it('tells an end within a frame, and what is no frame, and can go on after that', async () => {
    const reader = new AsyncFrameReader(chunks('x', '5:hel'))
    await expect(reader.netstring()).rejects.toEqual(invalid)
    expect(await reader.u8()).toBe(0x78)
    await expect(reader.netstring()).rejects.toEqual(invalid)
  })

  it('reads a queue to which others append', async () => {
    const writer = new FrameWriter()
    const reader = new AsyncFrameReader(writer.queue)
    const frame = reader.lengthPrefixed('u16')
    writer.u16(5).bytes('he')
    writer.bytes('llo')
    expect(String(await frame)).toBe('hello')
    writer.queue.end(new Error('broken'))
    await expect(reader.varint()).rejects.toThrow('broken')
  })

  it('closes what it reads from', async () => {
    let closed = false
    async function* source() {
      try {
        yield [Buffer.from('ab')]
      } finally {
        closed = true
      }
    }
    const reader = new AsyncFrameReader(source())
    expect(await reader.u8()).toBe(0x61)
    await reader.close()
    expect(closed).toBe(true)
    expect(await reader.u8()).toBeUndefined()
  })
})
