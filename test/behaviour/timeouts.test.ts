// Bounds on silence and standstill, each by itself. The simulated network's time is virtual, so it shows exact times.
import type { Runtime } from 'sluice'
import { describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

function after(runtime: Runtime, ms: number): Promise<void> {
  return new Promise((resolve) => void runtime.after(ms, resolve))
}

describe.each(modes())('timeouts on $name', (mode) => {
  it('end a connection whose peer is silent, naming bound, phase and peer', async () => {
    await using pair = await connectedPair(mode, { listen: { readTimeoutMs: 30 } })
    const port = pair.client.localPort
    const error = await pair.atServer.closed()
    expect(error).toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT', phase: 'read', address: '127.0.0.1', port })
    expect(pair.atServer.events).toEqual(['open', 'error ERR_SLUICE_READ_TIMEOUT', 'close'])
  })

  it('leave the connection alone when a handler takes them, and are told again only after progress', async () => {
    await using pair = await connectedPair(mode, {
      server: { timeout() {}, data: echo.data },
      listen: { readTimeoutMs: 20 },
    })
    await pair.atServer.saw('timeout read')
    await after(pair.runtime, 60)
    expect(pair.atServer.events).toEqual(['open', 'timeout read'])
    pair.client.write('still here')
    await pair.atServer.saw('timeout read', 2)
    expect(pair.atServer.events).toEqual(['open', 'timeout read', 'data', 'timeout read'])
    expect(pair.server.state).toBe('open')
  })

  it('count from the last byte', async () => {
    await using pair = await connectedPair(mode, { listen: { readTimeoutMs: 300 } })
    await after(pair.runtime, 100)
    const lastByte = pair.runtime.nowMs()
    pair.client.write('.')
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT' })
    expect(pair.atServer.events).toEqual(['open', 'data', 'error ERR_SLUICE_READ_TIMEOUT', 'close'])
    expect(pair.runtime.nowMs() - lastByte).toBeGreaterThanOrEqual(300)
  })

  it('do not count reading while it is paused', async () => {
    await using pair = await connectedPair(mode, { listen: { readTimeoutMs: 30 } })
    pair.server.pause()
    await after(pair.runtime, 100)
    expect(pair.server.state).toBe('open')
    const resumed = pair.runtime.nowMs()
    pair.server.resume()
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT' })
    expect(pair.runtime.nowMs() - resumed).toBeGreaterThanOrEqual(30)
  })

  it('bound how long written bytes may stand still, also when the whole of them is one piece', async () => {
    await using pair = await connectedPair(mode, {
      connect: { writeTimeoutMs: 50, sendBufferBytes: mode.simulated ? undefined : 65_536 },
    })
    pair.server.pause()
    pair.client.write(pattern(20_000_000))
    const error = await pair.atClient.closed()
    expect(error).toMatchObject({ code: 'ERR_SLUICE_WRITE_TIMEOUT', phase: 'write' })
  })

  it('do not bound writing when nothing is queued', async () => {
    await using pair = await connectedPair(mode, { connect: { writeTimeoutMs: 20 }, server: echo })
    pair.client.write('x')
    await pair.atClient.received(1)
    await after(pair.runtime, 80)
    pair.client.write('y')
    await pair.atClient.received(2)
    expect(pair.client.state).toBe('open')
  })

  it('bound the half-closed time of either side', async () => {
    const halfOpen = { allowHalfOpen: true }
    await using first = await connectedPair(mode, {
      listen: { ...halfOpen, halfClosedTimeoutMs: 30 },
      connect: halfOpen,
    })
    first.client.end()
    expect(await first.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_HALF_CLOSED_TIMEOUT' })
    expect(first.atServer.events).toEqual(['open', 'end', 'error ERR_SLUICE_HALF_CLOSED_TIMEOUT', 'close'])
    await using second = await connectedPair(mode, {
      listen: halfOpen,
      connect: { ...halfOpen, halfClosedTimeoutMs: 30 },
    })
    second.client.end()
    expect(await second.atClient.closed()).toMatchObject({ code: 'ERR_SLUICE_HALF_CLOSED_TIMEOUT' })
  })

  it('do not bound an open connection by its half-closed time', async () => {
    await using pair = await connectedPair(mode, { listen: { halfClosedTimeoutMs: 300 } })
    await after(pair.runtime, 400)
    expect(pair.server.state).toBe('open')
    pair.client.end()
    expect(await pair.atServer.closed()).toBeUndefined()
  })

  it('can be set, changed and lifted later', async () => {
    await using pair = await connectedPair(mode, { listen: { readTimeoutMs: 40 } })
    pair.server.setTimeouts({})
    await after(pair.runtime, 100)
    expect(pair.server.state).toBe('open')
    pair.server.setTimeouts({ readTimeoutMs: 20 })
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT' })
    // Nobody to tell any more.
    pair.server.setTimeouts({ readTimeoutMs: 20 })
  })

  it('can be set on a connection that is half-closed already', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true }, connect: { allowHalfOpen: true } })
    pair.client.end()
    await pair.atServer.saw('end')
    pair.server.setTimeouts({ halfClosedTimeoutMs: 20 })
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_HALF_CLOSED_TIMEOUT' })
  })

  it('call back after a time of the runtime, once, unless cancelled', async () => {
    await using runtime = mode.start()
    const order: string[] = []
    const cancel = runtime.after(5, () => order.push('cancelled'))
    runtime.after(20, () => order.push('second'))
    runtime.after(10, () => order.push('first'))
    cancel()
    const start = runtime.nowMs()
    await after(runtime, 30)
    // Those that a busy machine finds overdue together may come in any order.
    expect(mode.simulated ? order : order.sort()).toEqual(['first', 'second'])
    expect(runtime.nowMs() - start).toBeGreaterThanOrEqual(29)
    cancel()
  })
})

describe.each(kernelModes())('timeouts of a slow but steady reader on $name', (mode) => {
  it('do not end it', async () => {
    await using clock = mode.start()
    await using pair = await connectedPair(mode, {
      listen: { receiveBufferBytes: 32_768 },
      connect: { writeTimeoutMs: 300, sendBufferBytes: 32_768 },
      server: {
        data(connection) {
          connection.pause()
          clock.after(4, () => connection.resume())
        },
      },
      runtime: { receiveTurnBytes: 16_384 },
    })
    const bytes = pattern(3_000_000)
    pair.client.write(bytes)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes))
    expect(pair.atClient.error).toBeUndefined()
  })
})

describe('timeouts in virtual time', () => {
  const [mode] = modes().filter(({ simulated }) => simulated)

  it('pass at once and to the millisecond', async () => {
    await using pair = await connectedPair(mode!, { listen: { readTimeoutMs: 3_600_000 } })
    const opened = pair.runtime.nowMs()
    const started = performance.now()
    await pair.atServer.closed()
    const passed = pair.runtime.nowMs() - opened
    expect(passed).toBeGreaterThanOrEqual(3_599_990)
    expect(passed).toBeLessThanOrEqual(3_600_010)
    expect(performance.now() - started).toBeLessThan(5000)
    await nextTurn()
  })
})
