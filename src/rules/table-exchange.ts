import { randomUUID } from 'node:crypto'
import { asSluiceError, SluiceError } from '../errors.js'
import { expected, milliseconds, nested, type Parser, type Shape, string, withDefault } from '../options.js'
import { within } from '../within.js'
import type { PeerChanges, StickTablePeers } from './stick-table-peers.js'

/** How a {@link StickTable} exchanges with tables of the same name. */
export interface TableExchangeOptions {
  /** Where they meet: `new RedisStickTablePeers(…)` of `sluice/redis`, or one of your own. */
  peers: StickTablePeers
  /** Name of the table; those of one name and one `peers` exchange. */
  name: string
  /** How often, 10 to 60 000. Default 200. */
  everyMs?: number
  /** How long an exchange may take before the peers count as unreachable. Default 1 000. */
  timeoutMs?: number
}

const peersParser: Parser<StickTablePeers> = {
  allowed: 'an object with the function exchange()',
  parse(value, option) {
    if (typeof (value as Partial<StickTablePeers> | null)?.exchange !== 'function')
      throw expected(this.allowed, value, option)
    return value as StickTablePeers
  },
}

const exchangeOptions = {
  peers: peersParser,
  name: string({ maxLength: 200 }),
  everyMs: withDefault(milliseconds({ min: 10, max: 60_000 }), 200),
  timeoutMs: withDefault(milliseconds({ min: 1 }), 1000),
} satisfies Shape<TableExchangeOptions>

export const exchangeParser = nested(exchangeOptions)

/** How the exchange of a table stands. */
export interface TableExchangeStats {
  /** `'starting'`: no answer yet; `'unreachable'`: the peers do not answer, and what happens is kept for them. */
  state: 'starting' | 'exchanging' | 'unreachable' | 'closed'
  /** Exchanges so far. */
  exchanges: number
  /** Those that failed. */
  failures: number
  /** Bytes of changes that were told. */
  sentBytes: number
  /** Bytes of changes of others. */
  receivedBytes: number
  /** Changes of others that could not be read: of a table with other keys, or of another version. */
  refused: number
  /** Other tables that were heard of. */
  peers: number
  /** Why the peers are unreachable. */
  error?: SluiceError
}

/** What an exchange needs of its table. */
export interface ExchangedTable {
  take(maxBytes: number): Uint8Array
  /** False for what cannot be read. */
  apply(changes: Uint8Array, ageMs: number): boolean
}

const maxBytes = 64 * 1024

/** Exchanges one table's changes with its peers', again and again. Internal. */
export class TableExchange {
  private readonly node = randomUUID()
  private state: TableExchangeStats['state'] = 'starting'
  private cursor = ''
  private sequence = 0
  // What the peers may or may not have: it goes again, under the same number, until they answer.
  private unsent: { changes: Uint8Array; takenMs: number } | undefined
  private readonly heard = new Map<string, number>()
  private readonly counts = { exchanges: 0, failures: 0, sentBytes: 0, receivedBytes: 0, refused: 0 }
  private error: SluiceError | undefined
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined

  constructor(
    private readonly options: Required<TableExchangeOptions>,
    private readonly table: ExchangedTable,
    private readonly keepMs: number,
  ) {
    this.timer = setTimeout(() => void this.run(), 0).unref()
  }

  /** Where it has come to, for a snapshot; '' before the first answer. */
  get position(): string {
    return this.cursor
  }

  /** Goes on from a snapshot's position; nothing happens once there was an answer. */
  resume(position: string): void {
    this.cursor ||= position
  }

  stats(): TableExchangeStats {
    return { state: this.state, ...this.counts, peers: this.heard.size, ...(this.error && { error: this.error }) }
  }

  /** Exchanges now, and resolves when that has succeeded or failed. */
  async flush(): Promise<void> {
    await this.running
    await this.run()
  }

  close(): void {
    this.state = 'closed'
    clearTimeout(this.timer)
  }

  private run(): Promise<void> {
    clearTimeout(this.timer)
    this.running ??= this.exchange().finally(() => {
      this.running = undefined
      if (this.isClosed()) return
      this.timer = setTimeout(() => void this.run(), this.options.everyMs).unref()
    })
    return this.running
  }

  private async exchange(): Promise<void> {
    try {
      for (let more = true; more && !this.isClosed(); ) more = await this.exchangeOnce()
    } catch (thrown) {
      if (this.isClosed()) return
      this.counts.failures++
      const told = this.state === 'unreachable'
      this.state = 'unreachable'
      this.error = asSluiceError(thrown, 'PEERS_UNREACHABLE')
      // Once per outage.
      if (!told) process.emitWarning(this.error)
    }
  }

  // Whether there is more to tell or to hear.
  private async exchangeOnce(): Promise<boolean> {
    const { peers, name, timeoutMs } = this.options
    if (this.unsent === undefined) {
      this.unsent = { changes: this.table.take(maxBytes), takenMs: performance.now() }
      if (this.unsent.changes.length > 0) this.sequence++
    }
    const { changes, takenMs } = this.unsent
    const request = { table: name, node: this.node, sequence: this.sequence, changes, keepMs: this.keepMs }
    const question = peers.exchange({ ...request, ageMs: performance.now() - takenMs, since: this.cursor || undefined })
    const answer = await within(question, timeoutMs, () => {
      return new SluiceError('PEERS_UNREACHABLE', { detail: `no answer within ${timeoutMs} ms` })
    })
    if (this.isClosed()) return false
    this.unsent = undefined
    this.cursor = answer.cursor
    this.state = 'exchanging'
    this.error = undefined
    this.counts.exchanges++
    this.counts.sentBytes += changes.length
    for (const each of answer.changes) this.hear(each)
    return answer.more || changes.length >= maxBytes
  }

  private hear({ node, sequence, ageMs, changes }: PeerChanges): void {
    // What is told again, because an answer was lost, counts once.
    if (sequence <= (this.heard.get(node) ?? 0)) return
    this.heard.set(node, sequence)
    this.counts.receivedBytes += changes.length
    if (!this.table.apply(changes, Math.max(0, Math.round(ageMs)))) this.counts.refused++
  }

  private isClosed(): boolean {
    return this.state === 'closed'
  }
}
