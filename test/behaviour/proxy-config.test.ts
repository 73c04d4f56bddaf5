// What a file of configuration can say of `sluice proxy`: lists of networks, tables that are exchanged, SOCKS, NetScaler, names of
// sessions; and how a proxy ends while handshakes are under way.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { planOf } from 'sluice/proxy'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { kernelModes } from '../support/modes.js'
import { haproxy, hasHaproxy, hasMicrosocks, listening, microsocks } from '../support/peers.js'
import { NamedServer, proxyProgram, startProxy } from '../support/proxied.js'
import { needsRedis, TestRedis } from '../support/redis.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-proxy-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

let nextFile = 0
/** Writes a file of the test's own, and answers its path. */
function fileOf(content: unknown, ending = '.json'): string {
  const path = join(folder, `${nextFile++}${ending}`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

async function dial(port: number, from?: string): Promise<Socket> {
  const socket = netConnect({ port, host: '127.0.0.1', localAddress: from })
  await once(socket, 'connect')
  return socket.setEncoding('latin1') as Socket
}

async function say(socket: Socket, text: string | Buffer): Promise<string> {
  socket.write(text)
  const [answer] = (await once(socket, 'data')) as [string]
  return answer
}

/** What comes back over a connection of its own, or the code of its error. */
async function ask(port: number, { text = 'x' as string | Buffer, from = undefined as string | undefined } = {}) {
  try {
    const socket = await dial(port, from)
    try {
      return await say(socket, text)
    } finally {
      socket.destroy()
    }
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

interface Told {
  listeners: { turnedAway: Record<string, number>; rules: { text: string; hits: number }[]; sessions: object }[]
  upstreams: { socks?: string; servers: { isUp: boolean; check?: { good: number } }[] }[]
  tables: { name: string; entries: number; exchange?: { name: string; state: string; peers: number; error?: string } }[]
  networks: { name: string; networks: number }[]
}

async function stats(url: string): Promise<Told> {
  return (await (await fetch(`${url}/stats.json`)).json()) as Told
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}

// ---- What is wrong

describe('a configuration', () => {
  const base = { listeners: [{ port: 0 }], upstreams: { app: { servers: ['127.0.0.1:1'] } } }
  const listener = (more: object, rest: object = {}) => ({ ...base, listeners: [{ port: 0, ...more }], ...rest })
  const upstream = (more: object) => ({ ...base, upstreams: { app: { servers: ['127.0.0.1:1'], ...more } } })
  const table = (exchange: unknown, redis?: unknown) => ({ ...base, redis, tables: { t: { size: 1, store: { connCount: true }, exchange } } }) // biome-ignore format: one line
  const rule = (when: object, networks?: object) => listener({ rules: [{ action: 'reject', when }] }, { networks })
  const wrong: [config: unknown, text: string][] = [
    [{ ...base, networks: [] }, 'option "networks" must be an object of lists of networks by name, not []'],
    [{ ...base, networks: { '1a': ['10.0.0.0/8'] } }, 'option "networks" must be a name of letters, digits, - and _'],
    [
      { ...base, networks: { a: ['10.0.0.0/8', '10.1.2.3/8'] } },
      'option "networks.a[1]" must be an address or a network',
    ],
    [
      { ...base, networks: { a: { networks: ['x'] } } },
      'option "networks.a.networks[0]" must be an address or a network',
    ],
    [
      { ...base, networks: { a: {} } },
      'option "networks.a" must be a list of networks, or { networks, file } with at least one',
    ],
    [{ ...base, networks: { a: { files: 'x' } } }, 'option "networks.a.files" is unknown; did you mean "file"?'],
    [
      { ...base, networks: { a: { file: 'none.txt' } } },
      'option "networks.a.file" must be a file that can be read (ENOENT)',
    ],
    [rule({ source: 'offce' }, { office: ['10.0.0.0/8'] }), 'option "listeners[0].rules[0].when.source" must be a network, or the name of a list in "networks" (did you mean "office"?)'], // biome-ignore format: one line
    [rule({ any: [{ peer: 'office' }] }), 'option "listeners[0].rules[0].when.any[0].peer" must be a network, or the name of a list in "networks" ("networks" has none)'], // biome-ignore format: one line
    [listener({ acceptProxy: { from: 'office' } }), 'option "listeners[0].acceptProxy.from" must be a network, or the name of a list'], // biome-ignore format: one line
    [listener({ monitor: { networks: 'office' } }), 'option "listeners[0].monitor.networks" must be a network, or the name of a list'], // biome-ignore format: one line
    [listener({ routes: [{ from: 'office', to: 'app' }] }), 'option "listeners[0].routes[0].from" must be a network, or the name of a list'], // biome-ignore format: one line
    [listener({ acceptNetscaler: -1 }), 'option "listeners[0].acceptNetscaler.magic" must be an integer'],
    [listener({ acceptNetscaler: {} }), 'option "listeners[0].acceptNetscaler.magic" is missing'],
    [listener({ acceptNetscaler: { magic: 1, from: 'office' } }), 'option "listeners[0].acceptNetscaler.from" must be a network, or the name of a list'], // biome-ignore format: one line
    [listener({ acceptNetscaler: 1, acceptProxy: true }), 'option "listeners[0].acceptNetscaler" must be absent beside "listeners[0].acceptProxy", unless both have "from"'], // biome-ignore format: one line
    [table(true), 'option "tables.t.exchange" must be absent without "redis", where tables meet, not true'],
    [table(false, 'redis://127.0.0.1'), 'option "redis" is for tables with "exchange", of which there are none'],
    [
      table('yes', 'redis://127.0.0.1'),
      'option "tables.t.exchange" must be true, false, or { name, everyMs, timeoutMs }',
    ],
    [table({ everyMs: 1 }, 'redis://127.0.0.1'), 'option "tables.t.exchange.everyMs" must be'],
    [
      table({ evryMs: 100 }, 'redis://127.0.0.1'),
      'option "tables.t.exchange.evryMs" is unknown; did you mean "everyMs"?',
    ],
    [table(true, 'http://127.0.0.1'), 'option "redis" must be an address such as redis://127.0.0.1:6379'],
    [table(true, { url: 'x' }), 'option "redis.url" must be an address such as redis://127.0.0.1:6379'],
    [table(true, { url: 'redis://a', maxChanges: 1 }), 'option "redis.maxChanges" must be an integer'],
    [upstream({ socks: '127.0.0.1:99999' }), 'option "upstreams.app.socks" must be an address such as 127.0.0.1:1080'],
    [upstream({ socks: 'http://127.0.0.1' }), 'option "upstreams.app.socks" must be an address such as'],
    [upstream({ socks: 7 }), 'option "upstreams.app.socks" must be an address such as'],
    [upstream({ socks: { version: 6 } }), 'option "upstreams.app.socks.version" must be one of 4, 5'],
    [upstream({ socks: { user: 'me' } }), 'option "upstreams.app.socks.'],
    [
      upstream({ socks: { version: 4, password: 'x' } }),
      'option "upstreams.app.socks.password" must be absent in version 4',
    ],
    [upstream({ socks: 'socks4://127.0.0.1', servers: ['[::1]:80'] }), 'option "upstreams.app.servers[0].host" must be a name or address that SOCKS 4 can express'], // biome-ignore format: one line
    [upstream({ socks: '127.0.0.1:1080', servers: ['/run/app.sock'] }), 'option "upstreams.app.servers[0].path" must be a port: a SOCKS server reaches no paths'], // biome-ignore format: one line
    [upstream({ sendProxy: { uniqueId: 'mine' } }), 'option "upstreams.app.sendProxy.uniqueId" must be true or false'],
    [upstream({ sendProxy: { version: 1, uniqueId: true } }), 'option "upstreams.app.sendProxy.uniqueId" must be absent in version 1'], // biome-ignore format: one line
    [upstream({ check: { sendProxy: 3 } }), 'option "upstreams.app.check.sendProxy" must be one of 1, 2'],
  ]

  it.each(wrong)('%j is refused, and the place of the mistake named', (config, text) => {
    expect(() => planOf(config, folder)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', message: expect.stringContaining(text) })) // biome-ignore format: one line
  })

  it('tells the line of a file of networks, and no password', () => {
    const list = fileOf('# ours\n10.0.0.0/8\n\n10.0.0.0/33 # too long\n', '.txt')
    expect(() => planOf({ ...base, networks: { a: { file: list } } }, folder)).toThrow(`${list}, line 4: option "networks.a.file"`) // biome-ignore format: one line
    for (const config of [upstream({ socks: 'http://me:secret@127.0.0.1' }), table(true, 'http://me:secret@127.0.0.1')])
      expect(() => planOf(config, folder)).toThrow(expect.objectContaining({ message: expect.not.stringContaining('secret') })) // biome-ignore format: one line
  })

  it('asks nobody while it is only checked', async () => {
    const socket = await listening()
    const server = createServer().on('connection', (connection) => connection.destroy())
    let connections = 0
    server.on('connection', () => connections++)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    socket.close()
    const redis = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { code } = await proxyProgram(['--config', fileOf(table(true, redis)), '--test']).ended
    expect([code, connections]).toEqual([0, 0])
    server.close()
  })
})

describe.concurrent('options of sluice proxy', () => {
  const to = ['--listen', '0', '--to', '127.0.0.1:1']
  it.each<[string[], string]>([
    [[...to, '--accept-netscaler', 'x'], 'option "--accept-netscaler" must be an integer'],
    [[...to, '--accept-netscaler', '1', '--accept-proxy'], 'option "--accept-netscaler" must be absent beside'],
    [[...to, '--unique-id'], 'option "--unique-id" needs "--send-proxy" as well'],
    [[...to, '--unique-id', '--send-proxy', 'v1'], 'option "--unique-id" needs "--send-proxy v2"'],
    [[...to, '--to-socks', 'http://x'], 'option "--to-socks" must be an address such as'],
  ])('%j is refused before anything is bound', async (args, text) => {
    const { code, stdout, stderr } = await proxyProgram(args).ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(text)
  })
})

// ---- What is done

/** The client-IP header of a NetScaler: legacy form, IPv4 and TCP. */
function netscaler(magic: number): Buffer {
  const headers = Buffer.from('4500003c0001000040060000c0000201c6336405dc0401bb00000001000000025010000000000000', 'hex')
  const prefix = Buffer.alloc(8)
  prefix.writeUInt32BE(magic)
  prefix.writeUInt32BE(headers.length, 4)
  return Buffer.concat([prefix, headers])
}

describe.each(kernelModes())('sluice proxy on $name', (mode) => {
  const common = { engine: mode.engine, threads: mode.threads }

  it('goes by lists of networks in rules, routes and headers, and exchanges them at a reload', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const list = fileOf('127.0.0.2 # the test\n', '.txt')
    const config = {
      ...common,
      stats: { port: 0 },
      networks: { banned: { file: list }, office: ['127.0.0.3', '127.0.0.4'], proxies: '127.0.0.5' },
      listeners: [
        {
          port: 0,
          rules: [{ action: 'reject', when: { source: 'banned' } }],
          acceptProxy: { from: 'proxies' },
          routes: [{ from: 'office', to: 'b' }],
          to: 'a',
        },
      ],
      upstreams: { a: { servers: [a.address] }, b: { servers: [b.address] } },
    }
    const path = fileOf(config)
    await using proxy = await startProxy(['--config', path])
    const from = (address: string, text = 'x') => ask(proxy.port, { from: address, text })
    expect(await from('127.0.0.1')).toBe('a:x')
    expect(await from('127.0.0.2')).toBe('ECONNRESET')
    expect(await from('127.0.0.3')).toBe('b:x')
    expect(await from('127.0.0.5', 'PROXY TCP4 127.0.0.4 127.0.0.1 1 2\r\nx')).toBe('b:x')
    const open = await dial(proxy.port, '127.0.0.6')
    expect(await say(open, '1')).toBe('a:1')
    const told = await stats(proxy.statsUrl)
    expect(told.networks).toEqual([
      { name: 'banned', networks: 1 },
      { name: 'office', networks: 2 },
      { name: 'proxies', networks: 1 },
    ])
    expect(told.listeners[0]!.rules).toEqual([{ text: 'reject when {"source":"banned"}', hits: 1 }])
    // The file alone has changed, and a list: the listener is the one it was.
    writeFileSync(list, '127.0.0.1\n127.0.0.6\n')
    writeFileSync(path, JSON.stringify({ ...config, networks: { ...config.networks, office: ['127.0.0.2'] } }))
    proxy.kill('SIGHUP')
    expect(await proxy.line('stderr')).toBe('reloaded')
    expect(await from('127.0.0.1')).toBe('ECONNRESET')
    expect(await from('127.0.0.2')).toBe('b:x')
    expect(await from('127.0.0.3')).toBe('a:x')
    expect(await say(open, '2')).toBe('a:2')
    // Nothing of a file with a mistake comes in force.
    writeFileSync(list, 'nonsense\n')
    proxy.kill('SIGHUP')
    expect(await proxy.line('stderr')).toContain(`${list}, line 1: option "networks.banned.file"`)
    expect(await from('127.0.0.1')).toBe('ECONNRESET')
    open.destroy()
  })

  it('reads the header of a NetScaler, and tells servers who the client is', async () => {
    await using a = await NamedServer.listen('a')
    const config = {
      ...common,
      stats: { port: 0 },
      log: 'sessions',
      listeners: [{ port: 0, acceptNetscaler: { magic: 0x1234abcd, from: ['127.0.0.1'] } }],
      upstreams: { a: { servers: [a.address], sendProxy: 'v1' } },
    }
    await using proxy = await startProxy(['--config', fileOf(config)])
    await ask(proxy.port, { text: Buffer.concat([netscaler(0x1234abcd), Buffer.from('x')]) })
    await until(() => a.received.endsWith('x'))
    expect(a.received).toBe('PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\nx')
    expect(JSON.parse(await proxy.line('stderr'))).toMatchObject({ client: '192.0.2.1:56324' })
    const other = await dial(proxy.port)
    other.write(netscaler(1))
    await once(
      other.on('error', () => {}),
      'close',
    )
    expect((await stats(proxy.statsUrl)).listeners[0]!.turnedAway).toEqual({ CIP_BAD_MAGIC: 1 })
  })

  it('calls a session what the header called it, or by a name of its own', async () => {
    await using a = await NamedServer.listen('a')
    const send = { sendProxy: { version: 2, uniqueId: true } }
    const inner = { ...common, log: 'sessions', listeners: [{ port: 0, acceptProxy: true }], upstreams: { a: { servers: [a.address], ...send } } } // biome-ignore format: one line
    await using second = await startProxy(['--config', fileOf(inner)])
    await using first = await startProxy(['--listen', '0', '--to', `127.0.0.1:${second.port}`, '--send-proxy', 'v2', '--unique-id', '--log', 'sessions']) // biome-ignore format: one line
    const ids: string[] = []
    for (const text of ['x', 'y']) {
      await ask(first.port, { text })
      await until(() => a.received.endsWith(text))
      const { id } = JSON.parse(await first.line('stderr')) as { id: string }
      expect(JSON.parse(await second.line('stderr'))).toMatchObject({ id })
      expect(id).toMatch(/^[0-9a-f-]{36}$/)
      // Type 5, and its length.
      expect(a.received).toContain(`\x05\x00\x24${id}`)
      ids.push(id)
    }
    expect(ids[0]).not.toBe(ids[1])
  })

  it('lets handshakes finish at SIGTERM, also where nobody has a session yet, and no longer than allowed', async () => {
    await using a = await NamedServer.listen('a')
    const start = (drainTimeoutMs: number) => {
      const listeners = [
        { port: 0, tls: { selfSigned: true } },
        { port: 0, acceptProxy: true },
      ]
      return startProxy(['--config', fileOf({ ...common, drainTimeoutMs, listeners, stats: { port: 0 }, upstreams: { a: { servers: [a.address] } } })]) // biome-ignore format: one line
    }
    await using proxy = await start(30_000)
    const underWay = await dial(proxy.line1.listening[1]!.port!)
    underWay.write('PROXY TCP4 127.0.0.1 ')
    const held = new HeldTls(proxy.port)
    await held.helloSent
    const accepted = async () => (await stats(proxy.statsUrl)).listeners as unknown as { accepted: number }[]
    await until(async () => (await accepted()).every((each) => each.accepted === 1))
    proxy.kill('SIGTERM')
    await until(async () => (await fetch(`${proxy.statsUrl}/health`)).status === 503)
    expect(await say(underWay, '127.0.0.1 1 2\r\nx')).toBe('a:x')
    underWay.end()
    await once(underWay, 'close')
    // Still there, for the one that is left.
    expect((await fetch(`${proxy.statsUrl}/health`)).status).toBe(503)
    const tls = await held.finish()
    expect(await say(tls, 'y')).toBe('a:y')
    tls.end()
    expect((await proxy.ended).code).toBe(0)

    await using second = await start(50)
    const never = (await dial(second.line1.listening[1]!.port!)).on('error', () => {})
    never.write('PROXY')
    await until(async () => ((await stats(second.statsUrl)).listeners as unknown as { accepted: number }[])[1]!.accepted === 1) // biome-ignore format: one line
    const closed = once(never, 'close')
    second.kill('SIGTERM')
    await closed
    expect((await second.ended).code).toBe(0)
  })
})

/** A client of TLS that does not get the server's answer to its hello before it is told to. */
class HeldTls {
  readonly helloSent: Promise<void>
  private readonly client: TLSSocket
  private release!: () => void

  constructor(port: number) {
    const outer = netConnect({ port, host: '127.0.0.1' })
    const opened = new Promise<void>((resolve) => {
      this.release = resolve
    })
    let told!: () => void
    this.helloSent = new Promise((resolve) => {
      told = resolve
    })
    const between = new Duplex({
      read() {},
      write(bytes, _, done) {
        outer.write(bytes, () => done())
        told()
      },
      final(done) {
        outer.end(done)
      },
    })
    void opened.then(() => outer.on('data', (bytes) => between.push(bytes)).on('end', () => between.push(null)))
    this.client = tlsConnect({ socket: between, rejectUnauthorized: false })
  }

  async finish(): Promise<TLSSocket> {
    const secured = once(this.client, 'secureConnect')
    this.release()
    await secured
    return this.client.setEncoding('latin1') as TLSSocket
  }
}

// ---- Through others

describe('sluice proxy and Redis', () => {
  it('exchanges tables with a proxy elsewhere, tells when it cannot, and goes on', async (context) => {
    needsRedis(context)
    await using a = await NamedServer.listen('a')
    const port = await freePort()
    const redis = new TestRedis(port)
    await redis.start()
    await using _ = redis
    const config = (rules: object[]) => ({
      stats: { port: 0 },
      redis: { url: `redis://127.0.0.1:${port}`, reconnectMs: 20 },
      tables: {
        clients: { size: 100, store: { connCount: true }, expireMs: 60_000, exchange: { name: 'shared', everyMs: 20 } },
      },
      listeners: [{ port: 0, rules }],
      upstreams: { a: { servers: [a.address] } },
    })
    const track = { action: 'track', table: 'clients' }
    await using first = await startProxy(['--config', fileOf(config([track]))])
    const limited = config([track, { action: 'reject', when: { counter: 'connCount', above: 3 } }])
    await using second = await startProxy(['--config', fileOf(limited)])
    const both = [first, second]
    await until(async () => (await Promise.all(both.map(({ statsUrl }) => stats(statsUrl)))).every(({ tables }) => tables[0]!.exchange?.state === 'exchanging')) // biome-ignore format: one line
    // What happens here counts there.
    for (let i = 0; i < 4; i++) expect(await ask(first.port)).toBe('a:x')
    await until(async () => (await stats(second.statsUrl)).tables[0]!.entries === 1)
    await until(async () => (await ask(second.port)) === 'ECONNRESET')
    const { exchange } = (await stats(second.statsUrl)).tables[0]!
    expect(exchange).toMatchObject({ name: 'shared', peers: 1 })
    const text = await (await fetch(`${second.statsUrl}/metrics`)).text()
    expect(text).toContain('sluice_table_exchange_up{table="clients"} 1\n')
    expect(text).toContain('sluice_table_exchange_peers{table="clients"} 1\n')
    await redis.kill()
    await until(async () => (await stats(second.statsUrl)).tables[0]!.exchange?.state === 'unreachable')
    expect((await stats(second.statsUrl)).tables[0]!.exchange?.error).toMatch(/./)
    expect(await ask(first.port)).toBe('a:x')
    await redis.start()
    await until(async () => (await stats(second.statsUrl)).tables[0]!.exchange?.state === 'exchanging')
    second.kill('SIGTERM')
    expect((await second.ended).code).toBe(0)
  })
})

async function freePort(): Promise<number> {
  const { port, close } = await listening()
  close()
  return port
}

describe.runIf(hasMicrosocks)('sluice proxy and a SOCKS server', () => {
  it('reaches and checks its servers through it, and says a PROXY header to them', async () => {
    await using a = await NamedServer.listen('a')
    await using server = await microsocks('-u', 'me', '-P', 'secret')
    const socks = `socks5://me:secret@127.0.0.1:${server.port}`
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--to-socks', socks, '--check', '--check-interval', '100', '--send-proxy', 'v1', '--stats', '0']) // biome-ignore format: one line
    await until(async () => ((await stats(proxy.statsUrl)).upstreams[0]!.servers[0]!.check?.good ?? 0) > 1)
    const socket = await dial(proxy.port)
    const { localPort } = socket
    socket.write('x')
    const header = `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${proxy.port}\r\n`
    await until(() => a.received.includes(`${header}x`))
    // Checks speak for themselves.
    expect(a.received).toContain('PROXY UNKNOWN\r\n')
    socket.destroy()
    expect((await stats(proxy.statsUrl)).upstreams[0]!.socks).toBe(`127.0.0.1:${server.port}`)
    // By its name, which the server of SOCKS resolves.
    const config = { listeners: [{ port: 0 }], upstreams: { a: { servers: [`localhost:${a.port}`], socks } } }
    await using named = await startProxy(['--config', fileOf(config)])
    expect(await ask(named.port)).toBe('a:x')
    // A wrong password is told, and the client is reset.
    await using wrong = await startProxy(['--listen', '0', '--to', a.address, '--to-socks', socks.replace('secret', 'x')]) // biome-ignore format: one line
    expect(await ask(wrong.port)).toBe('ECONNRESET')
    expect(await wrong.line('stderr')).toMatch(/the SOCKS server/)
  })
})

describe.runIf(hasHaproxy)('sluice proxy and HAProxy', () => {
  it('sends checks a header that HAProxy takes', async () => {
    await using inner = await haproxy(
      'frontend f\n  mode http\n  bind fd@3 accept-proxy\n  http-request return status 200 content-type text/plain lf-string %[src]\n',
    )
    await using proxy = await startProxy(['--listen', '0', '--to', `127.0.0.1:${inner.ports[0]}`, '--send-proxy', 'v2', '--check-http', '/', '--check-interval', '20', '--stats', '0']) // biome-ignore format: one line
    await until(async () => ((await stats(proxy.statsUrl)).upstreams[0]!.servers[0]!.check?.good ?? 0) > 1)
    const answer = await ask(proxy.port, { text: 'GET / HTTP/1.0\r\n\r\n', from: '127.0.0.7' })
    expect(answer).toMatch(/\r\n\r\n127\.0\.0\.7$/)
  })
})
