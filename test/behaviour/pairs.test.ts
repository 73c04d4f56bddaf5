// Pairs: two connections connected in memory, usable wherever a connection is (LE-60…66, D1, D2, D10).
import { createSelfSigned, gzip, RateLimit, TlsContext } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'

describe.each(modes())('a pair on $name', (mode) => {
  it('carries bytes both ways, in order', async () => {
    await using runtime = mode.start()
    const [left, right] = [new Record(), new Record()]
    const [a, b] = runtime.pair({}, left.handlers, right.handlers)
    const there = pattern(1_500_000)
    const back = pattern(900_000, 3)
    a.write(there)
    b.write('first ')
    b.write(back)
    await right.received(there.length)
    await left.received(back.length + 6)
    expect(right.hash).toBe(hashOf(there))
    expect(left.hash).toBe(hashOf(Buffer.from('first '), back))
    expect([a.state, b.state]).toEqual(['open', 'open'])
    await Promise.all([a.drained(), b.drained()])
    expect(a.stats()).toMatchObject({ bytesWritten: there.length, bytesRead: back.length + 6, queuedBytes: 0 })
  })

  it('calls handlers later, never from within write() (LE-60)', async () => {
    await using runtime = mode.start()
    const record = new Record()
    const [a] = runtime.pair({}, {}, record.handlers)
    a.write('later')
    expect(record.events).toEqual([])
    await record.received(5)
  })

  it('bounces a hundred thousand times without a deeper stack (LE-66)', async () => {
    await using runtime = mode.start()
    const bounces = mode.threads > 0 ? 20_000 : 100_000
    let count = 0
    await new Promise<void>((resolve) => {
      const data = (connection: { write(bytes: Uint8Array): boolean }, bytes: Uint8Array) => {
        if (++count === bounces) resolve()
        else connection.write(bytes)
      }
      const [a] = runtime.pair({}, { data }, { data })
      a.write('x')
    })
    expect(count).toBe(bounces)
  })

  it('moves no more than its buffer to one who does not read, and the rest when he does (LE-61, LE-62)', async () => {
    await using runtime = mode.start()
    const record = new Record()
    const [a, b] = runtime.pair({ bufferBytes: 1000 }, {}, record.handlers)
    b.pause()
    await nextTurn()
    a.write(pattern(50_000))
    await eventually(() => a.queuedBytes === 49_000)
    expect(record.sizeBytes).toBe(0)
    b.resume()
    await record.received(50_000)
    expect(record.hash).toBe(hashOf(pattern(50_000)))
    await a.drained()
  })

  it('ends each direction by itself', async () => {
    await using runtime = mode.start()
    const [left, right] = [new Record(), new Record()]
    const [a, b] = runtime.pair({ allowHalfOpen: true }, left.handlers, right.handlers)
    a.end('over')
    await eventually(() => right.count('end') === 1)
    expect(right.text).toBe('over')
    b.write('still here')
    await left.received(10)
    b.end()
    await Promise.all([left.closed(), right.closed()])
    expect(left.events).toEqual(['data', 'end', 'close'])
    expect(right.events).toEqual(['data', 'end', 'close'])
  })

  it('close() is an end for the other, which closes too', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const [a] = runtime.pair({}, {}, right.handlers)
    a.write('farewell')
    await a.close()
    await right.closed()
    expect(right.text).toBe('farewell')
    expect(right.error).toBeUndefined()
  })

  it('destroy() is not told, and what is written then goes nowhere (D10, LE-63)', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const [a, b] = runtime.pair({}, {}, right.handlers)
    a.destroy()
    await eventually(() => a.state === 'closed')
    b.write(pattern(300_000))
    await b.drained()
    expect(right.events).toEqual(['drain'])
    expect(b.state).toBe('open')
    await b.close()
    expect(right.events).toEqual(['drain', 'close'])
  })

  it('destroy() is a reset for the other, with endOnDestroy', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const [a] = runtime.pair({ endOnDestroy: true }, {}, right.handlers)
    a.write('last')
    await right.received(4)
    a.destroy()
    expect((await right.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
  })

  it('reset() is told in any case, at once', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const [a, b] = runtime.pair({}, {}, right.handlers)
    b.pause()
    a.write('lost')
    a.reset()
    b.resume()
    expect((await right.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
  })

  it('is read by iteration and as a Node stream as well', async () => {
    await using runtime = mode.start()
    const [a, b] = runtime.pair()
    const bytes = pattern(200_000)
    a.toDuplex().end(bytes)
    const chunks: Uint8Array[] = []
    for await (const batch of b) chunks.push(...batch)
    expect(hashOf(...chunks)).toBe(hashOf(bytes))
  })

  it('carries TLS, and TLS over that TLS', async () => {
    await using runtime = mode.start()
    const { cert, key } = await createSelfSigned({ names: ['localhost'] })
    const server = TlsContext.server({ cert, key })
    const [left, right] = [new Record(), new Record()]
    const [a, b] = runtime.pair({}, left.handlers, right.handlers)
    for (let layer = 0; layer < 2; layer++) {
      await Promise.all([b.startTls(server), a.startTls({ role: 'client', ca: cert, serverName: 'localhost' })])
    }
    expect(a.tls?.protocol).toBe('TLSv1.3')
    const bytes = pattern(400_000)
    a.write(bytes)
    b.write('answer')
    await right.received(bytes.length)
    await left.received(6)
    expect(right.hash).toBe(hashOf(bytes))
    await a.close()
    await right.closed()
    expect(right.error).toBeUndefined()
  })

  it('carries filters', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const [a] = runtime.pair({ filters: () => [gzip()] }, {}, right.handlers)
    const bytes = pattern(100_000)
    a.write(bytes)
    a.end()
    await right.received(bytes.length)
    expect(right.hash).toBe(hashOf(bytes))
  })

  it('keeps to rate limits', async () => {
    await using runtime = mode.start()
    const right = new Record()
    const rateLimit = RateLimit.bytesPerSecond({ write: '100 KB' }, { tickMs: 10 })
    const [a] = runtime.pair({ rateLimit }, {}, right.handlers)
    const began = runtime.nowMs()
    a.write(pattern(20_000))
    await right.received(20_000)
    expect(runtime.nowMs() - began).toBeGreaterThanOrEqual(150)
  })

  it('has no addresses and no socket options', async () => {
    await using runtime = mode.start()
    const [a] = runtime.pair({}, {}, {})
    expect(a.remoteAddress).toBeUndefined()
    expect(() => a.setOptions({ noDelay: true })).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_NOT_SUPPORTED' }))
    expect(() => a.tcpInfo()).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_NOT_SUPPORTED' }))
  })

  it('does not outlive its runtime', async () => {
    const runtime = mode.start()
    const [left, right] = [new Record(), new Record()]
    const [a, b] = runtime.pair({}, left.handlers, right.handlers)
    await runtime.destroy()
    expect([a.state, b.state]).toEqual(['closed', 'closed'])
    expect(() => runtime.pair()).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
  })
})
