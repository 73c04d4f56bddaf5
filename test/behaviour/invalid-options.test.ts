// Every option of every call: what is not allowed is refused before anything is done, naming option, value and rule.
import { createSelfSigned, Runtime, type SluiceError, TlsContext } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import { eventually, portOf } from '../support/pair.js'

const runtime = new Runtime()
const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
afterAll(() => runtime.destroy())

type Call = (options: object) => unknown
const calls: { [name: string]: { call: Call; base: object } } = {
  Runtime: { call: (options) => new Runtime(options), base: {} },
  listen: { call: (options) => runtime.listen(options, {}), base: { port: 0, host: '127.0.0.1' } },
  connect: {
    call: (options) => runtime.connect(options as never, {}),
    base: { port: portOf(listener), host: '127.0.0.1' },
  },
  adopt: { call: (options) => runtime.adopt(options as never, {}), base: { fd: 0 } },
  setTimeouts: { call: (options) => client.setTimeouts(options), base: {} },
  setOperationBounds: { call: (options) => client.setOperationBounds(options), base: {} },
  setWriteWaterMarks: { call: (options) => client.setWriteWaterMarks(options), base: {} },
  setReadWaterMarks: { call: (options) => client.setReadWaterMarks(options), base: {} },
  setOptions: { call: (options) => client.setOptions(options), base: {} },
  'Connection.close': { call: (options) => client.close(options), base: {} },
  'Connection.shutdown': { call: (options) => client.shutdown(options), base: {} },
  'Listener.close': { call: (options) => listener.close(options), base: {} },
  'Runtime.close': { call: (options) => runtime.close(options), base: {} },
}

const notIntegers = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null, true, {}, 2 ** 53]
const notBooleans = [0, 1, 'true', null, {}]
const notStrings = ['', 1, null, true, {}, 'a\0b']
const timeouts = {
  readTimeoutMs: notIntegers,
  writeTimeoutMs: notIntegers,
  halfClosedTimeoutMs: [...notIntegers, 2 ** 31],
}
const socketOptions = {
  noDelay: notBooleans,
  keepAlive: notBooleans,
  keepAliveIdleMs: [...notIntegers, 0, 32_767_001],
  keepAliveIntervalMs: [...notIntegers, 0, 32_767_001],
  keepAliveCount: [...notIntegers, 0, 128],
  userTimeoutMs: notIntegers,
  quickAck: notBooleans,
  fastOpen: [-1, 1.5, 65_536, 'yes', null, {}],
  notSentLowWaterBytes: [...notIntegers, 0],
  sendBufferBytes: [...notIntegers, 0],
  receiveBufferBytes: [...notIntegers, 0, 2 ** 31],
  typeOfService: [...notIntegers, 256],
  mark: notIntegers,
  congestionControl: [...notStrings, 'longer than fifteen'],
  hopLimit: [...notIntegers, 0, 256],
  maxSegmentBytes: [...notIntegers, 87, 32_768],
  deferAcceptMs: [...notIntegers, 0, 65_535_001],
  device: [1, '', 'x'.repeat(16)],
  transparent: [0, 'yes'],
}
const sizes = {
  highWaterBytes: [...notIntegers, 0],
  lowWaterBytes: notIntegers,
  hardLimitBytes: [...notIntegers, 0, 2 ** 30 + 1],
  maxReadBytes: notIntegers,
  maxWriteBytes: notIntegers,
  readLowWaterBytes: notIntegers,
  readHighWaterBytes: [...notIntegers, 0],
}
const limits = { maxConnections: notIntegers, maxConnectionsPerSecond: notIntegers }
const connections = {
  ...{ allowHalfOpen: notBooleans, ...sizes, ...timeouts },
  ...{ filters: [1, null, {}, []], priority: [-101, 101, 1.5, '1', null] },
}
const notSignals = [1, null, {}, 'abort']
const shutdown = { timeoutMs: [...notIntegers, 2 ** 31] }

const wrong: { [call: string]: { [option: string]: unknown[] } } = {
  Runtime: {
    ...{ engine: ['', 'epol', 1, null], threads: [...notIntegers, 65], ...limits },
    handshakeThreads: [...notIntegers, 65],
    ...{ slabBytes: [...notIntegers, 65_535], receiveTurnBytes: [...notIntegers, 1023] },
    ...{ acceptTurnCount: [...notIntegers, 0], debug: notBooleans, sim: [1, null, []] },
  },
  listen: {
    ...{ ...connections, ...socketOptions, ...limits },
    ...{ port: [...notIntegers, 65_536], host: notStrings, backlog: [...notIntegers, 0] },
    ...{ ipv6Only: notBooleans, reusePort: notBooleans, signal: notSignals, tls: [1, true, null, 'x', []] },
  },
  connect: {
    ...{ ...connections, ...socketOptions },
    ...{ port: [...notIntegers, 0, 65_536], host: notStrings, family: [5, '4', null], localAddress: notStrings },
    ...{ lookup: [1, null, {}], resolveTimeoutMs: notIntegers, connectTimeoutMs: notIntegers },
    ...{ attemptDelayMs: [...notIntegers, 9, 10_001], signal: notSignals, tls: [1, null, 'x', []] },
  },
  adopt: { ...connections, fd: notIntegers },
  setTimeouts: timeouts,
  setOperationBounds: { maxReadBytes: notIntegers, maxWriteBytes: notIntegers },
  setWriteWaterMarks: {
    ...{ lowWaterBytes: notIntegers, highWaterBytes: [...notIntegers, 0], hardLimitBytes: [...notIntegers, 0] },
  },
  setReadWaterMarks: { lowWaterBytes: notIntegers, highWaterBytes: [...notIntegers, 0] },
  setOptions: socketOptions,
  'Connection.close': { timeoutMs: [...notIntegers, 0] },
  'Connection.shutdown': { timeoutMs: [...notIntegers, 0] },
  'Listener.close': shutdown,
  'Runtime.close': shutdown,
}

/** What a call throws, or rejects with. */
async function failureOf(call: () => unknown): Promise<SluiceError> {
  try {
    await call()
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('the call did not fail')
}

describe.each(Object.keys(wrong))('%s', (name) => {
  const { call, base } = calls[name]!

  it.each(Object.keys(wrong[name]!))('refuses wrong values of %s', async (option) => {
    for (const value of wrong[name]![option]!) {
      const error = await failureOf(() => call({ ...base, [option]: value }))
      expect(error, `${option}: ${String(value)}`).toMatchObject({
        ...{ code: 'ERR_SLUICE_INVALID_OPTION', phase: 'options', option },
      })
      expect(error.message).toMatch(new RegExp(`option "${option}" must be .+, not .+`))
      expect(error.syscall).toBeUndefined()
    }
  })

  it('refuses an option it does not know, and names the nearest', async () => {
    const known = Object.keys(wrong[name]!)[0]!
    const error = await failureOf(() => call({ ...base, [`${known}s`]: 1 }))
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option: `${known}s` })
    expect(error.message).toContain(`did you mean "${known}"?`)
  })

  it.each([[1], ['text'], [null], [[]]])('refuses %j in place of an object', async (value) => {
    const error = await failureOf(() => call(value as never))
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'options' })
  })
})

describe('tls', () => {
  const identity = createSelfSigned()
  const both = {
    ...{ rejectUnauthorized: notBooleans, tickets: notBooleans, dynamicRecordSize: notBooleans },
    ...{ allowTruncation: notBooleans, allowRenegotiation: notBooleans, handshakeTimeoutMs: [...notIntegers, 2 ** 31] },
    ...{ verifyDepth: [...notIntegers, 101], securityLevel: [...notIntegers, 6], sessionTimeoutS: [...notIntegers, 0] },
    ...{ maxKeyUpdatesPerSecond: notIntegers, maxEmptyRecordsPerSecond: notIntegers },
    ...{ maxRenegotiationsPerMinute: [...notIntegers, 0], maxHandshakeBytes: [...notIntegers, 1023] },
    ...{ minVersion: ['TLSv1.4', 12, null], maxVersion: ['SSLv3', null], trust: ['', 1, null] },
    ...{ ciphers: [1, '', []], groups: [1, '', [1]], sigalgs: [1, ''], alpn: ['h2', [], 1], keylog: [1, null, 'x'] },
    ...{ cert: [1, '', null, {}, []], ca: [1, '', null, {}], crl: [1, '', null], pfx: ['x', 1, null] },
    ...{ passphrase: [1, null, {}], psk: [1, 'x', null], context: [1, null, {}] },
  }
  const servers = {
    ...{ ...both, clientCert: ['', 'maybe', 1, null], requestCert: notBooleans, honorCipherOrder: notBooleans },
    ...{ sniStrict: notBooleans, sni: [1, null, []], sessionCacheCount: notIntegers, ticketCount: notIntegers },
    ...{ maxHandshakes: notIntegers, maxHandshakesWaiting: notIntegers, maxHandshakesPerSecond: notIntegers },
    ...{ ocsp: [true, '', 1], pskHint: notStrings, sessionIdContext: notStrings, ticketKeys: [1, null, 'x', []] },
  }
  const clients = {
    ...{ ...both, serverName: [1, null, 'a b', 'a:1'], verifyName: notStrings, checkServerIdentity: [1, null, {}] },
    ...{ checkCommonName: notBooleans, ocsp: notBooleans, sessions: [1, null, {}], session: ['x', 1, null] },
    sessionKey: notStrings,
  }
  const rows = [
    ...Object.entries(servers).map(([option, values]) => ['listen', option, values, { ...identity }] as const),
    ...Object.entries(clients).map(([option, values]) => ['connect', option, values, {}] as const),
  ]

  it.each(rows)('of %s refuses wrong values of %s', async (name, option, values, base) => {
    const call = calls[name]!
    for (const value of values) {
      const error = await failureOf(() => call.call({ ...call.base, tls: { ...base, [option]: value } }))
      const told = `${option}: ${String(value)} ${error.message}`
      expect(error, told).toMatchObject({
        phase: 'options',
        option: expect.stringMatching(`^tls\\.${option}(\\[0\\])?$`),
      })
      expect(error.code, told).toBe('ERR_SLUICE_INVALID_OPTION')
    }
  })

  it.each([
    ['listen', { ...identity, maxHandshakesWaiting: 5 }, 'tls.maxHandshakesWaiting'],
    ['listen', { ...identity, handshakeTimeout: 5 }, 'tls.handshakeTimeout'],
    ['listen', { context: TlsContext.server(identity), cert: identity.cert }, 'tls.cert'],
    ['listen', { context: TlsContext.client({ ca: identity.cert }) }, 'tls.context'],
    ['listen', TlsContext.client({ ca: identity.cert }), 'tls.context'],
    ['connect', { context: TlsContext.server(identity) }, 'tls.context'],
    ['connect', { context: TlsContext.client({ ca: identity.cert }), ca: identity.cert }, 'tls.ca'],
    ['connect', { servername: 'a', serverName: 'a' }, 'tls.servername'],
  ])('of %s: %j blames %s', async (name, tls, option) => {
    const call = calls[name]!
    const error = await failureOf(() => call.call({ ...call.base, tls }))
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe('rules over several options', () => {
  const rules: [string, object, string][] = [
    ['listen', {}, 'port'],
    ['listen', { port: 0, path: '/tmp/x' }, 'path'],
    ['listen', { port: 0, fd: 3 }, 'fd'],
    ['listen', { path: '/tmp/x', fd: 3 }, 'fd'],
    ['listen', { path: '/tmp/x', host: '127.0.0.1' }, 'host'],
    ['listen', { path: '/tmp/x', ipv6Only: true }, 'ipv6Only'],
    ['listen', { fd: 3, backlog: 5 }, 'backlog'],
    ['listen', { fd: 3, reusePort: true }, 'reusePort'],
    ['listen', { port: 0, lowWaterBytes: 10, highWaterBytes: 5 }, 'lowWaterBytes'],
    ['listen', { port: 0, highWaterBytes: 10, hardLimitBytes: 5 }, 'hardLimitBytes'],
    ['listen', { port: 0, readLowWaterBytes: 6, readHighWaterBytes: 5 }, 'readLowWaterBytes'],
    ['listen', { port: 0, readLowWaterBytes: 6, highWaterBytes: 5 }, 'readLowWaterBytes'],
    ['connect', {}, 'port'],
    ['connect', { path: '/tmp/x', port: 1 }, 'port'],
    ['connect', { path: '/tmp/x', host: 'localhost' }, 'host'],
    ['connect', { path: '/tmp/x', localAddress: '127.0.0.1' }, 'localAddress'],
    ['connect', { port: 1, localPort: 5 }, 'localPort'],
    ['adopt', {}, 'fd'],
    ['Runtime', { sim: {}, engine: 'poll' }, 'sim'],
    ['Runtime', { engine: 'sim', threads: 1 }, 'threads'],
    ['Runtime', { engine: 'sim', sim: { seeds: 1 } }, 'sim.seeds'],
    ['Runtime', { engine: 'sim', sim: { seed: -1 } }, 'sim.seed'],
    ['Runtime', { engine: 'sim', sim: { stallMinMs: 5, stallMaxMs: 4 } }, 'sim.stallMinMs'],
  ]

  it.each(rules)('%s(%j) blames %s', async (name, options, option) => {
    const error = await failureOf(() => calls[name]!.call(options))
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })

  it.each([
    [1],
    [null],
    ['data'],
    [{ data: 1 }],
    [{ close: null }],
    [{ readable: 1 }],
    [{ data() {}, readable() {} }],
  ])('refuses handlers %j', async (handlers) => {
    const bad = handlers as never
    for (const call of [
      () => runtime.listen({ port: 0 }, bad),
      () => runtime.connect({ port: portOf(listener) }, bad),
      () => runtime.adopt({ fd: 0 }, bad),
    ]) {
      expect((await failureOf(call)).code).toBe('ERR_SLUICE_INVALID_OPTION')
    }
  })

  it.each([[-1], ['5'], [Number.NaN], [2 ** 31]])('refuses to wait for %s ms', (ms) => {
    expect(() => runtime.after(ms as never, () => {})).toThrow(expect.objectContaining({ option: 'ms' }))
  })
})

it('nothing was done by all of this', async () => {
  expect(client.state).toBe('open')
  expect(listener.stats().state).toBe('accepting')
  await eventually(() => listener.stats().accepted === 1)
  expect(runtime.stats().connections).toBe(2)
})
