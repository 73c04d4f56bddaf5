import { abortError, SluiceError } from '../errors.js'
import type { StopSignal } from '../stop.js'
import { type Acquisition, AcquisitionState } from './acquisition.js'
import type { Balancer } from './balance.js'
import type { PoolClock } from './clock.js'
import type { AcquireRules, PoolRules } from './options.js'
import type { UpstreamServer } from './server.js'
import { WaitingLine } from './waiting-line.js'

/** What a place is wanted for, beside what the request says. */
export interface Choice {
  /** Servers to take only where there is no other. */
  readonly avoid: ReadonlySet<UpstreamServer>
  /** The server to take if it is usable, by name. */
  readonly wanted: string | undefined
  readonly signal: StopSignal
}

/** What a pool tells of its servers. */
export interface PlaceOwner {
  readonly clock: PoolClock
  readonly servers: readonly UpstreamServer[]
  /** Those that may be chosen now. */
  readonly usable: readonly UpstreamServer[]
}

/** Who gets a place at which server, and who has to wait for one. Source: HP-76. */
export class Places {
  private readonly line = new WaitingLine<UpstreamServer>()
  /** Requests that had to wait. */
  waited = 0
  /** Most that waited at once. */
  mostWaiting = 0

  constructor(
    private readonly rules: PoolRules,
    private readonly balancer: Balancer,
    private readonly queueTimeoutMs: number,
    private readonly owner: PlaceOwner,
  ) {}

  /** How many wait. */
  get waiting(): number {
    return this.line.length
  }

  /** How many wait for one server alone. */
  waitingAt(server: UpstreamServer): number {
    return this.line.lengthAt(server)
  }

  /** Sends away those who wait for this server alone: they ask again. */
  dismiss(server: UpstreamServer): void {
    this.line.dismiss(server)
  }

  /** Lets in who waits, as far as there is room at this server. */
  admit(server: UpstreamServer): void {
    if (this.line.length === 0 || !this.owner.usable.includes(server)) return
    while (server.hasRoom && this.line.admit(server)) {}
  }

  /** A server at which a place has been taken, when there is one: at once where nobody has to wait. */
  take(acquisition: Acquisition, request: AcquireRules, choice: Choice): UpstreamServer | Promise<UpstreamServer> {
    if (choice.signal.aborted) throw abortError(choice.signal, { phase: 'connect' })
    const found = this.choose(request, choice)
    return found.hasPlace ? taken(found.server!) : this.queue(found, acquisition, request, choice)
  }

  private async queue(
    first: { server: UpstreamServer | undefined; hasPlace: boolean },
    acquisition: Acquisition,
    request: AcquireRules,
    choice: Choice,
  ): Promise<UpstreamServer> {
    for (let found = first; ; found = this.choose(request, choice)) {
      if (found.hasPlace) return taken(found.server!)
      acquisition.moveTo(AcquisitionState.queued, { server: found.server?.name })
      const admitted = await this.wait(found.server, choice.signal)
      if (admitted !== undefined) return admitted
      acquisition.moveTo(AcquisitionState.requested)
      if (choice.signal.aborted) throw abortError(choice.signal, { phase: 'connect' })
    }
  }

  // A server with a place, or one to wait for, or none in particular to wait for.
  private choose(
    request: AcquireRules,
    { avoid, wanted }: Choice,
  ): { server: UpstreamServer | undefined; hasPlace: boolean } {
    const { usable } = this.owner
    if (usable.length === 0) throw new SluiceError('UPSTREAM_UNAVAILABLE', { phase: 'connect' })
    const fresh = usable.filter((server) => !avoid.has(server))
    const candidates = fresh.length > 0 ? fresh : usable
    const named =
      wanted === undefined ? undefined : this.owner.servers.find((each) => each.name === wanted && each.isUsable)
    if (named !== undefined && !avoid.has(named)) {
      if (named.hasRoom) return { server: named, hasPlace: true }
      if (this.mayQueueAt(named)) return this.queueAt(named)
    }
    if (this.rules.balance !== 'hash' || request.key === undefined) {
      const roomy = candidates.filter((server) => server.hasRoom)
      if (roomy.length > 0) return { server: this.balancer.pick(roomy, undefined), hasPlace: true }
      return this.queueAt(undefined)
    }
    for (let left = candidates; left.length > 0; ) {
      const server = this.balancer.pick(left, request.key)
      if (server.hasRoom) return { server, hasPlace: true }
      if (this.mayQueueAt(server)) return this.queueAt(server)
      left = left.filter((other) => other !== server)
    }
    throw this.queueFull()
  }

  private mayQueueAt(server: UpstreamServer): boolean {
    const { maxQueue } = server.rules
    return maxQueue === 0 || this.line.lengthAt(server) < maxQueue
  }

  private queueAt(server: UpstreamServer | undefined): { server: UpstreamServer | undefined; hasPlace: false } {
    const { maxQueue } = this.rules
    if (maxQueue > 0 && this.line.length >= maxQueue) throw this.queueFull()
    return { server, hasPlace: false }
  }

  private queueFull(): SluiceError {
    return new SluiceError('UPSTREAM_QUEUE_FULL', { phase: 'connect' })
  }

  // Answers a server at which a place has been taken, or undefined when there is none to wait for any more.
  private wait(target: UpstreamServer | undefined, signal: StopSignal): Promise<UpstreamServer | undefined> {
    const { queueTimeoutMs } = this
    return new Promise((resolve, reject) => {
      let cancel = () => {}
      const settle = (then: () => void) => {
        cancel()
        signal.removeEventListener('abort', abort)
        leave()
        then()
      }
      const abort = () => settle(() => reject(abortError(signal, { phase: 'connect' })))
      const admit = (server: UpstreamServer) => {
        server.pending++
        settle(() => resolve(server))
      }
      const leave = this.line.join({ admit, dismiss: () => settle(() => resolve(undefined)) }, target)
      const timeOut = () => settle(() => reject(new SluiceError('UPSTREAM_QUEUE_TIMEOUT', { phase: 'connect' })))
      if (queueTimeoutMs > 0) cancel = this.owner.clock.after(queueTimeoutMs, timeOut)
      signal.addEventListener('abort', abort)
      this.waited++
      this.mostWaiting = Math.max(this.mostWaiting, this.line.length)
    })
  }
}

function taken(server: UpstreamServer): UpstreamServer {
  server.pending++
  return server
}
