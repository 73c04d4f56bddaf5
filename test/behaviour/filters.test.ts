// Filters on connections: every byte in order both ways, room and end of stream honoured, failures end one direction.
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Connection, Filter, FilterFunction } from 'sluice'
import { describe, expect, it } from 'vitest'
import { blocks, frames, hex, pass, scramble, slowBothWays, trailer } from '../support/filters.js'
import { modes } from '../support/modes.js'
import { connectedPair, echo, eventually, nextTurn, type PairOptions } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

/** Both ends with the same filters, of their own each. */
function filtered(filters: () => Filter[], options: PairOptions = {}): PairOptions {
  return {
    ...options,
    listen: { ...options.listen, filters },
    connect: { ...options.connect, filters },
  }
}

const stacks: [string, () => Filter[]][] = [
  ['one that passes everything', () => [{ input: pass, output: pass }]],
  ['frames', () => [frames()]],
  ['three, one over the other', () => [scramble(1), frames(), hex()]],
  ['blocks over letters', () => [hex(), blocks()]],
  ['a transform', () => [slowBothWays()]],
  ['transforms between functions', () => [scramble(7), slowBothWays(), frames(), slowBothWays(), trailer()]],
]

describe.each(modes())('filters on $name', (mode) => {
  it.each(stacks)('carry every byte both ways, and the end: %s', async (_, filters) => {
    await using pair = await connectedPair(
      mode,
      filtered(filters, {
        server: { ...echo, end: (connection) => connection.end() },
      }),
    )
    const pieces = Array.from({ length: 60 }, (_, i) => pattern([1, 15, 16, 17, 300, 5000, 40_000][i % 7]!, i))
    for (const piece of pieces) {
      pair.client.write(piece)
      if (piece.length > 1000) await nextTurn()
    }
    pair.client.end()
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
    expect(pair.atServer.hash).toBe(hashOf(...pieces))
    expect(pair.atClient.hash).toBe(hashOf(...pieces))
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atClient.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it.each(stacks)('lose nothing when the reader pauses at every piece: %s', async (_, filters) => {
    await using clock = mode.start()
    await using pair = await connectedPair(
      mode,
      filtered(filters, {
        server: {
          data(connection) {
            connection.pause()
            clock.after(0, () => connection.resume())
          },
        },
      }),
    )
    const bytes = pattern(200_000)
    for (let i = 0; i < bytes.length; i += 10_000) pair.client.write(bytes.subarray(i, i + 10_000))
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it('honour the writer’s marks: false at the high one, drain at the low one, nothing past the hard limit', async () => {
    const marks = { highWaterBytes: 200_000, lowWaterBytes: 10_000, hardLimitBytes: 400_000 }
    await using pair = await connectedPair(
      mode,
      filtered(() => [scramble(3), slowBothWays()], {
        connect: marks,
        client: {
          drain(connection) {
            connection.data = connection.queuedBytes
          },
        },
      }),
    )
    expect(pair.client.write(pattern(150_000))).toBe(true)
    expect(pair.client.write(pattern(150_000, 150_000))).toBe(false)
    expect(pair.client.queuedBytes).toBe(300_000)
    expect(() => pair.client.write(pattern(150_000))).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_QUEUE_FULL', phase: 'write' }),
    )
    await pair.atClient.saw('drain')
    expect(pair.client.data).toBeLessThanOrEqual(10_000)
    expect(pair.client.write(pattern(50_000, 300_000))).toBe(true)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(pattern(350_000)))
    expect(pair.atClient.count('drain')).toBe(1)
  })

  it('stop the peer when nobody takes what comes out, and hold no more than a bounded part of it', async () => {
    const buffers = { receiveBufferBytes: 65_536, sendBufferBytes: 65_536 }
    await using pair = await connectedPair(
      mode,
      filtered(() => [slowBothWays(), hex()], { listen: buffers, connect: buffers }),
    )
    pair.server.pause()
    const bytes = pattern(6_000_000)
    pair.client.write(bytes)
    let queued = -1
    while (queued !== pair.client.queuedBytes) {
      queued = pair.client.queuedBytes
      for (let i = 0; i < 100; i++) await nextTurn()
      pair.client.stats()
    }
    expect(pair.atServer.sizeBytes).toBe(0)
    if (!mode.simulated) expect(queued).toBeGreaterThan(3_000_000)
    pair.server.resume()
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
  })

  it('may be added in mid-stream, with what was read too far', async () => {
    await using pair = await connectedPair(mode, {
      server: {
        data(connection, bytes) {
          if (connection.data === 'filtered') {
            connection.write(`<${Buffer.from(bytes).toString()}>`)
            return
          }
          const end = bytes.indexOf(10)
          expect(end).toBe(5)
          connection.data = 'filtered'
          connection.filter([hex(), scramble(5)], { head: bytes.subarray(end + 1) })
        },
      },
    })
    pair.client.write('start\n')
    pair.client.filter([hex(), scramble(5)])
    pair.client.write('one')
    await pair.atClient.received(5)
    pair.client.write('two')
    await pair.atClient.received(10)
    expect(pair.atClient.text).toBe('<one><two>')
    expect(pair.atServer.text).toContain('start\n')
  })

  it('finish from the top down on close(), each once, before FIN', async () => {
    const order: string[] = []
    const last = (name: string): Filter => ({
      name,
      output(source, destination, _limit, flushMode) {
        const moved = destination.appendFrom(source) > 0
        if (flushMode !== 'finished' || order.includes(name)) return moved ? 'ok' : 'needMore'
        order.push(name)
        destination.append(` ${name}`)
        return 'ok'
      },
    })
    await using pair = await connectedPair(mode, {
      connect: { filters: () => [last('low'), last('middle'), last('top')] },
    })
    pair.client.write('data')
    await pair.client.close()
    await pair.atServer.closed()
    expect(order).toEqual(['top', 'middle', 'low'])
    expect(pair.atServer.text).toBe('data top middle low')
    expect(pair.atServer.error).toBeUndefined()
  })

  it('close() sends all that is written through slow filters, though the peer has much to say, too', async () => {
    await using pair = await connectedPair(
      mode,
      filtered(() => [slowBothWays(), trailer()], { listen: { highWaterBytes: 100_000 } }),
    )
    const bytes = pattern(3_000_000)
    pair.server.write(bytes)
    pair.client.write(bytes)
    await pair.client.close()
    await pair.atServer.saw('end')
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atClient.events).toEqual(['open', 'drain', 'close'])
  })

  it('close() gives up on a filter that never finishes', async () => {
    const stuck: Filter = { output: { create: () => new Transform({ final() {} }) } }
    await using pair = await connectedPair(mode, { connect: { filters: () => [stuck] } })
    pair.client.write('x')
    await pair.client.close({ timeoutMs: 50 })
    expect(pair.client.state).toBe('closed')
  })

  it('flush() brings out what they hold back, and nothing else does', async () => {
    await using pair = await connectedPair(
      mode,
      filtered(() => [blocks(), slowBothWays()]),
    )
    pair.client.write('twenty characters ok')
    await pair.atServer.received(16)
    expect(pair.client.queuedBytes).toBe(0)
    await pair.client.flush('normal')
    for (let i = 0; i < 20; i++) await nextTurn()
    expect(pair.atServer.text).toBe('twenty character')
    await pair.client.flush()
    await pair.atServer.received(20)
    pair.client.write('more')
    await pair.client.flush('finished')
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe('twenty characters okmore')
  })

  it('a flush that cannot be is refused: a wrong mode, a closed connection, a filter that fails', async () => {
    await using pair = await connectedPair(
      mode,
      filtered(() => [frames()], { client: { error() {} } }),
    )
    expect(() => pair.client.flush('full' as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'mode' }),
    )
    pair.client.filter({ name: 'broken', output: () => 'error' })
    pair.client.write('x')
    await expect(pair.client.flush()).rejects.toMatchObject({ code: 'ERR_SLUICE_FILTER_FAILED' })
    await pair.client.close()
    await expect(pair.client.flush()).rejects.toMatchObject({ code: 'ERR_SLUICE_FILTER_FAILED' })
    await pair.server.close()
    await expect(pair.server.flush()).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
  })

  it('flush() without filters hands over what was written, and has nothing to wait for', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write('now')
    await pair.client.flush()
    await pair.client.flush('normal')
    await pair.atServer.received(3)
    await pair.client.flush('finished')
    await pair.atServer.closed()
  })

  it('no handler is called within write(), flush(), resume() or filter()', async () => {
    let depth = 0
    let deepest = 0
    const within = (work: () => void) => {
      depth++
      work()
      depth--
    }
    const note = () => {
      deepest = Math.max(deepest, depth)
    }
    const handlers = {
      data(connection: Connection, bytes: Uint8Array) {
        note()
        within(() => connection.write(bytes))
        within(() => void connection.flush())
      },
      drain: note,
      error: note,
    }
    await using pair = await connectedPair(
      mode,
      filtered(() => [scramble(2)], {
        server: handlers,
        client: { drain: note, error: note },
        connect: { highWaterBytes: 10 },
      }),
    )
    pair.server.pause()
    within(() => pair.client.write('a piece longer than the mark'))
    await eventually(() => pair.server.stats().bytesRead >= 0)
    within(() => pair.server.resume())
    await pair.atClient.received(28)
    within(() => pair.client.filter({ output: () => 'error' }, {}))
    within(() => pair.client.write('x'))
    await pair.atClient.saw('error ERR_SLUICE_FILTER_FAILED')
    expect(deepest).toBe(0)
    expect(pair.atClient.count('drain')).toBe(1)
  })

  it('bounce a message to and fro without recursion', async () => {
    let left = 2000
    const bounce = {
      data(connection: Connection, bytes: Uint8Array) {
        if (left-- > 0) connection.write(bytes)
        else connection.end()
      },
    }
    await using pair = await connectedPair(
      mode,
      filtered(() => [frames(), scramble(4)], { server: bounce, client: bounce }),
    )
    pair.client.write('ball')
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
    expect(pair.atServer.sizeBytes + pair.atClient.sizeBytes).toBe(4 * 2001)
  })

  it('belong to one connection each, and are told once when it is gone, however that comes', async () => {
    const closed: string[] = []
    let made = 0
    const counted = (): Filter[] => {
      const name = `${made++}`
      return [{ input: pass, output: pass, close: () => closed.push(name) }]
    }
    for (const end of [
      (connection: Connection) => connection.close(),
      (connection: Connection) => connection.destroy(),
      (connection: Connection) => connection.reset(),
      (connection: Connection) => connection.end(),
    ]) {
      await using pair = await connectedPair(
        mode,
        filtered(counted, { server: { error() {} }, client: { error() {} } }),
      )
      end(pair.client)
      await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    }
    expect(made).toBe(8)
    expect(closed.sort()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7'])
  })

  it('serve for await, Node streams and web streams alike', async () => {
    const bytes = pattern(300_000)
    const all = () => [scramble(9), slowBothWays(), frames()]
    {
      await using pair = await connectedPair(mode, filtered(all))
      pair.client.end(bytes)
      const chunks: Uint8Array[] = []
      for await (const batch of pair.server) chunks.push(...batch)
      expect(hashOf(...chunks)).toBe(hashOf(bytes))
      await pair.atClient.closed()
    }
    {
      await using pair = await connectedPair(mode, filtered(all))
      const stream = pair.server.toDuplex()
      const echoed = pipeline(stream, stream)
      pair.client.end(bytes)
      await echoed
      await pair.atClient.closed()
      expect(pair.atClient.hash).toBe(hashOf(bytes))
    }
    {
      await using pair = await connectedPair(mode, filtered(all))
      const { readable, writable } = pair.server.toWeb()
      const echoed = readable.pipeTo(writable)
      pair.client.end(bytes)
      await echoed
      await pair.atClient.closed()
      expect(pair.atClient.hash).toBe(hashOf(bytes))
    }
  })

  it('come between a stream that is there already and the socket', async () => {
    await using pair = await connectedPair(mode, { connect: { filters: () => [frames()] } })
    const stream = pair.server.toDuplex()
    pair.server.filter(frames())
    pair.client.write('to the stream')
    expect((await stream[Symbol.asyncIterator]().next()).value.toString()).toBe('to the stream')
  })

  it('give handlers views that are poisoned afterwards in debug mode', async () => {
    const kept: Uint8Array[] = []
    await using pair = await connectedPair(
      mode,
      filtered(() => [scramble(1)], {
        runtime: { debug: true },
        server: { data: (_, bytes) => void kept.push(bytes) },
      }),
    )
    pair.client.end('text')
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe('text')
    expect(Buffer.from(kept[0]!).toString('hex')).toBe('dbdbdbdb')
  })

  it('do not count as idle time of a writer: no write timeout while nothing is queued', async () => {
    await using pair = await connectedPair(
      mode,
      filtered(() => [blocks()], { connect: { writeTimeoutMs: 20 } }),
    )
    pair.client.write('short') // stays in the filter
    await new Promise<void>((resolve) => pair.runtime.after(100, resolve))
    expect(pair.client.state).toBe('open')
    await pair.client.close()
  })
})

describe.each(modes())('a filter that fails on $name', (mode) => {
  const bad: [string, string, FilterFunction][] = [
    ['reports an error', 'ERR_SLUICE_FILTER_FAILED', () => 'error'],
    [
      'throws',
      'ERR_SLUICE_FILTER_THREW',
      () => {
        throw new RangeError('out of cheese')
      },
    ],
    ['returns nothing', 'ERR_SLUICE_FILTER_RESULT', (() => {}) as unknown as FilterFunction],
    ['returns a promise', 'ERR_SLUICE_FILTER_RESULT', (async () => 'ok') as unknown as FilterFunction],
    [
      'expands without end',
      'ERR_SLUICE_FILTER_EXPANSION',
      (_source, destination) => {
        destination.append(Buffer.alloc(10_000))
        return 'ok'
      },
    ],
    [
      'expands without end, whatever the limit',
      'ERR_SLUICE_FILTER_EXPANSION',
      (_source, destination) => {
        destination.append(Buffer.alloc(3_000_000))
        return 'ok'
      },
    ],
  ]

  it.each(bad)('and %s ends reading, and nothing else', async (_, code, input) => {
    await using pair = await connectedPair(mode, {
      listen: { allowHalfOpen: true, filters: () => [{ name: 'bad', input }] },
      server: {
        error(connection) {
          expect(connection.write('still here')).toBe(true)
        },
      },
    })
    pair.client.write('x')
    await pair.atServer.saw(`error ${code}`)
    expect(pair.atServer.error).toMatchObject({ code, phase: 'read', message: expect.stringContaining('input of bad') })
    await pair.atClient.received(10)
    pair.client.write('y')
    for (let i = 0; i < 10; i++) await nextTurn()
    expect(pair.server.state).toBe('open')
    pair.server.write(', and')
    pair.server.end(' done')
    pair.client.end()
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
    expect(pair.atClient.text).toBe('still here, and done')
    expect(pair.atServer.count(`error ${code}`)).toBe(1)
    expect(pair.atServer.count('end')).toBe(0)
    expect(pair.atServer.events.at(-1)).toBe('close')
  })

  it.each(bad)('and %s ends writing, and nothing else', async (_, code, output) => {
    await using pair = await connectedPair(mode, {
      connect: { filters: () => [{ name: 'bad', output }] },
      listen: { allowHalfOpen: true },
    })
    pair.client.write('x')
    await pair.atClient.saw(`error ${code}`)
    expect(pair.atClient.error).toMatchObject({ code, phase: 'write' })
    expect(() => pair.client.write('y')).toThrow(expect.objectContaining({ code }))
    await expect(pair.client.finished()).rejects.toMatchObject({ code })
    await pair.atServer.saw('end')
    pair.server.write('you can still read')
    await pair.atClient.received(18)
    expect(pair.client.state).toBe('ending')
    pair.server.end()
    await pair.atClient.closed()
    expect(pair.atClient.events).toEqual(['open', `error ${code}`, 'data', 'end', 'close'])
  })

  it('and nobody who hears of it: what was written still arrives, then the connection goes by itself', async () => {
    await using pair = await connectedPair(mode, {
      listen: { filters: () => [{ name: 'bad', input: () => 'error' }] },
      server: { open: (connection) => void connection.write('welcome'), error() {} },
      client: { error() {} },
    })
    pair.client.write(pattern(100_000))
    await pair.atClient.saw('end')
    expect(pair.atClient.text).toBe('welcome')
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
  })

  it('delivers first what had come through', async () => {
    let calls = 0
    const input: FilterFunction = (source, destination) => {
      if (++calls > 3) return 'error'
      return destination.appendFrom(source, 4) > 0 ? 'ok' : 'needMore'
    }
    await using pair = await connectedPair(mode, {
      listen: { filters: () => [{ input }, scramble(0)] },
      connect: { filters: () => [scramble(0)] },
    })
    pair.client.write('one two four eight')
    await pair.atServer.saw('error ERR_SLUICE_FILTER_FAILED')
    expect(pair.atServer.text).toBe('one two four')
    expect(pair.atServer.events.slice(0, 3)).toEqual(['open', 'data', 'error ERR_SLUICE_FILTER_FAILED'])
  })

  it('and leaves bytes behind at the end fails, since they would be lost', async () => {
    await using pair = await connectedPair(mode, { listen: { filters: () => [frames()] } })
    pair.client.end(Buffer.of(0, 0, 0, 9, 1, 2))
    await pair.atServer.saw('error ERR_SLUICE_FILTER_FAILED')
    expect(pair.atServer.error?.message).toContain('left 6 bytes at the end of the stream')
    await pair.atServer.closed()
    expect(pair.atServer.count('end')).toBe(0)
  })

  it('and only ever wants more is stopped at the hard limit', async () => {
    await using pair = await connectedPair(mode, {
      listen: {
        highWaterBytes: 100_000,
        hardLimitBytes: 200_000,
        filters: () => [{ name: 'greedy', input: () => 'needMore' }],
      },
      client: { error() {} },
    })
    pair.client.write(pattern(1_000_000))
    await pair.atServer.saw('error ERR_SLUICE_FILTER_FAILED')
    expect(pair.atServer.error?.message).toContain('hardLimitBytes')
  })

  it('fails a stream as a whole, and an iteration where it reads', async () => {
    const input: FilterFunction = () => 'error'
    {
      await using pair = await connectedPair(mode, { listen: { filters: () => [{ input }] }, client: { error() {} } })
      const stream = pair.server.toDuplex()
      const failed = new Promise((resolve) => stream.once('error', resolve))
      pair.client.write('x')
      expect(await failed).toMatchObject({ code: 'ERR_SLUICE_FILTER_FAILED' })
      await pair.atServer.closed()
    }
    {
      await using pair = await connectedPair(mode, { listen: { filters: () => [{ input }] }, client: { error() {} } })
      const reader = pair.server[Symbol.asyncIterator]()
      const step = reader.next()
      pair.client.end('x')
      await expect(step).rejects.toMatchObject({ code: 'ERR_SLUICE_FILTER_FAILED' })
      await pair.atServer.closed()
    }
  })

  it('cannot be added from within a filter, after the end, or if it is none', async () => {
    let thrown: unknown
    await using pair = await connectedPair(mode)
    pair.client.filter({
      output(source, destination) {
        try {
          pair.client.filter({ output: pass })
        } catch (error) {
          thrown = error
        }
        return destination.appendFrom(source) > 0 ? 'ok' : 'needMore'
      },
    })
    pair.client.write('x')
    expect(thrown).toMatchObject({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })
    const wrong: [unknown, string][] = [
      [undefined, 'filter'],
      [{}, 'filter'],
      [pass, 'filter'],
      [[{ input: pass }, { output: 1 }], 'filters[1].output'],
      [{ input: pass, maxExpansion: 0 }, 'filter.maxExpansion'],
      [{ input: pass, close: true }, 'filter.close'],
      [{ input: pass, name: 1 }, 'filter.name'],
      [{ input: { pipe: 1 } }, 'filter.input'],
    ]
    for (const [filter, option] of wrong) {
      expect(() => pair.client.filter(filter as Filter)).toThrow(
        expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option }),
      )
    }
    expect(() => pair.client.filter({ input: pass }, { head: 'text' as never })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'head' }),
    )
    pair.client.end()
    expect(() => pair.client.filter({ output: pass })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_WRITE_AFTER_END' }),
    )
    await pair.atClient.closed()
    expect(() => pair.client.filter({ output: pass })).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
  })
})
