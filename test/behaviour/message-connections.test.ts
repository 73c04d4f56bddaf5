// Connections of messages: how they begin, prove who they are, stay alive, and end when a peer does not keep to the rules.

import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import type { RuntimeOptions, SluiceError } from 'sluice'
import {
  bytes,
  defineProtocol,
  json,
  type MessageConnection,
  type MessageListenOptions,
  MessageService,
  type MessageServiceOptions,
  oneWay,
  request,
  utf8,
} from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { encodeHello } from '../../src/message/hello.js'
import { packetOf, payloadSizeOf } from '../../src/message/packet.js'
import { codeOf } from '../support/code-of.js'
import { serving, stranger, trusting } from '../support/identities.js'
import { inlineKernelModes, type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { type RawPeer, rawConnect } from '../support/raw.js'
import { pattern } from '../support/record.js'

const protocol = defineProtocol({
  name: 'test',
  messages: { login: request(utf8(), json<boolean>()), whoAmI: request(utf8(), utf8()), blob: oneWay(bytes()) },
})
const { login, whoAmI, blob } = protocol.messages

interface Setup {
  runtime?: RuntimeOptions
  listen?: MessageListenOptions
  server?: Partial<MessageServiceOptions>
  client?: Partial<MessageServiceOptions>
}

async function start(mode: Mode, setup: Setup = {}) {
  const runtime = mode.start(setup.runtime)
  const stops: { side: string; code: string | undefined }[] = []
  const note = (side: string) => ({
    connectionStop: (_: MessageConnection, error?: SluiceError) => void stops.push({ side, code: error?.code }),
  })
  const server = new MessageService({ protocols: [protocol], runtime, events: note('server'), ...setup.server })
  server.handle(
    protocol,
    {
      login(password, { connection }) {
        if (password !== 'secret') return false
        connection.activate('alice')
        return true
      },
      whoAmI: (_, { connection }) => `${connection.identity ?? 'nobody'}, ${connection.isSecure ? 'secure' : 'clear'}`,
      blob() {},
    },
    { beforeActivation: ['login'] },
  )
  const listener = await server.listen({ host: '127.0.0.1', port: 0, ...setup.listen })
  const client = new MessageService({ protocols: [protocol], runtime, events: note('client'), ...setup.client })
  const port = portOf(listener)
  const pool = client.pool(
    { host: '127.0.0.1', port },
    { reconnect: { baseMs: 20, steps: 2, jitterMinMs: 0, jitterMaxMs: 5 } },
  )
  return { runtime, server, client, listener, pool, port, stops, [Symbol.asyncDispose]: () => runtime.destroy() }
}

const later = (two: { runtime: { after(ms: number, callback: () => void): unknown } }, ms: number) =>
  new Promise<void>((resolve) => void two.runtime.after(ms, resolve))

const authenticate = async (connection: MessageConnection) => {
  expect(await connection.request(login, 'wrong')).toBe(false)
  expect(await connection.request(login, 'secret')).toBe(true)
}

describe.each(modes())('connections of messages on $name', (mode) => {
  it('begin with TLS, then the login, then everything', async () => {
    await using two = await start(mode, {
      listen: { tls: serving, start: 'inactive' },
      client: { tls: trusting, start: 'inactive', prepare: authenticate },
    })
    expect(await two.pool.request(whoAmI, '')).toBe('alice, secure')
  })

  it('begin in the clear, then TLS by command, then the login', async () => {
    await using two = await start(mode, {
      listen: { startTls: serving, start: 'inactive' },
      client: {
        ...{ startTls: { ...trusting, serverName: 'localhost' }, start: 'inactive' },
        async prepare(connection) {
          expect(await codeOf(connection.request(whoAmI, ''))).toBe('ERR_SLUICE_MESSAGE_NOT_ACTIVE')
          await connection.secure()
          await authenticate(connection)
        },
      },
    })
    expect(await two.pool.request(whoAmI, '')).toBe('alice, secure')
  })

  it.each([true, false])('begin raw, TLS at once: %s, then the login', async (atOnce) => {
    await using two = await start(mode, {
      listen: {
        ...{ start: 'raw', startTls: serving },
        async accepted(connection) {
          await connection.raw.available(6)
          expect(connection.raw.read(6).toString()).toBe('hello\n')
          connection.writeRaw('welcome\n')
          await connection.leaveRaw({ secure: atOnce })
        },
      },
      client: {
        ...{ start: 'raw', startTls: { ...trusting, serverName: 'localhost' } },
        async prepare(connection) {
          connection.writeRaw('hello\n')
          await connection.raw.available(8)
          expect(connection.raw.read(8).toString()).toBe('welcome\n')
          await connection.leaveRaw({ secure: atOnce })
          if (!atOnce) await connection.secure()
          await authenticate(connection)
        },
      },
    })
    expect(await two.pool.request(whoAmI, '')).toBe('alice, secure')
    expect(() => two.server.connections[0]!.writeRaw('x')).toThrow('not possible')
  })

  it('echo a long raw text, then speak in messages', async () => {
    const text = 'x'.repeat(300_000)
    await using two = await start(mode, {
      listen: {
        start: 'raw',
        async accepted(connection) {
          for (let left = text.length; left > 0; ) {
            await connection.raw.available(1)
            const piece = connection.raw.read()
            left -= piece.length
            connection.writeRaw(piece)
          }
          connection.activate('raw')
          await connection.leaveRaw()
        },
      },
      client: {
        start: 'raw',
        async prepare(connection) {
          connection.writeRaw(text)
          let got = ''
          while (got.length < text.length) {
            await connection.raw.available(1)
            // What is behind it are packets.
            got += connection.raw.read(Math.min(connection.raw.sizeBytes, text.length - got.length)).toString()
          }
          expect(got).toBe(text)
          await connection.leaveRaw()
        },
      },
    })
    expect(await two.pool.request(whoAmI, '')).toBe('raw, clear')
  })

  it('go through a proxy that is told where to in the raw phase, and end where it says no', async () => {
    await using two = await start(mode, { listen: { startTls: serving } })
    // Reads a line with the destination, answers 1 or 0, and passes on bytes from then on.
    const proxy = await two.runtime.listen({ host: '127.0.0.1', port: 0 })
    void (async () => {
      for await (const downstream of proxy) {
        const stream = downstream.toDuplex()
        stream.on('error', () => {})
        stream.once('data', async (line: Buffer) => {
          const [, host, port] = /^(.*):(\d+)\n$/.exec(line.toString())!
          try {
            const upstream = (await two.runtime.connect({ host: host!, port: Number(port) })).toDuplex()
            upstream.on('error', () => {})
            stream.write('1')
            stream.pipe(upstream).pipe(stream)
          } catch {
            stream.end('0')
          }
        })
      }
    })()
    const through = (destination: string) =>
      new MessageService({
        ...{ protocols: [protocol], runtime: two.runtime, start: 'raw' },
        startTls: { ...trusting, serverName: 'localhost' },
        async prepare(connection) {
          connection.writeRaw(`${destination}\n`)
          await connection.raw.available(1)
          if (connection.raw.read(1).toString() !== '1') throw new Error('the proxy says no')
          await connection.leaveRaw()
          await connection.secure()
        },
      }).pool({ host: '127.0.0.1', port: portOf(proxy) })
    expect(await through(`127.0.0.1:${two.port}`).request(whoAmI, '')).toBe('nobody, secure')
    expect(await codeOf(through('127.0.0.1:1').request(whoAmI, '', { oneShot: true }))).toBe(
      'ERR_SLUICE_MESSAGE_NOT_CONNECTED',
    )
  })

  it('are refused by who fails to prepare them, and tried again', async () => {
    let attempts = 0
    await using two = await start(mode, {
      client: {
        start: 'inactive',
        prepare() {
          if (++attempts < 3) throw new Error('not yet')
        },
      },
    })
    expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
    expect(attempts).toBe(3)
  })

  it('without TLS at the server end when it is asked for', async () => {
    await using two = await start(mode, { client: { startTls: trusting } })
    await two.pool.request(whoAmI, '')
    expect(await codeOf(two.client.connections[0]!.secure())).toBe('ERR_SLUICE_MESSAGE_NO_TLS')
    await eventually(() => two.stops.length === 2)
    expect(new Set(two.stops.map(({ code }) => code))).toEqual(new Set(['ERR_SLUICE_MESSAGE_NO_TLS']))
  })

  it('to a server that proves to be another one come to nothing', async () => {
    await using two = await start(mode, {
      listen: { startTls: { ...serving, ...stranger } },
      client: { startTls: trusting, start: 'inactive', prepare: (connection) => connection.secure() },
    })
    const asked = codeOf(two.pool.request(whoAmI, '', { oneShot: true }))
    expect(await asked).toMatch(/MESSAGE_NOT_CONNECTED/)
    expect(two.stops.find(({ side }) => side === 'client')?.code).toMatch(/^ERR_SLUICE_TLS_/)
  })

  it('of strangers end when they send more than strangers may', async () => {
    await using two = await start(mode, {
      listen: { start: 'inactive' },
      server: { maxStrangerMessageBytes: 1000, maxMessageBytes: 100_000 },
      client: { start: 'inactive', prepare: (connection) => void connection.activate() },
    })
    const sizes = [1001, 50_000]
    for (const size of sizes) {
      const before = two.stops.length
      const sent = codeOf(two.pool.request(login, 'x'.repeat(size)))
      expect(await sent).toMatch(/MESSAGE_(TOO_LARGE|CONNECTION)/)
      await eventually(() => two.stops.length >= before + 2)
      expect(two.stops.slice(before).find(({ side }) => side === 'server')?.code).toBe('ERR_SLUICE_MESSAGE_TOO_LARGE')
    }
    expect(await two.pool.request(login, 'secret')).toBe(true)
    expect(await two.pool.request(whoAmI, '')).toBe('alice, clear')
    await two.pool.send(blob, pattern(50_000), { idempotent: true })
  })

  it('are no more than may be active', async () => {
    await using two = await start(mode, { server: { maxConnections: 1 } })
    await two.pool.request(whoAmI, '')
    const other = new MessageService({ protocols: [protocol], runtime: two.runtime })
    const pool = other.pool({ host: '127.0.0.1', port: two.port })
    const refused = await pool.request(whoAmI, '', { oneShot: true }).catch((error: SluiceError) => error)
    expect(JSON.stringify(refused)).toContain('ERR_SLUICE_MESSAGE_TOO_MANY_CONNECTIONS')
    expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
  })

  it('that do not become active in time are closed', async () => {
    await using two = await start(mode, {
      listen: { start: 'inactive' },
      server: { activationTimeoutMs: 30 },
    })
    expect(await codeOf(two.pool.request(whoAmI, ''))).toBe('ERR_SLUICE_MESSAGE_NOT_ACTIVE')
    await eventually(() => two.stops.length >= 2)
    expect(two.stops.find(({ side }) => side === 'server')?.code).toBe('ERR_SLUICE_MESSAGE_INACTIVE')
    expect(two.stops.find(({ side }) => side === 'client')?.code).toBe('ERR_SLUICE_MESSAGE_INACTIVE')
  })
})

describe.each(modes().filter(({ simulated }) => simulated))('keep-alives, by the clock of $name', (mode) => {
  it('that come too often end the connection', async () => {
    await using two = await start(mode, {
      client: { keepAliveMs: 10_000 },
      server: { maxKeepAlives: 4, keepAliveIntervalMs: 60_000 },
    })
    await two.pool.request(whoAmI, '')
    const began = two.runtime.nowMs()
    await eventually(() => two.stops.length === 2)
    expect(two.stops.map(({ code }) => code)).toEqual([
      ...['ERR_SLUICE_MESSAGE_TOO_MANY_KEEPALIVES', 'ERR_SLUICE_MESSAGE_TOO_MANY_KEEPALIVES'],
    ])
    expect(two.runtime.nowMs() - began).toBeGreaterThanOrEqual(39_000)
    expect(two.runtime.nowMs() - began).toBeLessThan(41_000)
  })

  it('that come too seldom end it too', async () => {
    await using two = await start(mode, {
      client: { keepAliveMs: 100_000 },
      server: { inactivityTimeoutMs: 20_000 },
    })
    await two.pool.request(whoAmI, '')
    const began = two.runtime.nowMs()
    await eventually(() => two.stops.length === 2)
    expect(two.stops.map(({ code }) => code)).toEqual(['ERR_SLUICE_MESSAGE_INACTIVE', 'ERR_SLUICE_MESSAGE_INACTIVE'])
    expect(two.runtime.nowMs() - began).toBeLessThan(21_000)
  })

  it('at the right pace keep it for hours, and count per interval, not per life', async () => {
    await using two = await start(mode, {
      client: { keepAliveMs: 20_000 },
      server: { maxKeepAlives: 4, keepAliveIntervalMs: 60_000, inactivityTimeoutMs: 30_000 },
    })
    await two.pool.request(whoAmI, '')
    await later(two, 7_200_000)
    expect(two.stops).toEqual([])
    expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
    expect(two.pool.stats().connected).toBe(1)
  })

  it('are not sent while other messages are', async () => {
    await using two = await start(mode, { client: { keepAliveMs: 1000 }, server: { maxKeepAlives: 2 } })
    for (let i = 0; i < 100; i++) {
      await two.pool.request(whoAmI, '')
      await later(two, 900)
    }
    expect(two.stops).toEqual([])
  })

  it('come one at a time where the line stands still, and so are not too many when it goes on', async () => {
    await using two = await start(mode)
    await two.pool.request(whoAmI, '')
    const [connection] = two.server.connections
    connection!.transport.pause()
    await later(two, 500_000)
    connection!.transport.resume()
    expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
    await later(two, 100_000)
    expect(two.stops).toEqual([])
  })

  it('are not needed by who only sends: it hears that it is heard', async () => {
    await using two = await start(mode, { client: { inactivityTimeoutMs: 20_000 } })
    for (let i = 0; i < 300; i++) {
      two.pool.post(blob, pattern(10))
      await later(two, 1000)
    }
    expect(two.stops).toEqual([])
  })

  it('nor while one message takes longer than the silence that is allowed', async () => {
    await using two = await start(mode, {
      runtime: { sim: { bytesPerSecond: 1000, sendBufferBytes: 500, receiveWindowBytes: 500 } },
      client: { inactivityTimeoutMs: 20_000 },
    })
    const began = two.runtime.nowMs()
    await two.pool.send(blob, pattern(200_000), { idempotent: true })
    expect(two.runtime.nowMs() - began).toBeGreaterThan(150_000)
    expect(two.stops).toEqual([])
  })
})

describe.each(
  modes().filter(({ simulated }) => simulated),
)('a peer that does not read, by the clock of $name', (mode) => {
  it('is told of once it has taken nothing for slowSendMs, and gets all when it reads again (SF-56, SF-58)', async () => {
    const slow: number[] = []
    const accepted: MessageConnection[] = []
    await using two = await start(mode, {
      runtime: { sim: { sendBufferBytes: 5000, receiveWindowBytes: 5000 } },
      server: { events: { connectionActivate: (connection) => void accepted.push(connection) } },
      client: { sendBufferBytes: 5000, events: { connectionSlow: () => void slow.push(two.runtime.nowMs()) } },
    })
    await two.pool.request(whoAmI, '')
    const [connection] = accepted
    connection!.pause()
    const began = two.runtime.nowMs()
    const sent = two.pool.send(blob, pattern(200_000), { idempotent: true })
    await later(two, 9000)
    expect(slow).toEqual([])
    await later(two, 30_000)
    expect(slow.length).toBe(1)
    expect(slow[0]! - began).toBeGreaterThanOrEqual(10_000)
    expect(slow[0]! - began).toBeLessThan(11_000)
    connection!.resume()
    await sent
    expect(connection!.state).toBe('active')
    expect(accepted.length).toBe(1)
  })

  it('is not told of while it is only slow', async () => {
    let slow = 0
    await using two = await start(mode, {
      runtime: { sim: { bytesPerSecond: 1000, sendBufferBytes: 500, receiveWindowBytes: 500 } },
      client: { sendBufferBytes: 500, slowSendMs: 5000, events: { connectionSlow: () => void slow++ } },
    })
    await two.pool.send(blob, pattern(100_000), { idempotent: true })
    expect(slow).toBe(0)
  })
})

// ---- A peer that is not sluice

const helloOf = (compression: string[]) =>
  packetOf(
    3,
    encodeHello({
      ...{ slots: 8, window: 65_536, requests: 8, compression, pool: '' },
      protocols: [{ name: 'test', version: 1, types: [] }],
    }),
  )
const hello = helloOf([])

function compressed(payload: Uint8Array): Uint8Array {
  const packet = packetOf(1, deflateRawSync(payload))
  packet[1]! |= 0x02
  return packet
}

function goodbyesIn(peer: RawPeer): number[] {
  const stream = Buffer.concat(peer.chunks)
  const numbers: number[] = []
  for (let at = 0; at + 4 <= stream.length; ) {
    const size = payloadSizeOf(stream, at)
    if (stream[at] === 5) numbers.push(stream.readUInt16LE(at + 4))
    at += 4 + size
  }
  return numbers
}

describe.each(inlineKernelModes())('peers that break the rules, on $name', (mode) => {
  const data = (hex: string) => packetOf(1, Buffer.from(hex, 'hex'))
  const cases: [string, (Uint8Array | string)[], number, string][] = [
    ['no hello but HTTP', ['GET / HTTP/1.1\r\nHost: x\r\n\r\n'], 1, 'MESSAGE_INVALID_PACKET'],
    ['an unknown packet', [hello, Buffer.from('09000000', 'hex')], 1, 'MESSAGE_INVALID_PACKET'],
    ['data before the hello', [data('')], 6, 'MESSAGE_INVALID_STATE'],
    ['a keep-alive before the hello', [packetOf(2, new Uint8Array())], 6, 'MESSAGE_INVALID_STATE'],
    ['two hellos', [hello, hello], 6, 'MESSAGE_INVALID_STATE'],
    ['a hello of another version', [packetOf(3, Buffer.from('SL\x07\x09{}'))], 5, 'MESSAGE_VERSION'],
    ['an unknown command', [hello, data('63')], 2, 'MESSAGE_INVALID_COMMAND'],
    ['a slot too many', [hello, data('03ffc0020000 00'.replaceAll(' ', ''))], 3, 'MESSAGE_TOO_MANY_SLOTS'],
    ['an unknown type', [hello, data('0300020000 63'.replaceAll(' ', ''))], 14, 'MESSAGE_UNKNOWN_TYPE'],
    [
      'a request number too high',
      [hello, data('0300090001 01feffff 00000000'.replaceAll(' ', ''))],
      2,
      'MESSAGE_INVALID_COMMAND',
    ],
    ['a compressed packet', [hello, Buffer.from('0102010000', 'hex')], 7, 'MESSAGE_COMPRESSION_UNAVAILABLE'],
    ['unknown flags', [hello, Buffer.from('01040000', 'hex')], 1, 'MESSAGE_INVALID_PACKET'],
    ['a packet larger than any', [hello, Buffer.from('01010100', 'hex')], 1, 'MESSAGE_INVALID_PACKET'],
    ['a keep-alive with something in it', [hello, Buffer.from('0200010000', 'hex')], 1, 'MESSAGE_INVALID_PACKET'],
    ['a goodbye that is cut off', [hello, packetOf(5, new Uint8Array(1))], 1, 'MESSAGE_INVALID_PACKET'],
    ['a hello that is no JSON', [packetOf(3, Buffer.from('SL\x01\x01{'))], 1, 'MESSAGE_INVALID_PACKET'],
    ['a hello of no protocol', [packetOf(3, Buffer.from('HI\x01\x01{}'))], 1, 'MESSAGE_INVALID_PACKET'],
    ['a chunk of no message', [hello, data('0400010000')], 2, 'MESSAGE_INVALID_COMMAND'],
    [
      'a request number twice',
      [hello, data('020007000101010001000000'), data('020107000101010002000000')],
      2,
      'MESSAGE_INVALID_COMMAND',
    ],
    ['more than its window', [hello, data(`02008013 0002${'61'.repeat(4990)}`.replace(' ', ''))], 4, 'MESSAGE_FLOW'],
    [
      'what does not decompress',
      [helloOf(['deflate']), Buffer.from('01020300ffffff', 'hex')],
      8,
      'MESSAGE_COMPRESSION_FAILED',
    ],
    [
      'what decompresses to too much',
      [helloOf(['deflate']), compressed(Buffer.alloc(65_537))],
      8,
      'MESSAGE_COMPRESSION_FAILED',
    ],
    ['TLS where there is none', [hello, packetOf(4, new Uint8Array())], 11, 'MESSAGE_NO_TLS'],
  ]

  it.each(cases)('%s: closed with its number, and nobody else is', async (_, pieces, number, code) => {
    const compression = code === 'MESSAGE_COMPRESSION_FAILED' ? (['deflate'] as const) : []
    await using two = await start(mode, { server: { windowBytes: 4096, compression } })
    await two.pool.request(whoAmI, '')
    const peer = await rawConnect({ port: two.port })
    for (const piece of pieces) peer.socket.write(piece)
    expect(await peer.ended).toBe('end')
    expect(goodbyesIn(peer)).toEqual([number])
    peer.socket.end()
    await eventually(() => two.stops.length === 1)
    expect(two.stops).toEqual([{ side: 'server', code: `ERR_SLUICE_${code}` }])
    expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
    expect(two.pool.stats().connected).toBe(1)
  })

  it('whatever else: told a number and closed, or heard on, and nobody else notices', async () => {
    await using two = await start(mode, { server: { compression: ['deflate'] }, listen: { startTls: serving } })
    await two.pool.request(whoAmI, '')
    const whole = [
      helloOf(['deflate']),
      data('030007000101010001000000'),
      data('02000400000261620400020063640500010065'),
      compressed(Buffer.from(`03000a000002${'61'.repeat(8)}`, 'hex')),
      packetOf(2, new Uint8Array()),
      data('06000700000108010000000b0101000000200a00000000'),
      packetOf(5, Uint8Array.of(0, 0)),
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(1000), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        async (changes) => {
          const bytes = whole.map((packet) => Buffer.from(packet))
          for (const [packet, at, value] of changes) bytes[packet]![at % bytes[packet]!.length] = value
          const peer = await rawConnect({ port: two.port })
          peer.socket.end(Buffer.concat(bytes))
          await peer.ended
          for (const number of goodbyesIn(peer)) expect(number).toBeLessThanOrEqual(25)
          peer.socket.destroy()
          expect(await two.pool.request(whoAmI, '')).toBe('nobody, clear')
        },
      ),
      { numRuns: 150 },
    )
    expect(two.pool.stats()).toMatchObject({ connected: 1, failed: 0 })
    const known = /^ERR_SLUICE_(MESSAGE_|PLAINTEXT_BEFORE_TLS|CONNECTION_|TLS_)/
    expect(two.stops.filter(({ code }) => code !== undefined && !known.test(code))).toEqual([])
  })

  it('something behind the agreement to TLS: closed', async () => {
    await using two = await start(mode, { listen: { startTls: serving } })
    const peer = await rawConnect({ port: two.port })
    peer.socket.write(Buffer.concat([hello, packetOf(4, new Uint8Array()), data('')]))
    await peer.ended
    peer.socket.destroy()
    await eventually(() => two.stops.length === 1)
    expect(two.stops).toEqual([{ side: 'server', code: 'ERR_SLUICE_PLAINTEXT_BEFORE_TLS' }])
  })

  it('nothing but a part of a packet: closed when their time is over', async () => {
    await using two = await start(mode, { server: { activationTimeoutMs: 40 } })
    const peer = await rawConnect({ port: two.port })
    peer.socket.write(hello.subarray(0, 10))
    expect(await peer.ended).toBe('end')
    expect(goodbyesIn(peer)).toEqual([10])
    peer.socket.end()
  })
})
