import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { ConnectionDuplex } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { standstill } from '../support/standstill.js'
import { StreamLog } from '../support/stream-log.js'
import { streamPair } from '../support/streams.js'

// What is the same as in node:net is compared with it in test/compat; here stands what goes beyond.
describe.each(modes())('a stream on $name', (mode) => {
  it('is one for each connection, however often it is asked for', async () => {
    await using pair = await connectedPair(mode)
    const stream = pair.client.toDuplex()
    expect(stream).toBeInstanceOf(Duplex)
    expect(pair.client.toDuplex()).toBe(stream)
    expect((stream as ConnectionDuplex).connection).toBe(pair.client)
  })

  it('refuses a connection that something else reads', async () => {
    await using pair = await connectedPair(mode)
    pair.client[Symbol.asyncIterator]()
    expect(() => pair.client.toDuplex()).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }))
  })

  it('tells of an end that came before it', async () => {
    await using pair = await connectedPair(mode, { connect: { allowHalfOpen: true } })
    pair.server.end()
    await pair.atClient.saw('end')
    const log = new StreamLog(pair.client.toDuplex())
    await log.saw('end')
    log.stream.end()
    await log.closed()
    expect(log.events).toEqual(['end', 'finish', 'close'])
  })

  it('is destroyed at once over a connection that is gone', async () => {
    await using pair = await connectedPair(mode)
    pair.client.destroy()
    await pair.atClient.closed()
    const log = new StreamLog(pair.client.toDuplex())
    await log.closed()
    expect(log.events).toEqual(['close'])
  })

  it('still tells the handlers of the listener of errors and of the end', async () => {
    await using pair = await connectedPair(mode, { server: { open: (connection) => void connection.toDuplex() } })
    pair.server.toDuplex().on('error', () => {})
    pair.server.toDuplex().resume()
    pair.client.reset()
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_CONNECTION_RESET' })
    expect(pair.atServer.events).toEqual(['open', 'error ERR_SLUICE_CONNECTION_RESET', 'close'])
  })

  it('sends a write above the hard limit in pieces, and calls back when the system has all of it', async () => {
    const limits = { highWaterBytes: 100_000, hardLimitBytes: 150_000 }
    await using pair = await streamPair(mode, { connect: limits })
    const log = new StreamLog(pair.server)
    const bytes = pattern(2_000_000)
    const { hash, length } = { hash: hashOf(bytes), length: bytes.length }
    const client = new StreamLog(pair.client)
    const written = () => {
      client.note(`written, ${pair.client.connection.queuedBytes} queued`)
      // Ours again from now on.
      bytes.fill(0)
      pair.client.end('end')
    }
    expect(pair.client.write(bytes, written)).toBe(false)
    expect(pair.client.writableNeedDrain).toBe(true)
    await log.closed()
    expect(client.events).toContain('written, 0 queued')
    expect(hashOf(log.bytes.subarray(0, length))).toBe(hash)
    expect(log.text.slice(-3)).toBe('end')
  })

  it('never throws, however much is written at once without waiting', async () => {
    await using pair = await streamPair(mode, { connect: { highWaterBytes: 10_000, hardLimitBytes: 20_000 } })
    const log = new StreamLog(pair.server)
    const bytes = pattern(500_000)
    for (let i = 0; i < bytes.length; i += 7000) pair.client.write(bytes.subarray(i, i + 7000))
    pair.client.end()
    await log.closed()
    expect(hashOf(log.bytes)).toBe(hashOf(bytes))
  })

  it('lets go of a buffer once written when the queue drains above zero', async () => {
    const small = { receiveBufferBytes: 65_536, highWaterBytes: 65_536 }
    const limits = { highWaterBytes: 400_000, lowWaterBytes: 300_000, hardLimitBytes: 500_000, sendBufferBytes: 65_536 }
    await using pair = await streamPair(mode, { listen: small, connect: limits })
    pair.server.pause()
    const expected: string[] = []
    let written = 0
    for (let i = 0; i < 40; i++) {
      const bytes = pattern(250_000, i)
      expected.push(hashOf(bytes))
      pair.client.write(bytes, () => {
        written++
        bytes.fill(0)
      })
    }
    pair.client.end()
    await standstill(() => written)
    expect(written).toBeLessThan(40)
    const log = new StreamLog(pair.server)
    pair.server.resume()
    await log.closed()
    const got = expected.map((_, i) => hashOf(log.bytes.subarray(i * 250_000, (i + 1) * 250_000)))
    expect(got).toEqual(expected)
  })

  it('tells drain once for a busy time, also when more was written meanwhile', async () => {
    await using pair = await streamPair(mode, { connect: { highWaterBytes: 50_000 } })
    pair.server.pause()
    const log = new StreamLog(pair.client)
    const chunk = pattern(40_000)
    const room = Array.from({ length: 200 }, () => pair.client.write(chunk))
    expect(room.slice(0, 3)).toEqual([true, false, false])
    expect(room.slice(1).every((answer) => !answer)).toBe(true)
    pair.server.resume()
    await log.saw('drain')
    expect(pair.client.writableLength).toBe(0)
    expect(pair.client.writableNeedDrain).toBe(false)
    expect(pair.client.write('small')).toBe(true)
    pair.client.end()
    await log.closed()
    expect(log.events).toEqual(['drain', 'finish', 'end', 'close'])
  })

  it('stops the peer while it is paused, and holds no more than it reads ahead', async () => {
    const slow = { receiveBufferBytes: 65_536 }
    const small = { ...slow, sendBufferBytes: 65_536, highWaterBytes: 65_536 }
    await using pair = await streamPair(mode, { listen: slow, connect: small })
    pair.server.pause()
    const chunk = pattern(50_000)
    let sentBytes = 0
    const write = () => {
      do sentBytes += chunk.length
      while (sentBytes < 100_000_000 && pair.client.write(chunk))
    }
    pair.client.on('drain', write)
    write()
    await standstill(() => sentBytes)
    expect(sentBytes).toBeLessThan(10_000_000)
    expect(pair.server.readableLength).toBeLessThan(1_000_000)
    const stoppedAt = sentBytes
    pair.server.resume()
    await eventually(() => sentBytes > stoppedAt + 5_000_000)
  })

  it('gives its errors as those of sluice', async () => {
    await using pair = await streamPair(mode)
    const log = new StreamLog(pair.server)
    pair.client.resetAndDestroy()
    await log.closed()
    expect(log.events).toEqual(['error', 'close after an error'])
    expect(log.errors[0]).toMatchObject({ name: 'SluiceError', code: 'ERR_SLUICE_CONNECTION_RESET' })
  })

  it('calls back a write that is cut off with an error, before the stream tells of it', async () => {
    await using pair = await streamPair(mode)
    pair.server.pause()
    const log = new StreamLog(pair.client)
    pair.client.write(Buffer.alloc(60_000_000), (error?: Error | null) => log.note(`write: ${error?.message}`))
    await nextTurn()
    pair.client.destroy(new Error('enough'))
    await log.closed()
    expect(log.events).toEqual(['write: enough', 'error', 'close after an error'])
  })

  it('lets what came before the end be read when its connection is closed elsewhere', async () => {
    await using pair = await streamPair(mode, { connect: { allowHalfOpen: true } })
    pair.client.pause()
    pair.server.end('all of it')
    await eventually(() => pair.client.connection.state === 'peerEnded')
    await pair.client.connection.close()
    const log = new StreamLog(pair.client)
    pair.client.resume()
    await log.closed()
    expect(log.text).toBe('all of it')
    expect(log.events).toEqual(['data', 'end', 'close'])
  })

  it('is cut off, and says so, when its connection is destroyed elsewhere', async () => {
    await using pair = await streamPair(mode)
    const cut = expect(finished(pair.client)).rejects.toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' })
    pair.client.connection.destroy()
    await cut
  })

  it('lets an exception of a listener reach the process, and goes on', async () => {
    await using pair = await streamPair(mode)
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    try {
      const uncaught = once(process, 'uncaughtException')
      pair.server.once('data', () => {
        throw new Error('from a listener')
      })
      const log = new StreamLog(pair.server)
      pair.client.write('one')
      expect((await uncaught)[0]).toMatchObject({ message: 'from a listener' })
      pair.client.end('two')
      await log.closed()
      expect(log.text).toContain('two')
      expect(log.events.at(-1)).toBe('close')
    } finally {
      for (const listener of others) process.on('uncaughtException', listener)
    }
  })

  it('refuses a timeout that is no number of milliseconds', async () => {
    await using pair = await streamPair(mode)
    for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY, '5' as never, undefined as never]) {
      expect(() => pair.client.setTimeout(wrong)).toThrow(
        expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }),
      )
    }
  })

  it('keeps what it counted after the end', async () => {
    await using pair = await streamPair(mode)
    const log = new StreamLog(pair.server)
    pair.client.write('12')
    pair.client.cork()
    pair.client.write('345')
    expect(pair.client.bytesWritten).toBe(5)
    pair.client.uncork()
    pair.client.end(pattern(1_000_000))
    await log.closed()
    expect([pair.client.bytesWritten, pair.server.bytesRead]).toEqual([1_000_005, 1_000_005])
  })
})

describe.each(modes())('a stream over a Unix socket on $name', (mode) => {
  it('carries both directions, and has no address', async () => {
    const path = `\0sluice-test-${process.pid}-${mode.name}`
    await using pair = await streamPair(mode, { listen: { host: undefined, port: undefined, path } })
    const { client, server } = pair
    expect([client.address(), client.remoteAddress, client.remotePort]).toEqual([{}, undefined, undefined])
    expect(client.setNoDelay().setKeepAlive(true)).toBe(client)
    server.pipe(server)
    const log = new StreamLog(client)
    const bytes = pattern(1_000_000)
    client.end(bytes)
    await log.closed()
    expect(hashOf(log.bytes)).toBe(hashOf(bytes))
  })
})
