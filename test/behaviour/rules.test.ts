// Rules on listeners: who is let in, who is not and how, what is counted. On every engine.
import {
  acceptProxy,
  type Connection,
  connect,
  type ListenOptions,
  ProxyHeader,
  type Rule,
  RuleList,
  type RuleListOptions,
  type RuleLogEntry,
  Runtime,
  rules,
  type SluiceError,
  StickTable,
  type StickTableOptions,
  sendProxy,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes, type Mode, modes } from '../support/modes.js'
import { echo, eventually, portOf } from '../support/pair.js'
import { rawConnect } from '../support/raw.js'
import { Record } from '../support/record.js'

const store: StickTableOptions['store'] = {
  connCount: true,
  connCurrent: true,
  sessionCount: true,
  bytesInCount: true,
  bytesOutCount: true,
  glitchCount: true,
}
const clients = () => new StickTable({ key: { prefix: { ipv4Bits: 8 } }, size: '1k', store })

/** An echo server that asks rules. */
async function serve(mode: Mode, list: RuleList, more: Partial<ListenOptions> = {}) {
  const runtime = mode.start()
  const failures: SluiceError[] = []
  const record = new Record(echo)
  const said: RuleLogEntry[] = []
  const handlers = {
    ...record.handlers,
    handshakeError: (error: SluiceError) => void failures.push(error),
    ruleLog: (entry: RuleLogEntry) => void said.push(entry),
  }
  const options = { host: '127.0.0.1', port: 0, handshake: [rules(list)], ...more }
  const listener = await runtime.listen(options, handlers)
  const to = { host: '127.0.0.1', port: portOf(listener) }
  const client = async (more: object = {}): Promise<{ connection: Connection; record: Record }> => {
    const record = new Record()
    return { connection: await runtime.connect({ ...to, ...more }, record.handlers), record }
  }
  return { runtime, listener, record, failures, said, client, to, [Symbol.asyncDispose]: () => runtime.destroy() }
}

describe.each(modes())('$name: rules()', (mode) => {
  it('admit exactly ten where they reject if conn_cur is above ten, and one more for each that leaves', async () => {
    const table = clients()
    const list = new RuleList([
      { action: 'track', table },
      { action: 'reject', when: { counter: 'connCurrent', above: 10 } },
    ])
    await using server = await serve(mode, list)
    const open: { connection: Connection; record: Record }[] = []
    const visit = async () => {
      const visitor = await server.client()
      visitor.connection.write('x')
      await eventually(() => visitor.record.text === 'x' || visitor.record.count('close') > 0)
      if (visitor.record.text === 'x') open.push(visitor)
      return visitor.record.text === 'x'
    }
    for (let i = 1; i <= 10; i++) expect(await visit()).toBe(true)
    for (let i = 1; i <= 3; i++) expect(await visit()).toBe(false)
    expect(server.failures.map(({ code }) => code)).toEqual(Array(3).fill('ERR_SLUICE_RULE_REJECTED'))
    expect(table.get('127.0.0.0/8')).toMatchObject({ tracking: 10, counters: { connCurrent: 10, connCount: 13 } })
    await open.pop()!.connection.close()
    await eventually(() => table.get('127.0.0.0/8')!.tracking === 9)
    expect(await visit()).toBe(true)
    expect(await visit()).toBe(false)
    for (const { connection } of open.splice(0)) connection.destroy()
    await eventually(() => table.get('127.0.0.0/8')!.tracking === 0)
    expect(list.hits).toEqual([15, 4])
    expect(server.listener.stats().turnedAway).toEqual({ RULE_REJECT: 4 })
  })

  it('count bytes both ways and sessions, and tell connections what rules have given them', async () => {
    const table = clients()
    const list = new RuleList([
      { action: 'track', table },
      { action: 'tag', tag: 'seen' },
      { stage: 'session', action: 'set', variable: 'who', to: 'source' },
    ])
    await using server = await serve(mode, list)
    const { connection, record } = await server.client()
    connection.write('x'.repeat(5000))
    await record.received(5000)
    expect(server.record.connection.marks).toEqual({ tags: ['seen'], variables: { who: '127.0.0.1' } })
    await connection.close()
    await eventually(() => table.get('127.0.0.0/8')!.tracking === 0)
    expect(table.get('127.0.0.0/8')?.counters).toMatchObject({
      sessionCount: 1,
      bytesInCount: 5000,
      bytesOutCount: 5000,
      glitchCount: 0,
    })
  })

  it('say whom a connection comes from, to its handlers and in headers on its behalf, and tell what they are asked to', async () => {
    const table = clients()
    const list = new RuleList([
      { action: 'log', text: 'refused', value: 'peer', when: { tag: 'never' } },
      { action: 'setSource', to: { text: '192.0.2.77' }, port: 7 },
      { action: 'track', table },
      { action: 'log', text: 'comes', value: { variable: 'none' } },
      { stage: 'session', action: 'setDestination', to: { text: '198.51.100.1' } },
      { stage: 'session', action: 'log', text: 'goes', value: 'destination' },
    ])
    await using server = await serve(mode, list)
    const { connection } = await server.client()
    await server.record.saw('open')
    const accepted = server.record.connection
    expect(accepted.marks).toEqual({
      ...{ tags: [], variables: {}, source: { address: '192.0.2.77', port: 7 } },
      destination: { address: '198.51.100.1', port: server.to.port },
    })
    expect(accepted.remoteAddress).toBe('127.0.0.1')
    expect(table.get('192.0.0.0/8')?.tracking).toBe(1)
    const header = ProxyHeader.parse(ProxyHeader.write({ onBehalfOf: accepted }))!.header
    expect(header.source).toMatchObject({ address: '192.0.2.77', port: 7 })
    expect(header.destination).toMatchObject({ address: '198.51.100.1', port: server.to.port })
    const peer = { address: '127.0.0.1', port: connection.localPort }
    await eventually(() => server.said.length === 2)
    expect(server.said).toEqual([
      { rule: 3, stage: 'socket', text: 'comes', source: '192.0.2.77', ...peer },
      { rule: 5, stage: 'session', text: 'goes', value: '198.51.100.1', source: '192.0.2.77', ...peer },
    ])
    // Those who are refused are told of as well, before they are.
    list.replace([{ action: 'log', text: 'no' }, { action: 'reject' }])
    await server.client().catch(() => {})
    await eventually(() => server.failures.length === 1 && server.said.length === 3)
    expect(server.said[2]).toMatchObject({ rule: 0, text: 'no', address: '127.0.0.1' })
  })

  it('ask for a PROXY header from those they name, and then go by whom it names', async () => {
    const list = new RuleList([
      { action: 'expectProxy', when: { peer: '127.0.0.0/8' } },
      { stage: 'session', action: 'reject', when: { source: '192.0.2.0/24' } },
    ])
    await using server = await serve(mode, list, { handshake: [rules(list), acceptProxy({ byRule: true })] })
    const visit = async (address: string) => {
      const { connection, record } = await server.client({
        handshake: [sendProxy({ source: { address, port: 1 }, destination: { address: '198.51.100.1', port: 2 } })],
      })
      connection.write('x')
      await eventually(() => record.text === 'x' || record.count('close') > 0)
      return record.text
    }
    expect(await visit('203.0.113.1')).toBe('x')
    expect(await visit('192.0.2.1')).toBe('')
    const { connection } = await server.client()
    connection.write('no header at all\r\n\r\n')
    await eventually(() => server.failures.length === 2)
    expect(server.failures.map(({ code }) => code)).toEqual(['ERR_SLUICE_RULE_REJECTED', 'ERR_SLUICE_PROXY_MISSING'])
  })

  it('wait for content that decides, and hand on every byte of it', async () => {
    const list = new RuleList([
      { stage: 'content', action: 'reject', when: { contentStarts: 'EHLO evil' } },
      { stage: 'content', action: 'accept', when: { contentContains: '\n' } },
    ])
    await using server = await serve(mode, list)
    const { connection, record } = await server.client()
    for (const part of ['EH', 'LO g', 'ood']) connection.write(part)
    expect(server.record.count('open')).toBe(0)
    connection.write('\nmore')
    await record.received(14)
    expect(record.text).toBe('EHLO good\nmore')
    const bad = await server.client()
    bad.connection.write('EHLO evil')
    await eventually(() => bad.record.count('close') > 0)
    expect(list.hits).toEqual([1, 1])
  })

  it('count what they cannot decide as false when the time for inspection is over', async () => {
    const list = new RuleList([{ stage: 'content', action: 'reject', when: { contentContains: 'evil' } }], {
      inspectDelayMs: 60,
    })
    await using server = await serve(mode, list)
    const began = server.runtime.nowMs()
    const { connection, record } = await server.client()
    connection.write('good')
    await record.received(4)
    expect(server.runtime.nowMs() - began).toBeGreaterThanOrEqual(60)
    expect(list.hits).toEqual([0])
  })

  it('hold connections back, and count those that fail their handshake as glitches', async () => {
    const table = clients()
    const list = new RuleList([
      { action: 'track', table },
      { action: 'delay', delayMs: 80, when: { counter: 'glitchCount', atLeast: 1 } },
    ])
    await using server = await serve(mode, list, { handshake: [rules(list), acceptProxy()] })
    const visit = async () => {
      const began = server.runtime.nowMs()
      const known = server.failures.length
      const { connection } = await server.client()
      connection.write('nonsense\r\n\r\n')
      await eventually(() => server.failures.length > known)
      return server.runtime.nowMs() - began
    }
    await visit()
    expect(table.get('127.0.0.0/8')?.counters.glitchCount).toBe(1)
    expect(await visit()).toBeGreaterThanOrEqual(80)
    expect(list.hits).toEqual([2, 1])
  })

  it('are replaced while the listener goes on, and a list that is wrong changes nothing', async () => {
    const list = new RuleList([])
    await using server = await serve(mode, list)
    const visit = async () => {
      const { connection, record } = await server.client()
      connection.write('x')
      await eventually(() => record.text === 'x' || record.count('close') > 0)
      connection.destroy()
      return record.text === 'x'
    }
    expect(await visit()).toBe(true)
    list.replace([{ action: 'reject' }])
    expect(await visit()).toBe(false)
    expect(() => list.replace([{ action: 'accept', when: { source: 'x' } }])).toThrow('rules[0]')
    expect(await visit()).toBe(false)
    list.replace([])
    expect(await visit()).toBe(true)
  })
})

describe.each(modes())('$name: rules() behind TLS', (mode) => {
  it('go by the name, the protocol and the certificate', async () => {
    const rule = (when: Rule['when'], tag: string): Rule => ({ stage: 'session', action: 'tag', tag, when })
    const list = new RuleList([
      rule({ tls: true }, 'secured'),
      rule({ serverName: 'localhost' }, 'named'),
      rule({ alpn: 'echo' }, 'echo'),
      rule({ clientCertificate: 'absent' }, 'nobody'),
      { stage: 'session', action: 'reject', when: { serverName: '*.localhost' } },
    ])
    await using server = await serve(mode, list, { tls: { ...id.serving, alpn: ['echo'] } })
    const tls = { ...id.trusting, serverName: 'localhost', alpn: ['echo'] }
    const { connection, record } = await server.client({ tls })
    connection.write('x')
    await record.received(1)
    expect(server.record.connection.marks?.tags).toEqual(['secured', 'named', 'echo', 'nobody'])
  })
})

describe.each(kernelModes())('$name: to peers that are not sluice, rules()', (mode) => {
  const serving = async (list: Rule[], options?: RuleListOptions) => serve(mode, new RuleList(list, options))

  it('reject with RST', async () => {
    await using server = await serving([{ action: 'reject' }])
    // It may come before connect() has answered.
    const ending = rawConnect(server.to).then(
      (peer) => peer.ended,
      (error) => error.code,
    )
    expect(await ending).toBe('ECONNRESET')
  })

  it('reject with RST what content gives away', async () => {
    await using server = await serving([{ stage: 'content', action: 'reject', when: { contentStarts: 'bad' } }])
    const peer = await rawConnect(server.to)
    peer.socket.write('bad')
    expect(await peer.ended).toBe('ECONNRESET')
  })
})

describe('a table', () => {
  it('goes by one clock: a simulated runtime and another one cannot share it', async () => {
    const list = new RuleList([{ action: 'track', table: clients() }])
    await using simulated = new Runtime({ engine: 'sim' })
    await using other = new Runtime()
    const options = { host: '127.0.0.1', port: 0, handshake: [rules(list)] }
    await simulated.listen(options, {})
    await expect(other.listen(options, {})).rejects.toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION' })
    await expect(connect({ ...options, port: 1, handshake: [rules(list)] })).rejects.toMatchObject({
      option: 'handshake[0]',
    })
  })
})
