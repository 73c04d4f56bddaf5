// Bounds on single reads and writes: no call brings more, nothing is lost, others have their turn in between.
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { connectedPair } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const bytes = pattern(1_000_000)

describe.each(modes())('bounds on single operations on $name', (mode) => {
  it('hold for every call of data, from the start and when they change', async () => {
    let largest = 0
    await using pair = await connectedPair(mode, {
      listen: { maxReadBytes: 16_384 },
      server: {
        data: (_, view) => {
          largest = Math.max(largest, view.length)
        },
      },
    })
    pair.client.write(bytes)
    await pair.atServer.received(bytes.length)
    expect(largest).toBe(16_384)
    largest = 0
    pair.server.setOperationBounds({ maxReadBytes: 1000 })
    pair.client.write(bytes)
    await pair.atServer.received(2 * bytes.length)
    expect(largest).toBe(1000)
    largest = 0
    pair.server.setOperationBounds({})
    pair.client.write(bytes)
    pair.client.end()
    await pair.atServer.closed()
    expect(largest).toBeGreaterThan(1000)
    expect(pair.atServer.hash).toBe(hashOf(bytes, bytes, bytes))
  })

  it('hold for every write to the system', async () => {
    await using pair = await connectedPair(mode, { connect: { maxWriteBytes: 10_000 } })
    const before = pair.runtime.stats().sends
    pair.client.write(bytes)
    pair.client.write(pattern(50_000))
    await pair.client.drained()
    expect(pair.runtime.stats().sends - before).toBeGreaterThanOrEqual(105)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes, pattern(50_000)))
  })

  it('work with pauses, both ways at once, and under TLS', async () => {
    const { listen, connect } = id.secured()
    const bounds = { maxReadBytes: 5000, maxWriteBytes: 7000 }
    await using pair = await connectedPair(mode, {
      listen: { ...listen, ...bounds },
      connect: { ...connect, ...bounds },
    })
    pair.server.pause()
    pair.client.write(bytes)
    pair.server.write(bytes)
    await pair.atClient.received(bytes.length)
    pair.server.resume()
    pair.client.end()
    await pair.atServer.saw('end')
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atClient.hash).toBe(hashOf(bytes))
  })
})
