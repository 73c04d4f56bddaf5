import { join } from 'node:path'
import { Child, type ChildOptions } from './child.js'
import type { Latency } from './histogram.js'

/** As in bench/native/load.c. */
export type LoadMode = 'echo' | 'connect' | 'sink' | 'source' | 'idle'

export interface LoadOptions extends Omit<ChildOptions, 'command'> {
  /** The native load generator; without it the one in JavaScript takes its place. */
  readonly program?: string
  readonly mode: LoadMode
  readonly port: number
  /** The process whose CPU time is measured. */
  readonly server: number
  readonly connections: number
  readonly bytes: number
  readonly depth: number
  /** What connections begin with, before their own bytes and not echoed: a PROXY header. */
  readonly preface?: 'proxy' | undefined
  readonly warmupSeconds: number
  readonly seconds: number
  /** Of the servers's certificate; only a native generator that speaks TLS knows what to do with it. */
  readonly tls?: { readonly ca: string; readonly resumes: boolean }
  /** Called at the borders of the measured time by the load generator in JavaScript, which leaves CPU time to us. */
  readonly onEdge?: () => Promise<void>
  /** Called in mode idle when all connections are open; they are checked and closed once it has resolved. */
  readonly onOpen?: () => Promise<void>
}

/** What a load generator reports of the measured time. */
export interface LoadResult {
  readonly seconds: number
  readonly messages: number
  readonly bytes: number
  readonly latencyUs?: Latency
  readonly serverCpuNs?: number
  /** The same from another clock. */
  readonly serverSchedstatNs?: number
  readonly loadCpuNs?: number
}

type Line = LoadResult | { readonly error: string } | { readonly event: 'open' | 'begin' | 'end' }

/** Loads a server. Rejects at the first byte that is not as it should be, and when it takes too long. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { program, mode, port, server, connections, bytes, depth, preface, warmupSeconds, seconds, tls } = options
  // Where every turn looks at every connection, as with poll, opening many takes its time.
  const limit = Math.ceil(warmupSeconds + seconds + connections / 200 + 10)
  const secured = tls && { ca: tls.ca, resume: tls.resumes ? 'yes' : 'no' }
  const settings = {
    mode,
    port,
    server,
    connections,
    bytes,
    depth,
    warmup: warmupSeconds,
    seconds,
    limit,
    ...secured,
    ...(preface && { preface }),
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const command = program === undefined ? [process.execPath, join(__dirname, 'load/main.js')] : [program]
  const child = new Child({ ...options, command: [...command, ...args] })
  try {
    for (;;) {
      const line = await child.next<Line>((limit + 5) * 1000)
      if ('error' in line) throw new Error(line.error)
      if (!('event' in line)) return line
      await (line.event === 'open' ? options.onOpen : options.onEdge)?.()
      if (line.event === 'open') child.say('')
    }
  } finally {
    await child.stop()
  }
}
