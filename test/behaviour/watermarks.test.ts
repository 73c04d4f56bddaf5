// Collected input between its marks: called from the low one on, at rest from the high one on, never spinning or stuck.
import type { ByteQueue, Connection, ConnectionHandlers } from 'sluice'
import { describe, expect, it } from 'vitest'
import { scramble } from '../support/filters.js'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, eventually, nextTurn, type PairOptions } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'
import { standstill } from '../support/standstill.js'

/** Notes how much there was at each call, and takes what `take` says. */
function collector(take: (input: ByteQueue) => number = (input) => input.sizeBytes) {
  const calls: number[] = []
  const taken: Buffer[] = []
  const handlers: ConnectionHandlers = {
    readable(_, input) {
      calls.push(input.sizeBytes)
      taken.push(input.read(take(input)))
    },
  }
  return { calls, taken, handlers }
}

const listen = (options: PairOptions['listen']): PairOptions => ({ listen: options })

describe.each(modes())('input marks on $name', (mode) => {
  async function pairOf(handlers: ConnectionHandlers, options: PairOptions = {}) {
    const record = new Record({ ...handlers })
    // A record takes notes by `data`, which stands in the way of `readable`.
    const { data: _data, ...others } = record.handlers
    const runtime = mode.start(options.runtime)
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, ...options.listen }, { ...others, ...handlers })
    const client = await runtime.connect(
      { host: '127.0.0.1', port: listener.address.port!, ...options.connect },
      { error() {} },
    )
    await eventually(() => listener.connections === 1)
    await record.saw('open')
    return {
      ...{ runtime, client, server: record.connection, record },
      async [Symbol.asyncDispose]() {
        await runtime.destroy()
      },
    }
  }

  async function write(pair: { client: Connection; server: Connection }, lengthBytes: number, sum: number) {
    pair.client.write(pattern(lengthBytes))
    await eventually(() => pair.server.stats().bytesRead === sum)
    for (let i = 0; i < 5; i++) await nextTurn()
  }

  it('call once there is as much as the low one, at each arrival, whatever was left', async () => {
    const takes = [70, 60, 20]
    const { calls, handlers } = collector(() => takes.shift()!)
    await using pair = await pairOf(handlers, listen({ readLowWaterBytes: 20 }))
    await write(pair, 70, 70)
    expect(calls).toEqual([70])
    await write(pair, 10, 80)
    expect(calls).toEqual([70])
    await write(pair, 60, 140)
    expect(calls).toEqual([70, 70])
    // Ten are left: that many more make twenty.
    await write(pair, 10, 150)
    expect(calls).toEqual([70, 70, 20])
  })

  it('never show more than the high one, lose nothing, and read on when some is taken', async () => {
    const { calls, taken, handlers } = collector((input) => Math.ceil(input.sizeBytes / 2))
    await using pair = await pairOf(handlers, listen({ readHighWaterBytes: 10_000 }))
    const bytes = pattern(1_000_000)
    pair.client.end(bytes)
    await pair.record.saw('end')
    expect(Math.max(...calls)).toBeLessThanOrEqual(10_000)
    expect(hashOf(...taken, pair.server.input.read())).toBe(hashOf(bytes))
  })

  it('tell a full input once, and again when something has been taken from outside', async () => {
    const { calls, handlers } = collector(() => 0)
    await using pair = await pairOf(handlers, listen({ readHighWaterBytes: 1000 }))
    pair.client.write(pattern(5000))
    await eventually(() => calls.includes(1000))
    const before = calls.length
    for (let i = 0; i < 50; i++) await nextTurn()
    expect(calls.length).toBe(before)
    pair.server.input.drain(600)
    // Never within a call of the user's.
    expect(calls.length).toBe(before)
    await eventually(() => calls.length === before + 1)
    expect(calls.at(-1)).toBe(1000)
  })

  it('may be set to what a frame needs, from within the handler', async () => {
    const frames: number[] = []
    let length = 0
    await using pair = await pairOf(
      {
        readable(connection, input) {
          if (length === 0) {
            length = input.read(4).readUInt32BE()
            connection.setReadWaterMarks({ lowWaterBytes: length, highWaterBytes: Math.max(length, 1000) })
          } else {
            frames.push(input.drain(length))
            length = 0
            connection.setReadWaterMarks({ lowWaterBytes: 4 })
          }
        },
      },
      listen({ readLowWaterBytes: 4, readHighWaterBytes: 1000 }),
    )
    const sizes = [1, 10, 100_000, 5, 300, 70_000, 1]
    for (const size of sizes) {
      const head = Buffer.alloc(4)
      head.writeUInt32BE(size)
      pair.client.write(head)
      pair.client.write(pattern(size))
    }
    pair.client.end()
    await pair.record.saw('end')
    expect(frames).toEqual(sizes)
    expect(pair.server.input.sizeBytes).toBe(0)
  })

  it('call soon when the low one falls below what is there', async () => {
    const { calls, handlers } = collector()
    await using pair = await pairOf(handlers, listen({ readLowWaterBytes: 100 }))
    await write(pair, 50, 50)
    expect(calls).toEqual([])
    pair.server.setReadWaterMarks({ lowWaterBytes: 10 })
    expect(calls).toEqual([])
    await eventually(() => calls.length === 1)
    expect(calls).toEqual([50])
  })

  it('keep what is less than the low one for the end handler', async () => {
    let rest = ''
    const { calls, handlers } = collector()
    await using pair = await pairOf(
      {
        ...handlers,
        end(connection) {
          rest = connection.input.read().toString()
        },
      },
      listen({ readLowWaterBytes: 100 }),
    )
    pair.client.end('the rest')
    await pair.record.saw('close')
    expect(rest).toBe('the rest')
    expect(calls).toEqual([])
  })

  it('call nobody while the connection is paused', async () => {
    const { calls, handlers } = collector(() => 0)
    await using pair = await pairOf(handlers, listen({ readHighWaterBytes: 100 }))
    pair.client.write(pattern(300))
    await eventually(() => calls.length > 0)
    pair.server.pause()
    pair.server.input.drain()
    const before = calls.length
    for (let i = 0; i < 30; i++) await nextTurn()
    expect(calls.length).toBe(before)
    pair.server.resume()
    await eventually(() => calls.length > before)
  })

  it('hand over to an iterator what has been collected', async () => {
    const { calls, taken, handlers } = collector(() => 5)
    await using pair = await pairOf(handlers, listen({ readHighWaterBytes: 10, allowHalfOpen: true }))
    const bytes = pattern(200_000)
    pair.client.end(bytes)
    await eventually(() => calls.length > 0)
    const count = calls.length
    const chunks: Uint8Array[] = []
    for await (const batch of pair.server) chunks.push(...batch)
    expect(hashOf(...taken, ...chunks)).toBe(hashOf(bytes))
    expect(calls.length).toBe(count)
  })

  it('work above filters, and hand over to a stream below them', async () => {
    const { calls, taken, handlers } = collector((input) => Math.ceil(input.sizeBytes / 3))
    await using pair = await pairOf(handlers, {
      listen: { readLowWaterBytes: 50, readHighWaterBytes: 5000, filters: () => [scramble(1)] },
      connect: { filters: () => [scramble(1)] },
    })
    const bytes = pattern(100_000)
    pair.client.write(bytes)
    await eventually(() => calls.length > 5)
    const stream = pair.server.toDuplex()
    pair.client.end('more')
    for await (const chunk of stream) taken.push(chunk)
    expect(hashOf(...taken)).toBe(hashOf(bytes, Buffer.from('more')))
    expect(Math.max(...calls)).toBeLessThanOrEqual(5000)
  })

  it('a handler of it that throws ends its connection', async () => {
    await using pair = await pairOf({
      readable() {
        throw new Error('no')
      },
    })
    pair.client.write('x')
    await pair.record.saw('error ERR_SLUICE_HANDLER_THREW')
  })

  it('are refused where nothing is collected, or when they do not fit', async () => {
    await using plain = await connectedPair(mode)
    for (const use of [() => plain.client.input, () => plain.client.setReadWaterMarks({ lowWaterBytes: 1 })]) {
      expect(use).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }))
    }
    await using pair = await pairOf(collector().handlers, listen({ readHighWaterBytes: 100 }))
    expect(() => pair.server.setReadWaterMarks({ lowWaterBytes: 101 })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'lowWaterBytes' }),
    )
  })

  it('hold for await until there is enough, or the end', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, readLowWaterBytes: 10 })
    const client = await runtime.connect({ host: '127.0.0.1', port: listener.address.port! }, {})
    const { value: server } = await listener[Symbol.asyncIterator]().next()
    const reader = server![Symbol.asyncIterator]()
    const step = reader.next()
    let isThere = false
    void step.then(() => {
      isThere = true
    })
    client.write('123456789')
    await eventually(() => server!.stats().bytesRead === 9)
    for (let i = 0; i < 10; i++) await nextTurn()
    expect(isThere).toBe(false)
    client.write('0')
    expect(Buffer.concat((await step).value!).toString()).toBe('1234567890')
    client.end('rest')
    expect(Buffer.concat((await reader.next()).value!).toString()).toBe('rest')
    expect((await reader.next()).done).toBe(true)
  })
})

describe.each(kernelModes())('a full input on $name', (mode) => {
  it('stops the peer, and costs nothing while nobody takes from it', async () => {
    await using runtime = mode.start()
    let server: Connection | undefined
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, readHighWaterBytes: 10_000, receiveBufferBytes: 65_536 },
      {
        readable: (connection) => {
          server = connection
        },
        error() {},
      },
    )
    const client = await runtime.connect(
      { host: '127.0.0.1', port: listener.address.port!, sendBufferBytes: 65_536 },
      { error() {} },
    )
    client.write(pattern(5_000_000))
    await eventually(() => server !== undefined)
    await standstill(() => client.queuedBytes)
    expect(client.queuedBytes).toBeGreaterThan(4_000_000)
    const before = runtime.stats()
    for (let i = 0; i < 100; i++) await nextTurn()
    const after = runtime.stats()
    expect(after.receives).toBe(before.receives)
    expect(after.batches).toBe(before.batches)
    expect(server!.input.sizeBytes).toBe(10_000)
  })
})
