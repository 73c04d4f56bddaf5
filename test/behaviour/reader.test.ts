import { type Connection, Runtime } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { standstill } from '../support/standstill.js'

async function readAll(connection: Connection): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for await (const batch of connection) chunks.push(...batch)
  return chunks
}

describe.each(modes())('for await over a connection on $name', (mode) => {
  it('brings every byte in order, and ends with the peer', async () => {
    await using pair = await connectedPair(mode)
    const bytes = pattern(3_000_000)
    const all = readAll(pair.server)
    pair.client.end(bytes)
    expect(hashOf(...(await all))).toBe(hashOf(bytes))
    await pair.atClient.closed()
    expect(pair.atClient.error).toBeUndefined()
  })

  it('takes all that has come since the last step as one batch', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    pair.client.write('one')
    const { value } = await reader.next()
    expect(Buffer.concat(value).toString()).toBe('one')
    for (const text of ['two ', 'three ', 'four']) {
      pair.client.write(text)
      await nextTurn()
    }
    await eventually(() => pair.server.stats().bytesRead === 17)
    await nextTurn()
    const batch = await reader.next()
    expect(Buffer.concat(batch.value).toString()).toBe('two three four')
  })

  it('gives chunks that belong to the reader', async () => {
    await using pair = await connectedPair(mode, { runtime: { debug: true } })
    const all = readAll(pair.server)
    for (let i = 0; i < 20; i++) {
      pair.client.write(`message ${i} `)
      await nextTurn()
    }
    pair.client.end()
    const expected = Array.from({ length: 20 }, (_, i) => `message ${i} `).join('')
    expect(Buffer.concat(await all).toString()).toBe(expected)
  })

  it('stops the peer at highWaterBytes until the next step', async () => {
    const small = { receiveBufferBytes: 65_536, highWaterBytes: 100_000 }
    await using pair = await connectedPair(mode, { listen: small, connect: { sendBufferBytes: 65_536 } })
    const reader = pair.server[Symbol.asyncIterator]()
    const bytes = pattern(20_000_000)
    pair.client.end(bytes)
    const read = () => pair.server.stats().bytesRead
    await eventually(() => read() >= 100_000)
    await standstill(read)
    // One turn may bring more than was wanted, but not many.
    expect(read()).toBeLessThan(2_000_000)
    const chunks: Uint8Array[] = []
    for await (const batch of reader) chunks.push(...batch)
    expect(hashOf(...chunks)).toBe(hashOf(bytes))
  })

  it('answers several waiting steps in turn', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    const steps = [reader.next(), reader.next(), reader.next()]
    pair.client.write('first')
    expect(Buffer.concat((await steps[0]!).value!).toString()).toBe('first')
    pair.client.end('second')
    expect(Buffer.concat((await steps[1]!).value!).toString()).toBe('second')
    expect(await steps[2]).toEqual({ done: true, value: undefined })
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  it('destroys the connection when the loop is left early', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write('something')
    for await (const _ of pair.server) break
    await Promise.all([pair.atServer.closed(), pair.atClient.closed()])
    expect(pair.server.state).toBe('closed')
  })

  it('ends waiting steps when the loop is left', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    const step = reader.next()
    await reader.return!()
    expect(await step).toEqual({ done: true, value: undefined })
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  it('throws the error of the connection, once, after what came before it', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    pair.client.write('before')
    const { value } = await reader.next()
    expect(Buffer.concat(value).toString()).toBe('before')
    pair.client.reset()
    await expect(reader.next()).rejects.toMatchObject({ code: 'ERR_SLUICE_CONNECTION_RESET' })
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  it('rejects one of several waiting steps, and ends the others', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    const steps = Promise.allSettled([reader.next(), reader.next(), reader.next()])
    pair.client.reset()
    expect((await steps).map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
  })

  it('ends with the error that destroy() was given', async () => {
    await using pair = await connectedPair(mode)
    const all = readAll(pair.server)
    pair.server.setTimeouts({ readTimeoutMs: 20 })
    await expect(all).rejects.toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT' })
  })

  it('ends its own direction after the peer, once the last batch was taken', async () => {
    await using pair = await connectedPair(mode)
    const reader = pair.server[Symbol.asyncIterator]()
    pair.client.end('question')
    const { value } = await reader.next()
    pair.server.write(`answer to ${Buffer.concat(value)}`)
    expect(pair.atClient.events).not.toContain('end')
    expect((await reader.next()).done).toBe(true)
    await pair.atClient.closed()
    expect(pair.atClient.text).toBe('answer to question')
  })

  it('leaves its own direction open with allowHalfOpen', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    const all = readAll(pair.server)
    pair.client.end('question')
    await all
    expect(pair.server.state).toBe('peerEnded')
    pair.server.end('answer')
    await pair.atClient.closed()
    expect(pair.atClient.text).toBe('answer')
  })

  it('refuses a second reader', async () => {
    await using pair = await connectedPair(mode)
    pair.server[Symbol.asyncIterator]()
    const refused = expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })
    expect(() => pair.server[Symbol.asyncIterator]()).toThrow(refused)
    expect(() => pair.server.toDuplex()).toThrow(refused)
    expect(() => pair.server.toWeb()).toThrow(refused)
  })

  it('is over at once when the connection is gone, or was ended by the peer before', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    pair.client.end()
    await pair.atServer.saw('end')
    expect(await readAll(pair.server)).toEqual([])
    pair.server.destroy()
    await pair.atClient.closed()
    expect(await readAll(pair.client)).toEqual([])
  })

  it('reads what was sent before anybody asked, on a connection without handlers', async () => {
    const runtime = mode.start()
    try {
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0 })
      const client = await runtime.connect({ host: '127.0.0.1', port: listener.address.port! })
      client.end('early')
      const { value: server } = await listener[Symbol.asyncIterator]().next()
      for (let i = 0; i < 5; i++) await nextTurn()
      expect(Buffer.concat(await readAll(server)).toString()).toBe('early')
    } finally {
      await runtime.destroy()
    }
  })
})

describe('a reader whose peer sends byte by byte', () => {
  it('is paused long before as many chunks wait as highWaterBytes has bytes: each weighs more than its bytes', async () => {
    await using runtime = new Runtime({ engine: 'sim', sim: { segmentMaxBytes: 1 } })
    const listener = await runtime.listen({ host: '10.0.0.1', port: 7, highWaterBytes: 65_536 })
    const client = await runtime.connect({ host: '10.0.0.1', port: 7 }, {})
    client.write(Buffer.alloc(60_000, 'x'))
    const { value: server } = await listener[Symbol.asyncIterator]().next()
    const reader = server![Symbol.asyncIterator]()
    await new Promise<void>((resolve) => runtime.after(60_000, resolve))
    expect(server!.stats().bytesRead).toBeGreaterThan(500)
    expect(server!.stats().bytesRead).toBeLessThan(20_000)
    // And nothing is lost: reading on brings the rest.
    let sizeBytes = 0
    while (sizeBytes < 60_000) for (const chunk of (await reader.next()).value!) sizeBytes += chunk.length
    expect(sizeBytes).toBe(60_000)
    await runtime.destroy()
  })
})
