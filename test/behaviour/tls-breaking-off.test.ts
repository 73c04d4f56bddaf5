// Peers that leave, by FIN or RST, in each state of a handshake and after it: who is told what.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import * as nodeTls from 'node:tls'
import type { SluiceError } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes, type Mode } from '../support/modes.js'
import { echo, eventually, portOf } from '../support/pair.js'
import { type RawPeer, RawServer, rawConnect } from '../support/raw.js'
import { Record } from '../support/record.js'

const ways = ['FIN', 'RST'] as const
type Way = (typeof ways)[number]

function leave(peer: RawPeer, way: Way): void {
  if (way === 'FIN') peer.socket.end()
  else peer.reset()
}

/** The first bytes that node:tls sends. */
async function clientHello(options: nodeTls.ConnectionOptions = {}): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = nodeTls.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', ...options })
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [hello] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  server.close()
  return hello
}

const hello = await clientHello()
const oldHello = await clientHello({ maxVersion: 'TLSv1.2' })

/** What a server of TLS says first, so that a client can be left in the middle of it. */
const helloServer: Server = nodeTls.createServer({ ...id.server }, (socket) => socket.on('error', () => {}))
helloServer.on('tlsClientError', () => {})
helloServer.listen(0, '127.0.0.1')
await once(helloServer, 'listening')
afterAll(() => helloServer.close())

async function serving(mode: Mode) {
  const runtime = mode.start()
  const failures: SluiceError[] = []
  const record = new Record(echo)
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, tls: id.serving },
    { ...record.handlers, handshakeError: (error) => void failures.push(error) },
  )
  return { failures, record, listener, port: portOf(listener), [Symbol.asyncDispose]: () => runtime.destroy() }
}

describe.each(kernelModes())('a server on $name whose client leaves', (mode) => {
  type Row = [when: string, said: Buffer, answered: boolean, code: string, reason: string]
  const rows: Row[] = [
    ['before it said anything', Buffer.alloc(0), false, 'ERR_SLUICE_TLS_EMPTY', 'SSL_EMPTY'],
    ['after one byte', hello.subarray(0, 1), false, 'ERR_SLUICE_TLS_ABORTED', 'SSL_ABORT'],
    ['in the middle of its hello', hello.subarray(0, 100), false, 'ERR_SLUICE_TLS_ABORTED', 'SSL_ABORT'],
    ['after its hello', hello, true, 'ERR_SLUICE_TLS_ABORTED', 'SSL_ABORT'],
    ['after its hello of TLS 1.2', oldHello, true, 'ERR_SLUICE_TLS_ABORTED', 'SSL_ABORT'],
  ]
  it.each(rows)('%s', async (_, said, answered, code, reason) => {
    for (const way of ways) {
      await using service = await serving(mode)
      const peer = await rawConnect({ port: service.port })
      peer.socket.write(said)
      if (answered) await peer.received(100)
      else if (said.length > 0) await eventually(() => service.listener.stats().handshakesUnderWay === 1)
      else await eventually(() => service.listener.stats().accepted === 1)
      leave(peer, way)
      await eventually(() => service.failures.length > 0)
      const expected =
        way === 'RST' && code.endsWith('EMPTY') ? ['ERR_SLUICE_TLS_ABORTED', 'SSL_ABORT'] : [code, reason]
      const { address, phase } = service.failures[0]!
      expect([service.failures[0]!.code, service.failures[0]!.reason, way]).toEqual([...expected, way])
      // After RST the system does not tell any more who it was.
      expect([address ?? way, phase]).toEqual([
        way === 'FIN' ? '127.0.0.1' : expect.stringMatching(/127.0.0.1|RST/),
        'handshake',
      ])
      expect(service.failures).toHaveLength(1)
      expect(service.record.events).toEqual([])
      await eventually(() => service.listener.stats().handshakesUnderWay === 0)
      peer.destroy()
    }
  })

  it.each([
    ['plain HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['nonsense', '\0\0\0\0\0\0\0\0\0\0\0\0'],
    ['SSH', 'SSH-2.0-OpenSSH_9.6\r\n'],
  ])('or speaks %s', async (_, said) => {
    await using service = await serving(mode)
    const peer = await rawConnect({ port: service.port })
    peer.socket.write(said)
    await eventually(() => service.failures.length > 0)
    expect(service.failures[0]!.code).toBe('ERR_SLUICE_TLS_NOT_TLS')
    await peer.ended
  })

  it.each(['TLSv1.2', 'TLSv1.3'] as const)('after the handshake, without a word, %s', async (maxVersion) => {
    for (const way of ways) {
      await using service = await serving(mode)
      const raw = await rawConnect({ port: service.port })
      raw.socket.removeAllListeners('data')
      const client = nodeTls.connect({ socket: raw.socket, ca: id.authority.cert, servername: 'localhost', maxVersion })
      client.on('error', () => {})
      await once(client, 'secureConnect')
      client.write('half a mess')
      await once(client, 'data')
      leave(raw, way)
      const error = await service.record.closed()
      if (way === 'FIN') expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_TRUNCATED', phase: 'read' })
      else expect(error?.code).toMatch(/^ERR_SLUICE_(CONNECTION_RESET|TLS_RESET)$/)
      expect(service.record.text).toBe('half a mess')
      expect(service.record.count('end')).toBe(0)
      raw.destroy()
    }
  })

  it('after the handshake, where that is allowed', async () => {
    await using runtime = mode.start()
    const record = new Record(echo)
    const tls = { ...id.serving, allowTruncation: true }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, record.handlers)
    const raw = await rawConnect({ port: portOf(listener) })
    raw.socket.removeAllListeners('data')
    const client = nodeTls.connect({ socket: raw.socket, ca: id.authority.cert, servername: 'localhost' })
    client.on('error', () => {})
    await once(client, 'secureConnect')
    client.write('all of it')
    await once(client, 'data')
    leave(raw, 'FIN')
    expect(await record.closed()).toBeUndefined()
    expect(record.events).toEqual(['open', 'data', 'end', 'close'])
    raw.destroy()
  })
})

describe.each(kernelModes())('shutdown() on $name', (mode) => {
  // A client of node:tls over a raw socket, so that it can leave in any way.
  const served = async (allowTruncation = false) => {
    const runtime = mode.start()
    const record = new Record({ data() {} })
    const tls = { ...id.serving, allowTruncation }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, allowHalfOpen: true, tls }, record.handlers)
    const raw = await rawConnect({ port: portOf(listener) })
    raw.socket.removeAllListeners('data').removeAllListeners('end')
    const client = nodeTls.connect({ socket: raw.socket, ca: id.authority.cert, servername: 'localhost' })
    client.on('error', () => {}).resume()
    await once(client, 'secureConnect')
    await record.saw('open')
    const dispose = async () => {
      raw.destroy()
      await runtime.destroy()
    }
    return { raw, client, connection: record.connection, [Symbol.asyncDispose]: dispose }
  }

  it('is clean when the peer says goodbye too', async () => {
    await using runtime = mode.start()
    const record = new Record({ data() {} })
    const tls = id.serving
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls }, record.handlers)
    const client = nodeTls.connect({
      port: portOf(listener),
      host: '127.0.0.1',
      ca: id.authority.cert,
      servername: 'localhost',
    })
    client.resume()
    await record.saw('open')
    record.connection.write('the last words')
    expect(await record.connection.shutdown()).toBe('clean')
    expect(await record.connection.shutdown()).toBe('clean')
  })

  it('tells of a peer that ends without goodbye, unless that is allowed', async () => {
    for (const [allow, outcome] of [
      [false, 'truncated'],
      [true, 'clean'],
    ] as const) {
      await using peer = await served(allow)
      // Deaf, so that it does not answer our goodbye.
      peer.client.pause()
      peer.raw.socket.pause()
      const ended = peer.connection.shutdown()
      leave(peer.raw, 'FIN')
      expect(await ended).toBe(outcome)
    }
  })

  it('tells of a peer that does not end in time, and of one that hangs up', async () => {
    await using slow = await served()
    slow.client.pause()
    slow.raw.socket.pause()
    expect(await slow.connection.shutdown({ timeoutMs: 30 })).toBe('timeout')
    await using rude = await served()
    rude.client.pause()
    rude.raw.socket.pause()
    const ended = rude.connection.shutdown()
    leave(rude.raw, 'RST')
    expect(await ended).toBe('reset')
  })
})

describe.each(kernelModes())('a client on $name whose server leaves', (mode) => {
  const attempt = async (serve: (peer: RawPeer) => Promise<void>) => {
    await using runtime = mode.start()
    await using server = await RawServer.listen()
    const accepted = server.accepted()
    const connected = runtime.connect({ host: '127.0.0.1', port: server.port, tls: id.trusting }, {}).then(
      () => undefined,
      (error: SluiceError) => error,
    )
    await serve(await accepted)
    return await connected
  }

  it.each(ways)('before it said anything, by %s', async (way) => {
    const error = await attempt(async (peer) => {
      await peer.received(100)
      leave(peer, way)
    })
    expect(error?.code).toMatch(way === 'FIN' ? /^ERR_SLUICE_TLS_(EMPTY|ABORTED)$/ : /^ERR_SLUICE_TLS_ABORTED$/)
    expect(error).toMatchObject({ phase: 'handshake', address: '127.0.0.1' })
  })

  it.each(ways)('in the middle of its hello, by %s', async (way) => {
    const error = await attempt(async (peer) => {
      await peer.received(100)
      const real = await rawConnect({ port: (helloServer.address() as AddressInfo).port })
      real.socket.write(Buffer.concat(peer.chunks))
      await real.received(100)
      await new Promise<void>((resolve) =>
        peer.socket.write(Buffer.concat(real.chunks).subarray(0, 60), () => resolve()),
      )
      leave(peer, way)
      real.destroy()
    })
    expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_ABORTED', phase: 'handshake' })
  })

  it('or speaks no TLS', async () => {
    const error = await attempt(async (peer) => {
      peer.socket.write('220 mail.example ESMTP\r\n')
    })
    expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_NOT_TLS', phase: 'handshake' })
  })
})
