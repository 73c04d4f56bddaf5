// `sluice proxy` as a program: its options, what it relays, and what it tells.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as netConnect } from 'node:net'
import { describe, expect, it } from 'vitest'
import * as identities from '../support/identities.js'
import { kernelModes } from '../support/modes.js'
import { fine } from '../support/program.js'
import { NamedServer, proxyProgram, startProxy } from '../support/proxied.js'
import { ask, dial, ownFiles, say, secure, stats, until } from '../support/proxy-client.js'

const { fileOf } = ownFiles()

describe.concurrent('options of sluice proxy', () => {
  const wrong: [args: string[], text: string | RegExp][] = [
    [[], 'option "--listen" is missing, or "--config"'],
    [['--listen', '0'], 'option "--to" is missing, or "--config"'],
    [['--lisen', '0'], 'unknown option "--lisen"; did you mean "--listen"?'],
    [['--listen', 'x', '--to', '127.0.0.1:1'], /option "--listen" must be an address such as/],
    [['--listen', '0', '--to', '127.0.0.1'], /option "--to" must be an address such as/],
    [['--listen', '0', '--to', '127.0.0.1:70000'], /option "--to" must be an address/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--cert', 'x'], 'option "--cert" needs "--tls" as well'],
    [['--listen', '0', '--to', '127.0.0.1:1', '--plain'], 'option "--plain" needs "--tls" as well'],
    [['--listen', '0', '--to', '127.0.0.1:1', '--to-ca', 'x'], 'option "--to-ca" needs "--to-tls" as well'],
    [['--listen', '0', '--to', '127.0.0.1:1', '--tls', '--client-cert', 'require'], 'needs "--ca" as well'],
    [['--listen', '0', '--to', '127.0.0.1:1', '--tls', '--cert', '/no/file'], /option "--cert", \/no\/file must be a file that can be read \(ENOENT\)/], // biome-ignore format: one line
    [['--listen', '0', '--to', '127.0.0.1:1', '--balance', 'fair'], /option "--balance" must be one of/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--send-proxy', 'v3'], /option "--send-proxy" must be one of "v1", "v2"/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--accept-proxy-from', '10.0.0.0/33'], /option "--accept-proxy-from"/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--rate', 'fast'], /option "--rate" must be/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--check-http', 'health'], /option "--check-http" must be a path/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--drain-timeout', '-1'], /option "--drain-timeout" must be an integer/],
    [['--listen', '0', '--to', '127.0.0.1:1', '--watch'], 'option "--watch" needs "--config" as well'],
    [['--config', '/no/file.mjs'], /\/no\/file.mjs: cannot be read as a configuration: no such file/],
    [['--config', 'x.json', '--to', '127.0.0.1:1'], 'option "--to" cannot be given together with "--config"'],
  ]

  it.each(wrong)('%j is refused before anything is bound', async (args, text) => {
    const { code, stdout, stderr } = await proxyProgram(args).ended
    expect([code, stdout]).toEqual([2, ''])
    if (typeof text === 'string') expect(stderr).toContain(text)
    else expect(stderr).toMatch(text)
    expect(stderr).toContain('Try "sluice proxy --help".')
  })

  it('are shown by --help, and a port that is taken is told as what it is', async () => {
    const { code, stdout } = await proxyProgram(['--help']).ended
    expect(code).toBe(0)
    expect(stdout).toContain('Usage: sluice proxy [options]')
    expect(stdout).toContain('--send-proxy v1|v2')
    await using server = await NamedServer.listen('a')
    const taken = await proxyProgram(['--listen', server.address, '--to', server.address]).ended
    expect(taken).toMatchObject({ code: 1, stdout: '' })
    expect(taken.stderr).toMatch(/listen 127\.0\.0\.1:\d+: address already in use/)
  })
})

describe.concurrent('a file of configuration', () => {
  const base = { listeners: [{ port: 0 }], upstreams: { app: { servers: ['127.0.0.1:1'] } } }
  const wrong: [config: unknown, text: RegExp][] = [
    [{}, /option "upstreams" must be an object of upstreams by name/],
    [{ ...base, listeners: [] }, /option "listeners" must be a list of at least one listener/],
    [{ ...base, listeners: [{ port: 70_000 }] }, /option "listeners\[0\].port" must be an integer/],
    [{ ...base, listeners: [{ port: 0, nmae: 'x' }] }, /"listeners\[0\].nmae" is unknown; did you mean "name"/],
    [{ ...base, listeners: [{ port: 1 }, { port: 1 }] }, /"listeners\[1\]" must be another address than that of listeners\[0\]/], // biome-ignore format: one line
    [
      { ...base, listeners: [{ port: 0, to: 'apq' }] },
      /"listeners\[0\].to" names no upstream: 'apq'; did you mean "app"/,
    ],
    [
      { ...base, listeners: [{ port: 0, routes: [{ to: 'app' }] }] },
      /"listeners\[0\].routes\[0\].serverNames" is missing/,
    ],
    [{ ...base, listeners: [{ port: 0, routes: [{ from: ['10.0.0.0/99'], to: 'app' }] }] }, /routes\[0\].from\[0\]" must be an address or a network/], // biome-ignore format: one line
    [{ ...base, listeners: [{ port: 0, routes: [{ serverNames: ['a..b'], to: 'app' }] }] }, /routes\[0\].serverNames\[0\]" must be a name/], // biome-ignore format: one line
    [{ ...base, listeners: [{ port: 0, tls: { certFile: 'no.pem' } }] }, /"listeners\[0\].tls.certFile" must be a file that can be read \(ENOENT\)/], // biome-ignore format: one line
    [{ ...base, listeners: [{ port: 0, tls: { cert: 'text' } }] }, /option "listeners\[0\].tls.key" is missing/],
    [
      { ...base, listeners: [{ port: 0, tls: { selfSigned: true, minVersion: 'TLSv9' } }] },
      /"listeners\[0\].tls.minVersion"/,
    ],
    [{ ...base, listeners: [{ port: 0, tls: { selfSigned: true, sni: { 'a.example': { certFile: 'no.pem' } } } }] }, /tls.sni\["a.example"\].certFile"/], // biome-ignore format: one line
    [
      { ...base, listeners: [{ port: 0, plain: 'allow' }] },
      /"listeners\[0\].plain" must be absent without "listeners\[0\].tls"/,
    ],
    [{ ...base, listeners: [{ port: 0, acceptProxy: { from: ['x'] } }] }, /"listeners\[0\].acceptProxy.from\[0\]"/],
    [{ ...base, listeners: [{ port: 0, rules: [{ action: 'rejct' }] }] }, /"listeners\[0\].rules\[0\].action"/],
    [{ ...base, listeners: [{ port: 0, rules: [{ action: 'track', table: 'x' }] }] }, /"listeners\[0\].rules\[0\].table" must be a table of "tables"/], // biome-ignore format: one line
    [{ ...base, tables: { x: { size: 0, store: {} } } }, /option "tables.x.size"/],
    [{ ...base, listeners: [{ port: 0, rateLimit: 'x' }] }, /"listeners\[0\].rateLimit" must be/],
    [
      { ...base, listeners: [{ port: 0, socket: { noDelay: 1 } }] },
      /"listeners\[0\].socket.noDelay" must be true or false/,
    ],
    [{ ...base, upstreams: { app: { servers: [] } } }, /"upstreams.app.servers" must be a list of at least one server/],
    [
      { ...base, upstreams: { app: { servers: ['nowhere'] } } },
      /"upstreams.app.servers\[0\]" must be an address such as/,
    ],
    [{ ...base, upstreams: { app: { servers: [{ port: 1, weight: 300 }] } } }, /"upstreams.app.servers\[0\].weight"/],
    [
      { ...base, upstreams: { app: { servers: ['127.0.0.1:1'], balance: 'x' } } },
      /"upstreams.app.balance" must be one of/,
    ],
    [
      { ...base, upstreams: { app: { servers: ['127.0.0.1:1'], reuse: 'always' } } },
      /"upstreams.app.reuse" is unknown/,
    ],
    [
      { ...base, upstreams: { app: { servers: ['127.0.0.1:1'], tls: { caFile: 'no.pem' } } } },
      /"upstreams.app.tls.caFile"/,
    ],
    [{ ...base, upstreams: { app: { servers: ['127.0.0.1:1'], tls: { minVersion: 'x' } } } }, /"upstreams.app.servers\[0\].tls.minVersion"/], // biome-ignore format: one line
    [{ ...base, upstreams: { app: { servers: ['127.0.0.1:1'], sendProxy: 'v3' } } }, /"upstreams.app.sendProxy" must be 'v1', 'v2'/], // biome-ignore format: one line
    [{ ...base, upstreams: { app: { servers: ['127.0.0.1:1'], check: { rise: 0 } } } }, /"upstreams.app.check.rise"/],
    [{ ...base, stats: { port: 'x' } }, /"stats.port" must be an integer/],
    [{ ...base, engine: 'sim' }, /"engine" must be one of/],
    [{ ...base, handOver: '\0anybody' }, /"handOver" must be a non-empty string without NUL/],
  ]

  it.each(wrong)('%j is refused, and the place of the mistake named', async (config, text) => {
    const path = fileOf(JSON.stringify(config), '.json')
    const { code, stdout, stderr } = await proxyProgram(['--config', path]).ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(text)
    expect(stderr).toContain(path)
  })

  it('may be JSON, a module, or a function; --test checks it and does no more', async () => {
    const text = JSON.stringify(base)
    const files = [
      fileOf(text, '.json'),
      fileOf(`export default ${text}`, '.mjs'),
      fileOf(`module.exports = ${text}`, '.cjs'),
      fileOf(`export default async () => (${text})`, '.mjs'),
    ]
    for (const file of files) {
      expect(await proxyProgram(['--config', file, '--test']).ended).toEqual(fine('The configuration is fine.'))
    }
    const broken = await proxyProgram(['--config', fileOf('export default {', '.mjs'), '--test']).ended
    expect(broken.stderr).toMatch(/cannot be read as a configuration/)
  })
})

describe.each(kernelModes())('sluice proxy on $name', (mode) => {
  const common = ['--engine', mode.engine, '--threads', String(mode.threads)]

  it('relays to servers in turn, passes ends on, and tells what it did', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--to', b.address, '--stats', '0', '--log', 'sessions', ...common]) // biome-ignore format: one line
    expect(proxy.line1).toMatchObject({ engine: mode.engine, threads: mode.threads })
    const socket = await dial(proxy.port)
    expect(await say(socket, 'hello')).toBe('a:hello')
    const ended = once(socket, 'end')
    socket.end()
    await ended
    expect([await ask(proxy.port), await ask(proxy.port)]).toEqual(['b:x', 'a:x'])
    const line = JSON.parse(await proxy.line('stderr'))
    expect(line).toMatchObject({ upstream: 'servers', server: a.address, outcome: 'ended', bytesIn: 5, bytesOut: 7 })
    await until(async () => (await stats(proxy.statsUrl)).listeners[0]!.sessions.current === 0)
    const { listeners, upstreams } = await stats(proxy.statsUrl)
    expect(listeners[0]).toMatchObject({
      state: 'accepting',
      sessions: { current: 0, total: 3 },
      bytesIn: 7,
      bytesOut: 13,
    })
    expect(upstreams[0]).toMatchObject({
      ...{ name: 'servers', balance: 'roundRobin', established: 3 },
      servers: [
        { name: a.address, opened: 2, bytesIn: 6 },
        { name: b.address, opened: 1, bytesIn: 1 },
      ],
    })
    proxy.kill('SIGTERM')
    expect((await proxy.ended).code).toBe(0)
  })

  it('ends TLS by name, and speaks TLS to servers', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const other = identities.stranger
    const config = {
      ...{ engine: mode.engine, threads: mode.threads, stats: { port: 0 } },
      listeners: [
        {
          port: 0,
          tls: {
            certFile: fileOf(identities.server.cert),
            keyFile: fileOf(identities.server.key),
            sni: { '*.b.example': { cert: other.cert, key: other.key } },
          },
          routes: [{ serverNames: ['*.b.example'], to: 'b' }],
          to: 'a',
        },
        // What the first speaks in TLS the second begins.
        { name: 'inner', port: 0, to: 'back' },
      ],
      upstreams: {
        a: { servers: [a.address] },
        b: { servers: [b.address] },
        back: { servers: ['127.0.0.1:1'] },
      },
    }
    await using proxy = await startProxy(['--config', fileOf(JSON.stringify(config), '.json')])
    const plain = await secure(proxy.port, 'localhost', { ca: identities.authority.cert, rejectUnauthorized: true })
    expect(await say(plain, '1')).toBe('a:1')
    const named = await secure(proxy.port, 'x.b.example')
    expect(named.getPeerCertificate().subject.CN).toBe('Stranger')
    expect(await say(named, '2')).toBe('b:2')
    const deeper = await secure(proxy.port, 'y.x.b.example')
    expect(await say(deeper, '3')).toBe('a:3')
    const told = await stats(proxy.statsUrl)
    expect(told.listeners[0]!.certificates).toMatchObject([{ shownFor: '*', names: ['localhost', '127.0.0.1', '::1'] }, { shownFor: '*.b.example' }]) // biome-ignore format: one line

    // And back again: a proxy that speaks TLS to this one.
    const ca = fileOf(identities.authority.cert)
    await using client = await startProxy(['--listen', '0', '--to', `127.0.0.1:${proxy.port}`, '--to-tls', '--to-ca', ca, '--to-name', 'localhost', ...common]) // biome-ignore format: one line
    expect(await ask(client.port, 'through two')).toBe('a:through two')
    for (const socket of [plain, named, deeper]) socket.destroy()
  })
})

describe.concurrent('sluice proxy', () => {
  it('tries the next server where one is down, and resets the client where all are', async () => {
    await using alive = await NamedServer.listen('alive')
    const dead = await NamedServer.listen('dead')
    const { address } = dead
    await dead[Symbol.asyncDispose]()
    await using proxy = await startProxy(['--listen', '0', '--to', address, '--to', alive.address, '--stats', '0'])
    expect([await ask(proxy.port), await ask(proxy.port)]).toEqual(['alive:x', 'alive:x'])
    await using none = await startProxy(['--listen', '0', '--to', address, '--connect-timeout', '20', '--stats', '0'])
    const socket = await dial(none.port)
    const [error] = await once(socket, 'error')
    expect(error.code).toBe('ECONNRESET')
    const told = await stats(none.statsUrl)
    expect(told.listeners[0]!.failures).toEqual({ ERR_SLUICE_CONNECTION_REFUSED: 1 })
    expect(told.upstreams[0]).toMatchObject({ retries: 3, failures: { ERR_SLUICE_CONNECTION_REFUSED: 1 } })
  })

  it('checks servers, and tells when one goes down and comes back', async () => {
    await using a = await NamedServer.listen('a')
    const b = await NamedServer.listen('b')
    await using proxy = await startProxy([
      '--listen',
      '0',
      '--to',
      a.address,
      '--to',
      b.address,
      '--check-interval',
      '20',
    ])
    const { port, address } = b
    await b[Symbol.asyncDispose]()
    expect(await proxy.line('stderr')).toMatch(new RegExp(`^upstream servers: server ${address} is down: .*refused`))
    expect([await ask(proxy.port), await ask(proxy.port)]).toEqual(['a:x', 'a:x'])
    await using again = await NamedServer.listen('b', port)
    expect(await proxy.line('stderr')).toBe(`upstream servers: server ${again.address} is up: connected`)
    expect(new Set([await ask(proxy.port), await ask(proxy.port)])).toEqual(new Set(['a:x', 'b:x']))
  })

  it('passes PROXY headers on: what one sends the next one takes, and tells its server', async () => {
    await using a = await NamedServer.listen('a')
    await using inner = await startProxy(['--listen', '0', '--to', a.address, '--accept-proxy', '--send-proxy', 'v1', '--log', 'sessions']) // biome-ignore format: one line
    await using outer = await startProxy(['--listen', '0', '--to', `127.0.0.1:${inner.port}`, '--send-proxy', 'v2'])
    const socket = await dial(outer.port)
    const { localPort } = socket
    const header = `PROXY TCP4 127.0.0.1 127.0.0.1 ${localPort} ${outer.port}\r\n`
    socket.write('x')
    await until(() => a.received.endsWith('x'))
    expect(a.received).toBe(`${header}x`)
    socket.destroy()
    expect(JSON.parse(await inner.line('stderr'))).toMatchObject({
      client: `127.0.0.1:${localPort}`,
      server: a.address,
    })
    // Who sends none is turned away.
    const bare = (await dial(inner.port)).on('error', () => {})
    bare.write('GET / HTTP/1.0\r\n\r\n')
    await once(bare, 'close')
    expect(a.received).toBe(`${header}x`)
  })

  it('serves plain text and TLS on one port, and passes TLS on by the name asked for', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const config = {
      listeners: [
        { port: 0, tls: { selfSigned: true }, plain: 'allow', routes: [{ tls: true, to: 'a' }], to: 'b' },
        { name: 'through', port: 0, routes: [{ serverNames: ['tls.example'], to: 'front' }], to: 'b' },
      ],
      upstreams: { a: { servers: [a.address] }, b: { servers: [b.address] }, front: { servers: ['127.0.0.1:1'] } },
    }
    await using front = await startProxy(['--listen', '0', '--to', a.address, '--tls'])
    config.upstreams.front.servers = [`127.0.0.1:${front.port}`]
    await using proxy = await startProxy(['--config', fileOf(JSON.stringify(config), '.json')])
    expect(await ask(proxy.port)).toBe('b:x')
    const tls = await secure(proxy.port, 'localhost')
    expect(await say(tls, 'y')).toBe('a:y')
    // Not ended here: the certificate is that of the proxy behind.
    const through = proxy.line1.listening[1]!.port!
    const passed = await secure(through, 'tls.example')
    expect(await say(passed, 'z')).toBe('a:z')
    expect(await ask(through, 'no TLS')).toBe('b:no TLS')
    for (const socket of [tls, passed]) socket.destroy()
  })

  it('keeps to rules and limits, and shows what they did', async () => {
    await using a = await NamedServer.listen('a')
    const config = {
      stats: { port: 0 },
      tables: { clients: { size: 100, store: { connCurrent: true } } },
      listeners: [
        {
          port: 0,
          rules: [
            { action: 'track', table: 'clients' },
            { action: 'reject', when: { counter: 'connCurrent', above: 1 } },
          ],
        },
        { name: 'slow', port: 0, rateLimit: { write: 1000 }, maxConnections: 1 },
      ],
      upstreams: { a: { servers: [a.address] } },
    }
    await using proxy = await startProxy(['--config', fileOf(JSON.stringify(config), '.json')])
    const first = await dial(proxy.port)
    expect(await say(first, '1')).toBe('a:1')
    const second = netConnect({ port: proxy.port, host: '127.0.0.1' })
    expect(((await once(second, 'error')) as [{ code: string }])[0].code).toBe('ECONNRESET')
    const told = await stats(proxy.statsUrl) // biome-ignore format: one line
    expect(told.listeners[0]!.rules.map(({ hits }) => hits)).toEqual([2, 1])
    expect(told.listeners[0]!.rules[1]!.text).toBe('reject when {"counter":"connCurrent","above":1}')
    expect(told.listeners[0]!.turnedAway).toEqual({ RULE_REJECT: 1 })
    expect(told.tables).toMatchObject([
      { name: 'clients', entries: 1, tracked: 2, busiest: [{ key: '127.0.0.1', tracking: 1 }] },
    ])
    first.destroy()
  })

  it('waits for a place at a server, and no longer than allowed', async () => {
    await using a = await NamedServer.listen('a')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--max-per-server', '1', '--queue-timeout', '100', '--stats', '0']) // biome-ignore format: one line
    const first = await dial(proxy.port)
    expect(await say(first, '1')).toBe('a:1')
    const second = await dial(proxy.port)
    const [error] = await once(second, 'error')
    expect(error.code).toBe('ECONNRESET')
    const third = await dial(proxy.port)
    first.destroy()
    expect(await say(third, '3')).toBe('a:3')
    const told = await stats(proxy.statsUrl)
    expect(told.upstreams[0]).toMatchObject({ failures: { ERR_SLUICE_UPSTREAM_QUEUE_TIMEOUT: 1 }, servers: [{ mostUsed: 1, limit: 1 }] }) // biome-ignore format: one line
    third.destroy()
  })

  it('reloads by itself when its file changes, with --watch', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const textOf = (to: string) =>
      `export default { listeners: [{ port: 0 }], upstreams: { app: { servers: ['${to}'] } } }`
    const path = fileOf(textOf(a.address), '.mjs')
    await using proxy = await startProxy(['--config', path, '--watch'])
    expect(await ask(proxy.port)).toBe('a:x')
    writeFileSync(path, textOf(b.address))
    expect(await proxy.line('stderr')).toBe('reloaded')
    expect(await ask(proxy.port)).toBe('b:x')
  })

  it('tells its numbers to Prometheus in its own format', async () => {
    await using a = await NamedServer.listen('a')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--stats', '0', '--tls'])
    const tls = await secure(proxy.port, 'localhost')
    expect(await say(tls, 'x')).toBe('a:x')
    const response = await fetch(`${proxy.statsUrl}/metrics`)
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const lines = (await response.text()).split('\n')
    expect(lines.pop()).toBe('')
    const types = new Map<string, string>()
    const seen = new Set<string>()
    let current = ''
    for (const line of lines) {
      const help = /^# HELP ([a-z_]+) [^\n]+$/.exec(line)
      const type = /^# TYPE ([a-z_]+) (gauge|counter)$/.exec(line)
      const sample = /^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\["\\n])*",?)+\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(
        line,
      )
      if (help) current = help[1]!
      if (type) types.set(type[1]!, type[2]!)
      if (sample) expect(seen.has(`${sample[1]}${sample[2]}`), line).toBe(false)
      if (sample) seen.add(`${sample[1]}${sample[2]}`)
      // Every line is one of these, and all of a name stand together behind its help and type.
      expect(help ?? type ?? sample, line).not.toBeNull()
      expect((help ?? type ?? sample)![1]).toBe(current)
    }
    for (const [name, type] of types) expect(name.endsWith('_total'), name).toBe(type === 'counter')
    expect(lines).toContain(`sluice_listener_sessions{listener="127.0.0.1:${proxy.port}"} 1`)
    expect(lines).toContain(`sluice_server_sessions{upstream="servers",server="${a.address}"} 1`)
    tls.destroy()
  })

  it('serves nothing else at the port of its statistics', async () => {
    await using a = await NamedServer.listen('a')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--stats', '0'])
    expect((await fetch(`${proxy.statsUrl}/etc/passwd`)).status).toBe(404)
    expect((await fetch(`${proxy.statsUrl}/`, { method: 'POST' })).status).toBe(405)
    expect((await fetch(`${proxy.statsUrl}/health`)).status).toBe(200)
    const page = await fetch(`${proxy.statsUrl}/`)
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    const text = await page.text()
    // Nothing from elsewhere.
    expect(text).not.toMatch(
      /(?:src|href)="(?!data:|stats\.json|metrics)|@import|url\(|https?:\/\/(?!www\.w3\.org\/2000\/svg)/,
    )
  })
})
