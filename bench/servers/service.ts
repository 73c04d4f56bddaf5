import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** What all servers under test in JavaScript have in common: their options, their announcement, their answers. */
export interface ServerOptions {
  readonly service: 'echo' | 'discard' | 'chargen' | 'mask' | 'shared' | 'relay'
  readonly engine?: string
  readonly threads: number
  readonly handshakeThreads: number
  readonly via: 'handlers' | 'duplex'
  /** Limits are there, and never reached. */
  readonly limited: boolean
  /** Of the service `relay`: the port on 127.0.0.1 that each connection is joined to. */
  readonly upstream: number
  /** Connections begin with a PROXY header, and are asked about by rules. */
  readonly opening: boolean
  /** PEM; undefined for plain TCP. */
  readonly identity?: { readonly cert: Buffer; readonly key: Buffer }
}

/** Reads `--name value` pairs. They come from the runner alone, so nothing is checked. */
export function serverOptions(): ServerOptions {
  const args = process.argv.slice(2)
  const option = (name: string, otherwise: string) => {
    const at = args.indexOf(`--${name}`)
    return at < 0 ? otherwise : args[at + 1]!
  }
  return {
    service: option('service', 'echo') as ServerOptions['service'],
    engine: option('engine', 'auto'),
    threads: Number(option('threads', '0')),
    handshakeThreads: Number(option('handshake-threads', '0')),
    via: option('via', 'handlers') as ServerOptions['via'],
    limited: option('limits', 'none') === 'unreached',
    upstream: Number(option('upstream', '0')),
    opening: option('handshake', 'none') === 'proxy',
    identity: args.includes('--cert')
      ? { cert: readFileSync(option('cert', '')), key: readFileSync(option('key', '')) }
      : undefined,
  }
}

/** Of the service `shared`: bytes per second of all connections together, and the least that one of them sends. */
export const sharedRate = { bytesPerSecond: 40_000_000, minShareBytes: 1024, tickMs: 10 }

/** Answers what `sharers` got of a shared rate; `bytesOf` tells what one has sent so far. */
export function answerShares<Sharer>(sharers: readonly Sharer[], bytesOf: (sharer: Sharer) => number): void {
  let before: number[] = []
  let begun = 0
  const all = () => sharers.map(bytesOf)
  answers.sharers = () => ({ sharers: sharers.length })
  answers['shares-start'] = () => {
    before = all()
    begun = performance.now()
    return {}
  }
  answers['shares-stop'] = () => {
    const seconds = (performance.now() - begun) / 1000
    return { seconds, limit: sharedRate.bytesPerSecond, bytes: all().map((bytes, i) => bytes - (before[i] ?? 0)) }
  }
}

/** Prints the line the runner waits for, and answers its questions until it goes away. */
export function announce(
  port: number,
  further: Record<string, (...numbers: number[]) => object | Promise<object>> = {},
): void {
  const all = { ...answers, ...further }
  tell({ port, pid: process.pid })
  process.stdin.on('data', (bytes) => {
    for (const question of String(bytes).trim().split('\n')) {
      const [name, ...numbers] = question.split(' ')
      void Promise.resolve(all[name!]!(...numbers.map(Number))).then(tell)
    }
  })
  process.stdin.on('end', () => process.exit(0))
}

type Collector = { gc?: () => void; Bun?: { gc(force: boolean): void } }

const answers: Record<string, (...numbers: number[]) => object | Promise<object>> = {
  cpu() {
    const { user, system } = process.cpuUsage()
    return { cpuNs: (user + system) * 1000 }
  },
  memory() {
    const { gc, Bun } = globalThis as Collector
    for (let i = 0; i < 3; i++) {
      gc?.()
      Bun?.gc(true)
    }
    return { rss: process.memoryUsage.rss() }
  },
  'delay-start'() {
    meter ??= monitorEventLoopDelay({ resolution: 1 })
    meter.enable()
    meter.reset()
    return {}
  },
  'delay-stop'() {
    // The meter counts from its own timer of 1 ms, which is no delay.
    const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - 1)
    const delay = {
      p50: milliseconds(meter!.percentile(50)),
      p99: milliseconds(meter!.percentile(99)),
      max: milliseconds(meter!.max),
    }
    meter!.disable()
    return delay
  },
}

let meter: ReturnType<typeof monitorEventLoopDelay> | undefined

function tell(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
