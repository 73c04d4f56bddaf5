// Limits are enforced before accept: what is over them waits in the kernel's queue, and comes in by itself.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Connection } from 'sluice'
import { describe, expect, it } from 'vitest'
import { kernelModes, modes } from '../support/modes.js'
import { echo, eventually, nextTurn, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

describe.concurrent.each(modes())('limits on $name', (mode) => {
  it.each([
    'the listener',
    'the runtime',
  ])('hold maxConnections of %s, and let the next in when one leaves', async (whose) => {
    const limit = { maxConnections: 3 }
    await using runtime = mode.start(whose === 'the runtime' ? limit : {})
    const open = new Set<Connection>()
    let most = 0
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, ...(whose === 'the listener' ? limit : {}) },
      {
        ...echo,
        open(connection) {
          open.add(connection)
          most = Math.max(most, open.size)
        },
        close: (connection) => void open.delete(connection),
      },
    )
    const records = Array.from({ length: 10 }, () => new Record())
    // All connect, three are served.
    const clients = await Promise.all(
      records.map(({ handlers }) => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, handlers)),
    )
    for (const client of clients) client.write('x')
    const served = () => records.filter(({ sizeBytes }) => sizeBytes > 0).length
    await eventually(() => served() === 3)
    for (let i = 0; i < 20; i++) await nextTurn()
    expect(served()).toBe(3)
    expect(listener.stats()).toMatchObject({ connections: 3, accepted: 3, state: 'waiting' })
    for (let n = 4; n <= 10; n++) {
      const leaving = clients.find((client, i) => client.state === 'open' && records[i]!.sizeBytes > 0)!
      leaving.end()
      await eventually(() => served() === n)
    }
    expect(most).toBe(3)
    expect(listener.stats().accepted).toBe(10)
    for (const client of clients) client.destroy()
    await eventually(() => listener.connections === 0)
    expect(listener.stats().state).toBe('accepting')
  })

  it('of the runtime hold over all its listeners', async () => {
    await using runtime = mode.start({ maxConnections: 2 })
    const listeners = await Promise.all([0, 1].map(() => runtime.listen({ host: '127.0.0.1', port: 0 }, echo)))
    const records = Array.from({ length: 4 }, () => new Record())
    const clients = await Promise.all(
      records.map(({ handlers }, i) =>
        runtime.connect({ host: '127.0.0.1', port: portOf(listeners[i % 2]!) }, handlers),
      ),
    )
    for (const client of clients) client.write('x')
    const served = () => records.filter(({ sizeBytes }) => sizeBytes > 0)
    await eventually(() => served().length === 2)
    for (let i = 0; i < 20; i++) await nextTurn()
    expect(listeners[0]!.connections + listeners[1]!.connections).toBe(2)
    for (const client of clients) if (served().some(({ connection }) => connection === client)) client.end()
    await eventually(() => served().length === 4)
  })

  it('hold maxConnectionsPerSecond over a sliding second', async () => {
    await using runtime = mode.start()
    const times: number[] = []
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, maxConnectionsPerSecond: 20 },
      { open: () => void times.push(runtime.nowMs()) },
    )
    const begun = runtime.nowMs()
    await Promise.all(
      Array.from({ length: 30 }, () => runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, { error() {} })),
    )
    await eventually(() => times.length === 30)
    expect(times[29]! - begun).toBeGreaterThan(400)
    expect(times[29]! - begun).toBeLessThan(4000)
    for (let i = 20; i < 30; i++) expect(times[i]! - times[i - 20]!).toBeGreaterThan(400)
  })
})

describe.concurrent.each(kernelModes())('want of descriptors on $name', (mode) => {
  it('pauses accepting with one warning, spends no time on it, and ends by itself', async () => {
    const program = join(import.meta.dirname, '../support/descriptor-shortage.mjs')
    const { stdout } = await promisify(execFile)(
      'sh',
      ['-c', 'ulimit -n 64 && exec "$0" "$@"', process.execPath, program, mode.engine, String(mode.threads)],
      { env: { ...process.env, NODE_NO_WARNINGS: '1' } },
    )
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({
      warnings: ['ERR_SLUICE_DESCRIPTOR_LIMIT'],
      phase: 'accept',
      syscall: 'accept',
      state: 'backingOff',
    })
    expect(report.served).toBe(report.clients)
    expect(report.acceptFailures).toBeLessThan(20)
    expect(report.cpuShare).toBeLessThan(0.5)
  })
})
