import { join } from 'node:path'
import { Child, type ChildOptions } from '../child.js'
import { Identities } from '../identities.js'
import { allowedCores, describeMachine, systemCallNanoseconds } from '../machine.js'
import { orderOfRound } from '../order.js'
import { residentBytesOf } from '../process-clock.js'
import { type Programs, preparePrograms } from '../programs.js'
import type { MessageCase, MessagePeer, PeerName } from './cases.js'
import {
  type LargeResult,
  type MessageCaseResult,
  type MessageReport,
  type MessageRound,
  summariseMessages,
} from './results.js'

const startTimeoutMs = 15_000

export interface MessageRunOptions {
  readonly cases: readonly MessageCase[]
  /** Those that can run. */
  readonly peers: readonly MessagePeer[]
  readonly unavailable: MessageReport['unavailable']
  readonly engine: string
  readonly busyPollMicros: number
  readonly rounds: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** Of the case `large`. */
  readonly bodyBytes: number
  readonly serverCore?: number
  readonly clientCore?: number
  /** Where to tell what is going on. */
  readonly progress?: NodeJS.WriteStream
  readonly signal: AbortSignal
}

/** Measures all cases, peer by peer in turns. */
export async function runMessages(options: MessageRunOptions): Promise<MessageReport> {
  const run = new MessageRun(options, await preparePrograms())
  return run.all()
}

/** Two processes, one for each side. */
interface Couple {
  readonly server: Child
  readonly client: Child
}

class MessageRun {
  readonly #options: MessageRunOptions
  readonly #programs: Programs
  readonly #identities = new Identities()
  readonly #problems: MessageReport['problems'][number][] = []
  readonly #cores: { server?: number; client?: number }

  constructor(options: MessageRunOptions, programs: Programs) {
    this.#options = options
    this.#programs = programs
    const cores = allowedCores()
    // Without the program that pins there are none.
    const last = programs.launch.path === undefined ? undefined : cores.at(-1)
    this.#cores = { server: options.serverCore ?? last, client: options.clientCore ?? (last && (cores.at(-2) ?? last)) }
  }

  async all(): Promise<MessageReport> {
    const { cases, rounds, seconds, warmupSeconds, engine, busyPollMicros, unavailable, signal, progress } =
      this.#options
    const started = new Date().toISOString()
    const results: MessageCaseResult[] = []
    let large: LargeResult | undefined
    try {
      for (const [at, bench] of cases.entries()) {
        if (signal.aborted) break
        progress?.write(`[${at + 1}/${cases.length}] ${bench.title}\n`)
        if (bench.kind === 'large') large = await this.#large(bench)
        else results.push(await this.#case(bench))
      }
    } finally {
      this.#identities.remove()
    }
    return {
      ...{ format: 'sluice-message-bench/1', started, complete: !signal.aborted },
      machine: describeMachine(systemCallNanoseconds(this.#programs.load.path)),
      method: {
        ...{ rounds, seconds, warmupSeconds, engine, busyPollMicros },
        ...{ serverCore: this.#cores.server, clientCore: this.#cores.client },
      },
      ...{ cases: results.filter(({ peers }) => peers.length > 0), large, unavailable, problems: this.#problems },
    }
  }

  async #case(bench: MessageCase): Promise<MessageCaseResult> {
    const peers = this.#options.peers.filter(({ name }) => bench.peers.includes(name))
    const measured = new Map<PeerName, MessageRound[]>(peers.map(({ name }) => [name, []]))
    const couples = new Map<PeerName, Couple>()
    const attempt = async (name: PeerName, work: () => Promise<void>) => {
      if (this.#options.signal.aborted) return
      try {
        await work()
      } catch (error) {
        await stop(couples.get(name))
        couples.delete(name)
        if (this.#options.signal.aborted) return
        this.#problems.push({ case: bench.name, peer: name, message: (error as Error).message })
        this.#options.progress?.write(`FAILED ${bench.name}, ${name}: ${(error as Error).message}\n`)
      }
    }
    try {
      for (const { name } of peers) {
        await attempt(name, async () => {
          await this.#start(bench, name, couples)
          await this.#round(bench, couples.get(name)!, this.#options.warmupSeconds)
        })
      }
      for (let round = 0; round < this.#options.rounds; round++) {
        for (const { name } of orderOfRound(peers, round)) {
          const couple = couples.get(name)
          if (couple === undefined) continue
          await attempt(name, async () => {
            measured.get(name)!.push(await this.#round(bench, couple, this.#options.seconds))
          })
        }
      }
    } finally {
      await Promise.all([...couples.values()].map(stop))
    }
    return summariseMessages(bench, peers, measured)
  }

  async #start(bench: MessageCase, name: PeerName, couples: Map<PeerName, Couple>): Promise<void> {
    const { signal, engine, busyPollMicros } = this.#options
    const { cert, key } = bench.tls ? this.#identities.of('P-256') : { cert: '', key: '' }
    const common = [
      ...['--peer', name, '--engine', engine, '--busy-poll', String(busyPollMicros)],
      ...['--bytes', String(bench.bytes)],
      ...['--answers', bench.echoes ? 'echo' : 'empty', '--depth', String(bench.depth)],
      ...['--bodies', bench.kind === 'streams' || bench.kind === 'lent' ? bench.kind : 'bytes'],
      ...(bench.tls ? ['--cert', cert, '--key', key] : []),
    ]
    const launch = this.#programs.launch.path
    const child = (file: string, core: number | undefined, args: readonly string[]) => {
      const options: ChildOptions = { command: [process.execPath, join(__dirname, file), ...common, ...args], files: 64, signal, launch, core } // biome-ignore format: one line
      return new Child(options)
    }
    const server = child('server.js', this.#cores.server, [])
    let client: Child | undefined
    try {
      const { port } = await server.next<{ port: number }>(startTimeoutMs)
      client = child('client.js', this.#cores.client, ['--port', String(port), '--server', String(server.pid)])
      await client.next(startTimeoutMs)
      couples.set(name, { server, client })
    } catch (error) {
      await Promise.all([server.stop(), client?.stop()])
      throw new Error(`does not start: ${(error as Error).message}`)
    }
  }

  // A part of the body first: what memory that takes is there to stay.
  async #large(bench: MessageCase): Promise<LargeResult | undefined> {
    const { bodyBytes, peers, signal, progress } = this.#options
    const couples = new Map<PeerName, Couple>()
    if (!peers.some(({ name }) => name === 'sluice')) return undefined
    try {
      await this.#start(bench, 'sluice', couples)
      const { server, client } = couples.get('sluice')!
      // No slower than 5 MB a second.
      const limitMs = 30_000 + bodyBytes / 5000
      const send = (bytes: number) => {
        client.say(`large ${bytes}`)
        return client.next<MessageRound>(limitMs)
      }
      await send(Math.min(bodyBytes, Math.max(100_000_000, Math.floor(bodyBytes / 20))))
      const memory = { client: new MemoryMeter(client.pid), server: new MemoryMeter(server.pid) }
      const timer = setInterval(() => {
        memory.client.look()
        memory.server.look()
      }, 20)
      const { seconds, messages, latencyUs } = await send(bodyBytes).finally(() => clearInterval(timer))
      return {
        ...{ bodyBytes, seconds, requests: messages, latencyUs },
        ...{ clientGrowthBytes: memory.client.growth, serverGrowthBytes: memory.server.growth },
        ...{ clientStartBytes: memory.client.first, serverStartBytes: memory.server.first },
      }
    } catch (error) {
      if (signal.aborted) return undefined
      this.#problems.push({ case: bench.name, peer: 'sluice', message: (error as Error).message })
      progress?.write(`FAILED ${bench.name}: ${(error as Error).message}\n`)
      return undefined
    } finally {
      await Promise.all([...couples.values()].map(stop))
    }
  }

  async #round({ kind }: MessageCase, { client }: Couple, seconds: number): Promise<MessageRound> {
    client.say(`${kind} ${seconds}`)
    return client.next<MessageRound>((seconds + 30) * 1000)
  }
}

/** How far the memory of a process goes beyond what it was. */
class MemoryMeter {
  readonly #pid: number
  /** At the beginning. */
  readonly first: number
  #most: number

  constructor(pid: number) {
    this.#pid = pid
    this.first = this.#most = residentBytesOf(pid) ?? 0
  }

  look(): void {
    this.#most = Math.max(this.#most, residentBytesOf(this.#pid) ?? 0)
  }

  get growth(): number {
    return this.#most - this.first
  }
}

async function stop(couple: Couple | undefined): Promise<void> {
  await couple?.client.stop()
  await couple?.server.stop()
}
