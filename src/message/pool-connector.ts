import { asSluiceError, type SluiceError } from '../errors.js'
import type { Parsed } from '../options.js'
import type { Endpoint } from './destination.js'
import { messageError } from './failure.js'
import type { MessageConnection } from './message-connection.js'
import type { MessagePool, PoolOwner } from './pool.js'
import type { poolOptions } from './pool-options.js'
import { reconnectDelayMs } from './reconnect.js'

/** One address that a pool tries. */
export type PoolTarget = Endpoint

/** Makes the connections of a pool: one address at a time, with growing waits after failures (SF-42, SF-43, SF-45). */
export class PoolConnector {
  /** Rounds through all addresses that failed, in a row. */
  failures = 0
  private connecting = 0
  /** Connected, and not active yet. */
  private readonly preparing = new Set<MessageConnection>()
  private targets: readonly PoolTarget[] = []
  private nextTarget = 0
  /** Failures since the name was resolved. */
  private failuresSinceResolved = 0
  private cancelTimer: (() => void) | undefined
  private dueMs = 0
  private readonly controller = new AbortController()

  constructor(
    private readonly pool: MessagePool,
    private readonly owner: PoolOwner,
    private readonly options: Parsed<typeof poolOptions>,
  ) {}

  /** Connections in the making. */
  get pending(): number {
    return this.connecting + this.preparing.size
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
    this.connecting++
    const { signal } = this.controller
    let connection: MessageConnection | undefined
    let failure: SluiceError | undefined
    try {
      const target = await this.pickTarget()
      connection = await this.owner.connect(this.pool, target, signal)
    } catch (error) {
      failure = asSluiceError(error, 'SYSTEM', { phase: 'connect' })
    }
    this.connecting--
    if (connection === undefined) {
      if (!signal.aborted) this.failed(failure!)
      return
    }
    // It may have become active, or been lost, before this was told of it.
    if (connection.state === 'closed') {
      const isToldAlready = this.cancelTimer !== undefined || signal.aborted
      if (!isToldAlready) this.failed(messageError('MESSAGE_CONNECTION', 'before it was active'))
      return
    }
    if (connection.state !== 'active') this.preparing.add(connection)
    this.connectIfWanted()
  }

  private async pickTarget(): Promise<PoolTarget> {
    const areUsedUp = this.nextTarget >= this.targets.length
    if (this.targets.length === 0 || (areUsedUp && this.failuresSinceResolved >= 2 * this.targets.length)) {
      const targets = await this.owner.resolve(this.pool, this.controller.signal)
      if (targets.length === 0) throw messageError('MESSAGE_NOT_CONNECTED', 'the resolver gave no address')
      this.targets = targets
      this.failuresSinceResolved = 0
      this.nextTarget = 0
    } else if (areUsedUp) {
      this.nextTarget = 0
    }
    return this.targets[this.nextTarget++ % this.targets.length]!
  }

  /** It is active: the next one may have the same address. */
  succeeded(connection: MessageConnection): void {
    this.preparing.delete(connection)
    this.failures = 0
    this.failuresSinceResolved = 0
    if (this.nextTarget > 0) this.nextTarget--
  }

  /** It is gone, after it was active or before. */
  lost(connection: MessageConnection, wasActive: boolean, cause: SluiceError | undefined): void {
    const wasPreparing = this.preparing.delete(connection)
    if (this.controller.signal.aborted) return
    if (wasActive) this.wait(0)
    else if (wasPreparing) this.failed(cause ?? messageError('MESSAGE_CONNECTION', 'before it was active'))
  }

  private failed(error: SluiceError): void {
    this.failuresSinceResolved++
    // Other addresses of the same name come at once, before any wait, and before anything is said to be not there.
    const isLastAddress = this.nextTarget === 0 || this.nextTarget >= this.targets.length
    if (!isLastAddress && error.code !== 'ERR_SLUICE_MESSAGE_VERSION') {
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
    this.controller.abort(messageError('MESSAGE_POOL_CLOSED'))
  }
}
