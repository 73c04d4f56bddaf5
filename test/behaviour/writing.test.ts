// The write contract: all or nothing, room below the high-water mark, drain once, nothing lost silently.
import { describe, expect, it } from 'vitest'
import { inlineKernelModes, kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

describe.each(modes())('writing on $name', (mode) => {
  it('answers whether there is room below the high-water mark, and tells drain once', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 1000 } })
    expect(pair.client.write(Buffer.alloc(999))).toBe(true)
    expect(pair.client.write(Buffer.alloc(1))).toBe(false)
    expect(pair.client.write(Buffer.alloc(500))).toBe(false)
    expect(pair.client.queuedBytes).toBe(1500)
    await pair.atServer.received(1500)
    await pair.atClient.saw('drain')
    expect(pair.client.queuedBytes).toBe(0)
    expect(pair.client.write('x')).toBe(true)
    await pair.atServer.received(1501)
    await nextTurn()
    expect(pair.atClient.events).toEqual(['open', 'drain'])
  })

  it('goes by marks that change while it is open, and tells a drain that is due by the new ones', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 60_000_000 } })
    pair.server.pause()
    // More than the system and the peer take by themselves.
    expect(pair.client.write(new Uint8Array(30_000_000))).toBe(true)
    pair.client.setWriteWaterMarks({ highWaterBytes: 1000 })
    expect(pair.client.write('1')).toBe(false)
    pair.client.setWriteWaterMarks({ hardLimitBytes: 1000 })
    expect(() => pair.client.write('2')).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_QUEUE_FULL' }))
    expect(() => pair.client.setWriteWaterMarks({ lowWaterBytes: 1001 })).toThrow(/"lowWaterBytes" must be at most/)
    expect(() => pair.client.setWriteWaterMarks({ highWaterBytes: 1001 })).toThrow(/"hardLimitBytes" must be at least/)
    expect(pair.atClient.count('drain')).toBe(0)
    const mark = 40_000_000
    pair.client.setWriteWaterMarks({ lowWaterBytes: mark, highWaterBytes: mark, hardLimitBytes: mark })
    await pair.atClient.saw('drain')
    expect(pair.client.queuedBytes).toBeGreaterThan(0)
  })

  it('tells no drain that nobody has asked for', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write(Buffer.alloc(100_000))
    await pair.atServer.received(100_000)
    await nextTurn()
    expect(pair.atClient.events).toEqual(['open'])
  })

  it('refuses what would pass the hard limit, and takes nothing of it', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 1000, hardLimitBytes: 2000 } })
    pair.client.write(Buffer.alloc(1500, 'a'))
    expect(() => pair.client.write(Buffer.alloc(501, 'b'))).toThrow(
      expect.objectContaining({
        code: 'ERR_SLUICE_QUEUE_FULL',
        phase: 'write',
        message: expect.stringContaining('2000'),
      }),
    )
    expect(pair.client.queuedBytes).toBe(1500)
    pair.client.write(Buffer.alloc(500, 'c'))
    await pair.client.drained()
    pair.client.write('d')
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe(`${'a'.repeat(1500)}${'c'.repeat(500)}d`)
  })

  it('tells drain at the low-water mark, before all is gone', async () => {
    await using pair = await connectedPair(mode, {
      connect: { highWaterBytes: 8_000_000, lowWaterBytes: 4_000_000 },
      client: {
        drain: (connection) => {
          connection.data = connection.queuedBytes
        },
      },
    })
    pair.server.pause()
    const bytes = pattern(30_000_000)
    expect(pair.client.write(bytes)).toBe(false)
    pair.server.resume()
    await pair.atClient.saw('drain')
    expect(pair.client.data).toBeLessThanOrEqual(4_000_000)
    expect(pair.client.data).toBeGreaterThan(0)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atClient.count('drain')).toBe(1)
  })

  it('sends large pieces by reference intact, and many of them in order', async () => {
    await using pair = await connectedPair(mode)
    const pieces = Array.from({ length: 300 }, (_, i) => pattern(17_000 + i * 100, i))
    for (const piece of pieces) pair.client.write(piece)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(...pieces))
  })

  it('mixes small, large, empty and text pieces without changing their order', async () => {
    await using pair = await connectedPair(mode)
    const pieces: Buffer[] = []
    for (let i = 0; i < 400; i++) {
      const size = [0, 1, 63, 64, 65, 4096, 16_384, 16_385, 100_000][i % 9]!
      const piece = pattern(size, i)
      pieces.push(piece)
      pair.client.write(piece)
      if (i % 50 === 0) {
        pieces.push(Buffer.from('Grüße ✓'))
        pair.client.write('Grüße ✓')
        await nextTurn()
      }
    }
    pair.client.end('Ende')
    pieces.push(Buffer.from('Ende'))
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(...pieces))
  })

  it('takes an empty write as nothing', async () => {
    await using pair = await connectedPair(mode)
    expect(pair.client.write('')).toBe(true)
    expect(pair.client.write(new Uint8Array(0))).toBe(true)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.events).toEqual(['open', 'end', 'close'])
  })

  it('takes views of any buffer, and copies of small pieces at once', async () => {
    await using pair = await connectedPair(mode)
    const memory = new Uint8Array(16)
    memory.set([1, 2, 3, 4], 8)
    pair.client.write(memory.subarray(8, 12))
    memory.fill(9)
    const shared = new Uint8Array(new SharedArrayBuffer(4))
    shared.set([5, 6, 7, 8])
    pair.client.write(shared)
    pair.client.end()
    await pair.atServer.closed()
    expect([...pair.atServer.bytes]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it.each([
    [1],
    [null],
    [undefined],
    [{}],
    [new Uint16Array(1)],
    [new ArrayBuffer(1)],
  ])('refuses to write %s', async (value) => {
    await using pair = await connectedPair(mode)
    expect(() => pair.client.write(value as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT', phase: 'write' }),
    )
  })

  it('works inside open, data, drain and end handlers', async () => {
    await using pair = await connectedPair(mode, {
      listen: { highWaterBytes: 10 },
      server: {
        open: (connection) => void connection.write('open '),
        data: (connection, bytes) => {
          connection.write(bytes)
          connection.write(' and more than ten bytes')
        },
        drain: (connection) => void connection.write(' drain'),
        end: (connection) => void connection.write(' end'),
        close: (connection) => {
          expect(() => connection.write('x')).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
        },
      },
    })
    pair.client.write('data')
    await pair.atServer.saw('drain')
    await pair.atClient.received('open data and more than ten bytes drain'.length)
    pair.client.end()
    await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    expect(pair.atClient.text).toBe('open data and more than ten bytes drain end')
    expect(pair.atServer.error).toBeUndefined()
  })

  it('goes out in pieces of views written back in any order', async () => {
    await using pair = await connectedPair(mode, {
      server: {
        data(connection, bytes) {
          const half = bytes.length >> 1
          connection.write(bytes.subarray(half))
          connection.write('|')
          connection.write(bytes.subarray(0, half))
        },
      },
    })
    const bytes = pattern(1000)
    pair.client.write(bytes)
    await pair.atClient.received(1001)
    expect(pair.atClient.hash).toBe(hashOf(bytes.subarray(500), Buffer.from('|'), bytes.subarray(0, 500)))
  })

  it('writes to other connections from a handler', async () => {
    await using left = await connectedPair(mode)
    await using right = await connectedPair(mode, { server: { data: (_, bytes) => void left.client.write(bytes) } })
    right.client.write('across')
    await left.atServer.received(6)
    expect(left.atServer.text).toBe('across')
  })

  it('holds what a slow reader leaves, and delivers it in the end', async () => {
    await using pair = await connectedPair(mode, { server: echo, listen: { hardLimitBytes: 100_000_000 } })
    pair.client.pause()
    const bytes = pattern(12_000_000)
    pair.client.end(bytes)
    await pair.atServer.received(bytes.length)
    expect(pair.server.queuedBytes).toBeGreaterThan(0)
    pair.client.resume()
    await pair.atClient.closed()
    expect(pair.atClient.hash).toBe(hashOf(bytes))
  })

  it('drained() resolves when the kernel has everything, at once when nothing is queued', async () => {
    await using pair = await connectedPair(mode)
    await pair.client.drained()
    pair.client.write(pattern(10_000_000))
    await pair.client.drained()
    expect(pair.client.queuedBytes).toBe(0)
  })

  it('takes more operations in a turn than the ring between JavaScript and native code holds', async () => {
    await using pair = await connectedPair(mode)
    const count = 50_000
    for (let i = 0; i < count; i++) pair.client.write(Buffer.from([i & 0xff, i >> 8]))
    pair.client.end()
    await pair.atServer.closed()
    const { bytes } = pair.atServer
    expect(bytes.length).toBe(2 * count)
    let wrong = 0
    for (let i = 0; i < count; i++) if (bytes.readUInt16LE(2 * i) !== (i & 0xffff)) wrong++
    expect(wrong).toBe(0)
  })
})

describe.each(inlineKernelModes())('system calls for writing on $name', (mode) => {
  it('are one for many pieces written in one turn', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write('warm')
    await pair.atServer.received(4)
    const before = pair.runtime.stats().sends
    for (let i = 0; i < 50; i++) pair.client.write(`piece ${i % 10}`)
    await pair.atServer.received(4 + 350)
    expect(pair.runtime.stats().sends - before).toBe(1)
  })

  it('are one for all pieces that one batch of handlers wrote', async () => {
    await using pair = await connectedPair(mode, {
      server: { data: (connection, bytes) => bytes.forEach((byte) => void connection.write(Uint8Array.of(byte))) },
    })
    pair.client.write('0123456789')
    const before = pair.runtime.stats().sends
    await pair.atClient.received(10)
    // The client's own write, and one for the ten pieces.
    expect(pair.runtime.stats().sends - before).toBeLessThanOrEqual(2)
  })
})

describe.each(kernelModes())('memory of a paused reader on $name', (mode) => {
  it('is held by the kernel: the writer comes to a standstill and goes on when reading does', async () => {
    await using pair = await connectedPair(mode, {
      listen: { receiveBufferBytes: 65_536 },
      connect: { sendBufferBytes: 65_536 },
    })
    pair.server.pause()
    const bytes = pattern(5_000_000)
    pair.client.write(bytes)
    // Nothing moves any more when two looks, with turns between them, see the same.
    let queued = -1
    while (queued !== pair.client.queuedBytes) {
      queued = pair.client.queuedBytes
      for (let i = 0; i < 50; i++) await nextTurn()
      pair.client.stats()
    }
    expect(queued).toBeGreaterThan(4_000_000)
    expect(pair.atServer.sizeBytes).toBe(0)
    expect(pair.server.stats().bytesRead).toBeLessThanOrEqual(262_144)
    pair.server.resume()
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
  })
})
