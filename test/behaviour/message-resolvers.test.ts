// Pools whose addresses come from a resolver, over every engine: tried one at a time, spread, followed.
import { createSocket } from 'node:dgram'
import type { SluiceError } from 'sluice'
import {
  callbackResolver,
  dnsResolver,
  type Endpoint,
  MessageService,
  type NameResolver,
  StaticResolver,
} from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { TestDns } from '../support/dns.js'
import { fast, fleet, held, Place, who } from '../support/fleet.js'
import { modes } from '../support/modes.js'
import { eventually } from '../support/pair.js'

const never = new AbortController().signal

describe.each(modes())('a pool with a resolver on $name', (mode) => {
  it('spreads its connections over the places, and fails over to another one', async () => {
    await using runtime = mode.start()
    const places = await Promise.all(['a', 'b', 'c'].map((name) => Place.start(runtime, name)))
    const resolver = new StaticResolver({ fleet: places.map(({ endpoint }) => endpoint) })
    const client = new MessageService({ protocols: [fleet], runtime, resolver })
    const pool = client.pool('fleet', { ...fast, maxConnections: 3, persistentConnections: 3 })
    await pool.request(who, undefined)
    await eventually(() => pool.stats().active === 3)
    const asked = await Promise.all([1, 2, 3].map(() => pool.request(who, undefined)))
    expect(new Set(asked)).toEqual(new Set(['a', 'b', 'c']))
    expect(places.map(({ active }) => active)).toEqual([1, 1, 1])
    await places[1]!.service.destroy()
    await eventually(() => pool.stats().connected > 3 && pool.stats().active === 3)
    expect(places[1]!.active).toBe(0)
    const later = await Promise.all(Array.from({ length: 6 }, () => pool.request(who, undefined)))
    expect(new Set(later)).toEqual(new Set(['a', 'c']))
  })

  it('tries one address at a time, in their order, and not again those that have failed', async () => {
    await using runtime = mode.start()
    const [gone, place] = await Promise.all(['gone', 'there'].map((name) => Place.start(runtime, name)))
    await gone!.service.destroy()
    const starts: string[] = []
    const client = new MessageService({
      ...{ protocols: [fleet], runtime },
      resolver: new StaticResolver({ fleet: [gone!.endpoint, place!.endpoint] }),
      events: { connectionStart: () => void starts.push('start') },
    })
    const pool = client.pool('fleet', fast)
    expect(await pool.request(who, undefined)).toBe('there')
    expect([pool.stats().connected, starts.length]).toEqual([1, 1])
  })

  it('follows the list: new places are used at once, gone ones finish what they have begun', async () => {
    await using runtime = mode.start()
    const [a, b] = await Promise.all(['a', 'b'].map((name) => Place.start(runtime, name)))
    const resolver = new StaticResolver({ fleet: [a!.endpoint] })
    const client = new MessageService({ protocols: [fleet], runtime, resolver })
    const pool = client.pool('fleet', { ...fast, maxConnections: 2, persistentConnections: 1 })
    const slow = pool.request(held, undefined)
    await eventually(() => a!.held.length === 1)
    resolver.set('fleet', [b!.endpoint])
    expect(await pool.request(who, undefined)).toBe('b')
    expect([a!.active, b!.active]).toEqual([1, 1])
    a!.held[0]!()
    expect(await slow).toBe('a')
    await eventually(() => a!.active === 0)
    expect(await pool.request(who, undefined)).toBe('b')
    expect(pool.stats()).toMatchObject({ active: 1, failed: 0, resent: 0 })
  })

  it('moves connections to a place that is new, as many as are its part', async () => {
    await using runtime = mode.start()
    const [a, b] = await Promise.all(['a', 'b'].map((name) => Place.start(runtime, name)))
    const resolver = new StaticResolver({ fleet: [a!.endpoint] })
    const client = new MessageService({ protocols: [fleet], runtime, resolver })
    const pool = client.pool('fleet', { ...fast, maxConnections: 4, persistentConnections: 4 })
    await pool.request(who, undefined)
    await eventually(() => a!.active === 4)
    resolver.set('fleet', [a!.endpoint, b!.endpoint])
    await eventually(() => a!.active === 2 && b!.active === 2 && pool.stats().active === 4)
    expect(pool.stats()).toMatchObject({ failed: 0, resent: 0 })
  })

  it('waits while the list is empty, and keeps what it has when it becomes so', async () => {
    await using runtime = mode.start()
    const place = await Place.start(runtime, 'a')
    const resolver = new StaticResolver({ fleet: [] })
    const client = new MessageService({ protocols: [fleet], runtime, resolver })
    // Hours: only the news can end the wait.
    const pool = client.pool('fleet', { reconnect: { baseMs: 80_000_000, steps: 1 } })
    const asked = pool.request(who, undefined)
    await eventually(() => pool.stats().nextAttemptMs !== undefined)
    resolver.set('fleet', [place.endpoint])
    expect(await asked).toBe('a')
    resolver.set('fleet', [])
    expect(await pool.request(who, undefined)).toBe('a')
    expect(place.active).toBe(1)
  })

  it('asks again at every second attempt when nothing works, and stops watching when it is closed', async () => {
    await using runtime = mode.start()
    const place = await Place.start(runtime, 'a')
    await place.service.destroy()
    let asked = 0
    let watched = 0
    const resolver: NameResolver = {
      async resolve() {
        asked++
        const [address, port] = place.endpoint.split(':')
        return [{ address, port: Number(port) }]
      },
      watch() {
        watched++
        return () => void watched--
      },
    }
    const client = new MessageService({ protocols: [fleet], runtime, resolver })
    const pool = client.pool('fleet', fast)
    const request = pool.request(who, undefined).catch((error: SluiceError) => error.code)
    await eventually(() => pool.stats().failures >= 6)
    const { failures } = pool.stats()
    expect(asked).toBeGreaterThanOrEqual(Math.floor(failures / 2))
    expect(asked).toBeLessThanOrEqual(Math.ceil(failures / 2) + 1)
    expect(watched).toBe(1)
    pool.destroy()
    expect([watched, await request]).toEqual([0, 'ERR_SLUICE_MESSAGE_CONNECTION'])
  })
})

describe('a list of names', () => {
  it('refuses what is no endpoint, and names that it does not have', async () => {
    expect(() => new StaticResolver({ fleet: ['nowhere'] })).toThrow('option "names.fleet[0]" must be \'address:port\'')
    expect(() => new StaticResolver({ fleet: [{ address: '::1', port: 0 }] })).toThrow('from 1 to 65535, not 0')
    expect(() => new StaticResolver({ fleet: [{ port: 1 } as Endpoint] })).toThrow('names.fleet[0]')
    await expect(new StaticResolver({ some: [] }).resolve('other')).rejects.toMatchObject({
      code: 'ERR_SLUICE_NAME_NOT_RESOLVED',
    })
  })

  it('tells of changes only, and until it is told to stop', () => {
    const resolver = new StaticResolver({ fleet: ['1.2.3.4:5', '/run/socket'] })
    const told: unknown[] = []
    const stop = resolver.watch('fleet', (list) => told.push(list))
    resolver.set('fleet', ['1.2.3.4:5', { path: '/run/socket' }])
    resolver.set('other', ['1.2.3.4:5'])
    expect(told).toEqual([])
    resolver.set('fleet', '[::1]:6')
    stop()
    resolver.set('fleet', [])
    expect(told).toEqual([[{ address: '::1', port: 6 }]])
  })
})

describe('a callback', () => {
  it('is asked with the name, and again as long as somebody watches', async () => {
    let list = ['1.2.3.4:5']
    const names: string[] = []
    const resolver = callbackResolver(
      (name) => {
        names.push(name)
        return list
      },
      { refreshMs: 5 },
    )
    const told = new Promise((resolve) => {
      const stop = resolver.watch!('fleet', ([endpoint]) => {
        if (endpoint!.port === 5) return
        stop()
        resolve(endpoint)
      })
    })
    expect(await resolver.resolve('fleet', never)).toEqual([{ address: '1.2.3.4', port: 5 }])
    list = ['1.2.3.4:6']
    expect(await told).toEqual({ address: '1.2.3.4', port: 6 })
    expect(new Set(names)).toEqual(new Set(['fleet']))
  })

  it('that gives what is no list is a failure of the attempt', async () => {
    const resolver = callbackResolver(() => ['nonsense'])
    await expect(resolver.resolve('fleet', never)).rejects.toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION' })
  })
})

describe('DNS', () => {
  it('gives the addresses of both families, and asks again when their time is over', async () => {
    await using dns = await TestDns.start()
    dns.records = [
      { name: 'fleet.test', type: 'A', ttl: 0, data: '127.0.0.1' },
      { name: 'fleet.test', type: 'A', ttl: 60, data: '127.0.0.2' },
      { name: 'fleet.test', type: 'AAAA', ttl: 60, data: '::1' },
    ]
    const resolver = dnsResolver({ servers: [dns.address], minRefreshMs: 10 })
    const told = new Promise((resolve) => {
      const stop = resolver.watch!('fleet.test:7000', (endpoints) => {
        if (endpoints.length > 1) return
        stop()
        resolve(endpoints)
      })
    })
    expect(await resolver.resolve('fleet.test:7000', never)).toEqual([
      { address: '::1', port: 7000 },
      { address: '127.0.0.1', port: 7000 },
      { address: '127.0.0.2', port: 7000 },
    ])
    dns.records = [{ name: 'fleet.test', type: 'A', ttl: 60, data: '127.0.0.3' }]
    expect(await told).toEqual([{ address: '127.0.0.3', port: 7000 }])
  })

  it('gives services by SRV: lower priorities first, hosts with their ports', async () => {
    await using dns = await TestDns.start()
    dns.records = [
      { name: '_fleet._tcp.test', type: 'SRV', ttl: 60, data: { priority: 20, weight: 1, port: 7002, host: 'b.test' } },
      { name: '_fleet._tcp.test', type: 'SRV', ttl: 60, data: { priority: 10, weight: 1, port: 7001, host: 'a.test' } },
      {
        name: '_fleet._tcp.test',
        type: 'SRV',
        ttl: 60,
        data: { priority: 30, weight: 1, port: 7003, host: 'none.test' },
      },
      { name: 'a.test', type: 'A', ttl: 60, data: '127.0.0.1' },
      { name: 'b.test', type: 'A', ttl: 60, data: '127.0.0.2' },
    ]
    const resolver = dnsResolver({ servers: [dns.address] })
    expect(await resolver.resolve('_fleet._tcp.test', never)).toEqual([
      { address: '127.0.0.1', port: 7001 },
      { address: '127.0.0.2', port: 7002 },
    ])
  })

  it('gives names that have no port of their own by SRV, or by their addresses with the one given', async () => {
    await using dns = await TestDns.start()
    const srv = { priority: 1, weight: 0, port: 7001, host: 'a.test' }
    dns.records = [
      { name: 'both.test', type: 'SRV', ttl: 60, data: srv },
      { name: 'both.test', type: 'A', ttl: 60, data: '127.0.0.9' },
      { name: 'a.test', type: 'A', ttl: 60, data: '127.0.0.1' },
    ]
    const resolver = dnsResolver({ servers: [dns.address], port: 7 })
    expect(await resolver.resolve('both.test', never)).toEqual([{ address: '127.0.0.1', port: 7001 }])
    expect(await resolver.resolve('a.test', never)).toEqual([{ address: '127.0.0.1', port: 7 }])
    await expect(dnsResolver({ servers: [dns.address] }).resolve('a.test', never)).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_NAME_NOT_RESOLVED', address: 'a.test' },
    })
  })

  it('draws those of one priority by their weight', async () => {
    await using dns = await TestDns.start()
    const srv = (host: string, priority: number, weight: number, port: number) =>
      ({ name: '_m._tcp.x', type: 'SRV', ttl: 60, data: { priority, weight, port, host } }) as const
    dns.records = [srv('b.x', 20, 5, 2), srv('a.x', 10, 1, 1), srv('c.x', 10, 99, 3)]
    for (const [at, name] of ['a.x', 'b.x', 'c.x'].entries())
      dns.records.push({ name, type: 'A', ttl: 60, data: `10.0.0.${at}` })
    const order = async (random: number) => {
      const resolver = dnsResolver({ servers: [dns.address], random: () => random })
      return (await resolver.resolve('_m._tcp.x', never)).map(({ port }) => port)
    }
    expect(await order(0.5)).toEqual([3, 1, 2])
    expect(await order(0)).toEqual([1, 3, 2])
  })

  it('says which name there is not, and keeps the list when a refresh fails', async () => {
    await using dns = await TestDns.start()
    const resolver = dnsResolver({ servers: [dns.address], minRefreshMs: 5, retryMs: 5 })
    const failure = { code: 'ERR_SLUICE_NAME_NOT_RESOLVED', address: 'none.test' }
    await expect(resolver.resolve('none.test:1', never)).rejects.toMatchObject(failure)
    await expect(resolver.resolve('_none._tcp.test', never)).rejects.toMatchObject({ address: '_none._tcp.test' })
    await expect(resolver.resolve('nothing', never)).rejects.toMatchObject({ code: 'ERR_SLUICE_NAME_NOT_RESOLVED' })
    expect(await resolver.resolve('[::1]:7', never)).toEqual([{ address: '::1', port: 7 }])
    dns.records = [{ name: 'fleet.test', type: 'A', ttl: 0, data: '127.0.0.1' }]
    const told: unknown[] = []
    const stop = resolver.watch!('fleet.test:1', (endpoints) => told.push(endpoints))
    await resolver.resolve('fleet.test:1', never)
    const { asked } = dns
    dns.records = []
    await eventually(() => dns.asked > asked + 6)
    expect(told).toEqual([[{ address: '127.0.0.1', port: 1 }]])
    stop()
  })

  it.each([
    [{ servers: ['dns.test'] }, 'option "servers" must be'],
    [{ servers: [] }, 'option "servers" must be'],
    [{ minRefreshMs: 10, maxRefreshMs: 5 }, 'option "maxRefreshMs" must be at least "minRefreshMs"'],
    [{ ttl: 5 } as object, 'option "ttl" is unknown'],
  ])('refuses %o', (options, message) => {
    expect(() => dnsResolver(options)).toThrow(message)
  })

  it('is no matter of the system: a server that is closed does not answer', async () => {
    const socket = createSocket('udp4')
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
    const { port } = socket.address()
    socket.close()
    const resolver = dnsResolver({ servers: [`127.0.0.1:${port}`], timeoutMs: 50 })
    await expect(resolver.resolve('fleet.test:1', never)).rejects.toMatchObject({
      code: 'ERR_SLUICE_NAME_NOT_RESOLVED',
    })
  })
})
