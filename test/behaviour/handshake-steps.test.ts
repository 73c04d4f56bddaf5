// Steps of one's own, and those between connect and session: SOCKS and PROXY headers. On every engine.
import { acceptProxy, type CustomStep, type OpeningConnection, type Runtime, sendProxy, socks4, socks5 } from 'sluice'
import { describe, expect, it } from 'vitest'
import { client, HandshakeService, line } from '../support/handshake-service.js'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { eventually } from '../support/pair.js'

describe.each(modes())('$name: a step of one’s own', (mode) => {
  it('sees what nobody has taken, takes its part, and leaves data to the session', async () => {
    const seen: string[] = []
    const step: CustomStep = {
      name: 'greeting',
      bytes(connection, bytes) {
        seen.push(bytes.toString())
        const end = bytes.indexOf('\n')
        if (end < 0) return 'needMore'
        connection.data = bytes.subarray(0, end).toString()
        return { consumed: end + 1 }
      },
    }
    await using service = await HandshakeService.start(mode, [acceptProxy(), step])
    const { connection, record } = await service.connect()
    connection.write(`${line}ali`)
    await eventually(() => seen.length === 1)
    connection.write('ce\nhello')
    await record.received(5)
    expect(seen).toEqual(['ali', 'alice\nhello'])
    expect(service.record.text).toBe('hello')
    expect(service.record.connection.data).toBe('alice')
  })

  it('may speak first, wait for promises, and see facts of the connection', async () => {
    let facts: unknown
    const step: CustomStep = {
      name: 'challenge',
      begin(connection) {
        connection.write('who?')
        return 'needMore'
      },
      async bytes(connection, bytes) {
        const { remoteAddress, remotePort, localPort, proxy } = connection
        facts = { remoteAddress, remotePort, localPort, proxy: proxy?.source }
        await new Promise<void>((resolve) => service.runtime.after(30, resolve))
        return { consumed: bytes.length }
      },
    }
    await using service = await HandshakeService.start(mode, [acceptProxy(), step])
    const { connection, record } = await service.connect()
    connection.write(line)
    await record.received(4)
    expect(record.text).toBe('who?')
    connection.write('me')
    await service.record.saw('open')
    expect(facts).toMatchObject({
      ...{ remoteAddress: '127.0.0.1', remotePort: connection.localPort, localPort: service.to.port, proxy: client },
    })
    connection.write('now data')
    await record.received(12)
    expect(record.text).toBe('who?now data')
    expect(service.record.connection.queuedBytes).toBe(0)
  })

  it('that throws or rejects ends its own connection with what it threw', async () => {
    const thrown = new Error('broken')
    for (const bytes of [
      () => {
        throw thrown
      },
      () => Promise.reject(thrown),
    ]) {
      await using service = await HandshakeService.start(mode, [{ name: 'mine', bytes }])
      const error = await service.refusal('x')
      expect(error).toMatchObject({ code: 'ERR_SLUICE_STEP_THREW', cause: thrown, step: 'mine' })
    }
  })

  it('that answers nonsense is told so', async () => {
    await using service = await HandshakeService.start(mode, [{ name: 'mine', bytes: () => ({ consumed: 5 }) }])
    const error = await service.refusal('x')
    expect(error.code).toBe('ERR_SLUICE_STEP_THREW')
    expect(String(error.cause)).toContain('0 to 1 bytes')
  })

  it('that hangs dies at the deadline, and its signal tells it', async () => {
    let told: Promise<unknown> | undefined
    const step: CustomStep = {
      name: 'mine',
      begin({ signal }: OpeningConnection) {
        told = new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)))
        return new Promise(() => {})
      },
      bytes: () => 'needMore',
    }
    await using service = await HandshakeService.start(mode, [step], { handshakeTimeoutMs: 60 })
    const { record } = await service.connect()
    await record.saw('end')
    expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_STEP_TIMEOUT', step: 'mine' })
    expect(await told).toBe(service.failures[0])
  })

  it.each([
    ['close', 'end'],
    ['reject', 'error ERR_SLUICE_CONNECTION_RESET'],
  ] as const)('refuses: %s', async (verdict, event) => {
    const step: CustomStep = { name: 'mine', bytes: () => ({ verdict, text: 'not today' }) }
    await using service = await HandshakeService.start(mode, [step])
    const { connection, record } = await service.connect()
    connection.write('x')
    await record.saw(event)
    await eventually(() => service.failures.length === 1)
    expect(service.failures[0]).toMatchObject({ code: 'ERR_SLUICE_STEP_REJECTED', reason: 'STEP_REJECT' })
    expect(service.failures[0]!.message).toContain('not today')
  })

  it.runIf(mode.simulated)('refuses without telling the peer: drop', async () => {
    const step: CustomStep = { name: 'mine', bytes: () => ({ verdict: 'drop' }) }
    await using service = await HandshakeService.start(mode, [step])
    const { connection, record } = await service.connect()
    connection.write('x')
    await eventually(() => service.failures.length === 1)
    await new Promise<void>((resolve) => service.runtime.after(60_000, resolve))
    expect(record.events).toEqual(['open'])
    expect(connection.state).toBe('open')
  })

  it('runs on connect() as well: a tunnel by HTTP CONNECT, with TLS to the target through it', async () => {
    const tunnel: CustomStep = {
      name: 'httpConnect',
      begin(connection) {
        connection.write('CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n')
        return 'needMore'
      },
      bytes(_, bytes) {
        const end = bytes.indexOf('\r\n\r\n')
        if (end < 0) return 'needMore'
        return bytes.toString().startsWith('HTTP/1.1 200') ? { consumed: end + 4 } : { verdict: 'close', text: 'no' }
      },
    }
    const gate: CustomStep = {
      name: 'connectServer',
      bytes(connection, bytes) {
        const end = bytes.indexOf('\r\n\r\n')
        if (end < 0) return 'needMore'
        connection.write('HTTP/1.1 200 OK\r\n\r\n')
        return { consumed: end + 4 }
      },
    }
    await using service = await HandshakeService.start(mode, [gate], { tls: id.serving })
    const tls = { ...id.trusting, serverName: 'localhost' }
    const { connection, record } = await service.connect({ handshake: [tunnel], tls })
    connection.write('through')
    await record.received(7)
    expect(record.text).toBe('through')
    expect(service.failures).toEqual([])
  })
})

/** A server of SOCKS 5 that grants everything, as custom steps: what comes behind is echoed. */
function socksServer(answer: number[], seen: Buffer[]): CustomStep {
  const greeted = new WeakSet<OpeningConnection>()
  return {
    name: 'socksServer',
    bytes(connection, bytes) {
      if (!greeted.has(connection)) {
        if (bytes.length < 3) return 'needMore'
        greeted.add(connection)
        connection.write(Uint8Array.of(5, 0))
      }
      if (bytes.length < 3 + 7) return 'needMore'
      seen.push(bytes)
      connection.write(Uint8Array.from(answer))
      return { consumed: bytes.length }
    },
  }
}

/** The same of SOCKS 4a, for the target `localhost`. */
function socks4Server(answer: number[], seen: Buffer[]): CustomStep {
  return {
    name: 'socks4Server',
    bytes(connection, bytes) {
      if (!bytes.toString('latin1').endsWith('localhost\0')) return 'needMore'
      seen.push(bytes)
      connection.write(Uint8Array.from(answer))
      return { consumed: bytes.length }
    },
  }
}

/** A step that takes its time. */
const rest = (runtime: Runtime, ms: number): CustomStep => ({
  name: 'rest',
  begin: () => new Promise((resolve) => runtime.after(ms, () => resolve({ consumed: 0 }))),
  bytes: () => 'needMore',
})

describe.each(modes())('$name: connect() by way of others', (mode) => {
  it('asks a SOCKS 5 server, and the session begins behind its answer', async () => {
    const seen: Buffer[] = []
    await using service = await HandshakeService.start(mode, [socksServer([5, 0, 0, 1, 127, 0, 0, 1, 0, 80], seen)])
    const { connection, record } = await service.connect({ handshake: [socks5({ host: 'a.example', port: 443 })] })
    expect(seen[0]!.subarray(3).toString('latin1')).toBe('\x05\x01\x00\x03\x09a.example\x01\xbb')
    connection.write('hello')
    await record.received(5)
    expect(record.text).toBe('hello')
    expect(connection.stats().bytesRead).toBe(5)
  })

  it('rejects with what the server says', async () => {
    const seen: Buffer[] = []
    await using service = await HandshakeService.start(mode, [socksServer([5, 5, 0, 1, 0, 0, 0, 0, 0, 0], seen)])
    const failed = service.connect({ handshake: [socks5({ host: '192.0.2.1', port: 80 })] })
    await expect(failed).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_SOCKS_DENIED', reason: 'SOCKS5_DENY', step: 'socks5', phase: 'handshake' },
      ...{ address: '127.0.0.1', port: service.to.port },
    })
    await expect(failed).rejects.toThrow('connection refused by the target')
  })

  it('gives up in time when nobody answers', async () => {
    await using service = await HandshakeService.start(mode, [{ name: 'mute', bytes: () => new Promise(() => {}) }])
    const handshake = [socks4({ host: '192.0.2.1', port: 80, user: 'me' })]
    await expect(service.connect({ handshake, handshakeTimeoutMs: 50 })).rejects.toMatchObject({
      code: 'ERR_SLUICE_SOCKS_TIMEOUT',
    })
    await expect(service.connect({ handshake, connectTimeoutMs: 50 })).rejects.toMatchObject({
      code: 'ERR_SLUICE_CONNECT_TIMEOUT',
    })
  })

  it.each([
    [5, { user: 'me', password: 'secret' }, '\x05\x02\x00\x02\x05\x01\x00\x03\x09localhost\x01\xbb'],
    [4, { user: 'me' }, '\x04\x01\x01\xbb\x00\x00\x00\x01me\x00localhost\x00'],
  ] as const)('goes through a server of SOCKS %d that is named by an option, with TLS to the target', async (...row) => {
    const [version, login, asked] = row
    const seen: Buffer[] = []
    const answer = version === 5 ? [5, 0, 0, 1, 0, 0, 0, 0, 0, 0] : [0, 90, 0, 0, 0, 0, 0, 0]
    const steps = version === 5 ? [socksServer(answer, seen)] : [socks4Server(answer, seen)]
    await using service = await HandshakeService.start(mode, [...steps, acceptProxy()], { tls: id.serving })
    const to = { host: 'localhost', port: 443, tls: id.trusting }
    const options = { ...to, socks: { ...service.to, version, ...login }, sendProxy: { uniqueId: 'me' } }
    const { connection, record } = await service.connect(options)
    expect(Buffer.concat(seen).toString('latin1')).toBe(asked)
    expect(connection.tls?.serverName).toBe('localhost')
    await service.record.saw('open')
    expect(service.record.connection.proxy?.uniqueId?.toString()).toBe('me')
    connection.write('hello')
    await record.received(5)
    // Between the two stand the steps of the list.
    const never: CustomStep = {
      name: 'never',
      bytes: () => 'needMore',
      begin: () => ({ verdict: 'close', text: 'no' }),
    }
    await expect(service.connect({ ...options, handshake: [never] })).rejects.toMatchObject({ step: 'never' })
  })

  it.each([
    ['of TLS', { tls: { ...id.trusting, handshakeTimeoutMs: 0 } }],
    ['of TLS under a bound of its own', { tls: { ...id.trusting, handshakeTimeoutMs: 15_000 } }],
  ])('one deadline bounds the steps and the handshake %s (HP-16)', async (_, tls) => {
    const mute: CustomStep = { name: 'mute', bytes: () => 'needMore' }
    await using service = await HandshakeService.start(mode, [acceptProxy(), mute], { handshakeTimeoutMs: 0 })
    const begun = { ...tls, host: 'localhost', handshakeTimeoutMs: 400 }
    for (const steps of [{ sendProxy: true }, { handshake: [sendProxy(), rest(service.runtime, 100)] }]) {
      let isLate = false
      service.runtime.after(450, () => {
        isLate = true
      })
      await expect(service.connect({ ...begun, ...steps })).rejects.toMatchObject({
        ...{ code: 'ERR_SLUICE_TLS_TIMEOUT', reason: 'SSL_TIMEOUT' },
      })
      if (mode.simulated) expect(isLate).toBe(false)
    }
  })

  it('sends a PROXY header with the socket’s own addresses unless told others', async () => {
    await using service = await HandshakeService.start(mode, [acceptProxy()])
    const { connection } = await service.connect({ handshake: [sendProxy({ version: 1 })] })
    await service.record.saw('open')
    const { proxy } = service.record.connection
    expect(proxy?.source).toMatchObject({ address: '127.0.0.1', port: connection.localPort })
    expect(proxy?.destination).toMatchObject({ address: '127.0.0.1', port: service.to.port })
    connection.write('x')
    expect(connection.queuedBytes).toBe(1)
    await connection.drained()
    expect(connection.queuedBytes).toBe(0)
  })
})
