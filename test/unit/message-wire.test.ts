// The machines of the wire format, cut at every byte and fed with what no sender sends.
import fc from 'fast-check'
import type { SluiceError } from 'sluice'
import { describe, expect, it } from 'vitest'
import { compactLength, putCompact, readCompact } from '../../src/message/compact.js'
import { messageError } from '../../src/message/failure.js'
import {
  awaitsAnswer,
  headerLength,
  isAnswer,
  MessageHeader,
  putHeader,
  readHeader,
  synchronousFlag,
} from '../../src/message/header.js'
import { decodeHello, encodeHello, type Hello } from '../../src/message/hello.js'
import { MessageReader, type MessageSink } from '../../src/message/message-reader.js'
import { MessageWriter, type WriterPort } from '../../src/message/message-writer.js'
import { type BodySource, Outgoing } from '../../src/message/outgoing.js'
import { packetData, packetOf } from '../../src/message/packet.js'
import { PacketReader } from '../../src/message/packet-reader.js'
import { pattern } from '../support/record.js'

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return (error as SluiceError).code
  }
  return 'nothing was thrown'
}

function compactOf(value: number): Buffer {
  const bytes = Buffer.alloc(9)
  return bytes.subarray(0, putCompact(bytes, 0, value))
}

describe('compact numbers', () => {
  it.each([
    [0, '00'],
    [127, '7f'],
    [128, 'ff80'],
    [255, 'ffff'],
    [256, 'fe0001'],
    [65_535, 'feffff'],
    [65_536, 'fd000001'],
    [2 ** 32, 'fb0000000001'],
    [Number.MAX_SAFE_INTEGER, 'f9ffffffffffff1f'],
  ])('%i is %s', (value, hex) => {
    expect(compactOf(value).toString('hex')).toBe(hex)
  })

  it('come back, say their length, and are cut off at every byte but the last', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const bytes = compactOf(value)
        expect(compactLength(value)).toBe(bytes.length)
        const cursor = { at: 0 }
        expect(readCompact(bytes, cursor, bytes.length)).toBe(value)
        expect(cursor.at).toBe(bytes.length)
        for (let to = 0; to < bytes.length; to++) expect(readCompact(bytes, { at: 0 }, to)).toBe(-1)
      }),
    )
  })

  it.each([
    'ff7f',
    'feff00',
    'f8ffffffffffffffff',
    'f90000000000002000',
    'f70000000000000000ff',
    '80',
  ])('%s is none: not the shortest form, or too large', (hex) => {
    const bytes = Buffer.from(hex, 'hex')
    expect(readCompact(bytes, { at: 0 }, bytes.length)).toBe(-2)
  })
})

describe('headers of messages', () => {
  const headers = fc.record({
    flags: fc.constantFrom(
      0,
      awaitsAnswer,
      isAnswer,
      isAnswer | 4,
      isAnswer | 8,
      awaitsAnswer | synchronousFlag | 0x20,
    ),
    type: fc.nat(70_000),
    index: fc.nat(70_000),
    unique: fc.nat(2 ** 32 - 1),
    epoch: fc.nat(1000),
    deadlineMs: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
    trace: fc.option(fc.uint8Array({ minLength: 26, maxLength: 26 }), { nil: undefined }),
    group: fc.integer({ min: -1, max: 2 ** 32 - 1 }),
    replica: fc.nat(65_535),
    sizeBytes: fc.integer({ min: -1, max: 2 ** 40 }),
  })

  it('come back, and are refused when cut off anywhere', () => {
    fc.assert(
      fc.property(headers, (fields) => {
        const header = Object.assign(new MessageHeader(), fields)
        const bytes = Buffer.alloc(128)
        const length = putHeader(bytes, 0, header)
        expect(headerLength(header)).toBe(length)
        const back = new MessageHeader()
        expect(readHeader(bytes, 0, length, back)).toBe(length)
        expect(back.flags).toBe(fields.flags)
        if ((fields.flags & isAnswer) === 0) expect(back.type).toBe(fields.type)
        if ((fields.flags & (isAnswer | awaitsAnswer)) !== 0)
          expect([back.index, back.unique]).toEqual([fields.index, fields.unique])
        expect(back.deadlineMs).toBe(fields.deadlineMs)
        expect(back.sizeBytes).toBe(fields.sizeBytes)
        expect(back.group).toBe(fields.group)
        if (fields.group >= 0) expect(back.replica).toBe(fields.replica)
        expect(back.trace && Buffer.from(back.trace)).toEqual(fields.trace && Buffer.from(fields.trace))
        for (let to = 0; to < length; to++)
          expect(codeOf(() => readHeader(bytes, 0, to, back))).toBe('ERR_SLUICE_MESSAGE_INVALID_COMMAND')
      }),
    )
  })

  it.each(['80', '0400', '0800', '0300000000000000', '401000', '01ff7f'])('%s is none', (hex) => {
    const bytes = Buffer.from(`${hex}00000000`, 'hex')
    expect(codeOf(() => readHeader(bytes, 0, bytes.length, new MessageHeader()))).toBe(
      'ERR_SLUICE_MESSAGE_INVALID_COMMAND',
    )
  })
})

describe('hellos', () => {
  const hello: Hello = {
    ...{ slots: 192, window: 65_536, requests: 1024, compression: ['zstd'], pool: '0123456789abcdef' },
    protocols: [{ name: 'chat', version: 2, types: ['say', 'who'] }],
  }

  it('come back', () => {
    expect(decodeHello(encodeHello(hello))).toEqual(hello)
  })

  it('of other versions are refused by name, newer ones that still speak ours are not', () => {
    expect(codeOf(() => decodeHello(encodeHello(hello, [2, 3])))).toBe('ERR_SLUICE_MESSAGE_VERSION')
    expect(codeOf(() => decodeHello(encodeHello(hello, [0, 0])))).toBe('ERR_SLUICE_MESSAGE_VERSION')
    expect(decodeHello(encodeHello(hello, [1, 9]))).toEqual(hello)
  })

  const withJson = (json: unknown) => Buffer.concat([Buffer.from('SL\x01\x01'), Buffer.from(JSON.stringify(json))])
  it.each([
    ['nothing', Buffer.alloc(0)],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['no JSON', Buffer.from('SL\x01\x01{')],
    ['a list', withJson([])],
    ['null', withJson(null)],
    ['no slots', withJson({ ...hello, slots: 0 })],
    ['a window too small', withJson({ ...hello, window: 1 })],
    ['a fraction', withJson({ ...hello, requests: 1.5 })],
    ['protocols that are none', withJson({ ...hello, protocols: [3] })],
    ['a type without a name', withJson({ ...hello, protocols: [{ name: 'a', version: 1, types: [''] }] })],
    ['a pool that is none', withJson({ ...hello, pool: 'x' })],
  ])('%s: refused', (_, payload) => {
    expect(codeOf(() => decodeHello(payload))).toBe('ERR_SLUICE_MESSAGE_INVALID_PACKET')
  })
})

describe('packets', () => {
  const collect = () => {
    const packets: string[] = []
    const reader = new PacketReader({
      packet(type, flags, bytes, from, to) {
        packets.push(`${type} ${flags & 2} ${Buffer.from(bytes.subarray(from, to)).toString('hex')}`)
        return type !== 4
      },
      part: (_bytes, from) => from,
    })
    return { packets, reader }
  }

  it('are found wherever the stream is cut', () => {
    const stream = Buffer.concat([
      ...[
        packetOf(3, pattern(7)),
        packetOf(2, new Uint8Array()),
        packetOf(1, new Uint8Array()),
        packetOf(1, pattern(20)),
      ],
      packetOf(5, pattern(3)),
    ])
    const whole = collect()
    expect(whole.reader.feed(stream)).toBe(stream.length)
    expect(whole.packets.length).toBe(5)
    for (let first = 0; first <= stream.length; first++) {
      for (let second = first; second <= stream.length; second++) {
        const { packets, reader } = collect()
        for (const piece of [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)])
          expect(reader.feed(Buffer.from(piece))).toBe(piece.length)
        expect(packets).toEqual(whole.packets)
        expect(reader.unfinishedBytes).toBe(0)
      }
    }
  })

  it('of the largest size are found too', () => {
    const { packets, reader } = collect()
    const packet = packetOf(1, pattern(65_536))
    for (let at = 0; at < packet.length; at += 1000) reader.feed(packet.subarray(at, at + 1000))
    expect(packets).toEqual([`1 0 ${pattern(65_536).toString('hex')}`])
  })

  it('stop where TLS begins, and say how far they went', () => {
    const stream = Buffer.concat([
      packetOf(2, new Uint8Array()),
      packetOf(4, new Uint8Array()),
      Buffer.from('\x16\x03\x01'),
    ])
    for (let cut = 0; cut < 8; cut++) {
      const { reader } = collect()
      reader.feed(stream.subarray(0, cut))
      expect(reader.feed(stream.subarray(cut))).toBe(8 - cut)
    }
  })

  it.each([
    '00000000',
    '06000000',
    '01040000',
    '01010100',
    '02000100',
    '02020000',
    '04000100',
    '05020200',
    'ff000000',
  ])('%s is the header of none', (hex) => {
    expect(codeOf(() => collect().reader.feed(Buffer.from(hex, 'hex')))).toBe('ERR_SLUICE_MESSAGE_INVALID_PACKET')
    const { reader } = collect()
    const bytes = Buffer.from(hex, 'hex')
    reader.feed(bytes.subarray(0, 2))
    expect(codeOf(() => reader.feed(bytes.subarray(2)))).toBe('ERR_SLUICE_MESSAGE_INVALID_PACKET')
  })
})

/** What arrives at the other end of a writer. */
class Arrivals implements MessageSink {
  readonly log: string[] = []
  readonly bodies: Buffer[] = []
  readonly reader: MessageReader
  readonly packets: PacketReader
  packetCount = 0
  /** Per finished message, the packet it ended in. */
  readonly endedIn: number[] = []

  constructor(slots = 192, window = 1 << 20) {
    this.reader = new MessageReader(this, slots, window)
    this.packets = new PacketReader({
      packet: (_type, _flags, bytes, from, to) => {
        this.packetCount++
        this.reader.data(bytes, from, to)
        return true
      },
      part: (bytes, from, to, rest) => this.reader.data(bytes, from, to, rest),
    })
  }

  message(header: MessageHeader, bytes: Uint8Array, from: number, to: number): void {
    this.log.push(`whole ${header.type}`)
    this.finished(Buffer.from(bytes.subarray(from, to)))
  }

  begin(header: MessageHeader, slot: number, round: number) {
    const chunks: Buffer[] = []
    const { type } = header
    this.log.push(`begin ${type} in ${slot} round ${round}`)
    return {
      chunk: (bytes: Uint8Array, from: number, to: number) => void chunks.push(Buffer.from(bytes.subarray(from, to))),
      end: () => {
        this.log.push(`end ${type}`)
        this.finished(Buffer.concat(chunks))
      },
      abort: () => void this.log.push(`given up ${type}`),
    }
  }

  private finished(body: Buffer): void {
    this.bodies.push(body)
    this.endedIn.push(this.packetCount)
  }

  granted(slot: number, round: number, bytes: number): void {
    this.log.push(`granted ${slot} ${round} ${bytes}`)
  }

  refused(slot: number, round: number, number: number): void {
    this.log.push(`refused ${slot} ${round} ${number}`)
  }

  requestCanceled(index: number, unique: number): void {
    this.log.push(`canceled ${index} ${unique}`)
  }

  morePartsTaken(index: number, unique: number, parts: number): void {
    this.log.push(`parts ${index} ${unique} ${parts}`)
  }
}

/** Keeps what a writer writes. */
class Wire implements WriterPort {
  hasRoom = true
  readonly pieces: Buffer[] = []
  readonly done: Outgoing[] = []

  write(bytes: Uint8Array): void {
    this.pieces.push(Buffer.from(bytes))
  }

  writeLent(bytes: Uint8Array, released: () => void): void {
    this.pieces.push(Buffer.from(bytes))
    released()
  }

  written(outgoing: Outgoing): void {
    this.done.push(outgoing)
    outgoing.complete(undefined, undefined)
  }

  bodyFailed(outgoing: Outgoing): void {
    outgoing.complete(messageError('MESSAGE_CANCELED'), undefined)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.pieces)
  }
}

function outgoingOf(type: number, body: Uint8Array | string | BodySource, level = 1): Outgoing {
  const outgoing = new Outgoing(undefined, body, level, false, undefined)
  outgoing.type = type
  return outgoing
}

describe('messages in packets', () => {
  it('arrive whole, whatever their sizes and however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(300), fc.nat(200_000), fc.constantFrom(16_360, 16_380, 16_384, 65_535, 65_536)), {
          maxLength: 12,
        }),
        fc.integer({ min: 1, max: 70_000 }),
        fc.boolean(),
        (sizes, cut, asText) => {
          const wire = new Wire()
          const writer = new MessageWriter(wire, 64, 1 << 20)
          const bodies = sizes.map((size, i) => (asText ? Buffer.from('é'.repeat(size / 2)) : pattern(size, i)))
          bodies.forEach((body, i) => {
            writer.put(outgoingOf(i, asText ? body.toString() : body))
          })
          writer.pump()
          expect(wire.done.length).toBe(sizes.length)
          expect(writer.isIdle).toBe(true)
          const arrivals = new Arrivals()
          const { bytes } = wire
          for (let at = 0; at < bytes.length; at += cut) arrivals.packets.feed(bytes.subarray(at, at + cut))
          const sorted = (list: Buffer[]) => list.map((body) => body.toString('latin1')).sort()
          expect(sorted(arrivals.bodies)).toEqual(sorted(bodies))
        },
      ),
      { numRuns: 60 },
    )
  })

  it('of a large size let small ones pass after four packets at most', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 64, 1 << 30)
    wire.hasRoom = false
    writer.put(outgoingOf(0, pattern(10_000_000)))
    writer.put(outgoingOf(1, pattern(1_000_000)))
    for (let i = 2; i < 1000; i++) writer.put(outgoingOf(i, pattern(100)))
    wire.hasRoom = true
    writer.pump()
    const arrivals = new Arrivals(192, 1 << 30)
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.bodies.length).toBe(1000)
    const small = arrivals.log.filter((line) => line.startsWith('whole'))
    expect(small.length).toBe(998)
    // 64 are begun between two packets of the large ones.
    const lastSmall = arrivals.log.lastIndexOf('whole 999')
    expect(lastSmall).toBeLessThan(arrivals.log.indexOf('end 0'))
    expect(arrivals.endedIn[arrivals.bodies.findIndex(({ length }) => length === 1_000_000)]).toBeLessThan(60)
  })

  it('take no more slots than the receiver has, and the others wait', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 2, 100_000)
    for (let i = 0; i < 5; i++) writer.put(outgoingOf(i, pattern(150_000, i)))
    writer.pump()
    const arrivals = new Arrivals(2, 100_000)
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.log).toEqual(['begin 0 in 0 round 1', 'begin 1 in 1 round 1'])
    expect(writer.waiting).toBe(3)
  })

  it('stop at the end of their window, and go on when more is granted, but not for an earlier message in the slot', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 1, 20_000)
    writer.put(outgoingOf(1, pattern(30_000)))
    writer.pump()
    const arrivals = new Arrivals(1, 20_000)
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.bodies).toEqual([])
    expect(writer.grant(0, 2, 10_000)).toBe(false)
    expect(writer.grant(0, 1, 10_000)).toBe(true)
    expect(arrivals.reader.allow(0, 1, 10_000)).toBe(true)
    wire.pieces.length = 0
    writer.pump()
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.bodies).toEqual([pattern(30_000)])
    expect(writer.grant(0, 1, 10_000)).toBe(false)
  })

  it('that are streams say their end without being allowed more', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 1, 20_000)
    let left = 20_000
    const source: BodySource = {
      read(maxBytes) {
        const length = Math.min(maxBytes, left, 6000)
        left -= length
        return length === 0 ? null : pattern(length)
      },
      get isAtEnd() {
        return left === 0
      },
      wake() {},
      failure: undefined,
      cancel() {},
    }
    writer.put(outgoingOf(1, source))
    writer.pump()
    const arrivals = new Arrivals(1, 20_000)
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.bodies.map(({ length }) => length)).toEqual([20_000])
    expect(wire.done.length).toBe(1)
  })

  it('that are synchronous begin one after the other, and let others pass', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 64, 1 << 20)
    const ordered = [pattern(400_000, 1), pattern(300_000, 2), pattern(10, 3)].map((body, i) => {
      const outgoing = outgoingOf(i, body)
      outgoing.flags = synchronousFlag
      return outgoing
    })
    for (const outgoing of ordered) writer.put(outgoing)
    writer.put(outgoingOf(9, pattern(20)))
    writer.pump()
    const arrivals = new Arrivals()
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.log.filter((line) => !line.includes('9'))).toEqual([
      ...['begin 0 in 0 round 1', 'end 0', 'begin 1 in 0 round 2', 'end 1', 'whole 2'],
    ])
    expect(arrivals.log.indexOf('whole 9')).toBeLessThan(arrivals.log.indexOf('end 0'))
  })

  it('that are given up while they are written do not arrive', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 64, 50_000)
    const outgoing = outgoingOf(1, pattern(100_000))
    writer.put(outgoing)
    writer.pump()
    expect(writer.giveUp(outgoing)).toBe(true)
    writer.put(outgoingOf(2, pattern(60_000)))
    writer.pump()
    const arrivals = new Arrivals(192, 50_000)
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.log).toEqual(['begin 1 in 0 round 1', 'given up 1', 'begin 2 in 0 round 2'])
  })

  it('bring all commands across', () => {
    const wire = new Wire()
    const writer = new MessageWriter(wire, 64, 50_000)
    writer.putGrant(3, 7, 100_000)
    writer.putRefuse(200, 255, 12)
    writer.putCancelRequest(300, 2 ** 32 - 1)
    writer.putMoreParts(1, 2, 32)
    writer.flush()
    const arrivals = new Arrivals()
    arrivals.packets.feed(wire.bytes)
    expect(arrivals.log).toEqual([
      'granted 3 7 100000',
      'refused 200 255 12',
      'canceled 300 4294967295',
      'parts 1 2 32',
    ])
  })
})

describe('what no sender sends', () => {
  const data = (hex: string, arrivals = new Arrivals(4, 8)) =>
    codeOf(() => arrivals.packets.feed(packetOf(packetData, Buffer.from(hex, 'hex'))))

  it.each([
    ['an unknown command', '01', 'INVALID_COMMAND'],
    ['command 9', '0900', 'INVALID_COMMAND'],
    ['a chunk that is cut off', '0300', 'INVALID_COMMAND'],
    ['a chunk longer than its packet', '030005000000', 'INVALID_COMMAND'],
    ['a slot that does not exist', '03040200000a', 'TOO_MANY_SLOTS'],
    ['a chunk of no message', '0400010000', 'INVALID_COMMAND'],
    ['an end of no message', '0500010000', 'INVALID_COMMAND'],
    ['a grant that is cut off', '0700', 'INVALID_COMMAND'],
    ['a refusal that is cut off', '0a000001', 'INVALID_COMMAND'],
    ['a cancellation that is cut off', '0800010203', 'INVALID_COMMAND'],
    ['a number that is not in its shortest form', '06ff05', 'INVALID_COMMAND'],
    ['a whole body larger than the window', '03000b00 0000 010203040506070809'.replaceAll(' ', ''), 'FLOW'],
    ['a header that is cut off', '03000100 01'.replaceAll(' ', ''), 'INVALID_COMMAND'],
  ])('%s', (_, hex, code) => {
    expect(data(hex)).toBe(`ERR_SLUICE_MESSAGE_${code}`)
  })

  it('more bytes than were allowed', () => {
    const arrivals = new Arrivals(4, 8)
    expect(data(`0200${'0a00'}0000${'11'.repeat(8)}`, arrivals)).toBe('nothing was thrown')
    expect(data('0400010011', arrivals)).toBe('ERR_SLUICE_MESSAGE_FLOW')
  })

  it('a message anew in a slot that is in use: the first counts as given up', () => {
    const arrivals = new Arrivals(4, 8)
    expect(data('020002000005020002000006', arrivals)).toBe('nothing was thrown')
    expect(arrivals.log).toEqual(['begin 5 in 0 round 1', 'given up 5', 'begin 6 in 0 round 2'])
  })

  it('mean the same in one piece and in many', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(90_000), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 2000, max: 40_000 }),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        (sizes, cut, damages) => {
          const wire = new Wire()
          const writer = new MessageWriter(wire, 64, 1 << 20)
          sizes.forEach((size, i) => {
            writer.put(outgoingOf(i, pattern(size, i)))
          })
          writer.pump()
          const bytes = Buffer.from(wire.bytes)
          for (const [at, value] of damages) bytes[at % bytes.length] = value
          const [whole, parted] = [new Arrivals(), new Arrivals()]
          const codeOfWhole = codeOf(() => whole.packets.feed(bytes))
          const codeOfParted = codeOf(() => {
            for (let at = 0; at < bytes.length; at += cut) parted.packets.feed(bytes.subarray(at, at + cut))
          })
          expect(codeOfParted).toBe(codeOfWhole)
          if (codeOfWhole !== 'nothing was thrown') return
          expect(parted.log).toEqual(whole.log)
          expect(parted.bodies.length).toBe(whole.bodies.length)
          expect(parted.bodies.every((body, i) => body.equals(whole.bodies[i]!))).toBe(true)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('whatever it is: an error with a code, or nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), fc.boolean(), (pieces, asPackets) => {
        const arrivals = new Arrivals(64, 100)
        for (const piece of pieces) {
          const code = codeOf(() => arrivals.packets.feed(asPackets ? packetOf(packetData, piece) : piece))
          if (code === 'nothing was thrown') continue
          expect(code).toMatch(/^ERR_SLUICE_MESSAGE_(INVALID_PACKET|INVALID_COMMAND|TOO_MANY_SLOTS|FLOW)$/)
          return
        }
      }),
      { numRuns: 5000 },
    )
  })
})
