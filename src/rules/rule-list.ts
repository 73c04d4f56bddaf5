import { type NativeRule, type NativeRuleList, native } from '../native/binding.js'
import { expected, integer, parse, type Shape } from '../options.js'
import type { RateClock } from '../rate-limit/rate-limit-group.js'
import { sharedNumber } from './cidr-set.js'
import type { Rule } from './rule.js'
import { ruleOf, trackedBy } from './rule-actions.js'
import { factsOf, type RehearsedConnection, type RuleVerdict, verdictOf } from './rule-rehearsal.js'
import type { StickTable } from './stick-table.js'

/** Options of {@link RuleList}. */
export interface RuleListOptions {
  /** How long rules of the stage `'content'` wait for content that they need, 0 to 60 000: then a condition that is not
   *  decided counts as false. The buffer being full, or the peer's end, does the same. Default 5 000. Source: HP-56. */
  inspectDelayMs?: number
}

const listOptions = {
  inspectDelayMs: integer({ min: 0, max: 60_000, default: 5000 }),
} satisfies Shape<RuleListOptions>

const maxRules = 10_000

/**
 * Rules for connections, in order: the first that accepts, rejects or drops decides, and who meets none is accepted. They
 * are checked when the list is made, and evaluated in native code. Give the list to a listener by {@link rules}; any number
 * of listeners, threads and runtimes may share it.
 *
 * ```js
 * const clients = new StickTable({ size: '100k', expireMs: 60_000, store: { connCurrent: true, connRate: { periodMs: 10_000 } } })
 * const list = new RuleList([
 *   { action: 'accept', when: { source: ['10.0.0.0/8', '::1'] } },
 *   { action: 'track', table: clients },
 *   { action: 'reject', when: { counter: 'connCurrent', above: 10 } },
 *   { action: 'silentDrop', when: { counter: 'connRate', above: 100 } },
 * ])
 * ```
 *
 * Source: HP-55, HP-56, HP-59.
 */
export class RuleList {
  /** @internal */ readonly handle: NativeRuleList
  private loaded: readonly Rule[]
  private inspectDelayMs: number
  private tables: ReadonlySet<StickTable>
  private clock: RateClock | undefined

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, whose `option` is e.g. `'rules[3].when.source[0]'`. */
  constructor(list: readonly Rule[], options?: RuleListOptions) {
    const { inspectDelayMs } = parse(listOptions, options)
    const { native: compiled, tables } = compile(list)
    this.handle = native.ruleLists.create(compiled, inspectDelayMs)
    this.loaded = Object.freeze([...list])
    this.inspectDelayMs = inspectDelayMs
    this.tables = tables
  }

  /**
   * The list that another thread shares, by the number that its `share()` gave: send that number to a worker. There it can
   * be used and replaced; `rules` is empty.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when nobody in this process has it any more.
   */
  static from(shared: number): RuleList {
    const handle = native.ruleLists.fromShared(sharedNumber.parse(shared, 'shared'))
    if (handle === undefined) throw expected('a number of share(), whose list somebody still has', shared, 'shared')
    const made: RuleList = Object.create(RuleList.prototype)
    const loaded: readonly Rule[] = []
    return Object.assign(made, { handle, loaded, inspectDelayMs: 5000, tables: new Set() })
  }

  /** A number for {@link RuleList.from} in other threads of this process, valid while somebody has the list. */
  share(): number {
    return native.ruleLists.share(this.handle)
  }

  /** The rules in force. */
  get rules(): readonly Rule[] {
    return this.loaded
  }

  /**
   * Replaces all rules, for connections to come and for stages that open ones have not reached; what is tracked stays
   * tracked. Counts of hits begin anew. Nothing changes when it throws.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  replace(list: readonly Rule[], options?: RuleListOptions): void {
    const { inspectDelayMs } = parse(listOptions, { inspectDelayMs: this.inspectDelayMs, ...options })
    const { native: compiled, tables } = compile(list)
    const { clock } = this
    if (clock !== undefined) for (const table of tables) table.useClock(clock)
    native.ruleLists.replace(this.handle, compiled, inspectDelayMs)
    this.loaded = Object.freeze([...list])
    this.inspectDelayMs = inspectDelayMs
    this.tables = tables
  }

  /** How often each rule has been carried out, in their order. */
  get hits(): number[] {
    return native.ruleLists.hits(this.handle)
  }

  /**
   * What becomes of such a connection: to try rules, and to test them. It goes through all stages, as far as it gets, and
   * is over then. What it tracks is tracked, and hits are counted; nobody waits for delays.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
   */
  rehearse(connection: RehearsedConnection): RuleVerdict {
    const nowMs = this.clock?.isVirtual ? this.clock.nowMs() : undefined
    return verdictOf(native.ruleLists.rehearse(this.handle, factsOf(connection, nowMs)))
  }

  /** @internal Its tables go by the clock of the loop that evaluates it. */
  useClock(clock: RateClock): void {
    for (const table of this.tables) table.useClock(clock)
    this.clock = clock
  }
}

function compile(list: unknown): { native: NativeRule[]; tables: Set<StickTable> } {
  if (!Array.isArray(list) || list.length > maxRules)
    throw expected(`a list of at most ${maxRules} rules`, list, 'rules')
  const tracked = [new Set<StickTable>(), new Set<StickTable>(), new Set<StickTable>()]
  for (const rule of list) {
    const found = trackedBy(rule)
    if (found !== undefined) tracked[found.place]!.add(found.table)
  }
  const tables = new Set<StickTable>()
  const compiled = list.map((rule, i) => ruleOf(rule, { tracked, tables }, `rules[${i}]`))
  return { native: compiled, tables }
}
