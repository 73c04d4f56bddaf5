// Where a listener listens, how it hands out connections, and how it ends.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Connection, SluiceError } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, nextTurn, portOf } from '../support/pair.js'
import { rawConnect } from '../support/raw.js'
import { Record } from '../support/record.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-listener-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let names = 0
const newPath = () => join(folder, `socket-${names++}`)
const hasIpv6 = Object.values(networkInterfaces()).some((list) => list!.some(({ family }) => family === 'IPv6'))

/** The first success of `attempt`, whose failures are told only if they last. */
async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let i = 0; i < 50; i++) {
    try {
      return await attempt()
    } catch {
      await nextTurn()
    }
  }
  return attempt()
}

describe.each(modes())('a listener on $name', (mode) => {
  it('tells the port that the system picked', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    expect(listener.address).toEqual({ address: '127.0.0.1', port: expect.any(Number), family: 'IPv4' })
    expect(portOf(listener)).toBeGreaterThan(0)
  })

  it('refuses an address in use, and says which', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    const port = portOf(listener)
    await expect(runtime.listen({ host: '127.0.0.1', port }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_ADDRESS_IN_USE', errno: 98, phase: 'listen', address: '127.0.0.1', port },
      message: expect.stringContaining(`listen 127.0.0.1:${port}`),
    })
    await listener.close()
    const again = await runtime.listen({ host: '127.0.0.1', port }, {})
    await again.close()
  })

  it('counts connections', async () => {
    await using pair = await connectedPair(mode)
    expect(pair.listener.connections).toBe(1)
    expect(pair.listener.stats()).toMatchObject({ connections: 1, accepted: 1, acceptFailures: 0, state: 'accepting' })
    pair.client.end()
    await pair.atServer.closed()
    await eventually(() => pair.listener.connections === 0)
    expect(pair.listener.stats()).toMatchObject({ connections: 0, accepted: 1 })
  })

  it('gives connections by for await when there are no handlers', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 })
    const served: string[] = []
    const serving = (async () => {
      for await (const connection of listener) {
        for await (const batch of connection) served.push(Buffer.concat(batch).toString())
        if (served.includes('stop')) break
      }
    })()
    for (const word of ['one', 'two', 'stop']) {
      const record = new Record()
      const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
      client.end(word)
      await record.closed()
    }
    await serving
    expect(served).toEqual(['one', 'two', 'stop'])
  })

  it('does not read a connection before somebody wants it', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 })
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {})
    client.end('waiting for you')
    await eventually(() => listener.connections === 1)
    for (let i = 0; i < 10; i++) await nextTurn()
    const { value } = await listener[Symbol.asyncIterator]().next()
    const connection = value as Connection
    expect(connection.stats().bytesRead).toBe(0)
    const chunks: Uint8Array[] = []
    for await (const batch of connection) chunks.push(...batch)
    expect(Buffer.concat(chunks).toString()).toBe('waiting for you')
  })

  it('refuses for await beside handlers', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    expect(() => listener[Symbol.asyncIterator]()).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }),
    )
  })

  it('ends its for await when it closes', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 })
    const iterator = listener[Symbol.asyncIterator]()
    const [first, second] = [iterator.next(), iterator.next()]
    await listener.close()
    expect(await first).toEqual({ done: true, value: undefined })
    expect(await second).toEqual({ done: true, value: undefined })
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  })

  it('close() accepts no more, waits for its connections, and resolves when they are gone', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    let closed = false
    const closing = pair.listener.close().then(() => {
      closed = true
    })
    await expect(pair.runtime.connect({ host: '127.0.0.1', port: portOf(pair.listener) }, {})).rejects.toMatchObject({
      code: 'ERR_SLUICE_CONNECTION_REFUSED',
    })
    pair.client.write('still served')
    await pair.atClient.received(12)
    expect(closed).toBe(false)
    pair.client.end()
    await closing
    expect(pair.server.state).toBe('closed')
    expect(pair.listener.stats().state).toBe('closed')
  })

  it('close({ timeoutMs }) ends what is left when the time is over', async () => {
    await using pair = await connectedPair(mode)
    await pair.listener.close({ timeoutMs: 30 })
    expect(pair.server.state).toBe('closed')
    expect(pair.atServer.events).toEqual(['open', 'error ERR_SLUICE_CLOSE_TIMEOUT', 'close'])
  })

  it('close() twice resolves twice', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
    await Promise.all([listener.close(), listener.close()])
    await listener.close()
    await listener.destroy()
  })

  it('destroy(error) ends its connections now, with that error, and those of others not', async () => {
    await using pair = await connectedPair(mode)
    const other = new Record()
    const second = await pair.runtime.listen({ host: '127.0.0.1', port: 0 }, other.handlers)
    await pair.runtime.connect({ host: '127.0.0.1', port: portOf(second) }, { error() {} })
    await other.saw('open')
    const error = new SluiceError('ABORTED', { detail: 'maintenance' })
    await pair.listener.destroy(error)
    expect(pair.atServer.error).toBe(error)
    expect(pair.server.state).toBe('closed')
    expect(other.connection.state).toBe('open')
  })

  it('closes when its signal aborts', async () => {
    await using runtime = mode.start()
    const abort = new AbortController()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, signal: abort.signal }, {})
    abort.abort()
    await eventually(() => listener.stats().state === 'closed')
    await expect(runtime.listen({ host: '127.0.0.1', port: 0, signal: abort.signal }, {})).rejects.toMatchObject({
      ...{ code: 'ERR_SLUICE_ABORTED', phase: 'listen', cause: abort.signal.reason },
    })
  })

  it('accepts many that come at once, beyond one turn', async () => {
    await using runtime = mode.start({ acceptTurnCount: 4 })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, echo)
    const records = Array.from({ length: 100 }, () => new Record())
    await Promise.all(
      records.map(async (record) => {
        const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
        client.write('hello')
        await record.received(5)
      }),
    )
    expect(listener.stats().accepted).toBe(100)
  })

  it('listens beside others in one runtime, each with handlers of its own', async () => {
    await using runtime = mode.start()
    const words = ['one', 'two', 'three']
    const listeners = await Promise.all(
      words.map((word) =>
        runtime.listen({ host: '127.0.0.1', port: 0 }, { open: (connection) => connection.end(word) }),
      ),
    )
    const heard = await Promise.all(
      listeners.map(async (listener) => {
        const record = new Record()
        await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
        await record.closed()
        return record.text
      }),
    )
    expect(heard).toEqual(words)
  })
})

describe.each(kernelModes())('a listener of the system on $name', (mode) => {
  it.runIf(hasIpv6)('listens on all addresses of both families by default', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ port: 0 }, echo)
    expect(listener.address).toMatchObject({ address: '::', family: 'IPv6' })
    for (const host of ['127.0.0.1', '::1']) {
      const peer = await rawConnect({ port: portOf(listener), host })
      peer.socket.end('hello')
      await peer.ended
      expect(peer.text).toBe('hello')
    }
  })

  it.runIf(hasIpv6)('leaves IPv4 to others with ipv6Only', async () => {
    await using runtime = mode.start()
    // Another process may have the same port of IPv4, also in TIME_WAIT.
    const [six, four] = await retried(async () => {
      const six = await runtime.listen({ host: '::', port: 0, ipv6Only: true }, {})
      return [six, await runtime.listen({ host: '0.0.0.0', port: portOf(six) }, echo)] as const
    })
    const peer = await rawConnect({ port: portOf(four), host: '127.0.0.1' })
    peer.socket.end('x')
    await peer.ended
    expect(four.stats().accepted).toBe(1)
    expect(six.stats().accepted).toBe(0)
  })

  it.runIf(hasIpv6)('tells the addresses of both ends over IPv6', async () => {
    await using pair = await connectedPairV6()
    expect(pair.record.connection).toMatchObject({ remoteAddress: '::1', remoteFamily: 'IPv6', localAddress: '::1' })
    async function connectedPairV6() {
      const runtime = mode.start()
      const record = new Record()
      const listener = await runtime.listen({ host: '::1', port: 0 }, record.handlers)
      await runtime.connect({ host: '::1', port: portOf(listener) }, {})
      await record.saw('open')
      return { record, [Symbol.asyncDispose]: () => runtime.destroy() }
    }
  })

  it('resolves the name it shall bind', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: 'localhost', port: 0 }, {})
    expect(['::1', '127.0.0.1']).toContain(listener.address.address)
  })

  it('shares a port with reusePort, and refuses without', async () => {
    await using runtime = mode.start()
    const shared = { host: '127.0.0.1', reusePort: true }
    const first = await runtime.listen({ ...shared, port: 0 }, echo)
    const second = await runtime.listen({ ...shared, port: portOf(first) }, echo)
    await expect(runtime.listen({ host: '127.0.0.1', port: portOf(first) }, {})).rejects.toMatchObject({
      code: 'ERR_SLUICE_ADDRESS_IN_USE',
    })
    for (let i = 0; i < 30; i++) {
      const peer = await rawConnect({ port: portOf(first) })
      peer.socket.end()
      await peer.ended
    }
    expect(first.stats().accepted + second.stats().accepted).toBe(30)
    expect(first.stats().accepted).toBeGreaterThan(0)
    expect(second.stats().accepted).toBeGreaterThan(0)
  })

  it('spreads over the I/O threads, with a port each or one for all', async () => {
    for (const reusePort of [true, false]) {
      await using runtime = mode.start({ threads: 2 })
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0, reusePort }, echo)
      await Promise.all(
        Array.from({ length: 40 }, async () => {
          const peer = await rawConnect({ port: portOf(listener) })
          peer.socket.end('hello')
          expect(await peer.ended).toBe('end')
          expect(peer.text).toBe('hello')
        }),
      )
      expect(listener.stats().accepted).toBe(40)
      await listener.close()
    }
  })

  it('listens on a Unix path, which goes when it closes', async () => {
    const path = newPath()
    await using pair = await connectedPair(mode, { server: echo, listen: { path, host: undefined, port: undefined } })
    expect(pair.listener.address).toEqual({ path })
    expect(existsSync(path)).toBe(true)
    pair.client.write('hello')
    await pair.atClient.received(5)
    expect([pair.client.remoteAddress, pair.client.remotePort, pair.client.remoteFamily]).toEqual([
      ...[undefined, undefined, undefined],
    ])
    expect(() => pair.client.tcpInfo()).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_NOT_SUPPORTED' }))
    pair.client.end()
    await pair.listener.close()
    expect(existsSync(path)).toBe(false)
  })

  it('refuses a path that is in use, that is too long, or whose folder is missing', async () => {
    await using runtime = mode.start()
    const path = newPath()
    await runtime.listen({ path }, {})
    const failing = (path: string) => runtime.listen({ path }, {})
    await expect(failing(path)).rejects.toMatchObject({
      code: 'ERR_SLUICE_ADDRESS_IN_USE',
      address: path,
      syscall: 'bind',
    })
    await expect(failing(join(folder, 'no', 'such'))).rejects.toMatchObject({ code: 'ERR_SLUICE_NOT_FOUND' })
    await expect(failing(join(folder, 'x'.repeat(200)))).rejects.toMatchObject({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })
    expect(existsSync(path)).toBe(true)
  })

  it('listens on an abstract name', async () => {
    await using runtime = mode.start()
    const path = `\0sluice test ${process.pid} ${names++} ${mode.name}`
    const listener = await runtime.listen({ path }, echo)
    expect(listener.address).toEqual({ path })
    const record = new Record()
    const client = await runtime.connect({ path }, record.handlers)
    client.end('hello')
    await record.closed()
    expect(record.text).toBe('hello')
  })

  it('adopts a descriptor that listens', async () => {
    const { duplicateOf } = await import('../support/descriptors.js')
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    await using runtime = mode.start()
    const listener = await runtime.listen({ fd: duplicateOf(port) }, echo)
    await new Promise((resolve) => server.close(resolve))
    expect(listener.address).toEqual({ address: '127.0.0.1', port, family: 'IPv4' })
    const peer = await rawConnect({ port })
    peer.socket.end('hello')
    await peer.ended
    expect(peer.text).toBe('hello')
    await listener.close()
    await expect(rawConnect({ port })).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('refuses to adopt what does not listen', async () => {
    await using runtime = mode.start()
    await expect(runtime.listen({ fd: 1_000_000 }, {})).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_SLUICE_/),
    })
    const { openFile } = await import('../support/descriptors.js')
    await expect(runtime.listen({ fd: openFile() }, {})).rejects.toBeInstanceOf(SluiceError)
    expect(() => runtime.adopt({ fd: openFile() }, {})).toThrow(SluiceError)
    expect(() => runtime.adopt({ fd: 1_000_000 }, {})).toThrow(SluiceError)
  })

  it('adopts a connected socket', async () => {
    const { connectedDescriptor } = await import('../support/descriptors.js')
    await using pair = await connectedDescriptor()
    await using runtime = mode.start()
    const record = new Record()
    const connection = runtime.adopt({ fd: pair.fd }, record.handlers)
    expect(connection.state).toBe('open')
    connection.write('hello')
    await pair.peer.received(5)
    expect(pair.peer.text).toBe('hello')
    pair.peer.socket.end('goodbye')
    await record.closed()
    expect(record.text).toBe('goodbye')
    expect(record.events).toEqual(['data', 'end', 'close'])
  })
})
