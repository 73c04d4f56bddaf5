// relay(): two connections joined, of every kind with every other (HP-07, HP-12, HP-21, HP-103, HP-104).
import {
  type Connection,
  gzip,
  RateLimit,
  type Relay,
  type RelayError,
  type Runtime,
  relay,
  type SluiceError,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import { frames, scramble } from '../support/filters.js'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { eventually, nextTurn, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'
import { type Kind, kinds, leg } from '../support/relayed.js'
import { standstill } from '../support/standstill.js'

const filtered = { filters: () => [scramble(5), frames()] }
const combinations = kinds.flatMap((a) => kinds.map((b) => [a, b] as const))

async function joined(runtime: Runtime, first: Kind = 'plain', second: Kind = 'plain', options = {}) {
  const a = await leg(runtime, first)
  const b = await leg(runtime, second)
  return { a, b, relayed: relay(a.inner, b.inner, options) }
}

/** Resolves when the second one's peer takes no more, and nothing moves. */
async function stalled(relayed: Relay): Promise<void> {
  do {
    await standstill(() => relayed.stats().bytesAToB)
  } while (relayed.stats().queuedToBBytes === 0)
}

const failureOf = (done: Promise<unknown>): Promise<RelayError> =>
  done.then(
    () => {
      throw new Error('the relay has not failed')
    },
    (error) => error,
  )

function codeOf(call: () => unknown): string | undefined {
  try {
    call()
  } catch (error) {
    return (error as SluiceError).code
  }
  return undefined
}

describe.each(modes())('a relay on $name', (mode) => {
  it.each(combinations)('between %s and %s carries every byte and both ends', async (first, second) => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, first, second)
    const there = pattern(700_000)
    const back = pattern(400_000, 7)
    a.outer.write(there)
    b.outer.write(back)
    await b.atOuter.received(there.length)
    await a.atOuter.received(back.length)
    expect(relayed.stats().native).toBe(first !== 'filtered' && second !== 'filtered')
    // One direction ends, the other goes on.
    a.outer.end('last words')
    await b.atOuter.saw('end')
    b.outer.write('still heard')
    await a.atOuter.received(back.length + 11)
    b.outer.end()
    expect(await relayed.done).toEqual({
      reason: 'ended',
      bytesAToB: there.length + 10,
      bytesBToA: back.length + 11,
    })
    await Promise.all([a.atOuter.closed(), b.atOuter.closed()])
    expect(b.atOuter.hash).toBe(hashOf(there, Buffer.from('last words')))
    expect(a.atOuter.hash).toBe(hashOf(back, Buffer.from('still heard')))
    expect([a.atOuter.error, b.atOuter.error]).toEqual([undefined, undefined])
    expect([a.atInner.events.at(-1), b.atInner.events.at(-1)]).toEqual(['close', 'close'])
  })

  it('ends in the other order as well', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, 'TLS', 'plain')
    b.outer.end('from b')
    await a.atOuter.saw('end')
    expect(a.atOuter.text).toBe('from b')
    a.outer.end('from a')
    expect(await relayed.done).toMatchObject({ reason: 'ended', bytesAToB: 6, bytesBToA: 6 })
    await b.atOuter.closed()
    expect(b.atOuter.text).toBe('from a')
  })

  it('passes on first what was received before it began', async () => {
    await using runtime = mode.start()
    const a = await leg(runtime, 'plain')
    const b = await leg(runtime, 'TLS')
    a.outer.write('heard ')
    await a.atInner.received(6)
    a.inner.pause()
    const early = pattern(200_000)
    a.outer.write(early)
    a.outer.end('!')
    b.inner.write('greeting ')
    const relayed = relay(a.inner, b.inner)
    b.outer.end('answer')
    expect(await relayed.done).toMatchObject({ bytesAToB: early.length + 1, bytesBToA: 6 })
    await b.atOuter.closed()
    await a.atOuter.closed()
    expect(a.atInner.text).toBe('heard ')
    expect(b.atOuter.hash).toBe(hashOf(Buffer.from('greeting '), early, Buffer.from('!')))
    expect(a.atOuter.text).toBe('answer')
  })

  it.each(['plain', 'TLS', 'pair', 'filtered'] as const)('passes on an end that was told before (%s)', async (kind) => {
    await using runtime = mode.start()
    const a = await leg(runtime, kind)
    const b = await leg(runtime, 'plain')
    a.outer.end('request')
    await a.atInner.saw('end')
    const relayed = relay(a.inner, b.inner)
    await b.atOuter.saw('end')
    b.outer.end('answer')
    expect(await relayed.done).toEqual({ reason: 'ended', bytesAToB: 0, bytesBToA: 6 })
    await a.atOuter.closed()
    expect(a.atOuter.text).toBe('answer')
  })

  it.each([
    ['plain', 'plain'],
    ['TLS', 'plain'],
    ['plain', 'TLS'],
    ['pair', 'TLS over pair'],
    ['filtered', 'plain'],
    ['plain', 'filtered'],
  ] as const)('from %s to %s: one who does not read stops the other one (LE-40)', async (first, second) => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, first, second, { highWaterBytes: 100_000, lowWaterBytes: 10_000 })
    b.outer.pause()
    await nextTurn()
    const bytes = pattern(30_000_000)
    a.outer.write(bytes)
    // It goes on for as long as the kernel takes something; then nothing moves.
    await stalled(relayed)
    const { bytesAToB, queuedToBBytes } = relayed.stats()
    expect(bytesAToB).toBeLessThan(bytes.length)
    // The mark, and what one turn may bring beyond it.
    expect(queuedToBBytes).toBeGreaterThan(0)
    expect(queuedToBBytes).toBeLessThan(100_000 + 900_000)
    // The other direction does not rest.
    b.outer.write('meanwhile')
    await a.atOuter.received(9)
    b.outer.resume()
    await b.atOuter.received(bytes.length)
    expect(b.atOuter.hash).toBe(hashOf(bytes))
    expect(relayed.stats()).toMatchObject({ bytesAToB: bytes.length, queuedToBBytes: 0 })
  })

  it.each([
    ['plain', 'plain'],
    ['plain', 'TLS'],
    ['TLS', 'plain'],
    ['pair', 'plain'],
    ['plain', 'pair'],
    ['filtered', 'plain'],
  ] as const)('from %s to %s: a reset is passed on, behind what came before (HP-12)', async (first, second) => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, first, second)
    const bytes = pattern(300_000)
    a.outer.write(bytes)
    await b.atOuter.received(bytes.length)
    a.outer.reset()
    const failure = await failureOf(relayed.done)
    expect(failure).toMatchObject({ code: 'ERR_SLUICE_RELAY_FAILED', side: 'a', bytesAToB: bytes.length })
    // Where the reset comes while it is being written to, that is how it is told.
    expect((failure.cause as SluiceError).code).toMatch(/CONNECTION_RESET|TLS_RESET/)
    await b.atOuter.closed()
    expect(b.atOuter.hash).toBe(hashOf(bytes))
    expect(b.atOuter.error?.code).toMatch(/CONNECTION_RESET|TLS_RESET|TLS_TRUNCATED/)
    expect(b.atInner.error?.code).toBe('ERR_SLUICE_RELAY_FAILED')
  })

  it('a reset of the second is passed on to the first, behind what it had sent', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    const bytes = pattern(300_000)
    b.outer.write(bytes)
    await a.atOuter.received(bytes.length)
    b.outer.reset()
    expect(await failureOf(relayed.done)).toMatchObject({ side: 'b', bytesBToA: bytes.length })
    expect((await a.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
    expect(a.atOuter.hash).toBe(hashOf(bytes))
  })

  it('delivers what was received to a slow reader, although its sender is gone', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, 'plain', 'plain', { highWaterBytes: 1_000_000 })
    b.outer.pause()
    await nextTurn()
    const bytes = pattern(30_000_000)
    a.outer.write(bytes)
    await stalled(relayed)
    a.outer.reset()
    const { bytesAToB } = relayed.stats()
    b.outer.resume()
    await b.atOuter.closed()
    expect(b.atOuter.sizeBytes).toBeGreaterThanOrEqual(bytesAToB)
    expect(b.atOuter.hash).toBe(hashOf(bytes.subarray(0, b.atOuter.sizeBytes)))
    expect(await failureOf(relayed.done)).toMatchObject({ side: 'a', bytesAToB: b.atOuter.sizeBytes })
  })

  it('tells a TLS connection that was cut off from one that ended', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, 'TLS', 'plain')
    a.outer.write('half of it')
    await b.atOuter.received(10)
    a.outer.destroy()
    const failure = await failureOf(relayed.done)
    expect(failure.side).toBe('a')
    expect((failure.cause as SluiceError).code).toMatch(/TLS_TRUNCATED|CONNECTION_RESET/)
    expect((await b.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
  })

  it.runIf(mode.engine === 'epoll' || mode.engine === 'poll')(
    'splices large pieces between plain sockets (HP-127)',
    async () => {
      await using runtime = mode.start()
      const { a, b, relayed } = await joined(runtime)
      const bytes = pattern(30_000_000)
      a.outer.end(bytes)
      b.outer.end('small')
      await relayed.done
      expect(runtime.stats().splices).toBeGreaterThan(5)
      await b.atOuter.closed()
      expect(b.atOuter.hash).toBe(hashOf(bytes))
    },
  )

  it('keeps the rate limit of a connection', async () => {
    await using runtime = mode.start()
    const a = await leg(runtime, 'plain', { rateLimit: new RateLimit({ readBytesPerTick: 20_000, tickMs: 10 }) })
    const b = await leg(runtime, 'plain', { rateLimit: new RateLimit({ writeBytesPerTick: 30_000, tickMs: 10 }) })
    const relayed = relay(a.inner, b.inner)
    const start = runtime.nowMs()
    const bytes = pattern(400_000)
    a.outer.end(bytes)
    b.outer.end()
    await relayed.done
    // 20 000 bytes in each of 20 ticks, the first of which may be had at once and the second any time after.
    expect(runtime.nowMs() - start).toBeGreaterThanOrEqual(180)
    await b.atOuter.closed()
    expect(b.atOuter.hash).toBe(hashOf(bytes))
  })

  it.each([
    'plain',
    'filtered',
  ] as const)('ends a tunnel over which nothing goes any more (%s; HP-103)', async (kind) => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, kind, 'plain', { tunnelTimeoutMs: 60 })
    a.outer.write('there')
    await b.atOuter.received(5)
    b.outer.write('back')
    await a.atOuter.received(4)
    const start = runtime.nowMs()
    const failure = await failureOf(relayed.done)
    expect(failure.side).toBe(undefined)
    expect((failure.cause as SluiceError).code).toBe('ERR_SLUICE_TUNNEL_TIMEOUT')
    expect(runtime.nowMs() - start).toBeGreaterThanOrEqual(40)
    await Promise.all([a.atOuter.closed(), b.atOuter.closed()])
  })

  it.each(['plain', 'filtered'] as const)('ends what stays half-closed (%s; HP-104)', async (kind) => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, kind, 'plain', { tunnelTimeoutMs: 60_000, finTimeoutMs: 60 })
    a.outer.end('over')
    await b.atOuter.saw('end')
    expect(b.atOuter.text).toBe('over')
    expect((await failureOf(relayed.done)).cause).toMatchObject({ code: 'ERR_SLUICE_FIN_TIMEOUT' })
  })

  it('keeps the bounds of a connection until it is a tunnel', async () => {
    await using runtime = mode.start()
    const a = await leg(runtime, 'plain', { readTimeoutMs: 50 })
    const b = await leg(runtime, 'plain')
    const relayed = relay(a.inner, b.inner, { tunnelTimeoutMs: 60_000 })
    const failure = await failureOf(relayed.done)
    expect(failure).toMatchObject({ side: 'a', cause: { code: 'ERR_SLUICE_READ_TIMEOUT' } })
  })

  it('close() delivers what has been received, and ends both in good order', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, 'plain', 'TLS')
    const bytes = pattern(100_000)
    a.outer.write(bytes)
    await b.atOuter.received(1)
    await eventually(() => relayed.stats().bytesAToB === bytes.length)
    const closed = relayed.close({ timeoutMs: 2000 })
    await b.atOuter.saw('end')
    await a.atOuter.saw('end')
    a.outer.end()
    b.outer.end()
    await closed
    expect(await relayed.done).toEqual({ reason: 'closed', bytesAToB: bytes.length, bytesBToA: 0 })
    expect(b.atOuter.hash).toBe(hashOf(bytes))
    expect([a.inner.state, b.inner.state]).toEqual(['closed', 'closed'])
  })

  it.each([
    ['plain', {}, {}],
    ['TLS', id.secured().listen, id.secured().connect],
    ['filtered', filtered, filtered],
  ] as const)('close() right after relay() delivers what JavaScript still held (%s)', async (_, listen, connect) => {
    await using runtime = mode.start()
    for (const size of [5_000, 50_000]) {
      const b = await leg(runtime, 'plain', { highWaterBytes: 1000 })
      let opened: (connection: Connection) => void
      const accepted = new Promise<Connection>((resolve) => {
        opened = resolve
      })
      const listener = await runtime.listen(
        { host: '127.0.0.1', port: 0, ...listen },
        { open: (connection) => opened(connection as Connection), readable() {}, error() {} },
      )
      const atOuter = new Record()
      const to = { host: '127.0.0.1', port: portOf(listener) }
      const outer = await runtime.connect({ ...to, allowHalfOpen: true, ...connect }, atOuter.handlers)
      const bytes = pattern(size)
      outer.write(bytes)
      const inner = await accepted
      await eventually(() => inner.input.sizeBytes === size)
      const relayed = relay(inner, b.inner)
      const closed = relayed.close({ timeoutMs: 2000 })
      await Promise.all([atOuter.saw('end'), b.atOuter.saw('end')])
      outer.end()
      b.outer.end()
      await closed
      expect(b.atOuter.hash).toBe(hashOf(bytes))
      expect(await relayed.done).toEqual({ reason: 'closed', bytesAToB: size, bytesBToA: 0 })
    }
  })

  it('close() of one of its connections is close() of the relay', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    const closed = a.inner.close({ timeoutMs: 2000 })
    await Promise.all([a.atOuter.saw('end'), b.atOuter.saw('end')])
    a.outer.end()
    b.outer.end()
    await closed
    expect(await relayed.done).toMatchObject({ reason: 'closed' })
  })

  it('destroy() resets both', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    relayed.destroy()
    const failure = await failureOf(relayed.done)
    expect(failure).toMatchObject({ code: 'ERR_SLUICE_RELAY_FAILED', cause: { code: 'ERR_SLUICE_ABORTED' } })
    expect((await a.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
    expect((await b.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
    expect(relayed.stats()).toMatchObject({ closed: true, queuedToABytes: 0, queuedToBBytes: 0 })
  })

  it('destroy() of one of its connections resets the other one', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    a.outer.write('first')
    await b.atOuter.received(5)
    b.inner.destroy()
    expect(await failureOf(relayed.done)).toMatchObject({ side: 'b', cause: { code: 'ERR_SLUICE_ABORTED' } })
    expect((await a.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
  })

  it('is destroyed by its signal', async () => {
    await using runtime = mode.start()
    const abort = new AbortController()
    const { a, b, relayed } = await joined(runtime, 'plain', 'plain', { signal: abort.signal })
    const reason = new Error('enough')
    abort.abort(reason)
    const { cause } = await failureOf(relayed.done)
    expect(cause).toMatchObject({ code: 'ERR_SLUICE_ABORTED', cause: reason })
    await Promise.all([a.atOuter.closed(), b.atOuter.closed()])
  })

  it('ends with its runtime', async () => {
    const runtime = mode.start()
    const { a, b, relayed } = await joined(runtime, 'plain', 'TLS')
    a.outer.write(pattern(3_000_000))
    await b.atOuter.received(1)
    await runtime.destroy()
    expect(await failureOf(relayed.done)).toMatchObject({ code: 'ERR_SLUICE_RELAY_FAILED' })
    expect(relayed.stats().closed).toBe(true)
  })

  it('is nothing that anything else may read or write', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    const refused = 'ERR_SLUICE_RELAYED'
    expect(codeOf(() => a.inner.write('x'))).toBe(refused)
    expect(codeOf(() => a.inner.end())).toBe(refused)
    expect(codeOf(() => a.inner.toDuplex())).toBe(refused)
    expect(codeOf(() => b.inner.toWeb())).toBe(refused)
    expect(codeOf(() => b.inner[Symbol.asyncIterator]())).toBe(refused)
    expect(codeOf(() => b.inner.filter(gzip()))).toBe(refused)
    await expect(b.inner.drained()).rejects.toMatchObject({ code: refused })
    await expect(b.inner.flush()).rejects.toMatchObject({ code: refused })
    expect(codeOf(() => relay(a.inner, b.inner))).toBe(refused)
    // And it is none the worse for it.
    a.outer.write('through')
    await b.atOuter.received(7)
    expect(a.inner.stats().bytesRead).toBe(7)
    expect(b.inner.stats().bytesWritten).toBe(7)
    expect(b.inner.queuedBytes).toBe(0)
    expect(a.inner.state).toBe('open')
    relayed.destroy()
  })

  it('rests while one of its connections is paused', async () => {
    await using runtime = mode.start()
    const { a, b, relayed } = await joined(runtime)
    a.outer.write('one')
    await b.atOuter.received(3)
    a.inner.pause()
    b.outer.write('back')
    await a.atOuter.received(4)
    a.outer.write('two')
    b.outer.write('more')
    await a.atOuter.received(8)
    expect(b.atOuter.text).toBe('one')
    a.inner.resume()
    await b.atOuter.received(6)
    relayed.destroy()
  })

  it('refuses what cannot be relayed, and does nothing then', async () => {
    await using runtime = mode.start()
    const a = await leg(runtime, 'plain')
    const b = await leg(runtime, 'plain')
    const ended = await leg(runtime, 'plain')
    ended.inner.end()
    const gone = await leg(runtime, 'plain')
    gone.inner.destroy()
    const read = await leg(runtime, 'plain')
    read.inner.toDuplex().on('error', () => {})
    expect(codeOf(() => relay(a.inner, {} as never))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => relay(a.inner, a.inner))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => relay(a.inner, b.inner, { highWaterBytes: 0 }))).toBe('ERR_SLUICE_INVALID_OPTION')
    expect(codeOf(() => relay(a.inner, b.inner, { highWaterBytes: 10, lowWaterBytes: 20 }))).toBe(
      'ERR_SLUICE_INVALID_OPTION',
    )
    expect(codeOf(() => relay(a.inner, ended.inner))).toBe('ERR_SLUICE_WRITE_AFTER_END')
    expect(codeOf(() => relay(gone.inner, b.inner))).toBe('ERR_SLUICE_CLOSED')
    expect(codeOf(() => relay(a.inner, read.inner))).toBe('ERR_SLUICE_INVALID_ARGUMENT')
    expect(codeOf(() => relay(a.inner, b.inner, { signal: AbortSignal.abort() }))).toBe('ERR_SLUICE_ABORTED')
    a.inner.write('still mine')
    await a.atOuter.received(10)
  })
})

describe.each(modes().filter(({ simulated }) => !simulated))('a relay over two runtimes, $name', (mode) => {
  it.each([
    ['plain', 'plain'],
    ['TLS', 'pair'],
  ] as const)('from %s to %s goes through JavaScript, with back-pressure', async (first, second) => {
    await using one = mode.start()
    await using other = mode.start()
    const a = await leg(one, first)
    const b = await leg(other, second)
    const relayed = relay(a.inner, b.inner, { highWaterBytes: 50_000 })
    expect(relayed.stats().native).toBe(false)
    b.outer.pause()
    const bytes = pattern(30_000_000)
    a.outer.write(bytes)
    b.outer.write('other way')
    await a.atOuter.received(9)
    await stalled(relayed)
    expect(relayed.stats().queuedToBBytes).toBeLessThan(50_000 + 900_000)
    b.outer.resume()
    a.outer.end()
    await b.atOuter.saw('end')
    b.outer.end()
    expect(await relayed.done).toEqual({ reason: 'ended', bytesAToB: bytes.length, bytesBToA: 9 })
    expect(b.atOuter.hash).toBe(hashOf(bytes))
  })

  it('passes on a reset', async () => {
    await using one = mode.start()
    await using other = mode.start()
    const a = await leg(one, 'plain')
    const b = await leg(other, 'plain')
    const relayed = relay(a.inner, b.inner)
    const bytes = pattern(500_000)
    a.outer.write(bytes)
    await b.atOuter.received(bytes.length)
    a.outer.reset()
    expect(await failureOf(relayed.done)).toMatchObject({ side: 'a', bytesAToB: bytes.length })
    expect((await b.atOuter.closed())?.code).toBe('ERR_SLUICE_CONNECTION_RESET')
    expect(b.atOuter.hash).toBe(hashOf(bytes))
  })
})
