// How connections end: who is told what, and that nothing said before is lost.
import type { Connection, ConnectionHandlers } from 'sluice'
import { describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, echo, eventually, nextTurn, portOf } from '../support/pair.js'
import { RawServer, rawConnect } from '../support/raw.js'
import { hashOf, pattern, Record } from '../support/record.js'

describe.each(modes())('ending a connection on $name', (mode) => {
  it('sends FIN after everything written, and a second end() does nothing', async () => {
    await using pair = await connectedPair(mode)
    const bytes = pattern(3_000_000)
    pair.client.write(bytes)
    pair.client.end('last')
    pair.client.end()
    await pair.client.finished()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(bytes, Buffer.from('last')))
    expect(pair.atServer.count('end')).toBe(1)
  })

  it('close() sends what is written, waits for the peer, and resolves when the connection is gone', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write('farewell')
    await pair.client.close()
    expect(pair.client.state).toBe('closed')
    expect(pair.atClient.events).toEqual(['open', 'close'])
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe('farewell')
    expect(pair.atServer.error).toBeUndefined()
  })

  it('close() lets the last reply arrive although the peer was still sending', async () => {
    await using pair = await connectedPair(mode, {
      connect: { allowHalfOpen: true, highWaterBytes: 10_000_000 },
      // The request is refused before it is read: the reply must survive what the client goes on sending.
      server: {
        data(connection) {
          if (connection.state === 'open') {
            connection.write('refused')
            void connection.close()
          }
        },
      },
    })
    const upload = pattern(2_000_000)
    pair.client.write(upload)
    await pair.atClient.received(7)
    pair.client.write(upload)
    pair.client.end()
    await Promise.all([pair.atClient.closed(), pair.atServer.closed()])
    expect(pair.atClient.text).toBe('refused')
    expect(pair.atClient.events).toEqual(['open', 'data', 'end', 'close'])
    expect(pair.atServer.error).toBeUndefined()
  })

  it('close() gives up on a peer that never ends when its time is over', async () => {
    await using pair = await connectedPair(mode, { connect: { allowHalfOpen: true } })
    pair.server.write('bye')
    await pair.server.close({ timeoutMs: 20 })
    expect(pair.server.state).toBe('closed')
    expect(pair.atServer.count('close')).toBe(1)
    await pair.atClient.saw('end')
    expect(pair.atClient.text).toBe('bye')
  })

  it('close() twice resolves twice, and the close handler is called once', async () => {
    await using pair = await connectedPair(mode)
    await Promise.all([pair.client.close(), pair.client.close()])
    await pair.client.close()
    expect(pair.atClient.events).toEqual(['open', 'close'])
  })

  it('calls no handler for data or end after close()', async () => {
    await using pair = await connectedPair(mode, {
      connect: { allowHalfOpen: true },
      server: { data: (connection) => void connection.close() },
    })
    pair.client.write('a')
    await pair.atServer.saw('data')
    for (let i = 0; i < 10; i++) pair.client.write('more')
    await nextTurn()
    pair.client.end('even more')
    await pair.atServer.closed()
    expect(pair.atServer.text[0]).toBe('a')
    expect(pair.atServer.events).toEqual(['open', 'data', 'close'])
  })

  it('destroy() ends at once, and tells the own side without an error', async () => {
    await using pair = await connectedPair(mode)
    pair.client.destroy()
    pair.client.destroy()
    await Promise.all([pair.atClient.closed(), pair.atServer.saw('close')])
    expect(pair.atClient.events).toEqual(['open', 'close'])
    expect(pair.client.state).toBe('closed')
  })

  it('destroy(error) hands that error to the own handlers', async () => {
    await using pair = await connectedPair(mode)
    const { SluiceError } = await import('sluice')
    const error = new SluiceError('ABORTED', { detail: 'enough' })
    pair.client.destroy(error)
    expect(await pair.atClient.closed()).toBe(error)
    expect(pair.atClient.events).toEqual(['open', 'error ERR_SLUICE_ABORTED', 'close'])
  })

  it('calls no handler but error and close after destroy(), even for events of the same batch', async () => {
    let peer: Connection | undefined
    const late: string[] = []
    const connections: Connection[] = []
    // Whoever gets data first destroys all the others, whose data came in the same batch.
    const destroyOthers: ConnectionHandlers = {
      data(connection) {
        peer ??= connection
        if (connection !== peer) late.push('data')
        for (const other of connections) if (other !== connection) other.destroy()
      },
      end: (connection) => void (connection !== peer && late.push('end')),
      drain: (connection) => void (connection !== peer && late.push('drain')),
      open: (connection) => void connections.push(connection),
    }
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, destroyOthers)
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })),
    )
    await eventually(() => connections.length === 20)
    for (const client of clients) client.end('x')
    await Promise.all(clients.map((client) => client.close()))
    expect(late).toEqual([])
    await listener.close()
  })

  it('reset() is seen as ECONNRESET by the peer, and never as a clean end', async () => {
    await using pair = await connectedPair(mode)
    pair.client.reset()
    const error = await pair.atServer.closed()
    expect(error).toMatchObject({ code: 'ERR_SLUICE_CONNECTION_RESET', errno: 104, syscall: 'recv' })
    expect(pair.atServer.events).toEqual(['open', 'error ERR_SLUICE_CONNECTION_RESET', 'close'])
    await pair.atClient.closed()
    expect(pair.atClient.events).toEqual(['open', 'close'])
  })

  it('delivers what came before a reset, then the reset', async () => {
    await using pair = await connectedPair(mode)
    pair.client.write('last words')
    await pair.atServer.received(10)
    pair.client.reset()
    await pair.atServer.closed()
    expect(pair.atServer.events).toEqual(['open', 'data', 'error ERR_SLUICE_CONNECTION_RESET', 'close'])
  })

  it('tells whoever writes on of a reset that followed a FIN', async () => {
    await using pair = await connectedPair(mode, {
      listen: { allowHalfOpen: true },
      client: { data: (connection) => connection.reset() },
    })
    pair.client.end()
    await pair.atServer.saw('end')
    pair.server.write('are you there?')
    await pair.atClient.closed()
    await new Promise<void>((resolve) => void pair.runtime.after(10, resolve))
    pair.server.write('still?')
    const error = await pair.atServer.closed()
    expect(error?.code).toMatch(/CONNECTION_RESET|BROKEN_PIPE/)
    expect(pair.atServer.events).toEqual(['open', 'end', `error ${error!.code}`, 'close'])
  })

  it('survives a peer that resets while much is being written', async () => {
    await using pair = await connectedPair(mode, {
      client: { data: (connection) => connection.reset() },
    })
    const bytes = pattern(1_000_000)
    for (let i = 0; i < 20; i++) pair.server.write(bytes)
    const error = await pair.atServer.closed()
    expect(error?.code).toMatch(/CONNECTION_RESET|BROKEN_PIPE/)
    expect(pair.server.queuedBytes).toBe(0)
    expect(() => pair.server.write('x')).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
  })

  it('rejects what waits for a connection that fails', async () => {
    await using pair = await connectedPair(mode, { client: { data: (connection) => connection.reset() } })
    pair.server.write(pattern(20_000_000))
    const failed = expect.objectContaining({ code: expect.stringMatching(/CONNECTION_RESET|BROKEN_PIPE/) })
    const drained = expect(pair.server.drained()).rejects.toEqual(failed)
    const finished = expect(pair.server.finished()).rejects.toEqual(failed)
    await Promise.all([drained, finished, pair.server.close()])
  })

  it('tells its state at every step', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    expect([pair.client.state, pair.server.state]).toEqual(['open', 'open'])
    pair.client.end()
    expect(pair.client.state).toBe('ending')
    await pair.atServer.saw('end')
    expect(pair.server.state).toBe('peerEnded')
    const gone = pair.server.close()
    expect(pair.server.state).toBe('closing')
    await gone
    expect(pair.server.state).toBe('closed')
    await pair.atClient.closed()
    expect(pair.client.state).toBe('closed')
  })

  const refuse = (code: string) => expect.objectContaining({ code, phase: 'write' })

  it('refuses to write after end(), close() and destroy()', async () => {
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    pair.client.end()
    expect(() => pair.client.write('x')).toThrow(refuse('ERR_SLUICE_WRITE_AFTER_END'))
    expect(() => pair.client.end('x')).toThrow(refuse('ERR_SLUICE_WRITE_AFTER_END'))
    const gone = pair.server.close()
    expect(() => pair.server.write('x')).toThrow(refuse('ERR_SLUICE_WRITE_AFTER_END'))
    await gone
    expect(() => pair.server.write('x')).toThrow(refuse('ERR_SLUICE_CLOSED'))
    pair.client.destroy()
    expect(() => pair.client.write('x')).toThrow(refuse('ERR_SLUICE_CLOSED'))
  })

  it.each(['destroy', 'reset', 'close', 'end'] as const)('may be ended by %s() inside every handler', async (how) => {
    for (const event of ['open', 'data', 'drain', 'end', 'close'] as const) {
      const finish = (connection: Connection) => void connection[how]()
      await using pair = await connectedPair(mode, {
        server: { [event]: finish },
        listen: { highWaterBytes: 1000 },
        client: { error() {}, end: (connection) => connection.end() },
      })
      if (pair.server.state === 'open') {
        if (event === 'drain') expect(pair.server.write(Buffer.alloc(1000))).toBe(false)
        else pair.client.write('x')
        // Those that have not ended by then end like this.
        await nextTurn()
        pair.client.end()
      }
      await pair.atServer.closed()
      expect(pair.atServer.count('close'), event).toBe(1)
      await pair.atClient.closed()
    }
  })

  it('reports a missing error handler as a warning of the process, once', async () => {
    const warnings: Error[] = []
    const note = (warning: Error) => void warnings.push(warning)
    process.on('warning', note)
    try {
      await using runtime = mode.start()
      const atClient = new Record()
      const silent = await runtime.listen({ host: '127.0.0.1', port: 0 }, { data() {} })
      const client = await runtime.connect({ host: '127.0.0.1', port: portOf(silent) }, atClient.handlers)
      await eventually(() => silent.connections === 1)
      client.reset()
      await eventually(() => silent.connections === 0)
      await nextTurn()
      expect(warnings.map((warning) => (warning as NodeJS.ErrnoException).code)).toEqual([
        'ERR_SLUICE_CONNECTION_RESET',
      ])
    } finally {
      process.off('warning', note)
    }
  })

  it('reuses descriptors and slots a thousand times without mixing up connections', async () => {
    await using runtime = mode.start()
    const closed: string[] = []
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0 },
      { ...echo, close: (connection) => void closed.push(String(connection.data)) },
    )
    let wrong = 0
    const one = async (i: number) => {
      const name = `connection ${i}`
      const record = new Record()
      const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, record.handlers)
      client.write(name)
      await record.received(name.length)
      if (record.text !== name) wrong++
      if (i % 3 === 0) client.destroy()
      else if (i % 3 === 1) client.reset()
      else client.end()
      await record.closed()
      if (record.count('close') !== 1) wrong++
    }
    // Ten at a time, each replaced at once, so that descriptors come back within the same batch.
    let next = 0
    const worker = async () => {
      while (next < 1000) await one(next++)
    }
    await Promise.all(Array.from({ length: 10 }, worker))
    await listener.close()
    expect(wrong).toBe(0)
    expect(closed.length).toBe(1000)
    expect(runtime.stats().connections).toBe(0)
  })
})

describe.each(kernelModes())('ending a connection with a foreign peer on $name', (mode) => {
  it('answers a FIN with everything written, then FIN', async () => {
    const record = new Record(echo)
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, record.handlers)
    const peer = await rawConnect({ port: portOf(listener) })
    peer.socket.end('hello')
    expect(await peer.ended).toBe('end')
    expect(peer.text).toBe('hello')
    await record.closed()
  })

  it('resets the peer on purpose', async () => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { data: (connection) => connection.reset() })
    const peer = await rawConnect({ port: portOf(listener) })
    peer.socket.write('x')
    expect(await peer.ended).toBe('ECONNRESET')
  })

  it('delivers an answer that a reset follows', async () => {
    await using server = await RawServer.listen()
    await using runtime = mode.start()
    const record = new Record()
    const accepted = server.accepted()
    const client = await runtime.connect({ host: '127.0.0.1', port: server.port }, record.handlers)
    const peer = await accepted
    // What the client goes on writing meets a peer that has answered and gone: its unread bytes make a RST.
    peer.socket.pause()
    client.write(pattern(100_000))
    peer.socket.write('answer', () => peer.reset())
    await record.closed()
    expect(record.text).toBe('answer')
    expect(record.events).toEqual(['open', 'data', 'error ERR_SLUICE_CONNECTION_RESET', 'close'])
  })

  it('tells a reset of a paused peer as soon as reading goes on, never a clean end', async () => {
    await using server = await RawServer.listen()
    await using runtime = mode.start()
    const record = new Record()
    const accepted = server.accepted()
    const client = await runtime.connect({ host: '127.0.0.1', port: server.port }, record.handlers)
    const peer = await accepted
    client.pause()
    peer.socket.write('some', () => peer.reset())
    await peer.ended
    await nextTurn()
    client.resume()
    expect(await record.closed()).toMatchObject({ code: 'ERR_SLUICE_CONNECTION_RESET' })
    expect(record.count('end')).toBe(0)
  })
})
