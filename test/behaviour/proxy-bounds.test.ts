// What bounds the sessions of a proxy, and where its options end up: each key, and each flag.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { type ProxyConfig, ProxyServer, planOf } from 'sluice/proxy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseArguments } from '../../src/cli/arguments.js'
import { planOfFlags, proxyFlags } from '../../src/cli/proxy-flags.js'
import * as id from '../support/identities.js'
import { NamedServer } from '../support/proxied.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-proxy-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function fileOf(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

/** A proxy in this process, and how its sessions ended. */
async function start(config: ProxyConfig) {
  const ends: { outcome: string; side: string | undefined }[] = []
  const failures: string[] = []
  const proxy = await ProxyServer.start(planOf(config, folder), {
    session: (_, { outcome, side }) => void ends.push({ outcome, side }),
    handshakeFailed: (_, { code }) => void failures.push(code),
  })
  const ports = proxy.listeners.map(({ address }) => address.port!)
  return { proxy, ends, failures, ports, port: ports[0]!, [Symbol.asyncDispose]: () => proxy.destroy() }
}

async function dial(port: number, localAddress?: string): Promise<Socket> {
  const socket = netConnect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket.setEncoding('latin1') as Socket
}

async function say(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  return String((await once(socket, 'data'))[0])
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

/** A server that takes everything and says nothing. */
async function silent(): Promise<{ address: string; server: Server; received: () => number } & AsyncDisposable> {
  let received = 0
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on('error', () => {}).on('data', ({ length }) => (received += length)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(server.address() as { port: number }).port}`
  return {
    ...{ address, server, received: () => received },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('a session', () => {
  it.each([
    ['clientTimeoutMs', { clientTimeoutMs: 30 }, {}, 'ERR_SLUICE_READ_TIMEOUT', 'client'],
    ['serverTimeoutMs', {}, { serverTimeoutMs: 30 }, 'ERR_SLUICE_READ_TIMEOUT', 'server'],
    ['tunnelTimeoutMs', { tunnelTimeoutMs: 30 }, {}, 'ERR_SLUICE_TUNNEL_TIMEOUT', 'proxy'],
    ['finTimeoutMs', { finTimeoutMs: 30 }, {}, 'ERR_SLUICE_FIN_TIMEOUT', 'proxy'],
  ])('ends by %s', async (what, listener, upstream, outcome, side) => {
    await using a = await NamedServer.listen('a')
    await using quiet = await silent()
    const to = what === 'tunnelTimeoutMs' ? a : quiet
    await using all = await start({ listeners: [{ port: 0, ...listener }], upstreams: { app: { servers: [to.address], ...upstream } } }) // biome-ignore format: one line
    const socket = await dial(all.port)
    if (what === 'tunnelTimeoutMs') expect(await say(socket, 'x')).toBe('a:x')
    if (what === 'serverTimeoutMs') socket.write('x')
    if (what === 'finTimeoutMs') socket.end()
    await until(() => all.ends.length === 1)
    expect(all.ends).toEqual([{ outcome, side }])
    expect(all.proxy.stats().listeners[0]!.failures).toEqual({ [outcome]: 1 })
  })

  it('does not begin for who says no header in time, and waits for content no longer than allowed', async () => {
    await using a = await NamedServer.listen('a')
    const rules = [{ stage: 'content', action: 'reject', when: { contentStarts: 'BAD' } }] as const
    await using all = await start({
      listeners: [
        { port: 0, acceptProxy: true, handshakeTimeoutMs: 30 },
        { port: 0, rules: [...rules], inspectDelayMs: 30 },
      ],
      upstreams: { app: { servers: [a.address] } },
    })
    await dial(all.port)
    await until(() => all.failures.length > 0)
    expect(all.failures).toEqual(['ERR_SLUICE_PROXY_TIMEOUT'])
    const began = performance.now()
    await dial(all.ports[1]!)
    await until(() => a.accepted === 1)
    // Far less than what is usual.
    expect(performance.now() - began).toBeLessThan(4000)
  })

  it('is none where a monitor asks', async () => {
    await using a = await NamedServer.listen('a')
    await using all = await start({
      listeners: [{ port: 0, monitor: { networks: ['127.0.0.2'], answer: 'http' } }],
      upstreams: { app: { servers: [a.address] } },
    })
    const monitor = await dial(all.port, '127.0.0.2')
    expect(String((await once(monitor, 'data'))[0])).toMatch(/^HTTP\/1\.0 200 OK\r\n/)
    expect(await say(await dial(all.port), 'x')).toBe('a:x')
    expect(a.accepted).toBe(1)
    expect(all.proxy.stats().listeners[0]!.turnedAway).toEqual({ MONITOR_ANSWERED: 1 })
  })

  it.each(['rateLimit', 'totalRateLimit', 'addressRateLimit'])('is as fast as %s allows', async (name) => {
    await using limited = await silent()
    await using free = await silent()
    await using a = await NamedServer.listen('a')
    await using all = await start({
      listeners: [
        { port: 0, [name]: { read: '10 kB' }, routes: [{ from: ['127.0.0.2'], to: 'a' }], to: 'limited' },
        { port: 0, to: 'free' },
      ],
      upstreams: {
        limited: { servers: [limited.address] },
        free: { servers: [free.address] },
        a: { servers: [a.address] },
      },
    })
    const bytes = Buffer.alloc(4 * 1024 * 1024)
    const slow = await dial(all.port)
    slow.write(bytes)
    await until(() => limited.received() > 0)
    const fast = await dial(all.ports[1]!)
    fast.write(bytes)
    await until(() => free.received() === bytes.length)
    expect(limited.received()).toBeLessThan(bytes.length / 10)
    // Another address has a limit of its own, save for that of all together.
    if (name !== 'totalRateLimit') expect(await say(await dial(all.port, '127.0.0.2'), 'x')).toBe('a:x')
  })

  it('waits in the kernel where too many begin in a second', async () => {
    await using a = await NamedServer.listen('a')
    await using all = await start({
      listeners: [{ port: 0, maxConnectionsPerSecond: 1 }, { port: 0 }],
      upstreams: { app: { servers: [a.address] } },
    })
    expect(await say(await dial(all.port), '1')).toBe('a:1')
    const second = await dial(all.port)
    second.write('2')
    for (let i = 0; i < 20; i++) expect(await say(await dial(all.ports[1]!), 'x')).toBe('a:x')
    expect(all.proxy.stats().listeners[0]).toMatchObject({ state: 'waiting', sessions: { total: 1 } })
    expect(String((await once(second, 'data'))[0])).toBe('a:2')
  })

  it('goes to the same server for the same name, with hashBy', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    await using all = await start({
      listeners: [{ port: 0, tls: { selfSigned: true } }],
      upstreams: { app: { servers: [a.address, b.address], balance: 'hash', hashBy: 'serverName' } },
    })
    const ask = async (servername: string) => {
      const socket = tlsConnect({ port: all.port, host: '127.0.0.1', servername, rejectUnauthorized: false })
      const answer = await say(socket as Socket, 'x')
      socket.destroy()
      return answer
    }
    const names = Array.from({ length: 12 }, (_, i) => `n${i}.example`)
    const first: string[] = []
    for (const name of names) first.push(await ask(name))
    const again: string[] = []
    for (const name of names) again.push(await ask(name))
    expect(again).toEqual(first)
    expect(new Set(first)).toEqual(new Set(['a:x', 'b:x']))
  })
})

describe('options of a configuration', () => {
  const base = { listeners: [{ port: 0 }], upstreams: { app: { servers: ['127.0.0.1:1'] } } }
  const listener = (more: object) => ({ ...base, listeners: [{ port: 0, ...more }] })
  const upstream = (more: object) => ({ ...base, upstreams: { app: { servers: ['127.0.0.1:1'], ...more } } })
  const server = (more: object) => upstream({ servers: [{ port: 1, ...more }] })
  const at = 'listeners[0].'

  it.each<[object, string]>([
    [listener({ backlog: 0 }), `${at}backlog`],
    [listener({ maxConnections: -1 }), `${at}maxConnections`],
    [listener({ maxConnectionsPerSecond: 'x' }), `${at}maxConnectionsPerSecond`],
    [listener({ tls: { selfSigned: true, crlFile: 'none.pem' } }), `${at}tls.crlFile`],
    [listener({ tls: { selfSigned: true, crl: 'x' } }), `${at}tls.crl`],
    [listener({ monitor: { answer: 'x' } }), `${at}monitor.answer`],
    [listener({ rules: {} }), `${at}rules`],
    [listener({ inspectDelayMs: 1 }), `${at}inspectDelayMs`],
    [listener({ rules: [{ action: 'accept' }], inspectDelayMs: -1 }), `${at}inspectDelayMs`],
    [listener({ acceptProxy: true, handshakeTimeoutMs: -1 }), `${at}handshakeTimeoutMs`],
    [listener({ handshakeTimeoutMs: 1 }), `${at}handshakeTimeoutMs`],
    [listener({ totalRateLimit: 'x' }), `${at}totalRateLimit`],
    [listener({ addressRateLimit: { write: 'x' } }), `${at}addressRateLimit.write`],
    [listener({ clientTimeoutMs: -1 }), `${at}clientTimeoutMs`],
    [listener({ tunnelTimeoutMs: 'x' }), `${at}tunnelTimeoutMs`],
    [listener({ finTimeoutMs: 1.5 }), `${at}finTimeoutMs`],
    [server({ backup: 'x' }), 'upstreams.app.servers[0].backup'],
    [server({ maxQueue: -1 }), 'upstreams.app.servers[0].maxQueue'],
    [server({ minConnections: 1, maxConnections: 2 }), 'upstreams.app.servers[0].minConnections'],
    [server({ slowStartMs: -1 }), 'upstreams.app.servers[0].slowStartMs'],
    [server({ state: 'x' }), 'upstreams.app.servers[0].state'],
    [upstream({ hashBy: 'x' }), 'upstreams.app.hashBy'],
    [upstream({ retries: -1 }), 'upstreams.app.retries'],
    [upstream({ redispatch: 1 }), 'upstreams.app.redispatch'],
    [upstream({ errorLimit: -1 }), 'upstreams.app.errorLimit'],
    [upstream({ onDown: 'x' }), 'upstreams.app.onDown'],
    [upstream({ queueTimeoutMs: -1 }), 'upstreams.app.queueTimeoutMs'],
    [upstream({ maxQueue: 'x' }), 'upstreams.app.maxQueue'],
    [upstream({ fullConnections: 0.5 }), 'upstreams.app.fullConnections'],
    [upstream({ connectTimeoutMs: -1 }), 'upstreams.app.connectTimeoutMs'],
    [upstream({ serverTimeoutMs: -1 }), 'upstreams.app.serverTimeoutMs'],
    [{ ...base, threads: 65 }, 'threads'],
    [{ ...base, handshakeThreads: -1 }, 'handshakeThreads'],
    [{ ...base, maxConnections: -1 }, 'maxConnections'],
    [{ ...base, drainTimeoutMs: -1 }, 'drainTimeoutMs'],
    [{ ...base, log: 'all' }, 'log'],
  ])('%j is refused by the name of what is wrong', (config, option) => {
    expect(() => planOf(config, folder)).toThrow(expect.objectContaining({ code: expect.stringMatching(/INVALID|TLS/), option })) // biome-ignore format: one line
  })

  it('reach whom they are for', () => {
    const servers = [{ host: 'a.example', port: 1, weight: 7, backup: true, minConnections: 1, maxConnections: 2, maxQueue: 3, slowStartMs: 4, state: 'drain' as const }] // biome-ignore format: one line
    const pool = { retries: 1, redispatch: false, errorLimit: 2, onDown: 'close', queueTimeoutMs: 3, maxQueue: 4, fullConnections: 5, balance: 'leastConnections', check: { rise: 6 } } // biome-ignore format: one line
    const plan = planOf(
      {
        ...{ threads: 2, handshakeThreads: 1, maxConnections: 10, drainTimeoutMs: 11, log: 'none', engine: 'poll' },
        listeners: [{ port: 0, backlog: 7, maxConnections: 8, maxConnectionsPerSecond: 9, socket: { noDelay: false } }],
        upstreams: { app: { servers, ...pool, connectTimeoutMs: 6, serverTimeoutMs: 7 } },
      },
      folder,
    )
    expect(plan.upstreams[0]!.pool).toMatchObject({ ...pool, servers, connect: { connectTimeoutMs: 6, readTimeoutMs: 7, writeTimeoutMs: 7 } }) // biome-ignore format: one line
    expect(plan.listeners[0]!.options).toMatchObject({ backlog: 7, maxConnections: 8, maxConnectionsPerSecond: 9, noDelay: false }) // biome-ignore format: one line
    expect(plan.runtime).toMatchObject({ threads: 2, handshakeThreads: 1, maxConnections: 10, engine: 'poll' })
    expect(plan).toMatchObject({ drainTimeoutMs: 11, log: 'none' })
  })

  it('are the same as flags', () => {
    const cert = fileOf('cert.pem', id.server.cert)
    const key = fileOf('key.pem', id.server.key)
    const ca = fileOf('ca.pem', id.authority.cert)
    const flags = [
      ...['--listen', '*:0', '--to', '10.0.0.1:80', '--tls', '--cert', cert, '--key', key, '--ca', ca],
      ...['--client-cert', 'request', '--max-connections', '1', '--max-connections-per-second', '2', '--rate', '3 kB'],
      ...['--client-timeout', '4', '--tunnel-timeout', '5', '--fin-timeout', '6', '--server-timeout', '7'],
      ...['--connect-timeout', '8', '--queue-timeout', '9', '--max-per-server', '10', '--handshake-threads', '1'],
      ...['--accept-proxy-from', '10.0.0.0/8', '--to-socks', 'socks4://me@10.0.0.2', '--balance', 'random'],
    ]
    const byFlags = planOfFlags(parseArguments(proxyFlags, flags)!)
    const byFile = planOf(
      {
        handshakeThreads: 1,
        listeners: [
          {
            ...{ host: '*', port: 0, tls: { certFile: 'cert.pem', keyFile: 'key.pem', caFile: 'ca.pem', clientCert: 'request' } }, // biome-ignore format: one line
            ...{
              maxConnections: 1,
              maxConnectionsPerSecond: 2,
              rateLimit: '3 kB',
              acceptProxy: { from: ['10.0.0.0/8'] },
            },
            ...{ clientTimeoutMs: 4, tunnelTimeoutMs: 5, finTimeoutMs: 6 },
          },
        ],
        upstreams: {
          servers: {
            servers: [{ host: '10.0.0.1', port: 80, maxConnections: 10 }],
            ...{
              serverTimeoutMs: 7,
              connectTimeoutMs: 8,
              queueTimeoutMs: 9,
              socks: 'socks4://me@10.0.0.2',
              balance: 'random',
            },
          },
        },
      },
      folder,
    )
    // Contexts and limits are handles: what they were made of tells.
    const comparable = ({ listeners, upstreams, runtime }: typeof byFile) => ({
      listeners: listeners.map(({ options: { tls, rateLimit, handshake, ...options }, relay, where, routes, to }) => ({
        ...{ options, relay, where, routes, to, steps: handshake?.length },
        rate: (rateLimit as { native: object }).native,
        tls: (tls as { input: { cert: unknown; key: unknown; ca: unknown; clientCert: unknown } }).input,
      })),
      upstreams: upstreams.map(({ name, pool }) => ({ name, pool })),
      runtime,
    })
    expect(comparable(byFlags)).toEqual(comparable(byFile))
  })
})
