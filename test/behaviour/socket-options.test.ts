// Socket options as the system itself tells them afterwards.
import { describe, expect, it } from 'vitest'
import { socketOptionsOf } from '../support/getsockopt.js'
import { inlineKernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, portOf } from '../support/pair.js'

const privileged = process.getuid?.() === 0
const chosen = {
  ...{ noDelay: false, keepAlive: true, keepAliveIdleMs: 61_000, keepAliveIntervalMs: 7_500, keepAliveCount: 4 },
  ...{ userTimeoutMs: 12_345, notSentLowWaterBytes: 16_384, sendBufferBytes: 100_000, receiveBufferBytes: 120_000 },
  ...{ typeOfService: 0x28, congestionControl: 'reno', hopLimit: 33 },
  ...(privileged ? { mark: 77 } : {}),
}
const told = {
  ...{ noDelay: 0, keepAlive: 1, keepAliveIdle: 61, keepAliveInterval: 8, keepAliveCount: 4 },
  ...{ userTimeoutMs: 12_345, notSentLowWaterBytes: 16_384, sendBufferBytes: 200_000, receiveBufferBytes: 240_000 },
  ...{ typeOfService: 0x28, congestionControl: 'reno', hopLimit: 33 },
  ...(privileged ? { mark: 77 } : {}),
}

describe.each(inlineKernelModes())('socket options on $name', (mode) => {
  it('are no-delay by default, and else as the system has them', async () => {
    await using pair = await connectedPair(mode)
    for (const { localPort, remotePort } of [pair.client, pair.server]) {
      expect(socketOptionsOf(localPort!, remotePort!)).toMatchObject({ noDelay: 1, keepAlive: 0, typeOfService: 0 })
    }
  })

  it('hold for what connect() makes', async () => {
    await using pair = await connectedPair(mode, { connect: chosen })
    expect(socketOptionsOf(pair.client.localPort!, pair.client.remotePort)).toMatchObject(told)
  })

  it('hold for a listener, whose connections inherit them', async () => {
    await using pair = await connectedPair(mode, { listen: { ...chosen, fastOpen: 5, reusePort: true } })
    expect(socketOptionsOf(portOf(pair.listener))).toMatchObject({ ...told, fastOpen: 5, reusePort: 1 })
    expect(socketOptionsOf(pair.server.localPort!, pair.server.remotePort)).toMatchObject(told)
  })

  it('can be changed on an open connection, only those given', async () => {
    await using pair = await connectedPair(mode)
    pair.client.setOptions(chosen)
    expect(socketOptionsOf(pair.client.localPort!, pair.client.remotePort)).toMatchObject(told)
    pair.client.setOptions({ noDelay: true })
    expect(socketOptionsOf(pair.client.localPort!, pair.client.remotePort)).toMatchObject({ ...told, noDelay: 1 })
    pair.client.setOptions({ quickAck: true })
  })

  it.runIf(process.platform === 'linux')(
    'of segments, devices and foreign addresses hold before there is a connection',
    async () => {
      const asked = { maxSegmentBytes: 1000, device: 'lo', ...(privileged ? { transparent: true } : {}) }
      const heard = { device: 'lo', ...(privileged ? { transparent: 1 } : {}) }
      await using pair = await connectedPair(mode, { listen: asked, connect: asked })
      expect(socketOptionsOf(portOf(pair.listener))).toMatchObject({ ...heard, maxSegmentBytes: 1000 })
      const { maxSegmentBytes, ...others } = socketOptionsOf(pair.client.localPort!, pair.client.remotePort)
      expect(others).toMatchObject(heard)
      // Timestamps take their part of each segment.
      expect(Number(maxSegmentBytes)).toBeLessThanOrEqual(1000)
      expect(Number(maxSegmentBytes)).toBeGreaterThan(900)
      const nowhere = mode.start()
      const wrong = nowhere.listen({ host: '127.0.0.1', port: 0, device: 'no-such-thing' }, {})
      await expect(wrong).rejects.toMatchObject({ errno: 19, syscall: expect.stringContaining('SO_BINDTODEVICE') })
      await nowhere.destroy()
    },
  )

  it.runIf(process.platform === 'linux')('let connections be accepted with their first bytes', async () => {
    await using runtime = mode.start()
    const heard: string[] = []
    const handlers = { open: () => void heard.push('open'), data: () => void heard.push('data'), error() {} }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, deferAcceptMs: 9_500 }, handlers)
    expect(Number(socketOptionsOf(portOf(listener)).deferAcceptSeconds)).toBeGreaterThanOrEqual(10)
    const to = { host: '127.0.0.1', port: portOf(listener) }
    const silent = await runtime.connect(to)
    const speaking = await runtime.connect(to)
    speaking.write('x')
    await eventually(() => heard.length === 2)
    expect(heard).toEqual(['open', 'data'])
    silent.write('y')
    await eventually(() => heard.length === 4)
  })

  it('send data with the first packet when fast open is asked for', async () => {
    await using pair = await connectedPair(mode, {
      connect: { fastOpen: true },
      listen: { fastOpen: true },
      server: echo,
    })
    pair.client.write('hello')
    await pair.atClient.received(5)
    expect(pair.atClient.text).toBe('hello')
  })

  it('tell of an unknown congestion control', async () => {
    await using runtime = mode.start()
    const options = { host: '127.0.0.1', port: 0, congestionControl: 'no-such-thing' }
    await expect(runtime.listen(options, {})).rejects.toMatchObject({
      ...{ code: expect.stringMatching(/^ERR_SLUICE_/), errno: 2, syscall: expect.stringContaining('TCP_CONGESTION') },
    })
  })

  it('tell what the kernel knows of a connection', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    pair.client.write(Buffer.alloc(10_000))
    await pair.atClient.received(10_000)
    const info = pair.client.tcpInfo()
    expect(info.state).toBe(1)
    expect(info.rttUs).toBeGreaterThan(0)
    expect(info.bytesReceived).toBe(10_000)
    expect(info.sendSegmentBytes).toBeGreaterThan(500)
  })
})

describe.each(modes())('options of a closed connection on $name', (mode) => {
  it('cannot be changed or asked for any more', async () => {
    await using pair = await connectedPair(mode)
    await pair.client.close()
    expect(() => pair.client.setOptions({ noDelay: true })).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }),
    )
    expect(() => pair.client.tcpInfo()).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
    pair.client.setTimeouts({ readTimeoutMs: 5 })
    pair.client.pause()
    pair.client.resume()
    pair.client.ref()
    pair.client.unref()
    expect(pair.client.queuedBytes).toBe(0)
  })
})
