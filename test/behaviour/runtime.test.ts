// Runtimes: how they choose their engine, live side by side, and end.
import { type EngineName, engines, Runtime, SluiceError } from 'sluice'
import { afterEach, describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

describe.each(modes())('a runtime on $name', (mode) => {
  it('tells its engine and threads', async () => {
    await using runtime = mode.start()
    expect([runtime.engine, runtime.threads]).toEqual([mode.engine, mode.threads])
  })

  it('close() ends listeners, waits for connections, and is idempotent', async () => {
    const pair = await connectedPair(mode, { server: echo })
    const closing = pair.runtime.close()
    expect(pair.runtime.close()).toBe(closing)
    await expect(pair.runtime.connect({ port: 1 }, {})).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    pair.client.end('served to the end')
    await closing
    expect(pair.atClient.text).toBe('served to the end')
    expect([pair.client.state, pair.server.state]).toEqual(['closed', 'closed'])
    await pair.runtime.destroy()
  })

  it('close({ timeoutMs }) ends what is left', async () => {
    const pair = await connectedPair(mode)
    await pair.runtime.close({ timeoutMs: 30 })
    for (const { events } of [pair.atClient, pair.atServer]) {
      expect(events.slice(-2)).toEqual(['error ERR_SLUICE_CLOSE_TIMEOUT', 'close'])
    }
  })

  it('destroy(error) ends everything now, and tells everybody why', async () => {
    const pair = await connectedPair(mode)
    const error = new SluiceError('ABORTED', { detail: 'power off' })
    await pair.runtime.destroy(error)
    expect([pair.atClient.error, pair.atServer.error]).toEqual([error, error])
    expect(pair.listener.stats().state).toBe('closed')
    await pair.runtime.destroy()
  })

  it('destroy() cuts a patient close() short', async () => {
    const pair = await connectedPair(mode)
    const closing = pair.runtime.close({ timeoutMs: 0 })
    await pair.runtime.destroy()
    await closing
    expect(pair.atServer.count('close')).toBe(1)
  })

  it('destroys itself in the middle of a handler', async () => {
    const pair = await connectedPair(mode, {
      server: { data: (connection) => void (connection.data as () => void)() },
    })
    let ending: Promise<void> | undefined
    pair.server.data = () => {
      ending ??= pair.runtime.destroy()
    }
    pair.client.write('now')
    await eventually(() => ending !== undefined)
    await ending
    expect([pair.atClient.count('close'), pair.atServer.count('close')]).toEqual([1, 1])
  })

  it('ends connects that are under way', async () => {
    const runtime = mode.start()
    const connecting = runtime.connect({ host: 'nowhere.test', port: 1, lookup: () => {}, resolveTimeoutMs: 100 }, {})
    const failed = expect(connecting).rejects.toBeInstanceOf(SluiceError)
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { error() {} })
    const second = runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })
    const settled = second.then(
      () => true,
      (error) => expect(error).toBeInstanceOf(SluiceError),
    )
    await new Promise<void>((resolve) => void runtime.after(150, resolve))
    await failed
    await runtime.destroy()
    await settled
  })

  it('lives beside others without hearing of them', async () => {
    await using first = await connectedPair(mode, { server: echo })
    await using second = await connectedPair(mode, { server: echo })
    first.client.write('first')
    second.client.write('second')
    await Promise.all([first.atClient.received(5), second.atClient.received(6)])
    expect([first.atClient.text, second.atClient.text]).toEqual(['first', 'second'])
    await first.runtime.destroy()
    second.client.write(' again')
    await second.atClient.received(12)
    expect(second.runtime.stats().connections).toBe(2)
  })

  it('comes and goes many times', async () => {
    for (let i = 0; i < 30; i++) {
      await using pair = await connectedPair(mode, { server: echo })
      pair.client.write('x')
      await pair.atClient.received(1)
    }
  })
})

describe.each(kernelModes().filter(({ threads }) => threads > 0))('a runtime of several threads: $name', (mode) => {
  it('serves connections on all of them', async () => {
    await using runtime = mode.start({ threads: 4 })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, echo)
    const records = Array.from({ length: 40 }, () => new Record())
    await Promise.all(
      records.map(async (record, i) => {
        const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
        client.end(`number ${i}`)
        await record.closed()
      }),
    )
    for (const [i, record] of records.entries()) expect(record.text).toBe(`number ${i}`)
  })
})

describe('the choice of an engine', () => {
  const before = process.env.SLUICE_ENGINE
  afterEach(() => {
    if (before === undefined) delete process.env.SLUICE_ENGINE
    else process.env.SLUICE_ENGINE = before
  })

  it('tells every engine with its features, and why it is not available', () => {
    const list = engines()
    expect(list.map(({ name }) => name).sort()).toEqual(['epoll', 'io_uring', 'kqueue', 'poll', 'sim'])
    for (const { available, reason, features } of list) {
      if (available) expect(reason).toBeUndefined()
      else expect(reason).toMatch(/\w+: \w+/)
      expect(features.virtualClock).toBeTypeOf('boolean')
    }
  })

  it('takes the first available one with auto, never the simulation', async () => {
    delete process.env.SLUICE_ENGINE
    await using runtime = new Runtime()
    expect(runtime.engine).toBe(engines().find(({ available }) => available)!.name)
    expect(runtime.engine).not.toBe('sim')
  })

  it('never replaces a named engine that does not work here', ({ skip }) => {
    const missing = engines().filter(({ available }) => !available)
    skip(missing.length === 0, 'every engine works here')
    for (const { name, reason } of missing) {
      expect(() => new Runtime({ engine: name })).toThrow(
        expect.objectContaining({
          ...{ code: 'ERR_SLUICE_ENGINE_UNAVAILABLE', phase: 'start', message: expect.stringContaining(reason!) },
        }),
      )
    }
  })

  it.each(['epoll', 'poll', 'sim'] satisfies EngineName[])('is %s when the environment says so', async (name) => {
    process.env.SLUICE_ENGINE = name
    await using runtime = new Runtime()
    expect(runtime.engine).toBe(name)
    await using other = new Runtime({ engine: 'poll' })
    expect(other.engine).toBe('poll')
  })

  it('refuses an unknown engine of the environment, naming the nearest', () => {
    process.env.SLUICE_ENGINE = 'epol'
    expect(() => new Runtime()).toThrow(
      expect.objectContaining({
        ...{ code: 'ERR_SLUICE_INVALID_OPTION', option: 'SLUICE_ENGINE' },
        message: expect.stringContaining('did you mean "epoll"?'),
      }),
    )
    process.env.SLUICE_ENGINE = ''
    expect(() => void new Runtime().destroy()).not.toThrow()
  })
})

describe('a runtime that ends while a name is being resolved', () => {
  it.each(['close', 'destroy'] as const)('gives up the connect() on %s()', async (end) => {
    const runtime = new Runtime()
    const connecting = runtime.connect({ host: 'never.example', port: 7, lookup() {} })
    const refused = expect(connecting).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_ABORTED', phase: 'resolve', address: 'never.example' },
      cause: expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }),
    })
    await runtime[end]()
    await refused
  })
})
