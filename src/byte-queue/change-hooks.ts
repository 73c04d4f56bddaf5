/** What happened to a queue since its hook was last called. */
export interface QueueChange {
  /** Size before. */
  sizeBeforeBytes: number
  /** Put in, at either end. */
  addedBytes: number
  /** Taken out. */
  removedBytes: number
}

/** Options of `ByteQueue.onChange`. */
export interface ChangeHookOptions {
  /** Called once per turn, by a microtask, with the sum of what happened; otherwise at the end of each operation. */
  deferred?: boolean
}

/** A hook as `ByteQueue.onChange` returns it. */
export interface ChangeHook {
  /** While false, changes are not told, neither now nor later. */
  enabled: boolean
  /** It is never called again. */
  remove(): void
}

type Callback = (change: QueueChange) => void

class Hook implements ChangeHook {
  pending: QueueChange | undefined = undefined
  private isEnabled = true

  constructor(
    private readonly owner: ChangeHooks,
    readonly callback: Callback,
    readonly deferred: boolean,
  ) {}

  get enabled(): boolean {
    return this.isEnabled
  }

  set enabled(enabled: boolean) {
    this.isEnabled = enabled
    if (!enabled) this.pending = undefined
  }

  remove(): void {
    this.enabled = false
    this.owner.delete(this)
  }

  /** Adds to what it has not been told yet. */
  note(sizeBeforeBytes: number, addedBytes: number, removedBytes: number): void {
    if (!this.isEnabled) return
    if (this.pending === undefined) {
      this.pending = { sizeBeforeBytes, addedBytes, removedBytes }
      if (this.deferred) queueMicrotask(() => this.tell())
    } else {
      this.pending.addedBytes += addedBytes
      this.pending.removedBytes += removedBytes
    }
  }

  tell(): void {
    const change = this.pending
    if (change === undefined) return
    this.pending = undefined
    callSafely(this.callback, change)
  }
}

/** The hooks of one queue. Hooks that change the queue are told of that after the others, never within their own call. */
export class ChangeHooks {
  private readonly hooks: Hook[] = []
  private telling = false

  add(callback: Callback, deferred: boolean): ChangeHook {
    const hook = new Hook(this, callback, deferred)
    this.hooks.push(hook)
    return hook
  }

  delete(hook: Hook): void {
    const index = this.hooks.indexOf(hook)
    if (index >= 0) this.hooks.splice(index, 1)
  }

  note(sizeBeforeBytes: number, addedBytes: number, removedBytes: number): void {
    for (const hook of this.hooks) hook.note(sizeBeforeBytes, addedBytes, removedBytes)
  }

  tell(): void {
    // A hook has changed the queue: the loop below, further up the stack, will tell.
    if (this.telling) return
    this.telling = true
    for (;;) {
      const next = this.hooks.find((hook) => hook.pending !== undefined && !hook.deferred)
      if (next === undefined) break
      next.tell()
    }
    this.telling = false
  }
}

/** What the callback throws is nobody's fault here: it becomes an uncaught exception, and the operation stands. */
export function callSafely<A extends unknown[]>(callback: (...args: A) => void, ...args: A): void {
  try {
    callback(...args)
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}
