// Between queues and connections: nothing is lost or doubled, back-pressure holds, what was lent comes back once.
import { AsyncFrameReader, ByteQueue, FrameWriter } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

describe.each(modes())('a byte queue and a connection on $name', (mode) => {
  it('sends small and large pieces in order, and releases each lent one exactly once', async () => {
    await using pair = await connectedPair(mode)
    const queue = new ByteQueue()
    const released: number[] = []
    const pieces = [10, 100_000, 16_384, 16_385, 70_000, 3, 2_000_000].map((length, i) => pattern(length, i))
    pieces.forEach((piece, i) => {
      if (i % 2 === 0) queue.append(piece)
      else queue.appendReference(piece, () => released.push(i))
    })
    while (queue.sizeBytes > 0) {
      queue.writeTo(pair.client)
      await pair.client.drained()
    }
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(...pieces))
    // The small one was copied, so it came back first.
    expect(released.sort()).toEqual([1, 3, 5])
  })

  it('stops at the high-water mark and keeps the rest until drain', async () => {
    const queue = new ByteQueue()
    const bytes = pattern(3_000_000)
    await using pair = await connectedPair(mode, {
      connect: { highWaterBytes: 100_000 },
      client: { drain: (connection) => void queue.writeTo(connection) },
    })
    pair.server.pause()
    queue.appendReference(bytes)
    expect(queue.writeTo(pair.client)).toBe(262_144)
    expect(queue.sizeBytes).toBe(bytes.length - 262_144)
    expect(pair.client.queuedBytes).toBe(262_144)
    pair.server.resume()
    await pair.atServer.received(bytes.length)
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(queue.sizeBytes).toBe(0)
  })

  it('writes no more than it is asked to', async () => {
    await using pair = await connectedPair(mode)
    const queue = new ByteQueue()
    queue.append('hello, world')
    const hook = queue.onChange(({ removedBytes }) => void (removedBytes > 0 && queue.append('!')))
    expect(queue.writeTo(pair.client, 5)).toBe(5)
    hook.remove()
    await pair.atServer.received(5)
    expect(pair.atServer.hash).toBe(hashOf(Buffer.from('hello')))
    expect(queue.read().toString()).toBe(', world!')
  })

  it('is taken whole by write() and end(), or not at all', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 100_000, hardLimitBytes: 3_000_000 } })
    const queue = new ByteQueue()
    let released = 0
    queue.append('head ')
    queue.appendReference(pattern(1_000_000), () => released++)
    expect(pair.client.write(queue)).toBe(false)
    expect(queue.sizeBytes).toBe(0)
    queue.append(pattern(4_000_000))
    expect(() => pair.client.write(queue)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_QUEUE_FULL' }))
    expect(queue.sizeBytes).toBe(4_000_000)
    queue.drain(3_999_990)
    queue.freeze('front')
    expect(() => pair.client.write(queue)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }))
    queue.unfreeze('front')
    expect(pair.client.write(new ByteQueue())).toBe(pair.client.queuedBytes < 100_000)
    pair.client.end(queue)
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(
      hashOf(Buffer.from('head '), pattern(1_000_000), pattern(4_000_000).subarray(3_999_990)),
    )
    expect(released).toBe(1)
    await pair.atClient.closed()
    expect(() => pair.client.write(queue)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
  })

  it('gives back what a destroyed connection has not sent', async () => {
    await using pair = await connectedPair(mode)
    const queue = new ByteQueue()
    pair.server.pause()
    const released = new Promise<void>((resolve) => queue.appendReference(pattern(20_000_000), resolve))
    queue.writeTo(pair.client)
    queue.clear()
    pair.client.destroy()
    await released
  })

  it('gives back what a destroyed runtime has not sent', async () => {
    const pair = await connectedPair(mode)
    const queue = new ByteQueue()
    pair.server.pause()
    let count = 0
    const released = new Promise<void>((resolve) => {
      queue.appendReference(pattern(20_000_000), () => {
        count++
        resolve()
      })
    })
    queue.writeTo(pair.client)
    queue.clear()
    await pair.runtime.destroy()
    await released
    expect(count).toBe(1)
  })

  it('keeps what the connection refuses, and passes its error on', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 1000, hardLimitBytes: 1000 } })
    const queue = new ByteQueue()
    let released = 0
    queue.append(pattern(700))
    queue.appendReference(pattern(100_000), () => released++)
    expect(() => queue.writeTo(pair.client)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_QUEUE_FULL' }))
    expect(queue.sizeBytes).toBe(100_000)
    pair.client.destroy()
    expect(() => queue.writeTo(pair.client)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
    expect(queue.sizeBytes).toBe(100_000)
    expect(released).toBe(0)
    queue.clear()
    expect(released).toBe(1)
  })

  it('takes what data handlers give it, and hands it on by for await', async () => {
    const queue = new ByteQueue()
    await using pair = await connectedPair(mode, {
      server: { data: (_, bytes) => queue.append(bytes), end: () => queue.end() },
    })
    const bytes = pattern(1_000_000)
    pair.client.end(bytes)
    const got: Uint8Array[] = []
    for await (const pieces of queue) got.push(...pieces)
    expect(hashOf(...got)).toBe(hashOf(bytes))
  })

  it('sends one message to many connections from the same memory', async () => {
    await using first = await connectedPair(mode)
    await using second = await connectedPair(mode)
    const message = new ByteQueue()
    let released = 0
    const bytes = pattern(500_000)
    message.appendReference(bytes, () => released++)
    for (const pair of [first, second]) {
      const copy = new ByteQueue()
      copy.appendShared(message)
      while (copy.sizeBytes > 0) {
        copy.writeTo(pair.client)
        await pair.client.drained()
      }
      pair.client.end()
      await pair.atServer.closed()
      expect(pair.atServer.hash).toBe(hashOf(bytes))
    }
    expect(released).toBe(0)
    message.clear()
    expect(released).toBe(1)
  })

  it('carries frames from a writer to a reader that waits for them', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 })
    const to = listener.address.path ? { path: listener.address.path } : { port: portOf(listener), host: '127.0.0.1' }
    const client = await runtime.connect(to, {})
    const { value: server } = await listener[Symbol.asyncIterator]().next()
    await using frames = new AsyncFrameReader(server!)
    const writer = new FrameWriter()
    const bytes = pattern(300_000)
    writer.u32(7).lengthPrefixed(bytes, 'varint').line('the end')
    writer.queue.writeTo(client)
    expect(await frames.u32()).toBe(7)
    expect(hashOf((await frames.lengthPrefixed('varint'))!)).toBe(hashOf(bytes))
    expect(await frames.line()).toBe('the end')
    const end = frames.u8()
    client.end()
    expect(await end).toBeUndefined()
  })
})
