// Pools of connections to several servers, over real sockets of each engine, and in the simulated network's own time.
import {
  type AcquisitionStep,
  type Connection,
  type ConnectionHandlers,
  type Listener,
  type ListenOptions,
  type Runtime,
  relay,
  UpstreamPool,
  type UpstreamPoolOptions,
  type UpstreamServerChange,
  type UpstreamServerOptions,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as identities from '../support/identities.js'
import { kernelModes, type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

const simulated = modes().find((mode) => mode.simulated) as Mode

/** A server that answers each request with its name, and knows what it was sent. */
interface Backend {
  readonly name: string
  readonly listener: Listener
  readonly connections: Set<Connection>
  accepted: number
  received: string
  options(more?: Partial<UpstreamServerOptions>): UpstreamServerOptions
}

async function backend(
  runtime: Runtime,
  name: string,
  options: Partial<ListenOptions> = {},
  handlers: ConnectionHandlers = {},
): Promise<Backend> {
  const connections = new Set<Connection>()
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0, ...options } as ListenOptions, {
    open(connection) {
      self.accepted++
      connections.add(connection)
    },
    data(connection, bytes) {
      self.received += Buffer.from(bytes).toString()
      connection.write(`${name};`)
    },
    error() {},
    close: (connection) => void connections.delete(connection),
    ...handlers,
  })
  const self: Backend = {
    ...{ name, listener, connections, accepted: 0, received: '' },
    options: (more) => ({ name, host: '127.0.0.1', port: portOf(listener), ...more }),
  }
  return self
}

/** A port at which nobody listens. */
async function deadPort(runtime: Runtime): Promise<number> {
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
  const port = portOf(listener)
  await listener.close()
  return port
}

function poolOf(runtime: Runtime, servers: UpstreamServerOptions[], more: Partial<UpstreamPoolOptions> = {}) {
  const steps: AcquisitionStep[] = []
  const changes: UpstreamServerChange[] = []
  const pool = new UpstreamPool({
    ...{ runtime, servers },
    onStep: (step) => steps.push(step),
    onServerChange: (change) => changes.push(change),
    ...more,
  })
  const path = (id: number) => ['INI', ...steps.filter((step) => step.id === id).map(({ to }) => to)].join(' ')
  const turned = async (server: string, isUp: boolean) =>
    eventually(() => changes.some((change) => change.server === server && change.isUp === isUp))
  return Object.assign(pool, { steps, changes, path, turned, [Symbol.asyncDispose]: () => pool.destroy() })
}

/** Asks by a lease and answers with who answered. */
async function ask(
  pool: UpstreamPool,
  options: { first?: boolean; key?: string; server?: string } = {},
): Promise<string> {
  const record = new Record()
  const lease = await pool.acquire({ ...options, handlers: record.handlers })
  lease.connection.write('?')
  await record.until(() => record.text.endsWith(';'))
  lease.release({ reusable: true })
  return record.text.slice(0, -1)
}

describe.each(modes())('a pool over $name', (mode) => {
  it('lends connections in turn, and lends them again when they come back', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    await using pool = poolOf(runtime, [a.options(), b.options()])
    const first = [await ask(pool), await ask(pool), await ask(pool), await ask(pool)]
    expect(first).toEqual(['a', 'b', 'a', 'b'])
    // The first request of a session has a connection of its own: four were made, and two per server are idle.
    expect([a.accepted, b.accepted]).toEqual([2, 2])
    expect([await ask(pool, { first: false }), await ask(pool, { first: false })]).toEqual(['a', 'b'])
    expect([a.accepted, b.accepted]).toEqual([2, 2])
    const { servers, ...totals } = pool.stats()
    expect(totals).toMatchObject({
      used: 0,
      connecting: 0,
      queued: 0,
      requested: 6,
      established: 6,
      retries: 0,
      failures: {},
    })
    expect(servers.map(({ name, opened, reused, used, failed }) => ({ name, opened, reused, used, failed }))).toEqual([
      { name: 'a', opened: 2, reused: 1, used: 0, failed: 0 },
      { name: 'b', opened: 2, reused: 1, used: 0, failed: 0 },
    ])
    expect(pool.path(1)).toBe('INI REQ ASS CON EST DIS CLO')
    expect(pool.path(5)).toBe('INI REQ ASS EST DIS CLO')
  })

  it('shares by policy: never, not the first, the first on proven ones, always', async () => {
    await using runtime = mode.start()
    const reusedBy = async (reuse: UpstreamPoolOptions['reuse'], firsts: boolean[]) => {
      const server = await backend(runtime, 'a')
      await using pool = poolOf(runtime, [server.options()], { reuse })
      const reused: boolean[] = []
      for (const first of firsts) {
        const lease = await pool.acquire({ first, handlers: {} })
        reused.push(lease.reused)
        lease.release({ reusable: true })
      }
      return reused.map((was) => (was ? 'r' : 'n')).join('')
    }
    const [f, l] = [true, false]
    expect(await reusedBy('never', [f, l, l, f])).toBe('nnnn')
    expect(await reusedBy('safe', [f, l, l, f, l])).toBe('nrrnr')
    expect(await reusedBy('aggressive', [f, f, l, f, f])).toBe('nnrrr')
    expect(await reusedBy('always', [f, f, l, f])).toBe('nrrr')
  })

  it('sends a preface first, and shares its connection with the same preface alone', async () => {
    await using runtime = mode.start()
    const server = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [server.options()], { reuse: 'always', lowIdle: 10 })
    const [one, two] = [Buffer.from('PROXY one\r\n'), Buffer.from('PROXY two\r\n')]
    const reused: boolean[] = []
    for (const preface of [one, one, two, undefined, two]) {
      const record = new Record()
      const lease = await pool.acquire({ preface, handlers: record.handlers })
      reused.push(lease.reused)
      lease.connection.write('?')
      await eventually(() => server.received.endsWith('?'))
      await record.until(() => record.text.endsWith(';'))
      lease.release({ reusable: true })
    }
    expect(reused).toEqual([false, true, false, false, true])
    expect(server.received).toBe('PROXY one\r\n??PROXY two\r\n???')
    const lease = await pool.acquire({ private: true, handlers: {} })
    lease.release({ reusable: true })
    expect([lease.reused, pool.stats().idle]).toEqual([false, 3])
  })

  it('does not lend what has ended or spoken while it was idle', async () => {
    await using runtime = mode.start()
    const server = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [server.options()], { reuse: 'always' })
    for (const spoil of [
      (peer: Connection) => peer.end(),
      (peer: Connection) => peer.reset(),
      (peer: Connection) => peer.write('an answer to nobody'),
    ]) {
      await ask(pool)
      expect(pool.stats().idle).toBe(1)
      for (const peer of server.connections) spoil(peer)
      await eventually(() => pool.stats().idle === 0)
    }
    expect(server.accepted).toBe(3)
    expect(await ask(pool)).toBe('a')
  })

  it('gives a lease back by itself when its connection ends, and takes no second release', async () => {
    await using runtime = mode.start()
    const server = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [server.options()])
    const lease = await pool.acquire({ handlers: { error() {} } })
    expect(pool.stats().used).toBe(1)
    lease.connection.destroy()
    await eventually(() => lease.released)
    lease.release({ reusable: true })
    expect(pool.stats()).toMatchObject({ used: 0, idle: 0 })
    expect(pool.path(1)).toBe('INI REQ ASS CON EST DIS CLO')
  })

  it('lends connections to iterators and streams, which are not kept afterwards', async () => {
    await using runtime = mode.start()
    const server = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [server.options()], { reuse: 'always' })
    const lease = await pool.acquire()
    lease.connection.write('?')
    for await (const chunks of lease.connection) {
      expect(Buffer.concat(chunks).toString()).toBe('a;')
      break
    }
    lease.release({ reusable: true })
    expect(pool.stats()).toMatchObject({ used: 0, idle: 0 })
  })

  it('bounds what is used at once, and serves those who wait in order', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    await using pool = poolOf(runtime, [a.options({ maxConnections: 1 }), b.options({ maxConnections: 1 })], {
      ...{ queueTimeoutMs: 0, maxQueue: 3 },
    })
    const [one, two] = [await pool.acquire({ handlers: {} }), await pool.acquire({ handlers: {} })]
    const order: number[] = []
    const waiting = [3, 4, 5].map(async (id) => {
      const lease = await pool.acquire({ handlers: {} })
      order.push(id)
      return lease
    })
    await eventually(() => pool.stats().queued === 3)
    await expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_UPSTREAM_QUEUE_FULL' })
    two.release()
    const third = await waiting[0]!
    expect(third.server).toBe('b')
    one.release()
    expect((await waiting[1]!).server).toBe('a')
    third.release()
    await waiting[2]
    expect(order).toEqual([3, 4, 5])
    expect(Math.max(...pool.stats().servers.map(({ mostUsed }) => mostUsed))).toBe(1)
    expect(pool.path(4)).toMatch(/^INI REQ QUE ASS CON EST/)
    expect(pool.stats()).toMatchObject({ waited: 3, mostQueued: 3, failures: { ERR_SLUICE_UPSTREAM_QUEUE_FULL: 1 } })
  })

  it('does not let anybody wait for longer than allowed, or than wanted', async () => {
    await using runtime = mode.start()
    const a = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [a.options({ maxConnections: 1 })], { queueTimeoutMs: 20 })
    const lease = await pool.acquire({ handlers: {} })
    await expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_UPSTREAM_QUEUE_TIMEOUT' })
    const controller = new AbortController()
    const aborted = pool.acquire({ signal: controller.signal })
    controller.abort('changed my mind')
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED', cause: 'changed my mind' })
    await expect(pool.acquire({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED' })
    expect(pool.stats()).toMatchObject({ queued: 0, used: 1 })
    lease.release()
    expect(await ask(pool)).toBe('a')
  })

  it('lets limits grow with the load', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    const limits = { minConnections: 1, maxConnections: 4 }
    await using pool = poolOf(runtime, [a.options(limits), b.options(limits)], { fullConnections: 8 })
    const limitsNow = () => pool.stats().servers.map(({ limit }) => limit)
    expect(limitsNow()).toEqual([1, 1])
    const leases = await Promise.all(Array.from({ length: 8 }, () => pool.acquire({ handlers: {} })))
    expect(limitsNow()).toEqual([4, 4])
    expect(pool.stats().servers.map(({ used }) => used)).toEqual([4, 4])
    for (const lease of leases) lease.release()
    expect(limitsNow()).toEqual([1, 1])
  })

  it('tries another server at once where one refuses, and the same after a rest where there is no other', async () => {
    await using runtime = mode.start()
    const alive = await backend(runtime, 'alive')
    const dead = { name: 'dead', host: '127.0.0.1', port: await deadPort(runtime) }
    await using pool = poolOf(runtime, [dead, alive.options()])
    expect([await ask(pool), await ask(pool), await ask(pool)]).toEqual(['alive', 'alive', 'alive'])
    expect(pool.path(1)).toBe('INI REQ ASS CON CER REQ ASS CON EST DIS CLO')
    expect(pool.steps.find(({ to }) => to === 'CER')).toMatchObject({
      ...{ server: 'dead', error: { code: 'ERR_SLUICE_CONNECTION_REFUSED' } },
    })
    expect(pool.stats().servers[0]).toMatchObject({ name: 'dead', failed: 2, redispatched: 2, retried: 0, opened: 0 })

    await using alone = poolOf(runtime, [dead], { retries: 2, connect: { connectTimeoutMs: 30 } })
    await expect(alone.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CONNECTION_REFUSED' })
    expect(alone.path(1)).toBe('INI REQ ASS CON CER TAR REQ ASS CON CER TAR REQ ASS CON CER CLO')
    expect(alone.stats()).toMatchObject({
      retries: 2,
      failures: { ERR_SLUICE_CONNECTION_REFUSED: 1 },
      used: 0,
      connecting: 0,
    })

    await using stubborn = poolOf(runtime, [dead, alive.options()], {
      ...{ retries: 1, redispatch: false, connect: { connectTimeoutMs: 30 } },
    })
    await expect(stubborn.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CONNECTION_REFUSED' })
    expect(stubborn.stats().servers.map(({ failed, retried }) => [failed, retried])).toEqual([[2, 1], [0, 0]]) // biome-ignore format: one line
    await using impatient = poolOf(runtime, [dead, alive.options()], { retries: 0 })
    await expect(impatient.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CONNECTION_REFUSED' })
  })

  it('gets another connection for one that turned out dead', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    await using pool = poolOf(runtime, [a.options(), b.options()])
    const lease = await pool.acquire({ handlers: { error() {} } })
    expect(lease.server).toBe('a')
    const other = await lease.retry()
    expect([lease.released, other.server]).toEqual([true, 'b'])
    const third = await other.retry()
    expect(pool.stats()).toMatchObject({ used: 1, retries: 2 })
    third.release()
  })

  it('keeps to the server of a key, until that goes', async () => {
    await using runtime = mode.start()
    const backends = [await backend(runtime, 'a'), await backend(runtime, 'b'), await backend(runtime, 'c')]
    await using pool = poolOf(runtime, backends.map((each) => each.options()), { balance: 'hash' }) // biome-ignore format: one line
    const keys = Array.from({ length: 12 }, (_, i) => `client ${i}`)
    const before = await Promise.all(keys.map((key) => ask(pool, { key })))
    expect(await Promise.all(keys.map((key) => ask(pool, { key })))).toEqual(before)
    expect(new Set(before).size).toBe(3)
    await pool.server('b').drain()
    const after = await Promise.all(keys.map((key) => ask(pool, { key })))
    after.forEach((name, i) => {
      if (before[i] !== 'b') expect(name).toBe(before[i])
      else expect(name).not.toBe('b')
    })
    expect(await ask(pool, { server: 'c' })).toBe('c')
    expect(await ask(pool, { server: 'b' })).not.toBe('b')
  })

  it('lets those of a key wait for their server, and go elsewhere when its line is full or it goes down', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    const options = { maxConnections: 1, maxQueue: 1 }
    await using pool = poolOf(runtime, [a.options(options), b.options(options)], { balance: 'hash', queueTimeoutMs: 0 })
    const lease = await pool.acquire({ key: 'k', handlers: {} })
    const other = lease.server === 'a' ? 'b' : 'a'
    const waiting = pool.acquire({ key: 'k', handlers: {} })
    await eventually(() => pool.stats().servers.some(({ queued }) => queued === 1))
    const elsewhere = await pool.acquire({ key: 'k', handlers: {} })
    expect(elsewhere.server).toBe(other)
    elsewhere.release()
    void pool.server(lease.server).drain()
    expect((await waiting).server).toBe(other)
    expect(pool.path(2)).toBe('INI REQ QUE REQ ASS CON EST')
  })

  it('drains, maintains, adds, removes and replaces servers while it runs', async () => {
    await using runtime = mode.start()
    const [a, b, c] = [await backend(runtime, 'a'), await backend(runtime, 'b'), await backend(runtime, 'c')]
    await using pool = poolOf(runtime, [a.options(), b.options()], { reuse: 'always' })
    const lease = await pool.acquire({ handlers: {} })
    expect(lease.server).toBe('a')
    let isDrained = false
    const drained = pool.server('a').drain().then(() => { isDrained = true }) // biome-ignore format: one line
    expect(await Promise.all([ask(pool), ask(pool)])).toEqual(['b', 'b'])
    expect(isDrained).toBe(false)
    lease.release()
    await drained
    pool.server('a').ready()
    expect(new Set([await ask(pool), await ask(pool)])).toEqual(new Set(['a', 'b']))

    expect(pool.stats().servers[1]!.idle).toBeGreaterThan(0)
    await pool.server('b').maintain()
    expect(pool.stats().servers[1]).toMatchObject({ state: 'maintenance', isUsable: false, idle: 0 })
    pool.addServer(c.options())
    expect(new Set([await ask(pool), await ask(pool)])).toEqual(new Set(['a', 'c']))
    expect(() => pool.addServer(c.options())).toThrow(/"server.name" must be different/)

    const long = await pool.acquire({ server: 'c', handlers: { error() {} } })
    // Its time over, a connection in use is cut.
    await pool.removeServer('c', { timeoutMs: 20 })
    await eventually(() => long.released)
    expect(pool.servers.map(({ name }) => name)).toEqual(['a', 'b'])

    const kept = pool.server('a')
    pool.setServers([a.options({ weight: 3 }), c.options()])
    expect(pool.server('a')).toBe(kept)
    expect(kept.weight).toBe(3)
    const names = await Promise.all(Array.from({ length: 8 }, () => ask(pool)))
    expect(names.filter((name) => name === 'a').length).toBe(6)
    expect(() => pool.setServers([{ port: 0 }])).toThrow(/"servers\[0\].port"/)
    expect(() => pool.server('b')).toThrow(/one of "a", "c"/)
  })

  it('uses backups when nobody else is there, and tells when nobody is', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    await using pool = poolOf(runtime, [a.options(), b.options({ backup: true })])
    expect([await ask(pool), await ask(pool)]).toEqual(['a', 'a'])
    pool.server('a').weight = 0
    expect(await ask(pool)).toBe('b')
    await pool.server('b').maintain()
    await expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_UPSTREAM_UNAVAILABLE' })
    await using none = poolOf(runtime, [])
    await expect(none.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_UPSTREAM_UNAVAILABLE' })
  })

  it('takes a server out when its checks fail, and back in when they succeed', async () => {
    await using runtime = mode.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    const check = { intervalMs: 10, timeoutMs: 5000, rise: 2, fall: 2 }
    await using pool = poolOf(runtime, [a.options(), b.options()], { check, onDown: 'close' })
    await eventually(() => pool.stats().servers.every((server) => server.check!.good >= 2))
    const lease = await pool.acquire({ server: 'a', handlers: { error() {} } })
    await a.listener.destroy()
    await pool.turned('a', false)
    await eventually(() => lease.released)
    expect(await Promise.all([ask(pool), ask(pool)])).toEqual(['b', 'b'])
    const { check: told, downs, isUp } = pool.stats().servers[0]!
    expect({ downs, isUp, last: told!.last }).toMatchObject({
      downs: 1,
      isUp: false,
      last: { isGood: false, text: expect.stringContaining('refused') },
    })

    const again = await backend(runtime, 'a', { port: portOf(a.listener) })
    await pool.turned('a', true)
    await eventually(() => pool.stats().servers[0]!.isUp)
    expect(await ask(pool, { server: 'a' })).toBe('a')
    expect(again.accepted).toBeGreaterThan(0)
    // In maintenance it is left alone.
    await pool.server('a').maintain()
    const { good } = pool.stats().servers[0]!.check!
    await eventually(() => pool.stats().servers[1]!.check!.good > told!.good + 5)
    expect(pool.stats().servers[0]!.check!.good).toBe(good)
  })

  it('checks by what is answered: bytes, HTTP, or what an agent says', async () => {
    await using runtime = mode.start()
    let status = 200
    let verdict: unknown = true
    const http = await backend(
      runtime,
      'http',
      {},
      {
        data(connection, bytes) {
          const asked = Buffer.from(bytes).toString()
          http.received = asked
          connection.end(`HTTP/1.1 ${status} Whatever\r\n\r\n`)
        },
      },
    )
    const greeting = await backend(
      runtime,
      'greeting',
      {},
      { open: (connection) => void connection.write('220 hello\r\n') },
    )
    const echoing = await backend(runtime, 'echoing')
    const rules = { intervalMs: 10, timeoutMs: 5000, rise: 1, fall: 1 }
    await using pool = poolOf(runtime, [
      http.options({ check: { ...rules, http: { path: '/health', host: 'example.org' } } }),
      greeting.options({ check: { ...rules, expect: /^2\d\d / } }),
      echoing.options({ check: { ...rules, send: 'PING', expect: 'echoing;' } }),
      echoing.options({ name: 'wrong', check: { ...rules, send: 'PING', expect: 'nothing of this', timeoutMs: 10 } }),
      echoing.options({ name: 'agent', check: { ...rules, agent: async () => verdict as boolean } }),
    ])
    const up = () => pool.stats().servers.filter(({ isUp }) => isUp).map(({ name }) => name).join(' ') // biome-ignore format: one line
    const checked = () => pool.stats().servers.every(({ check }) => check!.last !== undefined)
    await eventually(checked)
    expect(up()).toBe('http greeting echoing agent')
    expect(http.received).toBe(
      'GET /health HTTP/1.1\r\nHost: example.org\r\nUser-Agent: sluice-check\r\nConnection: close\r\n\r\n',
    )
    expect(pool.stats().servers[3]!.check!.last!.text).toMatch(/no answer within 10 ms/)
    status = 503
    verdict = { up: false, text: 'disk full' }
    await eventually(() => up() === 'greeting echoing')
    expect(pool.stats().servers[0]!.check!.last!.text).toMatch(/status 503/)
    expect(pool.stats().servers[4]!.check!.last!.text).toMatch(/disk full/)
    status = 204
    verdict = { up: true, weight: 7, state: 'drain' }
    await eventually(() => up() === 'http greeting echoing agent')
    await eventually(() => pool.stats().servers[4]!.state === 'drain')
    expect(pool.stats().servers[4]!.weight).toBe(7)
    verdict = 'no verdict'
    await eventually(() => pool.stats().servers[4]!.check!.last!.text.includes('neither true, false nor'))
  })

  it('counts failed attempts as a bad check where that is asked for', async () => {
    await using runtime = mode.start()
    const alive = await backend(runtime, 'alive')
    const dead = { name: 'dead', host: '127.0.0.1', port: await deadPort(runtime) }
    const check = { intervalMs: 1_000_000, fall: 1, agent: async () => true }
    await using pool = poolOf(runtime, [dead, alive.options({ check: false })], { check, errorLimit: 2 })
    await eventually(() => pool.stats().servers[0]!.check!.good === 1)
    for (let i = 0; i < 4; i++) await ask(pool)
    expect(pool.stats().servers[0]).toMatchObject({ isUp: false, failed: 2, check: { bad: 1 } })
    expect(pool.changes).toMatchObject([
      { server: 'dead', isUp: false, reason: expect.stringContaining('2 failed attempts') },
    ])
  })

  it('lets connections in use finish when it closes, and refuses those who wait', async () => {
    await using runtime = mode.start()
    const a = await backend(runtime, 'a')
    const pool = poolOf(runtime, [a.options({ maxConnections: 2 })], { check: { intervalMs: 5, timeoutMs: 5000 } })
    await ask(pool)
    const record = new Record()
    const [one, two] = [
      await pool.acquire({ handlers: record.handlers }),
      await pool.acquire({ handlers: { error() {} } }),
    ]
    const waiting = expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    await eventually(() => pool.stats().queued === 1)
    const closing = pool.close({ timeoutMs: 50 })
    await waiting
    await expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
    one.connection.write('?')
    await record.until(() => record.text === 'a;')
    one.release({ reusable: true })
    // The other one is not given back, and is cut.
    await closing
    expect(two.released).toBe(true)
    expect(pool.stats()).toMatchObject({ used: 0, idle: 0, queued: 0 })
  })
})

describe.each(kernelModes().filter(({ threads }) => threads > 0))('a pool over two of $name', (mode) => {
  it('connects in the loop of the connection that it is to be relayed with', async () => {
    await using runtime = mode.start({ threads: 2 })
    const server = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [server.options()], { reuse: 'always' })
    const front = await runtime.listen({ host: '127.0.0.1', port: 0, allowHalfOpen: true })
    const accepted = front[Symbol.asyncIterator]()
    for (let i = 0; i < 6; i++) {
      const record = new Record()
      const client = await runtime.connect({ host: '127.0.0.1', port: portOf(front) }, record.handlers)
      const { value: inside } = await accepted.next()
      const lease = await pool.acquire({ beside: inside })
      const joined = relay(inside!, lease.connection)
      expect(joined.stats().native).toBe(true)
      client.write('?')
      await record.until(() => record.text === 'a;')
      client.destroy()
      await eventually(() => lease.released)
    }
  })
})

describe.each(modes())('a pool over TLS and $name', (mode) => {
  it('makes secure connections, under names of their own, behind a preface, and checks by handshakes', async () => {
    await using runtime = mode.start()
    const seen: (string | undefined)[] = []
    const server = await backend(
      runtime,
      'a',
      { tls: identities.serving },
      {
        open: (connection) => void seen.push(connection.tls?.serverName || undefined),
      },
    )
    const check = { intervalMs: 10, timeoutMs: 5000, tls: { ...identities.trusting, verifyName: 'localhost' } }
    const tls = { ...identities.trusting, verifyName: 'localhost' }
    await using pool = poolOf(runtime, [server.options({ tls, check })], { reuse: 'always' })
    await eventually(() => pool.stats().servers[0]!.check!.good > 0)
    seen.splice(0)
    expect(await ask(pool)).toBe('a')
    const named = await pool.acquire({ serverName: 'localhost', handlers: {} })
    expect([named.reused, named.connection.tls?.protocol]).toEqual([false, 'TLSv1.3'])
    await eventually(() => seen.includes('localhost'))

    const plain = await backend(
      runtime,
      'b',
      {},
      {
        open(connection) {
          connection.data = ''
        },
        data(connection, bytes) {
          if (connection.tls !== undefined) return void connection.write('secure;')
          // The header, and nothing behind it yet: the client waits for our hello.
          connection.data += Buffer.from(bytes).toString()
          plain.received += Buffer.from(bytes).toString()
        },
      },
    )
    await using other = poolOf(runtime, [plain.options()], {})
    const lease = await other.acquire({ preface: Buffer.from('HEADER\r\n'), handlers: {} })
    await eventually(() => plain.received === 'HEADER\r\n')
    lease.release()
  })

  it('does not go on trying where the certificate is wrong', async () => {
    await using runtime = mode.start()
    const server = await backend(runtime, 'a', { tls: identities.serving })
    await using pool = poolOf(runtime, [server.options({ tls: { ca: identities.stranger.cert } })], {})
    await expect(pool.acquire()).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_SLUICE_TLS_CERTIFICATE/) })
    expect(pool.path(1)).toBe('INI REQ ASS CON CER CLO')
  })
})

describe("a pool in the simulated network's own time", () => {
  it('closes what it does not need by halves, every five seconds', async () => {
    await using runtime = simulated.start()
    const a = await backend(runtime, 'a')
    await using pool = poolOf(runtime, [a.options()], { reuse: 'always', idleHighRatio: 1, idleLowRatio: 1 })
    const leases = await Promise.all(Array.from({ length: 100 }, () => pool.acquire({ handlers: {} })))
    const beganMs = runtime.nowMs()
    for (const lease of leases) lease.release({ reusable: true })
    expect(pool.stats().idle).toBe(100)
    const seen: [number, number][] = []
    await new Promise<void>((resolve) => {
      const look = () => {
        const { idle } = pool.stats()
        if (seen.at(-1)?.[1] !== idle) seen.push([Math.round((runtime.nowMs() - beganMs) / 1000), idle])
        if (idle === 0) resolve()
        else runtime.after(100, look)
      }
      look()
    })
    const counts = seen.map(([, idle]) => idle)
    expect(counts.slice(0, 6)).toEqual([100, 75, 50, 31, 18, 10])
    // A purge each five seconds, and never all at once.
    for (let i = 2; i < seen.length; i++) expect(seen[i]![0] - seen[i - 1]![0]).toBeGreaterThanOrEqual(4)
    expect(pool.stats().servers[0]!.purged).toBe(100)
  })

  it('rests for a second before the same server is tried again', async () => {
    await using runtime = simulated.start()
    const port = await deadPort(runtime)
    await using pool = poolOf(runtime, [{ host: '127.0.0.1', port }], { retries: 3 })
    const beganMs = runtime.nowMs()
    const failed = expect(pool.acquire()).rejects.toMatchObject({ code: 'ERR_SLUICE_CONNECTION_REFUSED' })
    await eventually(() => pool.stats().resting === 1)
    expect(pool.stats().nextAttemptInMs).toBeLessThanOrEqual(1000)
    await failed
    const tookMs = runtime.nowMs() - beganMs
    expect(tookMs).toBeGreaterThanOrEqual(3000)
    expect(tookMs).toBeLessThan(3500)
  })

  it('gives a server that comes back its part step by step', async () => {
    await using runtime = simulated.start()
    const [a, b] = [await backend(runtime, 'a'), await backend(runtime, 'b')]
    await using pool = poolOf(runtime, [a.options({ slowStartMs: 10_000, maxConnections: 100 }), b.options()], {
      balance: 'leastConnections',
    })
    const elapse = (ms: number) => new Promise<void>((resolve) => void runtime.after(ms, resolve))
    await pool.server('a').maintain()
    pool.server('a').ready()
    const parts: number[] = []
    for (let i = 0; i < 3; i++) {
      const leases = await Promise.all(Array.from({ length: 30 }, () => pool.acquire({ handlers: {} })))
      parts.push(leases.filter(({ server }) => server === 'a').length)
      for (const lease of leases) lease.release()
      expect(pool.stats().servers[0]!.limit).toBe([1, 50, 100][i])
      await elapse(5000)
    }
    expect(parts[0]).toBeLessThanOrEqual(1)
    expect(parts[1]).toBeGreaterThanOrEqual(9)
    expect(parts[1]).toBeLessThanOrEqual(11)
    expect(parts[2]).toBe(15)
  })
})

describe('options of a pool', () => {
  const wrong: [options: unknown, text: RegExp][] = [
    [undefined, /"servers" is missing/],
    [{ servers: {} }, /"servers" must be a list of servers/],
    [{ servers: [{}] }, /"servers\[0\].port" is missing/],
    [{ servers: [{ port: 1 }, { port: 70_000 }] }, /"servers\[1\].port" must be an integer from 1 to 65535, not 70000/],
    [{ servers: [{ port: 1, path: '/x' }] }, /"servers\[0\].port" cannot be given together with "servers\[0\].path"/],
    [
      { servers: [{ port: 1 }, { port: 1 }] },
      /"servers\[1\].name" must be different for each server, not 'localhost:1'/,
    ],
    [{ servers: [{ port: 1, wieght: 2 }] }, /"servers\[0\].wieght" is unknown; did you mean "weight"/],
    [{ servers: [{ port: 1, weight: 257 }] }, /"servers\[0\].weight" must be an integer from 0 to 256/],
    [
      { servers: [{ port: 1, minConnections: 2 }] },
      /"servers\[0\].minConnections" needs "servers\[0\].maxConnections"/,
    ],
    [{ servers: [{ port: 1, minConnections: 2, maxConnections: 1 }] }, /"servers\[0\].minConnections" must be at most/],
    [{ servers: [{ port: 1, minConnections: 1, maxConnections: 2 }] }, /absent without "fullConnections"/],
    [{ servers: [{ port: 1, state: 'up' }] }, /"servers\[0\].state" must be one of "ready", "drain", "maintenance"/],
    [{ servers: [{ port: 1, check: { rise: 0 } }] }, /"servers\[0\].check.rise" must be an integer from 1/],
    [{ servers: [], balance: 'roundrobin' }, /"balance" must be one of .*did you mean "roundRobin"/],
    [{ servers: [], connect: 5 }, /"connect" must be an object/],
    [{ servers: [], connect: { host: 'x' } }, /"connect.host" must be absent: it belongs to a server/],
    [
      { servers: [], connect: { signal: AbortSignal.abort() } },
      /"connect.signal" must be absent: it belongs to acquire/,
    ],
    [{ servers: [], connect: { connectTimeoutMs: -1 } }, /"connect.connectTimeoutMs" must be an integer/],
    [{ servers: [], retries: 101 }, /"retries" must be an integer from 0 to 100/],
    [{ servers: [], reuse: 'sometimes' }, /"reuse" must be one of/],
    [{ servers: [], idleHighRatio: 2 }, /"idleHighRatio" must be a number from 0 to 1/],
    [{ servers: [], idleLowRatio: 0.9 }, /"idleLowRatio" must be at most "idleHighRatio", 0.25/],
    [{ servers: [], errorLimit: 3 }, /"errorLimit" must be 0 without "check"/],
    [{ servers: [], check: 1 }, /"check" must be true, false or options/],
    [{ servers: [], check: { http: {}, send: 'x' } }, /"check.send" cannot be given together with "check.http"/],
    [{ servers: [], check: { http: { path: 'x' } } }, /"check.http.path" must be a path that begins with \//],
    [{ servers: [], check: { http: { path: '/\r\nHost: y' } } }, /"check.http.path" must be/],
    [{ servers: [], check: { http: { method: 'GET /' } } }, /"check.http.method" must be a method/],
    [{ servers: [], check: { http: { status: [200, 42] } } }, /"check.http.status" must be a status/],
    [
      { servers: [], check: { agent: async () => true, port: 1 } },
      /"check.port" cannot be given together with "check.agent"/,
    ],
    [{ servers: [], runtime: {} }, /"runtime" must be a Runtime/],
    [{ servers: [], onStep: 1 }, /"onStep" must be a function/],
  ]

  it.each(wrong)('%o: refused', (options, text) => {
    expect(() => new UpstreamPool(options as never)).toThrow(text)
  })

  it('are refused for a single request too', async () => {
    await using runtime = simulated.start()
    await using pool = poolOf(runtime, [{ port: 1 }])
    for (const [options, text] of [
      [{ kye: 'x' }, /"kye" is unknown; did you mean "key"/],
      [{ key: 5 }, /"key" must be/],
      [{ preface: 'text' }, /"preface" must be a Uint8Array/],
      [{ first: 1 }, /"first" must be true or false/],
      [{ handlers: 5 }, /"handlers" must be an object of functions/],
      [{ signal: 1 }, /"signal" must be an AbortSignal/],
    ] as const)
      await expect(pool.acquire(options as never)).rejects.toThrow(text)
    expect(pool.stats().requested).toBe(0)
    expect(() => pool.server('localhost:1').drain({ timeoutMs: -1 })).toThrow(/"timeoutMs"/)
    expect(() => (pool.server('localhost:1').weight = 1.5)).toThrow(/"weight"/)
  })
})
