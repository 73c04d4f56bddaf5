// relay(): two connections joined, of every kind with every other (HP-07, HP-12, HP-21, HP-103, HP-104).
import { RateLimit, type RelayError, type Runtime, relay, type SluiceError } from 'sluice'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { type Kind, kinds, leg } from '../support/relayed.js'

const combinations = kinds.flatMap((a) => kinds.map((b) => [a, b] as const))

async function joined(runtime: Runtime, first: Kind = 'plain', second: Kind = 'plain', options = {}) {
  const a = await leg(runtime, first)
  const b = await leg(runtime, second)
  return { a, b, relayed: relay(a.inner, b.inner, options) }
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
})
