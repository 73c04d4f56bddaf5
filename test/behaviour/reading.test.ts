// Pausing, the order of what a pause holds back, and fair turns.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Connection } from 'sluice'
import { describe, expect, it } from 'vitest'
import { inlineKernelModes, kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, nextTurn, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'

describe.each(modes())('reading on $name', (mode) => {
  it('rests while paused, and goes on without a gap', async () => {
    await using pair = await connectedPair(mode)
    const bytes = pattern(2_000_000)
    pair.client.end(bytes)
    await pair.atServer.saw('data')
    pair.server.pause()
    pair.server.pause()
    expect(pair.server.paused).toBe(true)
    const before = pair.atServer.sizeBytes
    for (let i = 0; i < 30; i++) await nextTurn()
    expect(pair.atServer.sizeBytes).toBe(before)
    expect(pair.atServer.count('end')).toBe(0)
    pair.server.resume()
    expect(pair.server.paused).toBe(false)
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it('keeps the order when a handler pauses at every piece', async () => {
    await using clock = mode.start()
    await using pair = await connectedPair(mode, {
      runtime: { receiveTurnBytes: 8192 },
      server: {
        data(connection) {
          connection.pause()
          clock.after(0, () => connection.resume())
        },
      },
    })
    const bytes = pattern(400_000)
    pair.client.end(bytes)
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it('holds back the end, too, until it goes on', async () => {
    await using pair = await connectedPair(mode, { server: { data: (connection) => connection.pause() } })
    pair.client.end('all there is')
    await pair.atServer.saw('data')
    for (let i = 0; i < 30; i++) await nextTurn()
    expect(pair.atServer.events).toEqual(['open', 'data'])
    pair.server.resume()
    await pair.atServer.closed()
    expect(pair.atServer.events).toEqual(['open', 'data', 'end', 'close'])
  })

  it('may be paused and resumed within one handler without any effect', async () => {
    await using pair = await connectedPair(mode, {
      server: {
        data(connection, bytes) {
          connection.pause()
          connection.resume()
          connection.write(bytes)
        },
      },
    })
    const bytes = pattern(500_000)
    pair.client.end(bytes)
    await pair.atClient.closed()
    expect(pair.atClient.hash).toBe(hashOf(bytes))
  })

  it('may be paused before anything came', async () => {
    await using pair = await connectedPair(mode, { server: { open: (connection) => connection.pause() } })
    pair.client.write('early')
    for (let i = 0; i < 20; i++) await nextTurn()
    expect(pair.atServer.events).toEqual(['open'])
    pair.server.resume()
    await pair.atServer.received(5)
  })

  it('destroys a paused connection with data waiting', async () => {
    await using pair = await connectedPair(mode, {
      server: { data: (connection) => connection.pause() },
      client: { error() {} },
    })
    pair.client.end(pattern(500_000))
    await pair.atServer.saw('data')
    await nextTurn()
    pair.server.destroy()
    await pair.atServer.closed()
    expect(pair.atServer.events).toEqual(['open', 'data', 'close'])
  })

  it('closes a paused connection in good order', async () => {
    await using pair = await connectedPair(mode, { server: { data: (connection) => connection.pause() } })
    pair.client.end(pattern(500_000))
    await pair.atServer.saw('data')
    await nextTurn()
    await pair.server.close()
    expect(pair.atServer.events).toEqual(['open', 'data', 'close'])
    await pair.atClient.closed()
    expect(pair.atClient.error).toBeUndefined()
  })

  it('counts what came and went', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.write(pattern(100_000))
    await pair.atClient.received(100_000)
    const expected = { bytesRead: 100_000, bytesWritten: 100_000, queuedBytes: 0 }
    expect(pair.client.stats()).toEqual(expected)
    expect(pair.server.stats()).toEqual(expected)
    const stats = pair.runtime.stats()
    expect(stats.connections).toBe(2)
    expect(stats.batches).toBeGreaterThan(0)
    expect(stats.events).toBeGreaterThanOrEqual(stats.batches)
  })

  it('gives every connection its turn while one sends without pause', async () => {
    await using runtime = mode.start({ receiveTurnBytes: 65_536 })
    let flooded = 0
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0 },
      {
        data(connection, bytes) {
          if (connection.data === 'flood' || bytes.length > 10) {
            connection.data = 'flood'
            flooded += bytes.length
          } else connection.write(bytes)
        },
        error() {},
      },
    )
    const to = { host: '127.0.0.1', port: portOf(listener) }
    const block = pattern(1_000_000)
    const pour = (connection: Connection) => {
      while (connection.write(block));
    }
    const flood = await runtime.connect(to, { drain: pour, error() {} })
    const record = new Record()
    const other = await runtime.connect(to, record.handlers)
    pour(flood)
    let floodedMeanwhile = 0
    for (let i = 0; i < 50; i++) {
      const before = flooded
      other.write('ping')
      await record.received(4 * (i + 1))
      floodedMeanwhile = Math.max(floodedMeanwhile, flooded - before)
    }
    expect(flooded).toBeGreaterThan(0)
    // A ping waits for some turns of the flood at most, not for its end.
    expect(floodedMeanwhile).toBeLessThan(64_000_000)
    flood.destroy()
  })
})

describe.each(inlineKernelModes())("Node's event loop beside $name", (mode) => {
  it('has its turns while connections send without pause', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { data() {}, error() {} })
    const block = pattern(1_000_000)
    const pour = (connection: Connection) => {
      while (connection.write(block));
    }
    const floods = await Promise.all(
      Array.from({ length: 4 }, () =>
        runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { drain: pour, error() {} }),
      ),
    )
    for (const flood of floods) pour(flood)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    for (let i = 0; i < 100; i++) await nextTurn()
    delay.disable()
    expect(delay.percentile(50) / 1e6).toBeLessThan(250)
    for (const flood of floods) flood.destroy()
  })
})

describe.each(kernelModes())('an idle connection on $name', (mode) => {
  it('costs no receive and no change of interest', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.write('x')
    await pair.atClient.received(1)
    for (let i = 0; i < 5; i++) await nextTurn()
    const before = pair.runtime.stats()
    for (let i = 0; i < 50; i++) await nextTurn()
    const after = pair.runtime.stats()
    expect(after.receives).toBe(before.receives)
    expect(after.interestChanges).toBe(before.interestChanges)
    expect(after.sends).toBe(before.sends)
  })

  it('changes no interest while messages go back and forth', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.write('x')
    await pair.atClient.received(1)
    const before = pair.runtime.stats().interestChanges
    for (let i = 0; i < 20; i++) {
      pair.client.write('x')
      await pair.atClient.received(i + 2)
    }
    expect(pair.runtime.stats().interestChanges).toBe(before)
  })
})
