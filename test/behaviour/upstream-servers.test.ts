// The servers of a pool: how they come and go, and how they are; and pools in the simulated network's own time.
import { UpstreamPool } from 'sluice'
import { describe, expect, it } from 'vitest'
import { ask, backend, deadPort, poolOf } from '../support/backends.js'
import { type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'

const simulated = modes().find((mode) => mode.simulated) as Mode

describe.each(modes())('servers of a pool over $name', (mode) => {
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
