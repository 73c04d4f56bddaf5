import { asSluiceError, type SluiceError } from '../errors.js'
import type { Parsed } from '../options.js'
import type { Endpoint } from './destination.js'
import { messageError } from './failure.js'
import type { MessageConnection } from './message-connection.js'
import type { MessagePool, PoolOwner } from './pool.js'
import type { poolOptions } from './pool-options.js'
import { reconnectDelayMs } from './reconnect.js'
import { areSame } from './resolver.js'
import { TargetList } from './target-list.js'

/** One address that a pool tries. */
export type PoolTarget = Endpoint

/** Makes the connections of a pool: one address at a time, with growing waits after failures (SF-42, SF-43, SF-45). */
export class PoolConnector {
  /** Rounds through all addresses that failed, in a row. */
  failures = 0
  /** Addresses that are being connected to. */
  private readonly connecting = new Set<{ target: PoolTarget | undefined }>()
  /** Connected, and not active yet. */
  private readonly preparing = new Set<MessageConnection>()
  private readonly targets: TargetList
  private unwatch: (() => void) | undefined
  private cancelTimer: (() => void) | undefined
  private dueMs = 0
  private readonly controller = new AbortController()

  constructor(
    private readonly pool: MessagePool,
    private readonly owner: PoolOwner,
    private readonly options: Parsed<typeof poolOptions>,
  ) {
    this.targets = new TargetList(() => owner.clock.nowMs())
  }

  /** Connections in the making. */
  get pending(): number {
    return this.connecting.size + this.preparing.size
  }

  /** Whether it waits before it tries again. */
  get isWaiting(): boolean {
    return this.cancelTimer !== undefined && this.pending === 0
  }

  get nextAttemptMs(): number | undefined {
    return this.cancelTimer === undefined ? undefined : this.dueMs
  }

  connectIfWanted(): void {
    while (
      this.cancelTimer === undefined &&
      !this.controller.signal.aborted &&
      this.pending < this.options.maxPendingConnections &&
      this.pool.wants
    ) {
      void this.connect()
    }
  }

  private async connect(): Promise<void> {
    const attempt: { target: PoolTarget | undefined } = { target: undefined }
    this.connecting.add(attempt)
    const { signal } = this.controller
    let connection: MessageConnection | undefined
    let failure: SluiceError | undefined
    try {
      attempt.target = await this.pickTarget()
      connection = await this.owner.connect(this.pool, attempt.target, signal)
    } catch (error) {
      failure = asSluiceError(error, 'SYSTEM', { phase: 'connect' })
    }
    this.connecting.delete(attempt)
    if (connection === undefined) {
      if (!signal.aborted) this.failed(failure!, attempt.target)
      return
    }
    // It may have become active, or been lost, before this was told of it.
    if (connection.state === 'closed') {
      const isToldAlready = this.cancelTimer !== undefined || signal.aborted
      if (!isToldAlready) this.failed(messageError('MESSAGE_CONNECTION', 'before it was active'), attempt.target)
      return
    }
    if (connection.state !== 'active') this.preparing.add(connection)
    this.connectIfWanted()
  }

  private async pickTarget(): Promise<PoolTarget> {
    const { targets } = this
    if (this.owner.watch !== undefined && this.unwatch === undefined)
      this.unwatch = this.owner.watch(this.pool, (endpoints) => this.follow(endpoints))
    if (targets.isDue) {
      const found = await this.owner.resolve(this.pool, this.controller.signal)
      if (found.length === 0) throw messageError('MESSAGE_NOT_CONNECTED', 'the resolver gave no address')
      targets.set(found, this.owner.areSpread)
    }
    const uses = [...this.connecting].flatMap(({ target }) => target ?? [])
    return targets.pick([...uses, ...this.pool.targetsInUse])
  }

  // The resolver has news. They end the wait for the next attempt: what has come may be what was waited for.
  private follow(endpoints: readonly PoolTarget[]): void {
    if (this.controller.signal.aborted || areSame(endpoints, this.targets.endpoints)) return
    this.targets.set(endpoints, this.owner.areSpread)
    // Who is listed nowhere may still be there; better that than nobody.
    if (endpoints.length === 0) return
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.failures = 0
    const making = [...this.connecting, ...this.preparing].flatMap(({ target }) => target ?? [])
    this.pool.rescale(this.targets, making)
    this.connectIfWanted()
  }

  /** It is active: the next one may have the same address. */
  succeeded(connection: MessageConnection): void {
    this.preparing.delete(connection)
    this.failures = 0
    if (connection.target !== undefined) this.targets.succeeded(connection.target)
  }

  /** It is gone, after it was active or before. */
  lost(connection: MessageConnection, wasActive: boolean, cause: SluiceError | undefined): void {
    const wasPreparing = this.preparing.delete(connection)
    if (this.controller.signal.aborted) return
    if (wasActive && !connection.isLeft) this.wait(0)
    else if (wasPreparing)
      this.failed(cause ?? messageError('MESSAGE_CONNECTION', 'before it was active'), connection.target)
  }

  private failed(error: SluiceError, target: PoolTarget | undefined): void {
    // Other addresses come at once, before any wait, and before anything is said to be not there. Other places may also
    // speak what this one does not.
    const isFinal = error.code === 'ERR_SLUICE_MESSAGE_VERSION' && !this.owner.areSpread
    if (this.targets.hasFailed(target) && !isFinal) {
      this.connectIfWanted()
      return
    }
    this.failures++
    this.pool.connectFailed(error)
    this.wait(this.failures)
  }

  private wait(failures: number): void {
    if (this.cancelTimer !== undefined) return
    const ms = reconnectDelayMs(failures, this.options.reconnect, () => this.owner.random())
    this.dueMs = ms
    this.cancelTimer = this.owner.clock.after(ms, () => {
      this.cancelTimer = undefined
      this.connectIfWanted()
    })
  }

  stop(): void {
    this.cancelTimer?.()
    this.cancelTimer = undefined
    this.unwatch?.()
    this.controller.abort(messageError('MESSAGE_POOL_CLOSED'))
  }
}
