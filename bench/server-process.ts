import { Child, type ChildOptions } from './child.js'
import type { Competitor } from './competitors.js'
import type { IdentityFiles } from './identities.js'
import { cpuNanosecondsOf, residentBytesOf } from './process-clock.js'

/** What a server does with its connections: RFC 862, 863 and 864. */
export type Service = 'echo' | 'discard' | 'chargen'

/** Delay of a server's event loop, in milliseconds. */
export interface LoopDelay {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

const startTimeoutMs = 15_000
const answerTimeoutMs = 15_000

/** A competitor at work in a process of its own. */
export class ServerProcess {
  readonly #child: Child
  readonly #talks: boolean
  readonly port: number

  private constructor(child: Child, port: number, talks: boolean) {
    this.#child = child
    this.port = port
    this.#talks = talks
  }

  /** Starts it and resolves once it listens. */
  static async start(
    competitor: Competitor,
    service: Service,
    options: Omit<ChildOptions, 'command'> & { identity?: IdentityFiles },
  ): Promise<ServerProcess> {
    const { identity } = options
    const secured = identity === undefined ? [] : ['--cert', identity.cert, '--key', identity.key]
    const child = new Child({ ...options, command: [...competitor.command!, '--service', service, ...secured] })
    try {
      const { port } = await child.next<{ port: number }>(startTimeoutMs)
      return new ServerProcess(child, port, !competitor.id.startsWith('c-'))
    } catch (error) {
      await child.stop()
      throw new Error(`does not start: ${(error as Error).message}`)
    }
  }

  get pid(): number {
    return this.#child.pid
  }

  /** CPU time so far in nanoseconds. */
  async cpuNanoseconds(): Promise<number> {
    return cpuNanosecondsOf(this.pid) ?? (await this.#ask<{ cpuNs: number }>('cpu')).cpuNs
  }

  /** Resident memory in bytes, after a garbage collection where there is one. */
  async residentBytes(): Promise<number> {
    const asked = this.#talks ? (await this.#ask<{ rss: number }>('memory')).rss : 0
    return residentBytesOf(this.pid) ?? asked
  }

  async startDelayMeter(): Promise<void> {
    await this.#ask('delay-start')
  }

  async stopDelayMeter(): Promise<LoopDelay> {
    return this.#ask<LoopDelay>('delay-stop')
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }

  #ask<T>(what: string): Promise<T> {
    this.#child.say(what)
    return this.#child.next<T>(answerTimeoutMs)
  }
}
