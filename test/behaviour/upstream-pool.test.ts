// Pools of connections to several servers, over real sockets of each engine: lending, limits, retries, ending.
import { type Connection, relay, type UpstreamPoolOptions } from 'sluice'
import { describe, expect, it } from 'vitest'
import { ask, backend, deadPort, poolOf } from '../support/backends.js'
import * as identities from '../support/identities.js'
import { kernelModes, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

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
    // Long enough for a slow machine to get an answer meanwhile.
    const closing = pool.close({ timeoutMs: 400 })
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
