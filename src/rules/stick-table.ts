import { randomUUID } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { SluiceError } from '../errors.js'
import {
  type NativeColumn,
  type NativeStickTable,
  type NativeTableConfig,
  type NativeTableRow,
  type NativeTracked,
  native,
} from '../native/binding.js'
import {
  boolean,
  expected,
  integer,
  nested,
  oneOf,
  optional,
  type Parser,
  parse,
  type Shape,
  string,
  withDefault,
} from '../options.js'
import type { RateClock } from '../rate-limit/rate-limit-group.js'
import { sharedNumber } from './cidr-set.js'
import { changesOf, countersOf, storeParser, type TableCounters, type TableStore } from './table-columns.js'
import { exchangeParser, TableExchange, type TableExchangeOptions, type TableExchangeStats } from './table-exchange.js'

/**
 * What keys are. `'ip'`: an address, IPv4-mapped ones as IPv4; `'ipv4'` and `'ipv6'`: of that family, IPv4 being mapped into
 * IPv6; `{ prefix }`: the network an address lies in; `'integer'`: 32 bits; `'string'`: text, cut to so many bytes;
 * `'binary'`: bytes, cut or padded with zeros to so many. Source: HP-57.
 */
export type TableKeyType =
  | 'ip'
  | 'ipv4'
  | 'ipv6'
  | 'integer'
  | 'string'
  | 'binary'
  | { prefix: { ipv4Bits?: number; ipv6Bits?: number } }
  | { string: number }
  | { binary: number }

/** A key of an entry: a number for `'integer'`, bytes for `'binary'`, text for the others. */
export type TableKey = string | number | Uint8Array

/** Options of {@link StickTable}. */
export interface StickTableOptions {
  /** What keys are. Default `'ip'`. `{ prefix: {} }` is a /32 of IPv4 and a /64 of IPv6; `'string'` and `'binary'` are of
   *  32 bytes. */
  key?: TableKeyType
  /** Entries at most, 1 to 1 073 741 824; or text with `k`, `m`, `g` for 1024 and its powers, e.g. `'100k'`. */
  size: number | string
  /** An entry is forgotten so long after it was last tracked, unless a connection is still counted in it. Reading does not
   *  refresh it. Default 0: never. */
  expireMs?: number
  /** When the table is full, new keys are not tracked, rather than the oldest unused entries forgotten. Default false. */
  noPurge?: boolean
  /** What is counted. */
  store: TableStore
  /** Exchanges counts with other tables, of other processes or machines. Default: with none. */
  exchange?: TableExchangeOptions
}

/** What is known of one key. */
export interface TableEntry {
  /** The key. A network, such as `'10.1.2.0/24'`, in tables of prefixes. */
  key: string | number | Buffer
  /** What the table stores, by name. */
  counters: TableCounters
  /** How many connections are counted in it now, on this machine. */
  tracking: number
  /** How long ago it was last tracked. */
  idleMs: number
  /** When it will be forgotten; undefined for never. */
  expiresInMs: number | undefined
}

/** Counters of a table as a whole. */
export interface StickTableStats {
  /** Entries there are. */
  entries: number
  /** Entries there may be. */
  size: number
  /** Entries that connections are counted in now. */
  inUse: number
  /** How often a connection was tracked. */
  tracked: number
  /** How often one could not be, since the table was full. */
  untracked: number
  /** Entries that made room for others. */
  purged: number
  /** Entries that have expired. */
  expired: number
  /** How the exchange stands; undefined where there is none. */
  exchange?: TableExchangeStats
}

const maxEntries = 2 ** 30

const sizeParser: Parser<number> = {
  allowed: `an integer from 1 to ${maxEntries}, or text such as "100k"`,
  parse(value, option) {
    const [, digits, unit] = (typeof value === 'string' && /^(\d{1,10})([kmg])?$/.exec(value)) || []
    const size =
      digits === undefined ? value : Number(digits) * 1024 ** (unit === undefined ? 0 : 'kmg'.indexOf(unit) + 1)
    if (!Number.isInteger(size) || (size as number) < 1 || (size as number) > maxEntries)
      throw expected(this.allowed, value, option)
    return size as number
  },
}

type KeyConfig = Pick<NativeTableConfig, 'keyType' | 'ipv4Bits' | 'ipv6Bits' | 'keyBytes'>
const plainKey: KeyConfig = { keyType: 'ip', ipv4Bits: 32, ipv6Bits: 128, keyBytes: 32 }
const namedKey = oneOf(['ip', 'ipv4', 'ipv6', 'integer', 'string', 'binary'])
const keyBytes = optional(integer({ min: 1, max: 255 }))
const prefixShape = {
  ipv4Bits: integer({ min: 0, max: 32, default: 32 }),
  ipv6Bits: integer({ min: 0, max: 128, default: 64 }),
} satisfies Shape<{ ipv4Bits?: number; ipv6Bits?: number }>
const keyShape = { prefix: optional(nested(prefixShape)), string: keyBytes, binary: keyBytes }

const keyParser: Parser<KeyConfig> = {
  allowed: `${namedKey.allowed}, or { prefix: { ipv4Bits, ipv6Bits } }, { string: bytes } or { binary: bytes }`,
  parse(value, option) {
    if (typeof value !== 'object' || value === null) {
      if (typeof value !== 'string') throw expected(this.allowed, value, option)
      return { ...plainKey, keyType: namedKey.parse(value, option) }
    }
    const { prefix, string, binary } = parse(keyShape, value, [], option)
    if ([prefix, string, binary].filter((each) => each !== undefined).length !== 1)
      throw expected(this.allowed, value, option)
    if (prefix !== undefined) return { ...plainKey, keyType: 'prefix', ...prefix }
    return { ...plainKey, keyType: string === undefined ? 'binary' : 'string', keyBytes: (string ?? binary)! }
  },
}

const tableOptions = {
  key: withDefault(keyParser, plainKey),
  size: sizeParser,
  expireMs: integer({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }),
  noPurge: boolean({ default: false }),
  store: storeParser,
  exchange: optional(exchangeParser),
}
const checkedOptions: Readonly<Record<keyof StickTableOptions, unknown>> = tableOptions
void checkedOptions

const keyTexts: Record<NativeTableConfig['keyType'], string> = {
  ip: 'an IP address',
  ipv4: 'an IPv4 address',
  ipv6: 'an IP address',
  prefix: 'an IP address, or a network of the length of this table',
  integer: 'an integer from 0 to 4294967295',
  string: 'a non-empty string',
  binary: 'a Uint8Array or a string',
}

const rowsPerSlice = 256
const path = string()

/**
 * Counters by key, e.g. by client address: how many connections it has, how many it makes per minute, how many bytes it
 * moves. Rules track connections in it, and decide by what it counts; all loops, threads and runtimes of the process share
 * it. Native; a look-up takes well under a microsecond.
 *
 * When it is full, the entries that were tracked longest ago are forgotten, 1/256 of them at a time, but never one that a
 * connection is counted in. Source: HP-57, HP-58.
 */
export class StickTable implements Iterable<TableEntry>, Disposable {
  /** @internal */ readonly handle: NativeStickTable
  /** @internal What it counts, in the order of native rows. */ readonly columns: readonly NativeColumn[]
  /** @internal */ readonly keyType: NativeTableConfig['keyType'] | undefined
  private exchange: TableExchange | undefined
  private readonly maxSize: number
  private readonly keepMs: number
  private clock: RateClock | undefined
  private clockKept = false

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: StickTableOptions) {
    const { key, size, expireMs, noPurge, store, exchange } = parse(tableOptions, options)
    this.handle = native.stickTables.create({ ...key, size, expireMs, noPurge, columns: store })
    this.columns = native.stickTables.columns(this.handle)
    this.keyType = key.keyType
    this.maxSize = size
    this.keepMs = expireMs || Infinity
    if (exchange !== undefined) this.exchangeBy(exchange)
  }

  /** @internal Begins to exchange, with options that have been checked. */
  exchangeBy(options: Required<TableExchangeOptions>): void {
    native.stickTables.startExchange(this.handle)
    const table = {
      take: (maxBytes: number) => native.stickTables.takeChanges(this.handle, maxBytes),
      apply: (changes: Uint8Array, ageMs: number) =>
        native.stickTables.applyChanges(this.handle, changes, ageMs, this.nowMs()) >= 0,
    }
    this.exchange = new TableExchange(options, table, this.keepMs)
  }

  /** @internal Exchanges now; resolves when that has succeeded or failed. */
  async flushExchange(): Promise<void> {
    await this.exchange?.flush()
  }

  /**
   * The table that another thread shares, by the number that its `share()` gave: send that number to a worker.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when nobody in this process has it any more.
   */
  static from(shared: number): StickTable {
    const handle = native.stickTables.fromShared(sharedNumber.parse(shared, 'shared'))
    if (handle === undefined) throw expected('a number of share(), whose table somebody still has', shared, 'shared')
    const columns = native.stickTables.columns(handle)
    const { size: maxSize, keyType } = native.stickTables.facts(handle)
    const table: StickTable = Object.create(StickTable.prototype)
    return Object.assign(table, {
      handle,
      columns,
      keyType,
      maxSize,
      keepMs: Infinity,
      exchange: undefined,
      clock: undefined,
    })
  }

  /** A number for {@link StickTable.from} in other threads of this process, valid while somebody has the table. */
  share(): number {
    return native.stickTables.share(this.handle)
  }

  /** What is known of a key; undefined when nothing is. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is no
   *  key of this table; so do the others. */
  get(key: TableKey): TableEntry | undefined {
    const row = native.stickTables.row(this.handle, this.keyOf(key), this.nowMs())
    if (row === null) throw this.noKey(key)
    return row && this.entryOf(row)
  }

  /** Sets counters, all but `connCurrent`, of an entry that is made where there is none; others stay as they are. The entry
   *  counts as tracked now. False when the table is full. */
  set(key: TableKey, counters: Omit<TableCounters, 'connCurrent'>): boolean {
    const changes = changesOf(this.columns, counters, 'counters')
    const done = native.stickTables.set(this.handle, this.keyOf(key), changes, this.nowMs())
    if (done === null) throw this.noKey(key)
    return done
  }

  /** Forgets a key; where connections are counted in it, all but that. Whether there was one. */
  delete(key: TableKey): boolean {
    const done = native.stickTables.remove(this.handle, this.keyOf(key), this.nowMs())
    if (done === null) throw this.noKey(key)
    return done
  }

  /** Forgets everything, as {@link StickTable.delete} does. How many entries there were. */
  clear(): number {
    return native.stickTables.clear(this.handle, this.nowMs())
  }

  /**
   * Counts something of your own in the entry of a key, for as long as you hold it, as rules count connections. Undefined
   * when the table is full.
   */
  track(key: TableKey): TrackedKey | undefined {
    const tracked = native.stickTables.track(this.handle, this.keyOf(key), this.nowMs())
    if (tracked === null) throw this.noKey(key)
    return tracked && new TrackedKey(tracked, this.columns, () => this.nowMs())
  }

  /** All entries, some hundred at a time: those that are there from beginning to end come exactly once, whatever happens
   *  meanwhile. */
  *[Symbol.iterator](): Generator<TableEntry, void> {
    for (let cursor = 0; cursor >= 0; ) {
      const slice = native.stickTables.rows(this.handle, cursor, rowsPerSlice, this.nowMs())
      cursor = slice.cursor
      for (const row of slice.rows) yield this.entryOf(row)
    }
  }

  /** Counters of the table as a whole. */
  stats(): StickTableStats {
    const { referenced, ...stats } = native.stickTables.stats(this.handle, this.nowMs())
    const exchange = this.exchange && { exchange: this.exchange.stats() }
    return { ...stats, size: this.maxSize, inUse: referenced, ...exchange }
  }

  /** Everything in it as bytes, but who is connected now. A million entries take some hundred milliseconds. */
  snapshot(): Buffer {
    const position = this.exchange?.position ?? ''
    return native.stickTables.snapshot(this.handle, Date.now(), position, this.nowMs())
  }

  /**
   * Takes entries of a snapshot that are not there yet, older by the time it lay about; those that have expired meanwhile
   * are left out, as is what this table does not store, and the newest stay where there are too many. How many it took.
   *
   * @throws {SluiceError} `ERR_SLUICE_SNAPSHOT_INVALID`; nothing is taken then.
   */
  restore(snapshot: Uint8Array): number {
    if (!(snapshot instanceof Uint8Array)) throw expected('a Uint8Array', snapshot, 'snapshot')
    const { count, note } = native.stickTables.restore(this.handle, snapshot, Date.now(), this.nowMs())
    if (count < 0) {
      const detail = count === -1 ? 'the bytes are damaged' : 'its keys are of another type, or its version is later'
      throw new SluiceError('SNAPSHOT_INVALID', { detail })
    }
    this.exchange?.resume(note)
    return count
  }

  /**
   * Writes a snapshot to a file, which is replaced as a whole when all is written. Resolves with its size in bytes.
   *
   * @throws {Error} what `node:fs` tells.
   */
  async save(file: string): Promise<number> {
    path.parse(file, 'file')
    // What the peers have not heard of yet would be told by the successor, too.
    await this.exchange?.flush()
    const bytes = this.snapshot()
    const draft = `${file}.${randomUUID()}`
    try {
      const handle = await open(draft, 'wx', 0o600)
      try {
        await handle.writeFile(bytes)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(draft, file)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
    return bytes.length
  }

  /**
   * Takes what `save()` has written, as {@link StickTable.restore} does. Resolves with how many entries it took; 0 when
   * there is no such file.
   *
   * @throws {SluiceError} `ERR_SLUICE_SNAPSHOT_INVALID`; what `node:fs` tells otherwise.
   */
  async load(file: string): Promise<number> {
    path.parse(file, 'file')
    let bytes: Buffer
    try {
      bytes = await readFile(file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
      throw error
    }
    return this.restore(bytes)
  }

  /** Ends the exchange with others; the table itself goes on, and goes with the last who uses it. */
  close(): void {
    if (this.exchange === undefined) return
    this.exchange.close()
    native.stickTables.stopExchange(this.handle)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal The first use decides whose time it is. */
  useClock(clock: RateClock): void {
    const before = this.clock
    if (this.clockKept && before !== clock && (clock.isVirtual || before?.isVirtual)) {
      const detail = 'a stick table cannot be shared between a simulated runtime and others: their clocks differ'
      throw new SluiceError('INVALID_OPTION', { phase: 'options', option: 'rules', detail })
    }
    this.clock = clock
    this.clockKept = true
  }

  private nowMs(): number | undefined {
    return this.clock?.isVirtual ? this.clock.nowMs() : undefined
  }

  private keyOf(key: TableKey): TableKey {
    const isNumber = typeof key === 'number'
    if (isNumber ? !Number.isInteger(key) || key < 0 || key > 0xffffffff : !isText(key)) throw this.noKey(key)
    return key
  }

  private noKey(key: unknown): SluiceError {
    return expected(this.keyType === undefined ? 'a key of this table' : keyTexts[this.keyType], key, 'key')
  }

  private entryOf(row: NativeTableRow): TableEntry {
    const { key, values, references: tracking, idleMs, expiresInMs } = row
    return { key, counters: countersOf(this.columns, values), tracking, idleMs, expiresInMs }
  }
}

function isText(key: unknown): boolean {
  return typeof key === 'string' || key instanceof Uint8Array
}

/** A key that is tracked by code of yours, from {@link StickTable.track}. */
export class TrackedKey implements Disposable {
  private readonly native: NativeTracked
  private readonly columns: readonly NativeColumn[]
  private readonly nowMs: () => number | undefined

  /** @internal */
  constructor(tracked: NativeTracked, columns: readonly NativeColumn[], nowMs: () => number | undefined) {
    this.native = tracked
    this.columns = columns
    this.nowMs = nowMs
  }

  /** Adds to counters, all but `connCurrent`; a tag is set. Nothing happens once it is released. */
  count(counters: Omit<TableCounters, 'connCurrent'>): void {
    native.stickTables.count(this.native, changesOf(this.columns, counters, 'counters'), this.nowMs())
  }

  /** Lets go: `connCurrent` falls. A second call does nothing. */
  release(): void {
    native.stickTables.release(this.native)
  }

  [Symbol.dispose](): void {
    this.release()
  }
}

/** @internal */
export const tableParser: Parser<StickTable> = {
  allowed: 'a StickTable',
  parse(value, option) {
    if (!(value instanceof StickTable)) throw expected(this.allowed, value, option)
    return value
  },
}
