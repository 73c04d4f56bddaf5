// Steps between accept and session: PROXY headers, one port for TLS and plaintext, rules, monitors. On every engine; what needs
// other programs is in test/compat.
import {
  acceptProxy,
  CidrSet,
  type ConnectOptions,
  type HandshakeOptions,
  type ListenOptions,
  monitor,
  RuleList,
  rules,
  StickTable,
  sendProxy,
  sniff,
  socks4,
  socks5,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import { block, client, HandshakeService, line } from '../support/handshake-service.js'
import * as id from '../support/identities.js'
import { kernelModes, type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { rawConnect } from '../support/raw.js'

describe.each(modes())('$name: acceptProxy()', (mode) => {
  it.each([
    ['version 1', Buffer.from(line)],
    ['version 2', block],
  ])('shows the claimed address beside the real one, and what follows the header is data: %s', async (_, header) => {
    await using service = await HandshakeService.start(mode, [acceptProxy()])
    const { connection, record } = await service.connect()
    connection.write(Buffer.concat([header, Buffer.from('hello')]))
    await record.received(5)
    const server = service.record.connection
    expect(server.proxy?.source).toMatchObject(client)
    expect(server.proxy?.destination).toMatchObject({ address: '198.51.100.5', port: 443 })
    expect(server.proxy?.replacesAddresses).toBe(true)
    expect(server.remoteAddress).toBe('127.0.0.1')
    expect(server.remotePort).toBe(connection.localPort)
    expect(service.record.text).toBe('hello')
    expect(record.text).toBe('hello')
    expect(server.stats().bytesRead).toBe(5)
  })

  it('keeps the header after the end of the connection', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy()])
    const { connection } = await service.connect()
    connection.write(line)
    await service.record.saw('open')
    const server = service.record.connection
    expect(server.proxy).toBe(server.proxy)
    await connection.close()
    await service.record.closed()
    expect(server.proxy?.source).toMatchObject(client)
  })

  it.each([
    ['GET / HTTP/1.1\r\n\r\n', 'ERR_SLUICE_PROXY_MISSING', 'PRX_NOT_HDR'],
    ['PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n', 'ERR_SLUICE_PROXY_INVALID', 'PRX_BAD_HDR'],
    ['', 'ERR_SLUICE_PROXY_EMPTY', 'PRX_EMPTY'],
  ])('tells handshakeError alone of a client without a header: %j', async (bytes, code, reason) => {
    await using service = await HandshakeService.start(mode, [acceptProxy()])
    const error = await service.refusal(bytes)
    expect(error).toMatchObject({ code, reason, step: 'acceptProxy', phase: 'handshake', address: '127.0.0.1' })
    expect(service.record.events).toEqual([])
    const { turnedAway, accepted, connections } = service.listener.stats()
    expect({ turnedAway, accepted, connections }).toEqual({ turnedAway: { [reason]: 1 }, accepted: 1, connections: 0 })
  })

  it('dies at the one deadline, however slowly its bytes trickle in', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy()], { handshakeTimeoutMs: 150 })
    const began = service.runtime.nowMs()
    const { connection, record } = await service.connect()
    let sent = 0
    const trickle = () => {
      if (record.count('end') > 0 || connection.state === 'closed' || sent === line.length) return
      connection.write(line.slice(sent, ++sent))
      service.runtime.after(20, trickle)
    }
    trickle()
    // A byte that crosses our end makes it a reset.
    await record.closed()
    expect(service.runtime.nowMs() - began).toBeGreaterThanOrEqual(150)
    expect(sent).toBeLessThan(line.length)
    expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_PROXY_TIMEOUT', reason: 'PRX_TIMEOUT' })
  })

  it('leaves the bounds of the session to the session, and they hold there', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy()], {
      handshakeTimeoutMs: 10_000,
      readTimeoutMs: 60,
    })
    await service.connect({ handshake: [sendProxy({ source: client, destination: client })] })
    await service.record.saw('open')
    expect(await service.record.closed()).toMatchObject({ code: 'ERR_SLUICE_READ_TIMEOUT' })
  })

  it('reads headers from the proxies it is told of, and from nobody else', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy({ from: ['127.0.0.0/8'] })])
    await service.connect({ handshake: [sendProxy({ source: client, destination: client })] })
    await service.record.saw('open')
    expect(service.record.connection.proxy?.source).toMatchObject(client)
    await using others = await HandshakeService.start(mode, [acceptProxy({ from: ['10.0.0.0/8', '2001:db8::/32'] })])
    const { connection } = await others.connect()
    connection.write(line)
    await others.record.received(line.length)
    expect(others.record.text).toBe(line)
    expect(others.record.connection.proxy).toBeUndefined()
  })

  it('comes before TLS, with no byte of either lost', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy()], { tls: id.serving })
    const tls = { ...id.trusting, serverName: 'localhost' }
    const { connection, record } = await service.connect({
      handshake: [sendProxy({ source: client, destination: client })],
      tls,
    })
    connection.write('secret')
    await record.received(6)
    expect(service.record.connection.tls?.protocol).toBe('TLSv1.3')
    expect(service.record.connection.proxy?.source).toMatchObject(client)
    expect(service.listener.stats()).toMatchObject({ handshakesDone: 1, handshakesFailed: 0 })
  })

  it.skipIf(mode.simulated)('and with handshakes on threads of their own', async () => {
    const threads = { handshakeThreads: 2 }
    await using service = await HandshakeService.start(mode, [acceptProxy()], { tls: id.serving }, threads)
    const tls = { ...id.trusting, serverName: 'localhost' }
    const handshake = [sendProxy({ source: client, destination: client })]
    const visits = Array.from({ length: 20 }, async () => {
      const { connection, record } = await service.connect({ handshake, tls })
      connection.write('secret')
      await record.received(6)
      await connection.close()
    })
    await Promise.all(visits)
    expect(service.failures).toEqual([])
  })

  it('accepts on a listener without handlers', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, handshake: [acceptProxy()] })
    const connection = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) })
    connection.write(`${line}hello`)
    connection.end()
    for await (const accepted of listener) {
      const chunks: Uint8Array[] = []
      for await (const batch of accepted) chunks.push(...batch)
      expect(Buffer.concat(chunks).toString()).toBe('hello')
      expect(accepted.proxy?.source).toMatchObject(client)
      break
    }
  })
})

describe.each(modes())('$name: rules() among the steps', (mode) => {
  it('go by the real address before PROXY headers, and by the claimed one behind them', async () => {
    const list = new RuleList([
      { action: 'tag', tag: 'local', when: { source: '127.0.0.0/8' } },
      { stage: 'session', action: 'reject', when: { source: '203.0.113.0/24' } },
      { stage: 'session', action: 'set', variable: 'client', to: 'source', when: { proxied: true } },
    ])
    await using service = await HandshakeService.start(mode, [rules(list), acceptProxy()])
    await service.connect({ handshake: [sendProxy({ source: client, destination: client })] })
    await service.record.saw('open')
    expect(service.record.connection.marks).toEqual({ tags: ['local'], variables: { client: '192.0.2.1' } })
    const bad = { address: '203.0.113.7', port: 1 }
    await service.connect({ handshake: [sendProxy({ source: bad, destination: bad })] })
    await eventually(() => service.failures.length === 1)
    expect(service.failures[0]).toMatchObject({
      code: 'ERR_SLUICE_RULE_REJECTED',
      reason: 'RULE_REJECT',
      step: 'rules',
    })
    expect(service.listener.stats().turnedAway).toEqual({ RULE_REJECT: 1 })
  })

  it('reject with RST, and admit as many at once as they say', async () => {
    const table = new StickTable({ size: 10, store: { connCurrent: true } })
    const list = new RuleList([
      { action: 'track', table },
      { action: 'reject', when: { counter: 'connCurrent', above: 2 } },
    ])
    await using service = await HandshakeService.start(mode, [rules(list)])
    const first = await service.connect()
    await service.connect()
    await service.record.saw('open', 2)
    const third = await service.connect()
    await third.record.saw('error ERR_SLUICE_CONNECTION_RESET')
    await first.connection.close()
    await service.record.saw('close')
    await service.connect()
    await service.record.saw('open', 3)
  })

  it('say from whom a PROXY header has to come', async () => {
    const expecting = (network: string) => [
      rules(new RuleList([{ action: 'expectProxy', when: { source: network } }])),
      acceptProxy({ byRule: true }),
    ]
    await using service = await HandshakeService.start(mode, expecting('127.0.0.1'))
    expect(await service.refusal('hello')).toMatchObject({ code: 'ERR_SLUICE_PROXY_MISSING' })
    await using others = await HandshakeService.start(mode, expecting('10.0.0.0/8'))
    const { connection, record } = await others.connect()
    connection.write('hello')
    await record.received(5)
  })

  it('look at the first content, behind TLS too', async () => {
    const list = new RuleList([
      { stage: 'content', action: 'accept', when: { contentStarts: 'GOOD' } },
      { stage: 'content', action: 'reject' },
    ])
    await using service = await HandshakeService.start(mode, [rules(list)], { tls: id.serving })
    const tls = { ...id.trusting, serverName: 'localhost' }
    const good = await service.connect({ tls })
    good.connection.write('GO')
    good.connection.write('OD day')
    await good.record.received(8)
    const bad = await service.connect({ tls })
    bad.connection.write('BAD')
    await bad.record.closed()
    await eventually(() => service.failures.length === 1)
    expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_RULE_REJECTED' })
    expect(service.record.text).toBe('GOOD day')
  })

  it('and networks may be sets whose content changes', async () => {
    const proxies = new CidrSet(['10.0.0.0/8'])
    await using service = await HandshakeService.start(mode, [acceptProxy({ from: proxies })])
    const { connection, record } = await service.connect()
    connection.write('hello')
    await record.received(5)
    proxies.replace(['127.0.0.1'])
    expect(await service.refusal('hello')).toMatchObject({ code: 'ERR_SLUICE_PROXY_MISSING' })
  })
})

describe.each(modes())('$name: sniff()', (mode) => {
  it('serves TLS and plaintext on one port', async () => {
    await using service = await HandshakeService.start(mode, [sniff({ plain: 'allow' })], { tls: id.serving })
    const plain = await service.connect()
    plain.connection.write('in the clear')
    await plain.record.received(12)
    expect(service.record.connection.tls).toBeUndefined()
    const secure = await service.connect({ tls: { ...id.trusting, serverName: 'localhost' } })
    secure.connection.write('secret')
    await secure.record.received(6)
    expect(secure.record.text).toBe('secret')
    expect(service.record.text).toBe('in the clearsecret')
    expect(service.listener.stats().handshakesDone).toBe(1)
  })

  it('asks clients for certificates where the policy says so, and only those of TLS', async () => {
    const tls = { ...id.serving, clientCert: 'require' as const }
    await using service = await HandshakeService.start(mode, [sniff({ plain: 'allow' })], { tls })
    const { connection, record } = await service.connect({
      tls: { ...id.trusting, ...id.client, serverName: 'localhost' },
    })
    connection.write('mine')
    await record.received(4)
    expect(service.record.connection.tls?.authorized).toBe(true)
    const nobody = await service.connect({ tls: { ...id.trusting, serverName: 'localhost' } }).catch((error) => error)
    if (!(nobody instanceof Error)) await nobody.record.saw('close')
    await eventually(() => service.failures.length === 1)
    expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_TLS_CERTIFICATE_MISSING' })
  })

  it('refuses plaintext by default, and SSL 2 always', async () => {
    await using service = await HandshakeService.start(mode, [sniff()], { tls: id.serving })
    expect(await service.refusal('GET / HTTP/1.1\r\n')).toMatchObject({ code: 'ERR_SLUICE_PLAINTEXT_REFUSED' })
    expect(await service.refusal(Buffer.from([0x80, 0x2e, 1]))).toMatchObject({ code: 'ERR_SLUICE_SSLV2_REFUSED' })
  })

  it('serves who says nothing in the clear, after the time agreed on', async () => {
    const handshake = [sniff({ plain: 'allow', plainAfterMs: 50 })]
    await using service = await HandshakeService.start(mode, handshake, { tls: id.serving })
    const began = service.runtime.nowMs()
    await service.connect()
    await service.record.saw('open')
    expect(service.runtime.nowMs() - began).toBeGreaterThanOrEqual(50)
  })
})

describe.each(modes())('$name: monitor()', (mode) => {
  it.each([
    ['plain', 'OK\n'],
    ['http', 'HTTP/1.0 200 OK\r\n\r\n'],
    ['none', ''],
  ] as const)('answers before anything else, and is no session: %s', async (answer, expected) => {
    await using service = await HandshakeService.start(
      mode,
      [monitor({ networks: ['127.0.0.1'], answer }), acceptProxy()],
      {
        tls: id.serving,
      },
    )
    const { record, connection } = await service.connect()
    await record.saw('end')
    expect(record.text).toBe(expected)
    await record.closed()
    expect(record.error).toBeUndefined()
    expect(connection.state).toBe('closed')
    const { accepted, turnedAway, handshakesFailed } = service.listener.stats()
    expect({ accepted, turnedAway, handshakesFailed }).toEqual({
      accepted: 0,
      turnedAway: { MONITOR_ANSWERED: 1 },
      handshakesFailed: 0,
    })
    expect(service.failures).toEqual([])
    expect(service.record.events).toEqual([])
  })

  it('lets others through', async () => {
    await using service = await HandshakeService.start(mode, [monitor({ networks: ['10.0.0.0/8', '::1'] })])
    const { connection, record } = await service.connect()
    connection.write('hello')
    await record.received(5)
    expect(record.text).toBe('hello')
  })
})

describe.each(kernelModes())('$name: monitor()', (mode) => {
  it('ends with FIN although the peer has sent what nobody reads', async () => {
    await using service = await HandshakeService.start(mode, [monitor({ answer: 'http' })])
    const peer = await rawConnect(service.to)
    peer.socket.write(Buffer.alloc(100_000))
    expect(await peer.ended).toBe('end')
    expect(peer.text).toBe('HTTP/1.0 200 OK\r\n\r\n')
    peer.destroy()
  })
})

describe('options', () => {
  const [mode] = modes() as [Mode]
  const listening = (options: HandshakeOptions & Partial<ListenOptions>) => async () => {
    await using runtime = mode.start()
    await runtime.listen({ host: '127.0.0.1', port: 0, ...options })
  }
  it.each([
    [{ handshake: [] }, /"handshake" must be a list of steps/],
    [{ handshake: [{ name: 'x' } as never] }, /"handshake\[0\].bytes" is missing/],
    [{ handshake: [{ name: 'x', bytes: () => 'needMore' as const, maxBytes: 0 }] }, /"handshake\[0\].maxBytes"/],
    [{ handshake: [socks5({ host: 'a', port: 1 })] }, /"handshake\[0\]" socks5\(\) is a step of connect\(\)/],
    [{ handshake: [acceptProxy(), monitor()] }, /"handshake\[1\]" monitor\(\) comes before all other steps/],
    [{ handshake: [acceptProxy({ byRule: true })] }, /acceptProxy\(\) needs rules\(\) before it/],
    [{ handshake: [sniff()] }, /sniff\(\) needs the option "tls"/],
    [{ handshake: [sniff(), acceptProxy()], tls: id.serving }, /sniff\(\) is the last step before TLS/],
    [{ handshakeTimeoutMs: 5 }, /"handshakeTimeoutMs" needs "handshake"/],
  ])('are checked before anything is done: %#', async (options, message) => {
    await expect(listening(options)()).rejects.toThrow(message)
  })

  it.each([
    [{ socks: { port: 0 } }, /"socks.port" must be an integer from 1/],
    [{ socks: { host: 'a', sort: 5 } as never }, /"socks.sort" is unknown/],
    [{ socks: { user: 'me' } }, /"socks.user" needs "socks.password"/],
    [{ socks: { version: 4 as const, password: 'secret' } }, /"socks.password" must be absent in version 4/],
    [{ socks: { version: 4 as const }, host: '::1' }, /"host" must be a name or address that SOCKS 4 can express/],
    [{ socks: {}, host: undefined, port: undefined, path: '/tmp/x' }, /"socks" cannot be given together with "path"/],
    [{ sendProxy: { version: 1 as const, crc32c: true } }, /"sendProxy.crc32c" must be absent in version 1/],
    [{ sendProxy: 1 as never }, /"sendProxy" must be an object/],
    [{ socks: {}, handshake: [acceptProxy()] }, /"handshake\[0\]" acceptProxy\(\) is a step of listen\(\)/],
    [{ handshakeTimeoutMs: 5 }, /"handshakeTimeoutMs" needs "handshake" or "socks" or "sendProxy" as well/],
  ])('of connect() are checked before anything is done: %#', async (options, message) => {
    await using runtime = mode.start()
    const connecting = runtime.connect({ host: 'localhost', port: 9, ...options } as ConnectOptions)
    await expect(connecting).rejects.toThrow(message)
    await expect(connecting).rejects.toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION' })
  })

  it.each([
    [() => acceptProxy({ from: ['10.0.0.1/8'] }), /"from\[0\]".*did you mean "10.0.0.0\/8"/],
    [() => acceptProxy({ from: ['localhost'] }), /"from\[0\]" must be an address or a network/],
    [() => acceptProxy({ from: [] }), /"from" must be a CidrSet, or a list of addresses/],
    [() => acceptProxy({ from: ['10.0.0.1'], byRule: true }), /cannot be given together/],
    [() => acceptProxy({ version: 3 as never }), /"version"/],
    [() => monitor({ answer: 'ok' as never }), /"answer"/],
    [() => sniff({ plainAfterMs: 5 }), /"plainAfterMs" needs "plain"/],
    [() => socks4({ host: '::1', port: 80 }), /"host" must be a name or address that SOCKS 4 can express/],
    [() => socks5({ host: 'a', port: 80, user: 'me' }), /"user" needs "password"/],
  ])('of steps are checked when they are made: %#', (make, message) => {
    expect(make).toThrow(message)
  })
})
