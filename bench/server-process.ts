import { Child, type ChildOptions } from './child.js'
import type { Competitor } from './competitors.js'
import { Haproxy } from './haproxy.js'
import type { IdentityFiles } from './identities.js'
import { cpuNanosecondsOf, residentBytesOf } from './process-clock.js'

/**
 * What a server does with its connections: RFC 862, 863 and 864; an echo through filters that change every byte on its way
 * in, and back on its way out; without connections, work of its own; RFC 864 again, all connections within one rate; each
 * connection joined to one to another server.
 */
export type Service = 'echo' | 'discard' | 'chargen' | 'mask' | 'work' | 'shared' | 'relay'

/** Work that was done. */
export interface Work {
  readonly pieces: number
  readonly seconds: number
}

/** Delay of a server's event loop, in milliseconds. */
export interface LoopDelay {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What connections under one rate got of it, in the time between two questions. */
export interface SharesGot {
  readonly seconds: number
  /** Bytes per second of all together. */
  readonly limit: number
  /** Bytes of each connection. */
  readonly bytes: readonly number[]
}

/** The first line of a server, or of `sluice proxy`. */
interface Ready {
  readonly port?: number
  readonly listening?: readonly { readonly port: number }[]
}

const startTimeoutMs = 15_000
const answerTimeoutMs = 15_000

/** A competitor at work in a process of its own. */
export class ServerProcess {
  readonly #child: Child
  readonly #talks: boolean
  readonly #haproxy: Haproxy | undefined
  readonly port: number
  /** What its connections begin with, if not with their own bytes. */
  readonly preface: 'proxy' | undefined

  private constructor(child: Child, port: number, preface: 'proxy' | undefined, talks: boolean, haproxy?: Haproxy) {
    this.#child = child
    this.port = port
    this.preface = preface
    this.#talks = talks
    this.#haproxy = haproxy
  }

  /** Starts it and resolves once it listens. */
  static async start(
    competitor: Competitor,
    service: Service,
    options: Omit<ChildOptions, 'command'> & { identity?: IdentityFiles; upstream?: number },
  ): Promise<ServerProcess> {
    const { identity, upstream } = options
    if (competitor.proxies === 'haproxy') return ServerProcess.#startHaproxy(competitor, options)
    const secured = identity === undefined ? [] : ['--cert', identity.cert, '--key', identity.key]
    const joined = upstream === undefined ? [] : ['--upstream', String(upstream)]
    const isSluice = competitor.proxies === 'sluice'
    const task = isSluice ? ['--listen', '0', '--to', `127.0.0.1:${upstream}`] : ['--service', service, ...joined]
    const tls = isSluice && identity !== undefined ? ['--tls'] : []
    const command = [...competitor.command!, ...task, ...tls, ...secured]
    const child = new Child({ ...options, command })
    try {
      const { port, listening } = await child.next<Ready>(startTimeoutMs)
      const talks = !competitor.id.startsWith('c-') && !isSluice
      return new ServerProcess(child, listening?.[0]?.port ?? port!, competitor.preface, talks)
    } catch (error) {
      await child.stop()
      throw new Error(`does not start: ${(error as Error).message}`)
    }
  }

  static async #startHaproxy(
    competitor: Competitor,
    options: Omit<ChildOptions, 'command'> & { identity?: IdentityFiles; upstream?: number },
  ): Promise<ServerProcess> {
    const haproxy = await Haproxy.prepare(options.upstream!, options.identity)
    const child = new Child({ ...options, command: [...competitor.command!, ...haproxy.args] })
    try {
      await haproxy.untilListening(startTimeoutMs, () => child.hasEnded)
      return new ServerProcess(child, haproxy.port, undefined, false, haproxy)
    } catch (error) {
      await child.stop()
      haproxy.remove()
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

  /** Has it work for `seconds`, on pieces of so many bytes of which so many wait. */
  async work({ bytes, depth }: { bytes: number; depth: number }, seconds: number): Promise<Work> {
    this.#child.say(`work ${bytes} ${depth} ${seconds}`)
    return this.#child.next<Work>(answerTimeoutMs + 1000 * seconds)
  }

  async startDelayMeter(): Promise<void> {
    await this.#ask('delay-start')
  }

  async stopDelayMeter(): Promise<LoopDelay> {
    return this.#ask<LoopDelay>('delay-stop')
  }

  /** Connections under the rate. */
  async sharers(): Promise<number> {
    return (await this.#ask<{ sharers: number }>('sharers')).sharers
  }

  async startShares(): Promise<void> {
    await this.#ask('shares-start')
  }

  async stopShares(): Promise<SharesGot> {
    return this.#ask<SharesGot>('shares-stop')
  }

  async stop(): Promise<void> {
    await this.#child.stop()
    this.#haproxy?.remove()
  }

  #ask<T>(what: string): Promise<T> {
    this.#child.say(what)
    return this.#child.next<T>(answerTimeoutMs)
  }
}
