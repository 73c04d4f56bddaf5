import { type Clock, systemClock } from '../clock.js'
import type { Endpoint } from './destination.js'
import { areSame, type NameResolver } from './resolver.js'

/** A list, and how long it may be taken for true. */
export interface FoundEndpoints {
  endpoints: readonly Endpoint[]
  /** Milliseconds; 0: it does not change. */
  validMs: number
}

/** What a name is watched with. */
interface Watch {
  readonly listeners: Set<(endpoints: readonly Endpoint[]) => void>
  readonly controller: AbortController
  known: readonly Endpoint[] | undefined
  cancelTimer: () => void
}

/**
 * Asks again whenever what it knows has become too old, as long as somebody watches. A refresh that fails leaves the list
 * as it is, and is tried again after `retryMs`.
 */
export class RefreshingResolver implements NameResolver {
  private readonly watches = new Map<string, Watch>()

  /** @internal */
  constructor(
    private readonly find: (name: string, signal: AbortSignal) => Promise<FoundEndpoints>,
    private readonly retryMs: number,
    private readonly clock: Clock = systemClock,
  ) {}

  /** Asks now. */
  async resolve(name: string, signal: AbortSignal): Promise<readonly Endpoint[]> {
    const { endpoints, validMs } = await this.find(name, signal)
    const watch = this.watches.get(name)
    if (watch !== undefined && !signal.aborted) {
      this.told(watch, endpoints)
      this.arm(name, watch, validMs)
    }
    return endpoints
  }

  /** Asks from time to time. */
  watch(name: string, changed: (endpoints: readonly Endpoint[]) => void): () => void {
    let watch = this.watches.get(name)
    if (watch === undefined) {
      const controller = new AbortController()
      watch = { listeners: new Set(), controller, known: undefined, cancelTimer: () => {} }
      this.watches.set(name, watch)
      this.arm(name, watch, this.retryMs)
    }
    const { listeners, controller } = watch
    const own = (endpoints: readonly Endpoint[]) => changed(endpoints)
    listeners.add(own)
    return () => {
      listeners.delete(own)
      if (listeners.size > 0 || this.watches.get(name) !== watch) return
      this.watches.delete(name)
      watch.cancelTimer()
      controller.abort()
    }
  }

  private arm(name: string, watch: Watch, ms: number): void {
    watch.cancelTimer()
    watch.cancelTimer = ms > 0 ? this.clock.after(ms, () => void this.refresh(name, watch)) : () => {}
  }

  private async refresh(name: string, watch: Watch): Promise<void> {
    let nextMs = this.retryMs
    try {
      const { endpoints, validMs } = await this.find(name, watch.controller.signal)
      nextMs = validMs
      if (!watch.controller.signal.aborted) this.told(watch, endpoints)
    } catch {
      // Whoever needs an address asks by resolve(), and hears of it there.
    }
    if (!watch.controller.signal.aborted) this.arm(name, watch, nextMs)
  }

  private told(watch: Watch, endpoints: readonly Endpoint[]): void {
    const { known } = watch
    watch.known = endpoints
    if (known !== undefined && areSame(known, endpoints)) return
    for (const listener of [...watch.listeners]) listener(endpoints)
  }
}
