/** What of an AbortSignal work under way looks at: a user's own, or a {@link Stop}. */
export interface StopSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/**
 * Controller and signal in one, for what begins and ends a thousand times a second: Node's own cost more than the connection
 * that they are for. It aborts once, and forgets its listeners then.
 */
export class Stop implements StopSignal {
  aborted = false
  reason: unknown
  private listeners: (() => void)[] = []

  addEventListener(_: 'abort', listener: () => void): void {
    if (!this.aborted) this.listeners.push(listener)
  }

  removeEventListener(_: 'abort', listener: () => void): void {
    const at = this.listeners.indexOf(listener)
    if (at >= 0) this.listeners.splice(at, 1)
  }

  abort(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    for (let listener = this.listeners.shift(); listener !== undefined; listener = this.listeners.shift()) listener()
  }

  /** Aborts with another one. @returns ends that. */
  follow(other: StopSignal | undefined): () => void {
    if (other === undefined) return noop
    const abort = () => this.abort(other.reason)
    if (other.aborted) abort()
    else other.addEventListener('abort', abort)
    return () => other.removeEventListener('abort', abort)
  }
}

const noop = () => {}
