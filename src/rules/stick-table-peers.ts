/** What a table asks its peers, several times a second: to take its changes, and for those of the others. */
export interface PeerExchange {
  /** Name of the table: those of one name exchange. */
  table: string
  /** Who asks; the same in each request of a table, and nobody else's. */
  node: string
  /** Counts the changes of a node. When an answer was lost the same ones come again, with the same number. */
  sequence: number
  /** What has happened there, as bytes for the other tables; empty when nothing has. */
  changes: Uint8Array
  /** How long ago they happened: longer than usual after an outage. */
  ageMs: number
  /** Up to where it has heard of the others: `cursor` of the answer before. Undefined at first: from `keepMs` ago on. */
  since: string | undefined
  /** For how long changes matter to anybody. Infinity for tables whose entries do not expire. */
  keepMs: number
}

/** Changes of another node. */
export interface PeerChanges {
  /** Whose they are. */
  node: string
  /** As in {@link PeerExchange}. */
  sequence: number
  /** How long ago they happened. */
  ageMs: number
  /** As in {@link PeerExchange}. */
  changes: Uint8Array
}

/** What has happened elsewhere. */
export interface PeerAnswer {
  /** Up to where this tells, for `since` of the next request; `''` as long as the log is empty. */
  cursor: string
  /** In the order in which they came, without those of the node that asks. */
  changes: PeerChanges[]
  /** There is more: ask again at once. */
  more: boolean
}

/**
 * Where tables of one name, on several machines, tell each other what they have counted. A log per name: who asks adds to it,
 * and reads on from where it had come to.
 */
export interface StickTablePeers {
  /** Adds changes and answers those of the others. Rejects when the log cannot be reached; the same request then comes
   *  again. */
  exchange(request: PeerExchange): Promise<PeerAnswer>
}

interface Logged {
  readonly number: number
  readonly node: string
  readonly sequence: number
  readonly happenedMs: number
  readonly changes: Uint8Array
}

/** Lets tables of one process exchange, and tests. */
export class MemoryStickTablePeers implements StickTablePeers {
  private readonly logs = new Map<string, Logged[]>()
  private last = 0

  /** `nowMs`: the time by which changes get old. Default: the system's monotonic clock. `maxChanges`: how many a log holds
   *  at most, and an answer a hundredth of it. Default 10 000. */
  constructor(
    private readonly nowMs: () => number = () => performance.now(),
    private readonly maxChanges = 10_000,
  ) {}

  /** Adds changes and answers those of the others. */
  async exchange(request: PeerExchange): Promise<PeerAnswer> {
    const { table, node, sequence, changes, ageMs, since, keepMs } = request
    const now = this.nowMs()
    const log = this.logs.get(table) ?? []
    this.logs.set(table, log)
    if (changes.length > 0)
      log.push({ number: ++this.last, node, sequence, happenedMs: now - ageMs, changes: Uint8Array.from(changes) })
    const kept = log.findIndex((each) => now - each.happenedMs < keepMs)
    log.splice(0, Math.max(kept < 0 ? log.length : kept, log.length - this.maxChanges))
    const after = Number(since ?? 0)
    const unread = log.filter((each) => each.number > after)
    const part = unread.slice(0, Math.max(1, Math.floor(this.maxChanges / 100)))
    return {
      cursor: String(part.at(-1)?.number ?? after),
      changes: part
        .filter((each) => each.node !== node)
        .map((each) => ({ ...each, ageMs: Math.max(0, now - each.happenedMs) })),
      more: part.length < unread.length,
    }
  }
}
