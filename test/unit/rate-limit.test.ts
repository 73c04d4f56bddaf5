// What a RateLimit takes and makes of it (LE-01, LE-02, LE-03), and the sizes in which rates are given.
import { KeyedRateLimitGroups, RateLimit, RateLimitGroup, type SluiceError } from 'sluice'
import { describe, expect, it } from 'vitest'
import { byteSize } from '../../src/rate-limit/byte-size.js'

const refusal = (call: () => unknown): SluiceError => {
  try {
    call()
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('it was taken')
}

describe('RateLimit', () => {
  it('takes rates per tick, with a burst of one tick and ticks of a second unless told otherwise', () => {
    const limit = new RateLimit({ readBytesPerTick: 300, writeBytesPerTick: 5, writeBurstBytes: 1000 })
    expect(limit).toMatchObject({
      readBytesPerTick: 300,
      readBurstBytes: 300,
      writeBytesPerTick: 5,
      writeBurstBytes: 1000,
      tickMs: 1000,
    })
  })

  it('leaves a direction without a rate unlimited', () => {
    expect(new RateLimit({ readBytesPerTick: 1 })).toMatchObject({
      writeBytesPerTick: Infinity,
      writeBurstBytes: Infinity,
    })
  })

  it('cannot be changed, as many connections may share it', () => {
    const limit = new RateLimit({ readBytesPerTick: 1 })
    expect(() => Object.assign(limit, { readBytesPerTick: 2 })).toThrow(TypeError)
  })

  it('drops the part of a tick below a millisecond (LE-03), and takes the longest tick there is', () => {
    expect(new RateLimit({ readBytesPerTick: 1, tickMs: 1.999 }).tickMs).toBe(1)
    expect(new RateLimit({ readBytesPerTick: 1, tickMs: 2_147_483_999.9 }).tickMs).toBe(2_147_483_999)
  })

  it.each([
    [{ readBytesPerTick: 0 }, 'readBytesPerTick'],
    [{ readBytesPerTick: -1 }, 'readBytesPerTick'],
    [{ readBytesPerTick: 1.5 }, 'readBytesPerTick'],
    [{ writeBytesPerTick: 2 ** 53 }, 'writeBytesPerTick'],
    [{ writeBytesPerTick: '10' }, 'writeBytesPerTick'],
    [{ readBytesPerTick: 10, readBurstBytes: 9 }, 'readBurstBytes'],
    [{ writeBytesPerTick: 10, writeBurstBytes: 9 }, 'writeBurstBytes'],
    [{ readBurstBytes: 10, writeBytesPerTick: 1 }, 'readBurstBytes'],
    [{ readBytesPerTick: 1, tickMs: 0.999 }, 'tickMs'],
    [{ readBytesPerTick: 1, tickMs: -1 }, 'tickMs'],
    [{ readBytesPerTick: 1, tickMs: 2_147_484_000 }, 'tickMs'],
    [{ readBytesPerTick: 1, tickMs: Number.NaN }, 'tickMs'],
    [{ readBytesPerTik: 1 }, 'readBytesPerTik'],
    [{}, 'readBytesPerTick'],
    [undefined, 'readBytesPerTick'],
  ])('refuses %j, naming %s', (options, option) => {
    expect(refusal(() => new RateLimit(options as never))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe('RateLimit.bytesPerSecond', () => {
  it.each([
    ['10 MB', { readBytesPerTick: 100_000, readBurstBytes: 1_000_000, tickMs: 10 }],
    [30_000, { readBytesPerTick: 300, readBurstBytes: 3000, tickMs: 10 }],
    [1000, { readBytesPerTick: 100, readBurstBytes: 100, tickMs: 100 }],
    [1234, { readBytesPerTick: 617, readBurstBytes: 617, tickMs: 500 }],
    [7, { readBytesPerTick: 7, readBurstBytes: 7, tickMs: 1000 }],
    ['512 KiB', { readBytesPerTick: 65_536, readBurstBytes: 65_536, tickMs: 125 }],
    [Number.MAX_SAFE_INTEGER, { tickMs: 1000, readBytesPerTick: Number.MAX_SAFE_INTEGER }],
  ])('makes of %s the shortest tick that is exact and worth it', (rate, expected) => {
    expect(RateLimit.bytesPerSecond(rate)).toMatchObject(expected)
    expect(RateLimit.bytesPerSecond(rate).writeBytesPerTick).toBe(RateLimit.bytesPerSecond(rate).readBytesPerTick)
  })

  it('takes one rate per direction, a burst and a tick', () => {
    expect(RateLimit.bytesPerSecond({ read: '1 kB' })).toMatchObject({
      readBytesPerTick: 100,
      writeBytesPerTick: Infinity,
    })
    const limit = RateLimit.bytesPerSecond({ read: 8000, write: '16 kB' }, { burst: '64 KiB', tickMs: 125 })
    expect(limit).toMatchObject({ readBytesPerTick: 1000, writeBytesPerTick: 2000, tickMs: 125 })
    expect(limit).toMatchObject({ readBurstBytes: 65_536, writeBurstBytes: 65_536 })
  })

  it.each([
    [() => RateLimit.bytesPerSecond(0), 'rate'],
    [() => RateLimit.bytesPerSecond('a lot'), 'rate'],
    [() => RateLimit.bytesPerSecond('0.5 B'), 'rate'],
    [() => RateLimit.bytesPerSecond({} as never), 'rate.read'],
    [() => RateLimit.bytesPerSecond({ read: 'MB' }), 'rate.read'],
    [() => RateLimit.bytesPerSecond({ read: 1, reads: 2 } as never), 'rate.reads'],
    [() => RateLimit.bytesPerSecond(null as never), 'rate'],
    [() => RateLimit.bytesPerSecond(1234, { tickMs: 10 }), 'tickMs'],
    [() => RateLimit.bytesPerSecond(1, { tickMs: 100 }), 'tickMs'],
    [() => RateLimit.bytesPerSecond('1 MB', { burst: 9999 }), 'burst'],
    [() => RateLimit.bytesPerSecond('1 MB', { bursts: 1 } as never), 'bursts'],
  ])('refuses %s, naming %s', (call, option) => {
    expect(refusal(call)).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe('sizes in bytes', () => {
  it.each([
    [7, 7],
    ['7', 7],
    ['7 B', 7],
    ['1kB', 1000],
    ['1 KB', 1000],
    ['1 KiB', 1024],
    ['2.5 MB', 2_500_000],
    ['0.29 MB', 290_000],
    ['1 GiB', 2 ** 30],
    ['1 TB', 1e12],
    ['100 Mbit', 12_500_000],
    [' 3 mib ', 3 * 2 ** 20],
  ])('%j is %d bytes', (text, bytes) => {
    expect(byteSize.parse(text, 'size')).toBe(bytes)
  })

  it.each([
    '',
    'B',
    '-1',
    '1,5 MB',
    '1 XB',
    '1e3',
    '0',
    '1.5 B',
    '9007199254740992',
    0,
    -1,
    1.5,
    NaN,
    Infinity,
    null,
    {},
  ])('%j is refused', (text) => {
    expect(refusal(() => byteSize.parse(text, 'size'))).toMatchObject({
      code: 'ERR_SLUICE_INVALID_OPTION',
      option: 'size',
    })
  })
})

describe('RateLimitGroup and KeyedRateLimitGroups', () => {
  const limit = RateLimit.bytesPerSecond('1 MB')
  const store = { lease: async () => ({ readBytes: 1, writeBytes: 1, sharers: 1 }), release: async () => {} }
  it.each([
    [() => new RateLimitGroup({} as never), 'limit'],
    [() => new RateLimitGroup({ limit: { readBytesPerTick: 1 } as never }), 'limit'],
    [() => new RateLimitGroup({ limit: '10 MB' as never }), 'limit'],
    [() => new RateLimitGroup({ limit, parent: limit as never }), 'parent'],
    [() => new RateLimitGroup({ limit, minShareBytes: -1 }), 'minShareBytes'],
    [() => new RateLimitGroup({ limit, minShareBytes: 1.5 }), 'minShareBytes'],
    [() => new RateLimitGroup({ limit, shared: {} as never }), 'shared.store'],
    [() => new RateLimitGroup({ limit, shared: { store: {} as never, name: 'n' } }), 'shared.store'],
    [() => new RateLimitGroup({ limit, shared: { store, name: '' } }), 'shared.name'],
    [() => new RateLimitGroup({ limit, shared: { store, name: 'n', sliceMs: 19 } }), 'shared.sliceMs'],
    [() => new RateLimitGroup({ limit, shared: { store, name: 'n', expectedSharers: 0 } }), 'shared.expectedSharers'],
    [() => new RateLimitGroup({ limit, groupBy: 'x' } as never), 'groupBy'],
    [() => new RateLimitGroup({ limit }).configure({ limit: 5 as never }), 'limit'],
    [() => new RateLimitGroup({ limit }).debitRead(1.5), 'bytes'],
    [() => new RateLimitGroup({ limit }).debitWrite('1' as never), 'bytes'],
    [() => new KeyedRateLimitGroups({} as never), 'limit'],
    [() => new KeyedRateLimitGroups({ limit, groupBy: 'address' as never }), 'groupBy'],
    [() => new KeyedRateLimitGroups({ limit, parent: {} as never }), 'parent'],
    [() => new KeyedRateLimitGroups({ limit }).group(''), 'key'],
    [() => new KeyedRateLimitGroups({ limit }).group(7 as never), 'key'],
  ])('refuse %s, naming %s', (call, option) => {
    expect(refusal(call)).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })

  it('refuse to change once closed, and close twice', () => {
    const group = new RateLimitGroup({ limit })
    group.close()
    group.close()
    expect(group.closed).toBe(true)
    expect(refusal(() => group.configure({ limit })).code).toBe('ERR_SLUICE_CLOSED')
  })

  it('hold one tick at the start, take debits and credit, and answer for themselves', () => {
    const group = new RateLimitGroup({ limit: new RateLimit({ readBytesPerTick: 500, tickMs: 2_000_000_000 }) })
    expect(group.readLevelBytes).toBe(500)
    expect(group.writeLevelBytes).toBe(Infinity)
    group.debitRead(2000)
    expect(group.readLevelBytes).toBe(-1500)
    group.debitRead(-1600)
    expect(group.readLevelBytes).toBe(100)
    expect(group.stats()).toMatchObject({ members: 0, totalReadBytes: 0, waitingToRead: 0, minShareBytes: 64 })
    group.configure({ limit: new RateLimit({ readBytesPerTick: 40, tickMs: 2_000_000_000 }) })
    expect(group.stats()).toMatchObject({ readLevelBytes: 40, minShareBytes: 40 })
  })

  it('refuse a parent that is closed', () => {
    const parent = new RateLimitGroup({ limit })
    parent.close()
    expect(refusal(() => new RateLimitGroup({ limit, parent }))).toMatchObject({ option: 'parent' })
  })

  it('count a child as a member of its parent until it is gone', () => {
    const parent = new RateLimitGroup({ limit })
    const child = new RateLimitGroup({ limit, parent })
    expect(parent.stats().members).toBe(1)
    expect(child.parent).toBe(parent)
  })

  it('remember a key for as long as its debt lasts', () => {
    const groups = new KeyedRateLimitGroups({ limit: new RateLimit({ readBytesPerTick: 10, tickMs: 1_000_000_000 }) })
    for (let i = 0; i < 100; i++) groups.group(`key ${i}`)
    groups.group('debtor').debitRead(1000)
    expect(groups.group('debtor').readLevelBytes).toBe(-990)
    expect(groups.size).toBeGreaterThanOrEqual(1)
  })
})
