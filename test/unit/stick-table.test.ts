// Stick tables from JavaScript, by a clock of the test's own, and compared with a plain model.
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { StickTable, type StickTableOptions, type TableKey, type TrackedKey } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'sluice-table-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const all: StickTableOptions['store'] = {
  connCount: true,
  connCurrent: true,
  connRate: { periodMs: 1000 },
  sessionCount: true,
  bytesInCount: true,
  bytesInRate: { periodMs: 1000 },
  glitchCount: true,
  gpc: 2,
  gpcRate: { periodMs: 1000, count: 2 },
  gpt: 1,
}

/** A table whose time is `time.ms`. */
function timed(options: Partial<StickTableOptions> = {}): { table: StickTable; time: { ms: number } } {
  const time = { ms: 1000 }
  const table = new StickTable({ key: 'string', size: 100, store: all, ...options })
  table.useClock({ isVirtual: true, nowMs: () => time.ms })
  return { table, time }
}

describe('a StickTable', () => {
  it('shows what is counted under each key', () => {
    const { table, time } = timed({ expireMs: 5000 })
    const tracked = table.track('a')!
    tracked.count({ gpc: [3, 4], bytesInCount: 100, bytesInRate: 100, gpcRate: [1, 2], gpt: [9] })
    time.ms += 500
    expect(table.get('a')).toEqual({
      key: 'a',
      counters: {
        connCount: 1,
        connCurrent: 1,
        connRate: 1,
        sessionCount: 0,
        bytesInCount: 100,
        bytesInRate: 100,
        glitchCount: 0,
        gpc: [3, 4],
        gpcRate: [1, 2],
        gpt: [9],
      },
      tracking: 1,
      idleMs: 500,
      expiresInMs: 4500,
    })
    time.ms += 1000
    expect(table.get('a')?.counters).toMatchObject({ bytesInRate: 50, gpcRate: [0, 1], connRate: 0 })
    tracked.release()
    tracked.release()
    expect(table.get('a')).toMatchObject({ tracking: 0, counters: { connCurrent: 0, connCount: 1 } })
    tracked.count({ gpc: [1] })
    expect(table.get('a')?.counters.gpc).toEqual([3, 4])
    expect(table.get('b')).toBeUndefined()
  })

  it('forgets by time, by size, and by wish', () => {
    const { table, time } = timed({ size: 2, expireMs: 1000 })
    for (const key of ['a', 'b', 'c']) table.track(key)!.release()
    expect([...table].map(({ key }) => key).sort()).toEqual(['b', 'c'])
    expect(table.delete('b')).toBe(true)
    expect(table.delete('b')).toBe(false)
    time.ms += 1000
    expect([...table]).toEqual([])
    table.set('d', {})
    expect(table.clear()).toBe(1)
    expect(table.stats()).toMatchObject({ entries: 0, size: 2, tracked: 3, purged: 1, expired: 1, inUse: 0 })
  })

  it('tracks nothing more when it is full and all is in use', () => {
    const { table } = timed({ size: 1 })
    using held = table.track('a')
    expect(held).toBeDefined()
    expect(table.track('b')).toBeUndefined()
    expect(table.set('b', { gpc: [1] })).toBe(false)
    expect(table.stats()).toMatchObject({ entries: 1, inUse: 1, untracked: 1 })
  })

  it('sets what it is told, and leaves the rest', () => {
    const { table } = timed()
    expect(table.set('a', { gpc: [7, 8], connCount: 5, bytesInCount: 2 ** 50 })).toBe(true)
    expect(table.set('a', { gpc: [1] })).toBe(true)
    expect(table.get('a')?.counters).toMatchObject({ gpc: [1, 8], connCount: 5, bytesInCount: 2 ** 50, connCurrent: 0 })
  })

  it.each<[StickTableOptions['key'], TableKey, unknown]>([
    ['ip', '::ffff:10.0.0.1', '10.0.0.1'],
    ['ipv6', '10.0.0.1', '::ffff:10.0.0.1'],
    [{ prefix: { ipv4Bits: 24 } }, '10.1.2.3', '10.1.2.0/24'],
    [{ prefix: { ipv4Bits: 24 } }, '10.1.2.0/24', '10.1.2.0/24'],
    [{ prefix: {} }, '2001:db8:1:2:3::4', '2001:db8:1:2::/64'],
    ['integer', 4_294_967_295, 4_294_967_295],
    ['integer', '7', 7],
    [{ string: 3 }, 'abcdef', 'abc'],
    [{ binary: 4 }, Buffer.from([1, 2]), Buffer.from([1, 2, 0, 0])],
    [{ binary: 2 }, 'abc', Buffer.from('ab')],
  ])('with keys %j, makes of %j %j', (type, key, shown) => {
    const table = new StickTable({ key: type, size: '1k', store: { gpc: 1 } })
    expect(table.set(key, { gpc: [1] })).toBe(true)
    expect(table.get(key)?.key).toEqual(shown)
    expect([...table].map((entry) => entry.key)).toEqual([shown])
    expect(table.get(shown as TableKey)?.counters).toEqual({ gpc: [1] })
  })

  it.each<[StickTableOptions['key'], unknown]>([
    ['ip', 'localhost'],
    ['ip', 5],
    ['ip', ''],
    ['ipv4', '::1'],
    [{ prefix: { ipv4Bits: 24 } }, '10.1.2.0/25'],
    ['integer', -1],
    ['integer', 2 ** 32],
    ['integer', 'x'],
    ['integer', 1.5],
    ['string', ''],
    ['string', undefined],
    ['ip', Buffer.from('10.0.0.1')],
  ])('with keys %j, refuses %j', (key, bad) => {
    const table = new StickTable({ key, size: 5, store: { gpc: 1 } })
    for (const use of ['get', 'delete', 'track'] as const)
      expect(() => table[use](bad as string)).toThrow(expect.objectContaining({ option: 'key' }))
    expect(() => table.set(bad as string, {})).toThrow(expect.objectContaining({ option: 'key' }))
  })

  it.each<[object, string]>([
    [{ store: { connCount: true } }, 'size'],
    [{ size: 0, store: { connCount: true } }, 'size'],
    [{ size: '10t', store: { connCount: true } }, 'size'],
    [{ size: '2g', store: { connCount: true } }, 'size'],
    [{ size: 10 }, 'store'],
    [{ size: 10, store: {} }, 'store'],
    [{ size: 10, store: { connCount: false } }, 'store'],
    [{ size: 10, store: { conCount: true } }, 'store.conCount'],
    [{ size: 10, store: { connRate: true } }, 'store.connRate'],
    [{ size: 10, store: { connRate: { periodMs: 0 } } }, 'store.connRate.periodMs'],
    [{ size: 10, store: { gpc: 101 } }, 'store.gpc'],
    [{ size: 10, store: { gpc: 1 }, key: 'ip4' }, 'key'],
    [{ size: 10, store: { gpc: 1 }, key: { prefix: { ipv4Bits: 33 } } }, 'key.prefix.ipv4Bits'],
    [{ size: 10, store: { gpc: 1 }, key: { string: 4, binary: 4 } }, 'key'],
    [{ size: 10, store: { gpc: 1 }, key: { string: 256 } }, 'key.string'],
    [{ size: 10, store: { gpc: 1 }, expireMs: -1 }, 'expireMs'],
    [{ size: 10, store: { gpc: 1 }, exchange: { name: 'x' } }, 'exchange.peers'],
    [{ size: 10, store: { gpc: 1 }, exchange: { name: 'x', peers: {} } }, 'exchange.peers'],
  ])('refuses options %j, naming %s', (options, option) => {
    expect(() => new StickTable(options as StickTableOptions)).toThrow(expect.objectContaining({ option }))
  })

  it('refuses counters that it does not hold, and values that they cannot have', () => {
    const table = new StickTable({ key: 'string', size: 5, store: { gpc: 2, connCurrent: true } })
    for (const [counters, option] of [
      [{ connCount: 1 }, 'counters.connCount'],
      [{ connCurrent: 1 }, 'counters.connCurrent'],
      [{ gpc: [1, 2, 3] }, 'counters.gpc'],
      [{ gpc: 1 }, 'counters.gpc'],
      [{ gpc: [-1] }, 'counters.gpc[0]'],
      [{ gpc: [2 ** 32] }, 'counters.gpc[0]'],
      [null, 'counters'],
    ] as const) {
      expect(() => table.set('a', counters as never)).toThrow(expect.objectContaining({ option }))
    }
    expect([...table]).toEqual([])
  })

  it('shows a thousand entries once each, while they change', () => {
    const { table } = timed({ size: '10k' })
    for (let i = 0; i < 3000; i++) table.set(`stays ${i}`, {})
    const seen = new Map<string, number>()
    let added = 0
    for (const { key } of table) {
      seen.set(String(key), (seen.get(String(key)) ?? 0) + 1)
      if (added < 2000) table.set(`new ${added++}`, {})
    }
    for (let i = 0; i < 3000; i++) expect(seen.get(`stays ${i}`)).toBe(1)
    expect([...seen.values()].every((count) => count === 1)).toBe(true)
  })

  it('is one table for all worker threads that have its number', async () => {
    const table = new StickTable({ key: 'string', size: '1k', store: { gpc: 1, connCurrent: true } })
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const { StickTable } = require('sluice')
      const table = StickTable.from(workerData)
      const held = table.track('held until the thread ends')
      for (let i = 0; i < 1000; i++) {
        const each = table.track('common')
        each.count({ gpc: [1] })
        each.release()
      }
      parentPort.postMessage({ size: table.stats().size })
      parentPort.once('message', () => held.release())`
    const workers = [1, 2].map(() => new Worker(source, { eval: true, workerData: table.share() }))
    await Promise.all(
      workers.map(async (worker) => {
        const exited = once(worker, 'exit')
        const [message] = await once(worker, 'message')
        expect(message.size).toBe(1024)
        expect(table.get('held until the thread ends')?.tracking).toBeGreaterThan(0)
        worker.postMessage('enough')
        await exited
      }),
    )
    expect(table.get('common')?.counters.gpc).toEqual([2000])
    expect(table.get('held until the thread ends')?.tracking).toBe(0)
    expect(() => StickTable.from(4_000_000_000)).toThrow('share()')
  })

  it('counts as a plain model does, over random use', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
    const step = fc.oneof(
      fc.record({ do: fc.constant('track' as const), key }),
      fc.record({ do: fc.constant('release' as const), which: fc.nat(20) }),
      fc.record({ do: fc.constant('count' as const), which: fc.nat(20), by: fc.nat(100) }),
      fc.record({ do: fc.constant('set' as const), key, to: fc.nat(1000) }),
      fc.record({ do: fc.constant('delete' as const), key }),
      fc.record({ do: fc.constant('wait' as const), ms: fc.nat(400) }),
    )
    interface Entry {
      key: string
      count: number
      gpc: number
      users: number
      at: number
    }
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.boolean(), (steps, noPurge) => {
        const { table, time } = timed({ size: 3, expireMs: 1000, noPurge })
        let model: Entry[] = [] // oldest first
        const held: { tracked: TrackedKey; key: string; released: boolean }[] = []
        const forget = () => {
          model = model.filter(({ users, at }) => users > 0 || time.ms - at < 1000)
        }
        const touch = (key: string): Entry | undefined => {
          let entry = model.find((each) => each.key === key)
          if (entry === undefined && model.length === 3) {
            const oldest = noPurge ? -1 : model.findIndex(({ users }) => users === 0)
            if (oldest < 0) return undefined
            model.splice(oldest, 1)
          }
          entry ??= { key, count: 0, gpc: 0, users: 0, at: 0 }
          entry.at = time.ms
          model = [...model.filter((each) => each !== entry), entry]
          return entry
        }
        for (const each of steps) {
          forget()
          if (each.do === 'track') {
            const entry = touch(each.key)
            const tracked = table.track(each.key)
            expect(tracked !== undefined).toBe(entry !== undefined)
            if (entry === undefined || tracked === undefined) continue
            entry.count++
            entry.users++
            held.push({ tracked, key: each.key, released: false })
          } else if (each.do === 'release' || each.do === 'count') {
            const user = held[each.which % Math.max(1, held.length)]
            const entry = model.find(({ key }) => key === user?.key)
            // Releasing goes by the latest time the table was told.
            table.stats()
            forget()
            if (user === undefined || user.released || entry === undefined) continue
            if (each.do === 'count') {
              user.tracked.count({ gpc: [each.by] })
              entry.gpc += each.by
            } else {
              user.tracked.release()
              user.released = true
              entry.users--
            }
          } else if (each.do === 'set') {
            const entry = touch(each.key)
            expect(table.set(each.key, { gpc: [each.to] })).toBe(entry !== undefined)
            if (entry !== undefined) entry.gpc = each.to
          } else if (each.do === 'delete') {
            const entry = model.find(({ key }) => key === each.key)
            expect(table.delete(each.key)).toBe(entry !== undefined)
            if (entry === undefined) continue
            if (entry.users > 0) Object.assign(entry, { count: 0, gpc: 0 })
            else model = model.filter((other) => other !== entry)
          } else {
            time.ms += each.ms
          }
          forget()
          const shown = [...table].map(({ key, counters, tracking }) => {
            return { key, count: counters.connCount, gpc: counters.gpc?.[0], users: tracking }
          })
          const expected = model.map(({ key, count, gpc, users }) => ({ key, count, gpc, users }))
          const byKey = (a: { key: unknown }, b: { key: unknown }) => (String(a.key) < String(b.key) ? -1 : 1)
          expect(shown.sort(byKey)).toEqual(expected.sort(byKey))
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('a snapshot of a table', () => {
  it('survives in a file, and comes back older by the time it lay about', async () => {
    const file = join(folder, 'table')
    const { table } = timed({ expireMs: 60_000 })
    table.set('a', { gpc: [7, 8], gpt: [5] })
    table.track('b')
    expect(await table.save(file)).toBe(readFileSync(file).length)
    const { table: other } = timed({ expireMs: 60_000 })
    expect(await other.load(file)).toBe(2)
    expect(other.get('a')?.counters).toMatchObject({ gpc: [7, 8], gpt: [5] })
    expect(other.get('b')).toMatchObject({ tracking: 0, counters: { connCount: 1, connCurrent: 0 } })
    expect(await other.load(file)).toBe(0)
  })

  it('replaces the file as a whole, and leaves no other behind', async () => {
    const file = join(folder, 'replaced')
    const { table } = timed()
    table.set('a', {})
    await table.save(file)
    table.set('b', {})
    await table.save(file)
    expect(await timed().table.load(file)).toBe(2)
    await expect(table.save(join(folder, 'no', 'such', 'folder'))).rejects.toMatchObject({ code: 'ENOENT' })
    expect(readdirSync(folder).filter((name) => name.startsWith('replaced'))).toEqual(['replaced'])
  })

  it('that is not there is no error: a first start has none', async () => {
    expect(await timed().table.load(join(folder, 'never written'))).toBe(0)
  })

  it('that is damaged in any byte is refused with a code, and nothing is taken', async () => {
    const { table } = timed()
    for (let i = 0; i < 5; i++) table.set(`key ${i}`, { gpc: [i] })
    const bytes = table.snapshot()
    const { table: other } = timed()
    for (let i = 0; i < bytes.length; i++) {
      const damaged = Buffer.from(bytes)
      damaged[i]! ^= 0x10
      expect(() => other.restore(damaged)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_SNAPSHOT_INVALID' }))
      expect(() => other.restore(bytes.subarray(0, i))).toThrow(
        expect.objectContaining({ code: 'ERR_SLUICE_SNAPSHOT_INVALID' }),
      )
    }
    expect([...other]).toEqual([])
    const file = join(folder, 'damaged')
    writeFileSync(file, bytes.subarray(0, -1))
    await expect(other.load(file)).rejects.toMatchObject({ code: 'ERR_SLUICE_SNAPSHOT_INVALID' })
    expect(() => other.restore('text' as never)).toThrow(expect.objectContaining({ option: 'snapshot' }))
  })

  it('of another kind of key is refused', () => {
    const bytes = timed().table.snapshot()
    expect(() => new StickTable({ size: 5, store: { gpc: 1 } }).restore(bytes)).toThrow('keys are of another type')
  })
})
