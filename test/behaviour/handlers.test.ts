// Handlers: what throws, what is kept, in which order they run.
import {
  acceptProxy,
  type Connection,
  type ConnectionHandlers,
  type ListenOptions,
  RuleList,
  rules,
  type SluiceError,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import { serving } from '../support/identities.js'
import { modes } from '../support/modes.js'
import { connectedPair, echo, eventually, nextTurn, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

/** What `process` warns of while `work` runs. */
async function warningsOf(work: () => Promise<void>): Promise<SluiceError[]> {
  const warnings: SluiceError[] = []
  const note = (warning: Error) => void warnings.push(warning as SluiceError)
  process.on('warning', note)
  try {
    await work()
    await nextTurn()
  } finally {
    process.off('warning', note)
  }
  return warnings
}

describe.each(modes())('handlers on $name', (mode) => {
  it.each([
    'open',
    'data',
    'drain',
    'end',
    'timeout',
  ] as const)('that throw in %s end their own connection and no other', async (event) => {
    const mistake = new Error('my mistake')
    let thrower: Connection | undefined
    const ended: { connection: Connection; error?: SluiceError }[] = []
    await using runtime = mode.start()
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, highWaterBytes: 1, ...(event === 'timeout' ? { readTimeoutMs: 10 } : {}) },
      {
        data: (connection, bytes) => void connection.write(bytes),
        close: (connection, error) => void ended.push({ connection, error }),
        error() {},
        ...(event === 'timeout' ? { timeout() {} } : {}),
        [event](connection: Connection, bytes?: Uint8Array) {
          thrower ??= connection
          if (connection === thrower) throw mistake
          if (event === 'data') connection.write(bytes!)
        },
      },
    )
    const records = [new Record(), new Record()]
    const [first, second] = await Promise.all(
      records.map(({ handlers }) => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, handlers)),
    )
    await eventually(() => listener.stats().accepted === 2)
    first!.write('first')
    second!.write('second')
    if (event === 'end') {
      first!.end()
      await eventually(() => ended.length > 0)
    }
    await eventually(() => ended.length > 0)
    expect(ended[0]!.connection).toBe(thrower)
    expect(ended[0]!.error).toMatchObject({ code: 'ERR_SLUICE_HANDLER_THREW', phase: 'handler', cause: mistake })
    // One of the two is still served.
    await Promise.race(records.map((record, i) => record.received([5, 6][i]!)))
    expect(ended.length).toBe(1)
    await runtime.destroy()
  })

  // A listener has a number, as slots of connections have.
  it.each([
    ['ruleLog', { handshake: [rules(new RuleList([{ stage: 'session', action: 'log', text: 'seen' }]))] }],
    ['handshakeError', { handshake: [acceptProxy()] }],
    ['handshakeError', { tls: serving }],
  ] satisfies [
    string,
    Partial<ListenOptions>,
  ][])('that throw in %s of a listener end no connection', async (name, options: Partial<ListenOptions>) => {
    await using runtime = mode.start()
    const quiet = await runtime.listen({ host: '127.0.0.1', port: 0 }, new Record(echo).handlers)
    const records = Array.from({ length: 8 }, () => new Record())
    const connections: Connection[] = []
    for (const { handlers } of records)
      connections.push(await runtime.connect({ host: '127.0.0.1', port: portOf(quiet) }, handlers))
    let thrown = 0
    const throwing = {
      [name]: () => {
        thrown++
        throw new Error(`my mistake in ${name}`)
      },
    }
    const loud = await runtime.listen({ host: '127.0.0.1', port: 0, ...options }, throwing)
    const warnings = await warningsOf(async () => {
      const client = await runtime.connect({ host: '127.0.0.1', port: portOf(loud) }, { error() {} })
      client.write('no header\r\n')
      await eventually(() => thrown > 0)
      for (const connection of connections) connection.write('still here')
      for (const record of records) await record.received(10)
    })
    expect(warnings.map(({ code }) => code)).toEqual(['ERR_SLUICE_HANDLER_THREW'])
    expect(quiet.stats().connections).toBe(8)
  })

  it('that throw in error or close are told by a warning, and the rest goes on', async () => {
    const warnings = await warningsOf(async () => {
      for (const event of ['error', 'close']) {
        const throwing = {
          [event]: () => {
            throw new Error(`my mistake in ${event}`)
          },
        }
        await using pair = await connectedPair(mode, { server: throwing })
        pair.client.reset()
        await pair.atServer.saw('close')
        await eventually(() => pair.listener.connections === 0)
      }
    })
    expect(warnings.map(({ code, cause }) => [code, String(cause)])).toEqual([
      ['ERR_SLUICE_HANDLER_THREW', 'Error: my mistake in error'],
      ['ERR_SLUICE_HANDLER_THREW', 'Error: my mistake in close'],
    ])
  })

  it('that destroy their connection and then throw still tell what they threw', async () => {
    const mistake = new Error('my mistake')
    await using pair = await connectedPair(mode, {
      server: {
        data(connection) {
          connection.destroy()
          throw mistake
        },
      },
    })
    pair.client.write('x')
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_HANDLER_THREW', cause: mistake })
  })

  it('that throw while earlier data is handed over after a pause end their connection', async () => {
    const mistake = new Error('my mistake')
    await using pair = await connectedPair(mode, {
      listen: { receiveBufferBytes: 4096 },
      server: {
        data(connection, bytes) {
          if (bytes.includes(98)) throw mistake
          connection.pause()
        },
      },
    })
    pair.client.write('a')
    await pair.atServer.received(1)
    pair.client.write('b')
    await nextTurn()
    pair.server.resume()
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_HANDLER_THREW', cause: mistake })
  })

  it('may be an object with a prototype and private members', async () => {
    const log: string[] = []
    class Service implements ConnectionHandlers {
      #served = 0
      data(connection: Connection, bytes: Uint8Array) {
        this.#served++
        connection.write(bytes)
        connection.destroy()
      }
      close() {
        log.push(`closed after ${this.#served}`)
      }
    }
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, new Service())
    const record = new Record()
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
    client.write('x')
    await record.closed()
    await eventually(() => log.length > 0)
    expect(log).toEqual(['closed after 1'])
  })

  it('find what belongs to their connection in its data', async () => {
    await using runtime = mode.start()
    const replies: string[] = []
    const listener = await runtime.listen<{ name: string }>(
      { host: '127.0.0.1', port: 0 },
      {
        open: (connection) => {
          connection.data = { name: 'Ada' }
        },
        data: (connection) => void connection.end(`hello ${connection.data.name}`),
        close: (connection) => void replies.push(connection.data.name),
      },
    )
    const record = new Record()
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
    client.write('hi')
    await record.closed()
    await eventually(() => listener.connections === 0)
    expect([record.text, ...replies]).toEqual(['hello Ada', 'Ada'])
  })

  it('see the numbers of their connection also in close', async () => {
    let stats = {}
    let remote: unknown
    await using pair = await connectedPair(mode, {
      server: {
        open: (connection) => {
          remote = connection.remotePort
        },
        data: echo.data,
        close(connection) {
          stats = connection.stats()
          remote = [remote, connection.remotePort]
        },
      },
    })
    const port = pair.client.localPort
    pair.client.end('hello')
    await pair.atServer.closed()
    expect(stats).toEqual({ bytesRead: 5, bytesWritten: 5, queuedBytes: 0 })
    expect(remote).toEqual([port, port])
  })

  it('get a copy that turns to 0xdb behind them in debug mode', async () => {
    const kept: Uint8Array[] = []
    await using pair = await connectedPair(mode, {
      runtime: { debug: true },
      server: {
        data(connection, bytes) {
          kept.push(bytes)
          connection.write(bytes)
        },
      },
    })
    pair.client.write('secret')
    await pair.atClient.received(6)
    expect(pair.atClient.text).toBe('secret')
    expect([...kept[0]!]).toEqual([0xdb, 0xdb, 0xdb, 0xdb, 0xdb, 0xdb])
  })

  it('get a view in debug mode whose bytes are sent as they were when written', async () => {
    const bytes = Buffer.alloc(200_000, 'a')
    await using pair = await connectedPair(mode, { runtime: { debug: true } })
    pair.client.write(bytes)
    bytes.fill('b')
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.bytes.every((byte) => byte === 0x61)).toBe(true)
  })

  it('that throw in a timer leave connections alone, and reach the process', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    const mistake = new Error('my mistake')
    const uncaught = new Promise((resolve) => {
      const others = process.listeners('uncaughtException')
      process.removeAllListeners('uncaughtException')
      process.once('uncaughtException', (error) => {
        for (const other of others) process.on('uncaughtException', other)
        resolve(error)
      })
    })
    // Timers and connections both count from small numbers.
    for (let i = 0; i < 20; i++) {
      pair.runtime.after(0, () => {
        if (i === 5) throw mistake
      })
    }
    expect(await uncaught).toBe(mistake)
    pair.client.write('still there')
    await pair.atClient.received(11)
    expect(pair.atServer.count('close')).toBe(0)
  })
})
