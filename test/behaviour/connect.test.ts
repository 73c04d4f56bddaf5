// How connections come about: refusals, bounds, aborts, several addresses, own addresses.
import { type LookupFunction, SluiceError } from 'sluice'
import { describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, nextTurn, portOf } from '../support/pair.js'
import { RawServer } from '../support/raw.js'
import { Record } from '../support/record.js'

const blackHole = { blackHoleProbability: 1 }

/** A `lookup` that answers these addresses. */
function lookupOf(...addresses: string[]): LookupFunction {
  return (_name, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
}

/** A `lookup` that never answers. */
const silentLookup: LookupFunction = () => {}

describe.each(modes())('connecting on $name', (mode) => {
  it('is refused where nobody listens, and says by whom', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const port = portOf(listener)
    await listener.close()
    const record = new Record()
    const failure = runtime.connect({ host: '127.0.0.1', port }, record.handlers)
    await expect(failure).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_CONNECTION_REFUSED', errno: 111, syscall: 'connect' },
      ...{ address: '127.0.0.1', port, phase: 'connect' },
      message: expect.stringContaining(`connect 127.0.0.1:${port}`),
    })
    await expect(failure).rejects.toBeInstanceOf(SluiceError)
    // What never was open tells its handlers nothing.
    expect(record.events).toEqual([])
    expect(runtime.stats().connections).toBe(0)
  })

  it('may write at once, in the open handler and after the promise', async () => {
    await using runtime = mode.start()
    const atServer = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, atServer.handlers)
    const client = await runtime.connect(
      { host: '127.0.0.1', port: portOf(listener) },
      { open: (connection) => void connection.write('first ') },
    )
    client.end('second')
    await atServer.closed()
    expect(atServer.text).toBe('first second')
  })

  it('knows both addresses on both ends, also after the end', async () => {
    await using pair = await connectedPair(mode)
    const { client, server } = pair
    expect(client.remoteAddress).toBe('127.0.0.1')
    expect(client.remotePort).toBe(portOf(pair.listener))
    expect(client.remoteFamily).toBe('IPv4')
    expect(server.localPort).toBe(portOf(pair.listener))
    expect(server.remotePort).toBe(client.localPort)
    expect(client.localPort).toBeGreaterThan(0)
    client.end()
    await pair.atClient.closed()
    expect(client.remotePort).toBe(portOf(pair.listener))
  })

  it('takes the address and port to connect from', async () => {
    await using runtime = mode.start()
    const record = new Record()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, record.handlers)
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener), localAddress: '127.0.0.5' }, {})
    await record.saw('open')
    expect(client.localAddress).toBe('127.0.0.5')
    expect(record.connection.remoteAddress).toBe('127.0.0.5')
  })

  it('does nothing when the signal has aborted before', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const reason = new Error('changed my mind')
    const connecting = runtime.connect(
      { host: '127.0.0.1', port: portOf(listener), signal: AbortSignal.abort(reason) },
      {},
    )
    await expect(connecting).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED', cause: reason })
    await nextTurn()
    expect(listener.stats().accepted).toBe(0)
  })

  it('gives up when the signal aborts while the name is being resolved', async () => {
    await using runtime = mode.start()
    const abort = new AbortController()
    const options = { host: 'nowhere.test', port: 1, lookup: silentLookup, signal: abort.signal }
    const connecting = runtime.connect(options, {})
    await nextTurn()
    abort.abort()
    await expect(connecting).rejects.toMatchObject({
      code: 'ERR_SLUICE_ABORTED',
      phase: 'resolve',
      address: 'nowhere.test',
    })
  })

  it('calls no handler when the signal aborts while it connects, however far that is', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { error() {} })
    for (let turns = 0; turns < 20; turns++) {
      const abort = new AbortController()
      const record = new Record()
      const connecting = runtime.connect(
        { host: '127.0.0.1', port: portOf(listener), signal: abort.signal },
        record.handlers,
      )
      const outcome = connecting.then(
        () => 'connected',
        (error) => error.code,
      )
      for (let i = 0; i < turns >> 1; i++) await (turns % 2 === 0 ? Promise.resolve() : nextTurn())
      abort.abort()
      if ((await outcome) === 'connected') {
        // The signal came too late and did nothing.
        expect(record.events).toEqual(['open'])
        ;(await connecting).destroy()
      } else {
        expect(await outcome).toBe('ERR_SLUICE_ABORTED')
        await eventually(() => runtime.stats().connections === 0 || listener.connections === 0)
        expect(record.events.filter((event) => event !== 'close')).toEqual([])
      }
    }
  })

  it('ignores the signal once connected', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, echo)
    const abort = new AbortController()
    const record = new Record()
    const options = { host: '127.0.0.1', port: portOf(listener), signal: abort.signal }
    const client = await runtime.connect(options, record.handlers)
    abort.abort()
    client.write('x')
    await record.received(1)
    expect(client.state).toBe('open')
  })

  it('bounds the resolution by itself', async () => {
    await using runtime = mode.start()
    const options = {
      host: 'nowhere.test',
      port: 1,
      lookup: silentLookup,
      resolveTimeoutMs: 20,
      connectTimeoutMs: 10_000,
    }
    await expect(runtime.connect(options, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_RESOLVE_TIMEOUT', phase: 'resolve', address: 'nowhere.test' },
    })
  })

  it('hands on what a lookup function throws, answers wrongly, or fails with', async () => {
    await using runtime = mode.start()
    const failure = new Error('no such thing')
    const lookups: [LookupFunction, unknown][] = [
      [(_name, _options, callback) => callback(failure, []), failure],
      [
        () => {
          throw failure
        },
        failure,
      ],
      [lookupOf(), undefined],
      [lookupOf('not an address'), undefined],
    ]
    for (const [lookup, cause] of lookups) {
      const error = await runtime.connect({ host: 'nowhere.test', port: 1, lookup }, {}).catch((error) => error)
      expect(error).toMatchObject({ code: 'ERR_SLUICE_NAME_NOT_RESOLVED', phase: 'resolve' })
      expect(error.cause).toBe(cause)
    }
  })

  it('tries the next address when one refuses, and tells of all when all do', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const port = portOf(listener)
    const several = { host: 'several.test', port }
    const client = await runtime.connect({ ...several, lookup: lookupOf('127.0.0.2', '127.0.0.3', '127.0.0.1') }, {})
    expect(client.remoteAddress).toBe('127.0.0.1')
    const failing = runtime.connect({ ...several, lookup: lookupOf('127.0.0.2', '127.0.0.3') }, {})
    await expect(failing).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_CONNECTION_REFUSED', address: 'several.test', port },
      errors: [
        { address: '127.0.0.2', port },
        { address: '127.0.0.3', port },
      ],
    })
    client.destroy()
  })

  it('refuses a runtime that is closed', async () => {
    const runtime = mode.start()
    await runtime.close()
    await expect(runtime.connect({ port: 1 }, {})).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    await expect(runtime.listen({ port: 0 }, {})).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
  })
})

describe('connecting in a simulated network', () => {
  const [mode] = modes().filter(({ simulated }) => simulated)

  it('gives up after connectTimeoutMs when nothing answers', async () => {
    await using runtime = mode!.start({ sim: blackHole })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const started = runtime.nowMs()
    const to = { host: '127.0.0.1', port: portOf(listener) }
    await expect(runtime.connect({ ...to, connectTimeoutMs: 5000 }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_CONNECT_TIMEOUT', phase: 'connect', address: '127.0.0.1', port: to.port },
    })
    expect(runtime.nowMs() - started).toBe(5000)
    await eventually(() => runtime.stats().connections === 0)
  })

  it('gives up when the system does, without a bound of its own', async () => {
    await using runtime = mode!.start({ sim: { ...blackHole, connectGiveUpMs: 90_000 } })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const started = runtime.nowMs()
    await expect(runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_PEER_TIMED_OUT', errno: 110, syscall: 'connect' },
    })
    expect(runtime.nowMs() - started).toBeGreaterThanOrEqual(90_000)
  })

  it('starts beside a silent address after attemptDelayMs, and keeps a slow good path', async () => {
    // Every second connection, drawn from the seed, is swallowed: some of the addresses answer.
    await using runtime = mode!.start({ sim: { blackHoleProbability: 0.5, latencyMinMs: 400 } })
    const listener = await runtime.listen({ host: '0.0.0.0', port: 0 }, { error() {} })
    for (let i = 0; i < 20; i++) {
      const lookup = lookupOf(...Array.from({ length: 20 }, (_, k) => `127.0.1.${k + 1}`))
      const started = runtime.nowMs()
      const record = new Record()
      const client = await runtime.connect(
        { host: 'several.test', port: portOf(listener), lookup, attemptDelayMs: 100 },
        record.handlers,
      )
      const passed = runtime.nowMs() - started
      const winner = Number(client.remoteAddress!.split('.')[3])
      // The winner began after so many delays, and took a round trip, though later ones began meanwhile.
      expect(passed).toBe((winner - 1) * 100 + 800)
      expect(record.events).toEqual(['open'])
      await client.close()
    }
    await eventually(() => runtime.stats().connections === 0)
  })
})

describe.each(kernelModes())('connecting through the system on $name', (mode) => {
  it('gives up after connectTimeoutMs when the queue of the listener is full', async () => {
    const { fullListener } = await import('../support/full-listener.js')
    await using full = await fullListener()
    await using runtime = mode.start()
    const to = { host: '127.0.0.1', port: full.port }
    await expect(runtime.connect({ ...to, connectTimeoutMs: 50 }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_CONNECT_TIMEOUT', phase: 'connect', ...{ address: '127.0.0.1', port: full.port } },
    })
    const abort = new AbortController()
    const connecting = runtime.connect({ ...to, signal: abort.signal }, {})
    await nextTurn()
    abort.abort()
    await expect(connecting).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED', phase: 'connect' })
    await eventually(() => runtime.stats().connections === 0)
  })

  it('resolves localhost to whichever address answers', async () => {
    await using server = await RawServer.listen()
    await using runtime = mode.start()
    const client = await runtime.connect({ port: server.port }, {})
    expect(client.remoteAddress).toBe('127.0.0.1')
    client.destroy()
  })

  it('refuses a local address of another machine before it connects', async () => {
    await using runtime = mode.start()
    const options = { host: '127.0.0.1', port: 9, localAddress: '192.0.2.1' }
    await expect(runtime.connect(options, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_ADDRESS_NOT_AVAILABLE', syscall: 'bind', phase: 'connect' },
    })
  })

  it('tells a path that does not exist', async () => {
    await using runtime = mode.start()
    const path = '/nonexistent/socket'
    await expect(runtime.connect({ path }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_NOT_FOUND', address: path, syscall: 'connect', phase: 'connect' },
    })
  })
})
