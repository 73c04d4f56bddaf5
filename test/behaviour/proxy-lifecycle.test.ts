// How `sluice proxy` reloads, drains and hands over, and that nobody loses a connection by it.
import { once } from 'node:events'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { connect as netConnect } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { kernelModes } from '../support/modes.js'
import { NamedServer, startProxy } from '../support/proxied.js'
import { ask, dial, ownFiles, say, secure, stats } from '../support/proxy-client.js'

const { fileOf, pathOf } = ownFiles()

describe.each(kernelModes())('sluice proxy, changing on $name', (mode) => {
  const common = ['--engine', mode.engine, '--threads', String(mode.threads)]

  it('reloads: what is new counts for new connections, and nobody loses an old one', async () => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const configOf = (to: string, more: object = {}) =>
      JSON.stringify({
        ...{ engine: mode.engine, threads: mode.threads, stats: { port: 0 } },
        listeners: [{ port: 0, name: 'web', to, ...more }],
        upstreams: { a: { servers: [a.address] }, b: { servers: [b.address] } },
      })
    const path = fileOf(configOf('a'), '.json')
    await using proxy = await startProxy(['--config', path])
    const old = await dial(proxy.port)
    expect(await say(old, '1')).toBe('a:1')

    const reload = async (text: string) => {
      writeFileSync(path, text)
      proxy.kill('SIGHUP')
      return proxy.line('stderr')
    }
    expect(await reload(configOf('b', { maxConnections: 100 }))).toBe('reloaded')
    expect(await ask(proxy.port)).toBe('b:x')
    expect(await say(old, '2')).toBe('a:2')

    expect(await reload(configOf('c'))).toMatch(/^not reloaded: .*listeners\[0\].to" names no upstream: 'c'/)
    expect(await reload('{')).toMatch(/^not reloaded: .*cannot be read/)
    expect(await reload(configOf('b').replace('"threads":', '"handshakeThreads":1,"threads":'))).toMatch(/"handshakeThreads" cannot be changed by a reload/) // biome-ignore format: one line
    expect(await ask(proxy.port)).toBe('b:x')
    expect(await say(old, '3')).toBe('a:3')
    const told = await stats(proxy.statsUrl)
    expect(told.reloads).toMatchObject({ done: 1, failed: 3, lastError: expect.stringContaining('handshakeThreads') })
    expect(told.listeners[0]).toMatchObject({ name: 'web', limits: { maxConnections: 100 }, sessions: { total: 3 } })
    old.destroy()
  })

  it('serves those too whose handshake is under way when it is reloaded', async () => {
    await using a = await NamedServer.listen('a')
    const configOf = (limit: number) =>
      JSON.stringify({
        ...{ engine: mode.engine, threads: mode.threads, stats: { port: 0 } },
        listeners: [{ port: 0, maxConnections: limit, tls: { selfSigned: true } }],
        upstreams: { a: { servers: [a.address] } },
      })
    const path = fileOf(configOf(10), '.json')
    await using proxy = await startProxy(['--config', path])
    const socket = netConnect({ port: proxy.port, host: '127.0.0.1' })
    await once(socket, 'connect')
    // It has been accepted when the next one has been served.
    ;(await secure(proxy.port, 'localhost')).destroy()
    writeFileSync(path, configOf(20))
    proxy.kill('SIGHUP')
    expect(await proxy.line('stderr')).toBe('reloaded')
    const tls = tlsConnect({ socket, servername: 'localhost', rejectUnauthorized: false })
    await once(tls, 'secureConnect')
    expect(await say(tls.setEncoding('latin1') as TLSSocket, 'late')).toBe('a:late')
    tls.destroy()
  })

  it('loses no connection while it is reloaded again and again', async () => {
    await using a = await NamedServer.listen('a')
    const configOf = (limit: number) =>
      JSON.stringify({
        ...{ engine: mode.engine, threads: mode.threads },
        listeners: [{ port: 0, maxConnections: limit }],
        upstreams: { a: { servers: [a.address] } },
      })
    const path = fileOf(configOf(1000), '.json')
    await using proxy = await startProxy(['--config', path])
    let isOver = false
    const clients = Array.from({ length: 4 }, async () => {
      let served = 0
      while (!isOver) {
        expect(await ask(proxy.port)).toBe('a:x')
        served++
      }
      return served
    })
    for (let i = 1; i <= 10; i++) {
      writeFileSync(path, configOf(1000 + i))
      proxy.kill('SIGHUP')
      expect(await proxy.line('stderr')).toBe('reloaded')
    }
    isOver = true
    for (const served of await Promise.all(clients)) expect(served).toBeGreaterThan(0)
  })

  it('lets connections finish at SIGTERM, and ends them at a second one', async () => {
    await using a = await NamedServer.listen('a')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--stats', '0', ...common])
    const socket = await dial(proxy.port)
    expect(await say(socket, '1')).toBe('a:1')
    proxy.kill('SIGTERM')
    expect(await proxy.line('stderr')).toMatch(/^waiting 30 s for 1 connection to finish; a second signal/)
    await expect(dial(proxy.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    expect((await fetch(`${proxy.statsUrl}/health`)).status).toBe(503)
    expect(await say(socket, '2')).toBe('a:2')
    socket.end()
    expect((await proxy.ended).code).toBe(0)

    await using second = await startProxy(['--listen', '0', '--to', a.address, ...common])
    const held = await dial(second.port)
    expect(await say(held, '1')).toBe('a:1')
    const broken = new Promise<void>((resolve) => void held.on('error', () => {}).on('close', () => resolve()))
    second.kill('SIGINT')
    await second.line('stderr')
    second.kill('SIGINT')
    await broken
    expect((await second.ended).code).toBe(0)

    await using third = await startProxy(['--listen', '0', '--to', a.address, '--drain-timeout', '50', ...common])
    const cut = (await dial(third.port)).on('error', () => {})
    expect(await say(cut, '1')).toBe('a:1')
    third.kill('SIGTERM')
    expect((await third.ended).code).toBe(0)
    cut.destroy()
  })

  it('hands its sockets over to a successor, again and again, and refuses nobody meanwhile', async () => {
    await using a = await NamedServer.listen('a')
    const handOver = pathOf('.sock')
    const first = await startProxy(['--listen', '0', '--to', a.address, '--hand-over', handOver, ...common])
    const { port } = first
    const args = ['--listen', String(port), '--to', a.address, '--hand-over', handOver, ...common]
    let isOver = false
    const counts = { served: 0, refused: 0 }
    const clients = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        const answer = await ask(port).catch((error: Error) => error.message)
        if (answer === 'a:x') counts.served++
        else counts.refused++
      }
    })
    const long = await dial(port)
    expect(await say(long, '1')).toBe('a:1')
    let last = first
    for (let i = 0; i < 4; i++) {
      const next = await startProxy(args)
      expect(await last.line('stderr')).toMatch(/^a successor has taken over/)
      // Whose connections still go on ends with them.
      if (last !== first) expect((await last.ended).code).toBe(0)
      last = next
    }
    isOver = true
    await Promise.all(clients)
    expect(counts.refused).toBe(0)
    expect(counts.served).toBeGreaterThan(20)
    expect(await say(long, '2')).toBe('a:2')
    long.end()
    expect((await first.ended).code).toBe(0)
    expect(statSync(handOver).mode & 0o777).toBe(0o600)
    last.kill('SIGTERM')
    expect((await last.ended).code).toBe(0)
    expect(existsSync(handOver)).toBe(false)
    await expect(dial(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  }, 60_000)
})
