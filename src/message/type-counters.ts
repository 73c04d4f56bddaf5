import type { SluiceError } from '../errors.js'
import { Latency, type LatencyStats } from './latency.js'
import type { Outgoing } from './outgoing.js'

/** Counters of one type of message. Bytes are those of bodies, as encoded. */
export interface MessageTypeStats {
  /** Of its protocol. */
  protocol: string
  /** Of its protocol. */
  version: number
  /** Its own. */
  name: string
  /** Messages that came in, and were given to the handler. */
  received: number
  /** Bytes of those whose body is there. */
  receivedBytes: number
  /** Messages that were sent from here. */
  sent: number
  /** Bytes of them that have been put into packets; those that are sent again count again. */
  sentBytes: number
  /** Of those that were sent: completed well. */
  completed: number
  /** Completed with an error. */
  failed: number
  /** Of those that were sent from here. */
  latency: LatencyStats
}

/** Counts the messages of one type that are sent. */
export class TypeCounters {
  sent = 0
  sentBytes = 0
  completed = 0
  failed = 0
  readonly latency = new Latency()

  constructor(private readonly nowMs: () => number) {}

  /** One is being sent. */
  begin(outgoing: Outgoing): void {
    const underWay = this.sent - this.completed - this.failed
    if (underWay < 4 || (this.sent & 15) === 0) outgoing.sinceMs = this.nowMs()
    this.sent++
    outgoing.counters = this
  }

  /** It was not taken. */
  refuse(): void {
    this.sent--
  }

  /** It is over. Answers how long it took, or -1 where that was not measured. */
  end({ sinceMs }: Outgoing, error: SluiceError | undefined): number {
    if (error !== undefined) {
      this.failed++
      return -1
    }
    this.completed++
    if (sinceMs < 0) return -1
    const ms = this.nowMs() - sinceMs
    this.latency.add(ms)
    return ms
  }
}
