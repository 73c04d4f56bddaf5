// Each way in which an opening fails has a code and a reason of its own (spec 3.3): one row for each, on every engine.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  acceptNetscaler,
  acceptProxy,
  type Connection,
  type ConnectOptions,
  type CustomStep,
  type ListenOptions,
  RuleList,
  type Runtime,
  routes,
  rules,
  type SluiceError,
  sniff,
  socks4,
  socks5,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import { nameOfReason } from '../../dist/handshake/handshake-error.js'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { root } from '../support/program.js'

/** What the other side does behind its bytes: ends, resets, or waits until the deadline passes. */
type Then = 'end' | 'reset' | 'wait'
type Row = [reason: string, step: string, options: Partial<ListenOptions>, bytes: string | Buffer, then: Then]

const netscaler = (name: string) => readFileSync(join(root, 'test/native/corpus/netscaler', name))
const magic = netscaler('standard-v4').readUInt32BE(0)
const own = (bytes: CustomStep['bytes']): Partial<ListenOptions> => ({
  handshake: [{ name: 'own', maxBytes: 8, bytes }],
})
const proxy = { handshake: [acceptProxy()] }
const cip = { handshake: [acceptNetscaler({ magic })] }
const sniffing = { handshake: [sniff()], tls: id.serving }
const waiting = {
  handshake: [rules(new RuleList([{ stage: 'content', action: 'reject', when: { contentBytes: 9 } }]))],
}

const accepted: Row[] = [
  ['PRX_EMPTY', 'acceptProxy', proxy, '', 'end'],
  ['PRX_ABORT', 'acceptProxy', proxy, 'PROXY', 'reset'],
  ['PRX_TIMEOUT', 'acceptProxy', proxy, 'PROXY TCP4', 'wait'],
  ['PRX_TRUNCATED', 'acceptProxy', proxy, 'PROXY TCP4', 'end'],
  ['PRX_NOT_HDR', 'acceptProxy', proxy, 'GET / HTTP/1.0\r\n', 'wait'],
  ['PRX_BAD_HDR', 'acceptProxy', proxy, 'PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n', 'wait'],
  ['PRX_BAD_PROTO', 'acceptProxy', proxy, 'PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n', 'wait'],
  ['CIP_EMPTY', 'acceptNetscaler', cip, '', 'end'],
  ['CIP_ABORT', 'acceptNetscaler', cip, netscaler('standard-v4').subarray(0, 9), 'reset'],
  ['CIP_TIMEOUT', 'acceptNetscaler', cip, netscaler('standard-v4').subarray(0, 9), 'wait'],
  ['CIP_TRUNCATED', 'acceptNetscaler', cip, netscaler('standard-v4').subarray(0, 9), 'end'],
  ['CIP_BAD_MAGIC', 'acceptNetscaler', cip, 'GET / HTTP/1.0\r\n', 'wait'],
  ['CIP_BAD_PROTO', 'acceptNetscaler', cip, netscaler('udp'), 'wait'],
  ['SNIFF_EMPTY', 'sniff', sniffing, '', 'end'],
  ['SNIFF_ABORT', 'sniff', sniffing, '', 'reset'],
  ['SNIFF_TIMEOUT', 'sniff', sniffing, '\x16', 'wait'],
  ['PLAIN_REFUSED', 'sniff', sniffing, 'GET / HTTP/1.0\r\n', 'wait'],
  ['SSLV2_REFUSED', 'sniff', sniffing, Buffer.from('802e010301', 'hex'), 'wait'],
  ['RULE_REJECT', 'rules', { handshake: [rules(new RuleList([{ action: 'reject' }]))] }, '', 'wait'],
  ['RULE_SILENT_DROP', 'rules', { handshake: [rules(new RuleList([{ action: 'silentDrop' }]))] }, '', 'wait'],
  ['RULE_TIMEOUT', 'rules', { handshake: [rules(new RuleList([{ action: 'delay', delayMs: 60_000 }]))] }, '', 'wait'],
  ['RULE_ABORT', 'rules', waiting, 'x', 'reset'],
  ['STEP_REJECT', 'own', own(() => ({ verdict: 'reject' })), 'x', 'wait'],
  ['STEP_ERROR', 'own', own(() => ({ consumed: 99 })), 'x', 'wait'],
  ['STEP_TIMEOUT', 'own', own(() => 'needMore'), 'x', 'wait'],
  ['STEP_ABORT', 'own', own(() => 'needMore'), 'x', 'end'],
  ['STEP_TOO_LONG', 'own', own(() => 'needMore'), '123456789', 'wait'],
]

const [four, five] = [socks4({ host: '192.0.2.1', port: 80 }), socks5({ host: '192.0.2.1', port: 80 })]
const named = socks5({ host: '192.0.2.1', port: 80, user: 'me', password: 'secret' })
type Asked = [reason: string, step: ConnectOptions['handshake'] & object, answer: string, then: Then]
const connected: Asked[] = [
  ['SOCKS4_RECV', [four], '', 'reset'],
  ['SOCKS4_DENY', [four], '\x00\x5b\x00\x00\x00\x00\x00\x00', 'wait'],
  ['SOCKS4_ABORT', [four], '\x00\x5a', 'end'],
  ['SOCKS4_BAD_REPLY', [four], 'HTTP/1.0', 'wait'],
  ['SOCKS5_RECV', [five], '', 'reset'],
  ['SOCKS5_DENY', [five], '\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00', 'wait'],
  ['SOCKS5_ABORT', [five], '\x05', 'end'],
  ['SOCKS5_BAD_REPLY', [five], 'HTTP/1.0', 'wait'],
  ['SOCKS5_NO_METHOD', [five], '\x05\xff', 'wait'],
  ['SOCKS5_AUTH_DENY', [named], '\x05\x02\x01\x01', 'wait'],
  ['SOCKS_TIMEOUT', [five], '\x05', 'wait'],
]

async function act(connection: Connection, bytes: string | Uint8Array, then: Then): Promise<void> {
  if (bytes.length > 0) connection.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  if (then === 'end') connection.end()
  else if (then === 'reset') {
    if (bytes.length > 0) await connection.drained()
    connection.reset()
  }
}

// Long enough for those who do something, and short for those who wait for it.
const boundMs = (reason: string) => (reason.endsWith('TIMEOUT') ? 60 : 10_000)

describe.each(modes())('failures of an opening on $name', (mode) => {
  it.each(accepted)('%s', async (reason, step, options, bytes, then) => {
    await using runtime = mode.start()
    const failures: SluiceError[] = []
    let sessions = 0
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, handshakeTimeoutMs: boundMs(reason), ...options },
      { open: () => void sessions++, error() {}, handshakeError: (error) => void failures.push(error) },
    )
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })
    await act(client, bytes, then)
    await eventually(() => failures.length > 0)
    expect(failures).toHaveLength(1)
    expect(failures[0]).toMatchObject({
      ...{ code: `ERR_SLUICE_${nameOfReason[reason]}`, reason, step, phase: 'handshake' },
      ...{ address: '127.0.0.1', port: expect.any(Number) },
    })
    expect(listener.stats().turnedAway).toEqual({ [reason]: 1 })
    expect(sessions).toBe(0)
  })

  it('NO_PROTOCOL', async () => {
    await using runtime = mode.start()
    const failures: SluiceError[] = []
    const table = {
      firstBytes: [{ prefix: 'a', to: {} }],
      handshakeError: (error: SluiceError) => void failures.push(error),
    }
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, routes(table) as never)
    const client = await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })
    client.write('b')
    await eventually(() => failures.length > 0)
    expect(failures[0]).toMatchObject({ code: 'ERR_SLUICE_PROTOCOL_UNKNOWN', reason: 'NO_PROTOCOL' })
  })

  it.each(connected)('%s', async (reason, handshake, answer, then) => {
    await using runtime = mode.start()
    const port = await answering(runtime, answer, then)
    const options = { host: '127.0.0.1', port, handshake, handshakeTimeoutMs: boundMs(reason) }
    await expect(runtime.connect(options)).rejects.toMatchObject({
      ...{ code: `ERR_SLUICE_${nameOfReason[reason]}`, reason, step: handshake[0]!.name, phase: 'handshake' },
      ...{ address: '127.0.0.1', port },
    })
  })
})

/** Somebody who answers the first bytes so, and then ends, or not. */
async function answering(runtime: Runtime, answer: string, then: Then): Promise<number> {
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, allowHalfOpen: true },
    { data: (connection) => void act(connection as Connection, answer, then), error() {} },
  )
  return portOf(listener)
}

it('there is a row for each reason that native code knows', () => {
  // These need a peer that goes between two system calls: test/native/network_opening_test.cc.
  const elsewhere = ['SOCKS4_SEND', 'SOCKS5_SEND', 'PRX_SEND']
  const rows = [...accepted.map(([reason]) => reason), ...connected.map(([reason]) => reason), 'NO_PROTOCOL']
  expect([...rows, ...elsewhere].sort()).toEqual(Object.keys(nameOfReason).sort())
  expect(new Set(rows).size).toBe(rows.length)
})
