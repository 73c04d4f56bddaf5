// Names in etcd, against the real server.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Runtime } from 'sluice'
import { type EtcdOptions, type EtcdResolver, etcdResolver, registerService } from 'sluice/etcd'
import { type Endpoint, MessageService } from 'sluice/messages'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { needsEtcd, TestEtcd } from '../support/etcd.js'
import { fast, fleet, held, Place, who } from '../support/fleet.js'
import { eventually } from '../support/pair.js'
import { root } from '../support/program.js'

const never = new AbortController().signal
const portsOf = (endpoints: readonly Endpoint[]) => endpoints.map(({ port }) => port).sort()
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** What is known of a name, whenever that changes. */
class Follower {
  list: readonly Endpoint[] | undefined
  readonly stop: () => void

  constructor(resolver: EtcdResolver, name: string) {
    this.stop = resolver.watch(name, (endpoints) => {
      this.list = endpoints
    })
  }

  async until(...ports: number[]): Promise<void> {
    await eventually(() => this.list !== undefined && String(portsOf(this.list)) === String(ports))
  }
}

describe('a service in etcd', () => {
  let etcd: TestEtcd
  let options: EtcdOptions
  let open: { close(): unknown }[]
  const opened = <T extends { close(): unknown }>(one: T): T => {
    open.push(one)
    return one
  }
  const register = async (port: number, more: Parameters<typeof registerService>[2] = {}) =>
    opened(await registerService('fleet', { address: '127.0.0.1', port }, { ...options, ...more }))
  const resolving = (more: EtcdOptions = {}) => opened(etcdResolver({ ...options, ...more }))

  beforeEach(async (context) => {
    needsEtcd(context)
    open = []
    etcd = await new TestEtcd().start()
    options = { urls: etcd.url, retryMs: 20 }
  })
  afterEach(async () => {
    for (const one of open) await one.close()
    await etcd?.[Symbol.asyncDispose]()
  })

  it('is found by others while it is registered', async () => {
    const resolver = resolving()
    expect(await resolver.resolve('fleet', never)).toEqual([])
    const registration = await register(7001)
    await registerService('fleet', '/run/fleet', { ...options, id: 'socket' }).then(opened)
    await registerService('fleets', '127.0.0.1:9', options).then(opened)
    expect(registration.isRegistered).toBe(true)
    const found = await resolver.resolve('fleet', never)
    expect(new Set(found)).toEqual(new Set([{ address: '127.0.0.1', port: 7001 }, { path: '/run/fleet' }]))
    await registration.close()
    expect(registration.isRegistered).toBe(false)
    expect(await resolver.resolve('fleet', never)).toEqual([{ path: '/run/fleet' }])
  })

  it('is followed: who comes and who goes', async () => {
    const resolver = resolving()
    const follower = new Follower(resolver, 'fleet')
    expect(await resolver.resolve('fleet', never)).toEqual([])
    const first = await register(7001)
    await follower.until(7001)
    await register(7002, { id: 'second' })
    await follower.until(7001, 7002)
    await register(7003, { id: 'second' })
    await follower.until(7001, 7003)
    await first.close()
    await follower.until(7003)
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7003])
  })

  it('is gone when its process is, as soon as its time is over', async () => {
    const follower = new Follower(resolving(), 'fleet')
    const script = `
      const { registerService } = require('sluice/etcd')
      registerService('fleet', '127.0.0.1:7001', { urls: '${etcd.url}', ttlSeconds: 2 }).then(() => console.log('there'))
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['-e', script], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
    await once(createInterface({ input: child.stdout }), 'line')
    await follower.until(7001)
    const begun = performance.now()
    child.kill('SIGKILL')
    await follower.until()
    expect(performance.now() - begun).toBeLessThan(10_000)
  })

  it('stands longer than its time, because its lease is renewed', async () => {
    await register(7001, { ttlSeconds: 2 })
    const resolver = resolving()
    const lease = await grant(1)
    await etcd.ask('/v3/kv/put', {
      key: base64('sluice/services/fleet/brief'),
      value: base64('"127.0.0.1:7009"'),
      lease,
    })
    // Renewed never, granted later for less, and gone: so the other one has been renewed, unless it goes too.
    const follower = new Follower(resolver, 'fleet')
    await follower.until(7001)
    for (let second = 0; second < 3; second++) {
      const another = await grant(1)
      await eventuallyGone(another)
    }
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7001])
  })

  async function grant(seconds: number): Promise<string> {
    const { ID } = (await etcd.ask('/v3/lease/grant', { TTL: String(seconds) })) as { ID: string }
    return ID
  }

  async function eventuallyGone(lease: string): Promise<void> {
    for (;;) {
      const { TTL } = (await etcd.ask('/v3/lease/timetolive', { ID: lease })) as { TTL: string }
      if (Number(TTL) < 0) return
    }
  }

  it('stays known while etcd is away, and is followed again when it is back', async () => {
    const told: string[] = []
    const events = { lost: () => told.push('lost'), found: () => told.push('found') } as never
    const resolver = resolving({ events })
    const registration = await register(7001)
    const follower = new Follower(resolver, 'fleet')
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7001])
    await etcd.kill()
    await eventually(() => told.length > 0)
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7001])
    await etcd.start()
    await eventually(() => told.length > 1)
    expect(told).toEqual(['lost', 'found'])
    await register(7002)
    await follower.until(7001, 7002)
    expect(registration.isRegistered).toBe(true)
  })

  it('registers again where etcd has lost everything', async () => {
    const registration = await register(7001, { ttlSeconds: 2 })
    const follower = new Follower(resolving(), 'fleet')
    await etcd.kill()
    etcd.wipe()
    await etcd.start()
    await follower.until()
    await follower.until(7001)
    expect(registration.isRegistered).toBe(true)
  })

  it('leaves out what is no endpoint, and says so', async () => {
    await register(7001)
    await etcd.ask('/v3/kv/put', { key: base64('sluice/services/fleet/odd'), value: base64('nonsense') })
    const ignored: string[] = []
    const resolver = resolving({ events: { ignored: (key) => void ignored.push(key) } })
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7001])
    expect(ignored).toEqual(['sluice/services/fleet/odd'])
  })

  it('is found by any member that answers', async () => {
    const dead = await new TestEtcd().start()
    const { url } = dead
    await dead[Symbol.asyncDispose]()
    const urls = [url, etcd.url]
    await registerService('fleet', '127.0.0.1:7001', { ...options, urls }).then(opened)
    expect(portsOf(await resolving({ urls }).resolve('fleet', never))).toEqual([7001])
    await expect(resolving({ urls: url }).resolve('fleet', never)).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_NAME_NOT_RESOLVED', address: 'fleet' },
      cause: { code: 'ERR_SLUICE_ETCD_FAILED', message: expect.stringContaining('ECONNREFUSED') },
    })
    await expect(registerService('fleet', '127.0.0.1:7001', { ...options, urls: url })).rejects.toMatchObject({
      code: 'ERR_SLUICE_ETCD_FAILED',
    })
  })

  it('needs user and password where etcd asks for them', async () => {
    await etcd.ask('/v3/auth/user/add', { name: 'root', password: 'secret' })
    await etcd.ask('/v3/auth/user/grant', { user: 'root', role: 'root' })
    await etcd.ask('/v3/auth/enable', {})
    await expect(register(7001)).rejects.toMatchObject({ code: 'ERR_SLUICE_ETCD_FAILED' })
    await expect(register(7001, { user: 'root', password: 'wrong' })).rejects.toMatchObject({
      message: expect.stringContaining('invalid user ID or password'),
    })
    const user = { user: 'root', password: 'secret' }
    await register(7001, user)
    const resolver = resolving(user)
    const follower = new Follower(resolver, 'fleet')
    expect(portsOf(await resolver.resolve('fleet', never))).toEqual([7001])
    await register(7002, user)
    await follower.until(7001, 7002)
  })

  it('has pools that follow it, without losing a message', async () => {
    await using runtime = Object.assign(new Runtime(), { [Symbol.asyncDispose]: async () => {} })
    const [a, b] = await Promise.all(['a', 'b'].map((name) => Place.start(runtime, name)))
    const first = opened(await registerService('fleet', a!.endpoint, options))
    const client = new MessageService({ protocols: [fleet], runtime, resolver: resolving() })
    const pool = client.pool('fleet', { ...fast, maxConnections: 2, persistentConnections: 2 })
    expect(await pool.request(who, undefined)).toBe('a')
    const slow = pool.request(held, undefined)
    await eventually(() => a!.held.length === 1)
    opened(await registerService('fleet', b!.endpoint, options))
    await eventually(() => b!.active === 1)
    await first.close()
    await eventually(() => b!.active === 2)
    const answers = await Promise.all(Array.from({ length: 20 }, () => pool.request(who, undefined)))
    expect(new Set(answers)).toEqual(new Set(['b']))
    a!.held[0]!()
    expect(await slow).toBe('a')
    await eventually(() => a!.active === 0)
    expect(pool.stats()).toMatchObject({ failed: 0, resent: 0 })
    await client.close()
    await runtime.destroy()
  })
})

describe('options of etcd', () => {
  it.each([
    [{ urls: 'localhost:2379' }, 'option "urls" must be'],
    [{ urls: [] }, 'option "urls" must be'],
    [{ user: 'root' }, 'option "user" needs "password"'],
    [{ cert: 'PEM' }, 'option "cert" needs "key"'],
    [{ events: { gone: () => {} } as object }, 'option "events" must be an object of functions: lost, found, ignored'],
    [{ retries: 3 } as object, 'option "retries" is unknown'],
  ])('refuses %o', (options, message) => {
    expect(() => etcdResolver(options)).toThrow(message)
  })

  it.each([
    ['a/b', '127.0.0.1:1', {}, 'option "name" must be a name without "/"'],
    ['a', '0.0.0.0:1', {}, 'option "endpoint.address" must be an address that others can connect to'],
    ['a', 'nowhere', {}, 'option "endpoint" must be'],
    ['a', '127.0.0.1:1', { id: 'a/b' }, 'option "id" must be an id without "/"'],
    ['a', '127.0.0.1:1', { ttlSeconds: 1 }, 'option "ttlSeconds" must be an integer from 2'],
  ])('refuses to register %o at %o with %o', async (name, endpoint, options, message) => {
    await expect(registerService(name, endpoint, options)).rejects.toThrow(message)
  })
})
