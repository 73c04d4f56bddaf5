// Ends without a word (HP-22), seen from the kernel: with CAP_NET_ADMIN the peer goes on believing, without it a RST with a TTL
// of 1 is sent, which on the same machine does arrive.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findProgram } from '../support/installed.js'
import { fine, kernelModes, Program, root } from '../support/program.js'

const isLinux = process.platform === 'linux'
const netAdmin = 1n << 12n
const mayRepair =
  isLinux && (BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`) & netAdmin) !== 0n

const ways = {
  'a rule': `{ handshake: [rules(new RuleList([{ action: 'silentDrop' }]))] }`,
  'a rule of the session': `{ handshake: [rules(new RuleList([{ stage: 'session', action: 'silentDrop' }]))] }`,
  'a step': `{ handshake: [{ name: 'mine', bytes: () => ({ verdict: 'drop' }) }] }`,
  'a rule that wants a reset': `{ handshake: [rules(new RuleList([{ action: 'silentDrop', resetTtl: 1 }]))] }`,
}

// Says what becomes of a client that is dropped: "connected" as long as its kernel thinks so although the server's socket is
// gone, or its error.
const source = (listenOptions: string) => `
  import net from 'node:net'
  import { readFileSync } from 'node:fs'
  import { RuleList, rules } from 'sluice'
  import { start } from ${JSON.stringify(join(root, 'test/lifecycle/prelude.mjs'))}
  const runtime = start()
  let handshakeError
  const failed = new Promise((resolve) => { handshakeError = resolve })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0, ...${listenOptions} }, { handshakeError })
  const client = net.connect(listener.address.port, '127.0.0.1')
  let seen = ''
  const over = new Promise((resolve) => {
    for (const event of ['end', 'close']) client.on(event, () => resolve(seen ||= event))
    client.on('error', (error) => resolve(seen ||= error.code))
  })
  client.resume()
  await Promise.race([over, new Promise((resolve) => client.on('connect', resolve))])
  // Rules need none, and what is sent to nobody is answered with RST.
  if (${listenOptions.includes('bytes:')}) client.write('x')
  const { reason } = await failed
  const hex = (port) => port.toString(16).toUpperCase().padStart(4, '0')
  const state = (local, remote) => {
    for (const row of readFileSync('/proc/net/tcp', 'utf8').split('\\n')) {
      const [, from, to, state] = row.trim().split(/\\s+/)
      if (from === '0100007F:' + hex(local) && to === '0100007F:' + hex(remote)) return state
    }
  }
  while (seen === '' && state(listener.address.port, client.localPort) === '01') await new Promise(setImmediate)
  // On the same machine a FIN or a RST is there at once.
  const believes = seen === '' && state(client.localPort, listener.address.port) === '01'
  console.log(reason, believes ? 'connected' : await over)
  client.destroy()
  await runtime.destroy()
`

async function run(mode: { engine: string; threads: number }, way: keyof typeof ways, before: string[]) {
  const command = [...before, process.execPath, '--input-type=module', '-e', source(ways[way])]
  const env = { ENGINE: mode.engine, THREADS: String(mode.threads), LD_PRELOAD: '' }
  return await new Program(command, env).ended
}

const said = (way: keyof typeof ways, what: string) =>
  fine(`${way === 'a step' ? 'STEP_REJECT' : 'RULE_SILENT_DROP'} ${what}`)

const kinds = Object.keys(ways) as (keyof typeof ways)[]
const some = kernelModes.filter(({ threads }) => threads < 2)

describe.runIf(mayRepair).each(some)('with CAP_NET_ADMIN, on $title', (mode) => {
  it.each(kinds.slice(0, 3))('%s drops, and the peer believes to be connected', async (way) => {
    expect(await run(mode, way, [])).toEqual(said(way, 'connected'))
  })

  it('a rule that wants a reset sends it', async () => {
    const way = 'a rule that wants a reset'
    expect(await run(mode, way, [])).toEqual(said(way, 'ECONNRESET'))
  })
})

const canTrace = isLinux && findProgram('strace') !== undefined && (!mayRepair || findProgram('setpriv') !== undefined)
describe.runIf(canTrace).each(some)('without it, on $title', (mode) => {
  it.each(kinds)('%s sends a RST that gets no farther than a router', async (way) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-drop-'))
    try {
      const file = join(folder, 'calls')
      const drops = mayRepair ? ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'] : []
      const before = ['strace', '-f', '-qq', '-e', 'trace=setsockopt', '-o', file, ...drops]
      expect(await run(mode, way, before)).toEqual(said(way, 'ECONNRESET'))
      const calls = readFileSync(file, 'utf8')
      expect(calls).toMatch(/IP_TTL, \[1\], 4\) = 0/)
      expect(calls).toMatch(/SO_LINGER, \{l_onoff=1, l_linger=0\}, 8\) = 0/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
