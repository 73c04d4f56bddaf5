import type { Connection } from '../connection.js'
import { boolean, parse, type Shape } from '../options.js'

/** How a connection is given back. */
export interface ReleaseOptions {
  /** Whether it is at a point from where somebody else can go on. Default false: it is closed. */
  reusable?: boolean
}

const releaseShape = { reusable: boolean({ default: false }) } satisfies Shape<ReleaseOptions>

/** What a lease tells its pool. */
export interface LeaseOwner {
  giveBack(lease: UpstreamLease, reusable: boolean): void
  again(lease: UpstreamLease): Promise<UpstreamLease>
}

/** A connection of a pool, for as long as it is needed; comes from `UpstreamPool.acquire()`. */
export class UpstreamLease implements Disposable {
  private over = false
  /** @internal What its pool knows of it. */
  deal: unknown

  /** @internal */
  constructor(
    /** The connection. When it ends by itself, it has been given back. */
    readonly connection: Connection,
    /** Name of the server it leads to. */
    readonly server: string,
    /** Whether somebody had it before. */
    readonly reused: boolean,
    private readonly owner: LeaseOwner,
  ) {}

  /** Whether it was given back, or has ended. */
  get released(): boolean {
    return this.over
  }

  /**
   * Gives the connection back. A reusable one is kept for others if the rules allow it, and it is open, and has been used by
   * handlers; any other is closed. A second call does nothing.
   */
  release(options?: ReleaseOptions): void {
    const { reusable } = parse(releaseShape, options)
    if (this.over) return
    this.over = true
    this.owner.giveBack(this, reusable)
  }

  /**
   * For a connection that turned out dead before anything came back: destroys it, and gets another one, at another server
   * where there is one. Only who knows that the request may be sent twice should ask for that.
   */
  retry(): Promise<UpstreamLease> {
    if (!this.over) {
      this.connection.destroy()
      this.release()
    }
    return this.owner.again(this)
  }

  [Symbol.dispose](): void {
    this.release()
  }
}
