import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, echo } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

describe.each(modes())('a connection on $name', (mode) => {
  it('brings back what an echo server was sent', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.write('hello')
    await pair.atClient.received(5)
    expect(pair.atClient.text).toBe('hello')
  })

  it('tells each end: open, data, end, close, each once', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.end('hello')
    await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atClient.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atServer.error).toBeUndefined()
  })

  it('delivers everything before the end, also in many pieces', async () => {
    await using pair = await connectedPair(mode)
    const bytes = pattern(300_000)
    for (let i = 0; i < bytes.length; i += 1000) pair.client.write(bytes.subarray(i, i + 1000))
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atServer.hash).toBe(hashOf(bytes))
  })

  it('keeps sending after the peer has ended, with allowHalfOpen', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    pair.client.end('question')
    await pair.atServer.saw('end')
    expect(pair.server.state).toBe('peerEnded')
    pair.server.write('answer')
    await pair.atClient.received(6)
    expect(pair.atClient.events).toEqual(['open', 'data'])
    pair.server.end()
    await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    expect(pair.atClient.text).toBe('answer')
    expect(pair.atClient.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it('keeps receiving after its own end', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    pair.client.end()
    await pair.atServer.saw('end')
    expect(pair.client.state).toBe('ending')
    for (let i = 0; i < 10; i++) {
      pair.server.write('more')
      await pair.atClient.received(4 * (i + 1))
    }
    pair.server.end()
    expect(await pair.atClient.closed()).toBeUndefined()
  })
})
