// Parts of messages that need no connection: codecs, compression, reconnect delays, the bytes in the document.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import zlib, { deflateRawSync } from 'node:zlib'
import type { SluiceError } from 'sluice'
import { bytes, clone, defineProtocol, json, MessageService, oneWay, request, stream, utf8 } from 'sluice/messages'
import { describe, expect, it, type TestContext } from 'vitest'
import { agreeOn } from '../../src/message/compression.js'
import { wireErrorRows } from '../../src/message/failure.js'
import type { MessageHeader } from '../../src/message/header.js'
import { MessageReader } from '../../src/message/message-reader.js'
import { PacketBuffer } from '../../src/message/packet-buffer.js'
import { PacketReader } from '../../src/message/packet-reader.js'
import { reconnectDelayMs } from '../../src/message/reconnect.js'
import { pattern } from '../support/record.js'

// Without it the service must refuse the option, and the rest of the test is left out.
function needsEngine(name: 'deflate' | 'brotli' | 'zstd' | 'snappy', context: TestContext): void {
  if (name !== 'zstd' || 'zstdCompressSync' in zlib) return
  const protocols = [defineProtocol({ name: 'a', messages: { x: oneWay(utf8()) } })]
  expect(codeOf(() => new MessageService({ protocols, compression: ['zstd'] }))).toBe('ERR_SLUICE_INVALID_OPTION')
  context.skip('needs: Node 22.15 or 23.8 for zstd')
}

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return (error as SluiceError).code
  }
  return 'nothing was thrown'
}

describe('codecs', () => {
  it('give back what they were given, in memory of its own', () => {
    const view = Buffer.from('xxhellox')
    const copy = bytes().decode(view.subarray(2, 7), false) as Buffer
    view.fill(0)
    expect(copy.toString()).toBe('hello')
    expect(utf8().decode(Buffer.from('é€😀'), false)).toBe('é€😀')
    expect(json().decode(Buffer.from(json().encode({ a: [1, null] }) as string), false)).toEqual({ a: [1, null] })
    const value = new Map<string, unknown>([
      ['n', 10n],
      ['b', new Uint8Array([1, 2])],
    ])
    expect(clone().decode(clone().encode(value) as Uint8Array, false)).toEqual(value)
  })

  it('refuse what they cannot say', () => {
    expect(() => json().encode(undefined)).toThrow(TypeError)
    expect(() => utf8().encode(5 as never)).toThrow(TypeError)
    expect(() => bytes().encode('x' as never)).toThrow(TypeError)
    expect(codeOf(() => oneWay({} as never))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => request(json(), undefined as never))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => stream({} as never))).toBe('ERR_SLUICE_INVALID_OPTION')
  })
})

describe('options', () => {
  const protocol = defineProtocol({ name: 'a', messages: { x: oneWay(utf8()) } })
  it.each([
    [{}, 'protocols'],
    [{ protocols: [] }, 'protocols'],
    [{ protocols: [protocol, protocol] }, 'protocols'],
    [{ protocols: [protocol], windowBytes: 10 }, 'windowBytes'],
    [{ protocols: [protocol], compression: ['lz4'] }, 'compression'],
    [{ protocols: [protocol], start: 'later' }, 'start'],
    [{ protocols: [protocol], events: { nothing() {} } }, 'events'],
    [{ protocols: [protocol], runtime: {} }, 'runtime'],
    [{ protocols: [protocol], keepaliveMs: 1 }, 'keepaliveMs'],
    [{ protocols: [protocol], tls: true, startTls: {} }, 'tls'],
  ])('%o: %s is to blame', (options, option) => {
    let error: Partial<SluiceError> = {}
    try {
      new MessageService(options as never)
    } catch (thrown) {
      error = thrown as SluiceError
    }
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })

  it('of messages and destinations are checked too', async () => {
    const service = new MessageService({ protocols: [protocol] })
    expect(codeOf(() => service.pool('nowhere'))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => service.pool({ port: 0 }))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => service.pool('127.0.0.1:70000'))).toBe('ERR_SLUICE_INVALID_OPTION')
    const pool = service.pool('127.0.0.1:1')
    expect(service.pool('127.0.0.1:1')).toBe(pool)
    const { x } = protocol.messages
    for (const options of [{ priority: 'urgent' }, { timeoutMs: -1 }, { idempotnet: true }, { traceparent: '00-0' }]) {
      expect(codeOf(() => pool.post(x, '' as never, options as never))).toBe('ERR_SLUICE_INVALID_OPTION')
    }
    expect(codeOf(() => pool.post({} as never, '' as never))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => pool.post({ ...x } as never, '' as never))).toBe('ERR_SLUICE_MESSAGE_UNKNOWN_TYPE')
    await service.destroy()
    expect(codeOf(() => service.pool('127.0.0.1:2'))).toBe('ERR_SLUICE_MESSAGE_POOL_CLOSED')
  })
})

describe('compression', () => {
  it('is agreed on by what the receiver likes best and the sender has', () => {
    const both = agreeOn(['brotli', 'deflate'], ['deflate', 'brotli'])
    const payload = Buffer.alloc(5000, 'abc')
    const other = agreeOn(['deflate', 'brotli'], ['brotli', 'deflate'])
    expect(Buffer.from(other.decompress!(both.compressor!.compress(payload)!))).toEqual(payload)
    expect(Buffer.from(both.decompress!(other.compressor!.compress(payload)!))).toEqual(payload)
    expect(both.compressor!.compress(payload)).toEqual(deflateRawSync(payload, { level: 1 }))
    expect(agreeOn(['brotli'], ['deflate'])).toEqual({ compressor: undefined, decompress: undefined })
  })

  it.for([
    'deflate',
    'brotli',
    'zstd',
    'snappy',
  ] as const)('%s: a bomb or garbage is an error, and grows to nothing', (name, context) => {
    needsEngine(name, context)
    const { compressor, decompress } = agreeOn([name], [name])
    for (const size of [1025, 20_000, 65_536]) {
      const payload = Buffer.concat([pattern(size / 2), Buffer.alloc(size - Math.floor(size / 2), 'abc')])
      expect(Buffer.from(decompress!(compressor!.compress(payload)!))).toEqual(payload)
    }
    expect(decompress!(compressor!.compress(Buffer.alloc(65_536))!).length).toBe(65_536)
    const bomb = compressor!.compress(Buffer.alloc(100_000_000))!
    const oneTooMany = compressor!.compress(Buffer.alloc(65_537))!
    for (const bad of [bomb, oneTooMany, pattern(100), bomb.subarray(0, 20), new Uint8Array(0)])
      expect(codeOf(() => decompress!(bad))).toBe('ERR_SLUICE_MESSAGE_COMPRESSION_FAILED')
  })

  it('zstd: a frame that wants more memory than a packet has is an error', (context) => {
    needsEngine('zstd', context)
    const { decompress } = agreeOn(['zstd'], ['zstd'])
    // RFC 8878, section 3.1.1: magic number, no flags, a window of 128 MiB, and one raw block of 3 bytes, the last one.
    const frame = (window: number) => Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, window, 0x19, 0, 0, 0x61, 0x62, 0x63])
    expect(Buffer.from(decompress!(frame(0x00))).toString()).toBe('abc')
    expect(codeOf(() => decompress!(frame(0x88)))).toBe('ERR_SLUICE_MESSAGE_COMPRESSION_FAILED')
  })

  it('snappy: a length that is too long is not believed, nor is one that is none', () => {
    const { decompress } = agreeOn(['snappy'], ['snappy'])
    for (const bad of ['ffffffff0f00', '8180040000', '80808080808080'])
      expect(codeOf(() => decompress!(Buffer.from(bad, 'hex')))).toBe('ERR_SLUICE_MESSAGE_COMPRESSION_FAILED')
  })

  it('is left out for small packets, and for what gets no smaller', () => {
    const written: Buffer[] = []
    const port = {
      write: (piece: Uint8Array) => void written.push(Buffer.from(piece)),
      writeLent: (piece: Uint8Array, released: () => void) => {
        written.push(Buffer.from(piece))
        released()
      },
    }
    const { compressor } = agreeOn(['deflate'], ['deflate'])
    const packet = new PacketBuffer(port, compressor)
    const random = randomBytes(20_000)
    for (const payload of [Buffer.alloc(1024), Buffer.alloc(1025), random]) {
      packet.reserve(payload.length).set(payload, packet.at)
      packet.at += payload.length
      packet.flush()
    }
    expect(written.map((piece) => piece[1])).toEqual([0, 2, 0])
    expect(written[1]!.length).toBeLessThan(100)
  })
})

describe('waits before connecting again', () => {
  it('grow by a step per failure up to the longest, with some chance added', () => {
    const options = { baseMs: 10_000, steps: 10, jitterMinMs: 100, jitterMaxMs: 999 }
    const waits = [0, 1, 2, 9, 10, 11, 1000].map((failures) => reconnectDelayMs(failures, options, () => 0))
    expect(waits).toEqual([100, 1100, 2100, 9100, 10_100, 10_100, 10_100])
    expect(reconnectDelayMs(0, options, () => 0.9999)).toBe(998)
  })
})

describe('docs/wire-format.md', () => {
  it('lists the numbers of errors', () => {
    const rows = wireErrorRows.map(([number, name]) => `| ${number} | \`${name}\` |`)
    expect(
      readFileSync('docs/wire-format.md', 'utf8')
        .split('\n')
        .filter((line) => /^\| \d+ \| `[A-Z_]+` \|$/.test(line)),
    ).toEqual(rows)
  })
})

describe('the test vectors of docs/wire-format.md', () => {
  const vectors = readFileSync('docs/wire-format.md', 'utf8')
    .split('\n')
    .map((line) => /^\| (.+) \| `([0-9a-f]{8,})` \|$/.exec(line))
    .flatMap((match) => (match === null ? [] : [[match[1]!, match[2]!] as const]))

  const commandsOf = (hex: string): string[] => {
    const log: string[] = []
    const told = (header: MessageHeader) =>
      `${header.flags.toString(16)} type ${header.type} ${header.index}/${header.unique} epoch ${header.epoch} ${header.deadlineMs} ms`
    const reader = new MessageReader(
      {
        message: (header, bytes, from, to) =>
          void log.push(`${told(header)} "${Buffer.from(bytes.subarray(from, to))}"${header.trace ? ' traced' : ''}`),
        begin: () => undefined,
        granted: (...what) => void log.push(`grant ${what}`),
        refused: (...what) => void log.push(`refuse ${what}`),
        requestCanceled: (...what) => void log.push(`cancel ${what}`),
        morePartsTaken: (...what) => void log.push(`parts ${what}`),
      },
      1024,
      1 << 20,
    )
    const packets = new PacketReader({
      packet(type, _flags, bytes, from, to) {
        if (type === 1) reader.data(bytes, from, to)
        else log.push(`packet ${type} ${Buffer.from(bytes.subarray(from, to)).toString('hex')}`)
        return true
      },
      part: (_bytes, from) => from,
    })
    const bytes = Buffer.from(hex, 'hex')
    expect(packets.feed(bytes)).toBe(bytes.length)
    expect(packets.unfinishedBytes).toBe(0)
    return log
  }

  it('mean what they say', () => {
    expect(Object.fromEntries(vectors.map(([name, hex]) => [name, commandsOf(hex).join()]))).toEqual({
      'keep-alive': 'packet 2 ',
      secure: 'packet 4 ',
      'goodbye, nothing new': 'packet 5 0000',
      '`"hi"` without answer, type 3': '0 type 3 0/0 epoch 0 -1 ms "hi"',
      'request 5, unique 1, of type 200, `"abc"`': '1 type 200 5/1 epoch 0 -1 ms "abc"',
      'its answer, `"def"`': '2 type 0 5/1 epoch 0 -1 ms "def"',
      'a part of an answer to request 300, unique 4294967295, empty': '6 type 0 300/4294967295 epoch 0 -1 ms ""',
      'idempotent request 0, unique 7, type 1, 1500 ms left, trace 4bf92f…, empty':
        '21 type 1 0/7 epoch 0 1500 ms "" traced',
      'synchronous, epoch 2, type 0, `"x"`': '10 type 0 0/0 epoch 2 -1 ms "x"',
      'slot 3, round 1, takes 65536 bytes more': 'grant 3,1,65536',
      'slot 200, round 255, does not want it, error 12': 'refuse 200,255,12',
      'request 5, unique 1, is canceled': 'cancel 5,1',
      'request 5, unique 1, takes 32 parts more': 'parts 5,1,32',
    })
  })
})
