import { setTimeout } from 'node:timers/promises'
import type { BenchCase, CaseKind } from './cases.js'
import type { ChildOptions } from './child.js'
import { Crowd } from './crowd.js'
import type { IdentityFiles } from './identities.js'
import { type LoadMode, type LoadResult, runLoad } from './load-process.js'
import type { Round } from './results.js'
import type { ServerProcess, Service } from './server-process.js'

export interface MeasureOptions extends Pick<ChildOptions, 'launch' | 'core' | 'files' | 'signal'> {
  /** The native load generator, if there is one. */
  readonly program?: string
  /** In cases with TLS. */
  readonly identity?: IdentityFiles
  readonly warmupSeconds: number
  readonly seconds: number
}

/** What the server of a case has to do. */
export const serviceOf: Readonly<Record<CaseKind, Service>> = {
  echo: 'echo',
  connect: 'echo',
  sink: 'discard',
  source: 'chargen',
  idle: 'echo',
  delay: 'echo',
  storm: 'echo',
  crowd: 'echo',
  filter: 'mask',
  queue: 'work',
  pair: 'work',
  lookup: 'work',
  total: 'shared',
  shares: 'shared',
  relay: 'relay',
  proxy: 'relay',
  'proxy-connect': 'relay',
}

type Working = 'queue' | 'pair' | 'lookup'

function works(kind: CaseKind): kind is Working {
  return serviceOf[kind] === 'work'
}

const modeOf: Readonly<Record<Exclude<CaseKind, Working>, LoadMode>> = {
  echo: 'echo',
  connect: 'connect',
  sink: 'sink',
  source: 'source',
  idle: 'idle',
  delay: 'echo',
  storm: 'connect',
  crowd: 'echo',
  filter: 'echo',
  total: 'source',
  shares: 'source',
  relay: 'echo',
  proxy: 'echo',
  'proxy-connect': 'connect',
}

/** Measures one round of a case on a server that is warm. */
export async function measure(bench: BenchCase, server: ServerProcess, options: MeasureOptions): Promise<Round> {
  if (bench.kind === 'idle') return measureIdle(bench, server, options)
  if (works(bench.kind)) return measureWork(bench, server, options.seconds)
  if (bench.kind === 'total' || bench.kind === 'shares') return measureShares(bench, server, options)
  if (bench.kind === 'crowd') return measureCrowd(bench, server, options)
  const isDelay = bench.kind === 'delay' || bench.kind === 'storm'
  if (isDelay) await server.startDelayMeter()
  const result = await load(bench, server, options)
  if (isDelay) return { ...asRound(result), value: (await server.stopDelayMeter()).p99 }
  const amount = bench.kind === 'sink' || bench.kind === 'source' ? result.bytes / 2 ** 20 : result.messages
  if (amount === 0) throw new Error('nothing went through in the measured time')
  if (!result.serverCpuNs) throw new Error('its CPU time could not be read')
  return { ...asRound(result), value: result.serverCpuNs / 1000 / amount }
}

/** Loads a server without measuring, so that what is compiled and allocated on first use is there. */
export async function warmUp(bench: BenchCase, server: ServerProcess, options: MeasureOptions): Promise<void> {
  if (works(bench.kind)) {
    await server.work(bench, options.seconds)
    return
  }
  // A round of these settles by itself.
  if (bench.kind === 'total' || bench.kind === 'shares') return
  const connections = bench.kind === 'idle' ? 200 : bench.connections
  await load({ ...bench, connections }, server, { ...options, warmupSeconds: 0 })
}

// Resident memory before and with all connections open; the load generator then checks that each still echoes.
async function measureIdle(bench: BenchCase, server: ServerProcess, options: MeasureOptions): Promise<Round> {
  const before = await server.residentBytes()
  let during = before
  const onOpen = async () => {
    during = await server.residentBytes()
  }
  const result = await load(bench, server, options, onOpen)
  return { ...asRound(result), value: (during - before) / 1024 / bench.connections }
}

// There is no load: the process is told to work by itself.
async function measureWork(bench: BenchCase, server: ServerProcess, seconds: number): Promise<Round> {
  const before = await server.cpuNanoseconds()
  const { pieces, seconds: measured } = await server.work(bench, seconds)
  const serverCpuNs = (await server.cpuNanoseconds()) - before
  const bytes = pieces * bench.bytes
  return { value: serverCpuNs / 1000 / pieces, seconds: measured, messages: pieces, bytes, serverCpuNs }
}

// The same load without and with them, one right after the other.
async function measureCrowd(bench: BenchCase, server: ServerProcess, options: MeasureOptions): Promise<Round> {
  const alone = await load(bench, server, options)
  const size = bench.crowd ?? 0
  const crowd = await Crowd.open(server.port, size)
  try {
    const beside = await load(bench, server, options)
    if (crowd.size < size) throw new Error(`${size - crowd.size} of the ${size} other connections did not last`)
    const lost = 1 - beside.messages / beside.seconds / (alone.messages / alone.seconds)
    return { ...asRound(beside), value: 100 * lost }
  } finally {
    crowd.close()
  }
}

const sharesSeconds = 10
const sharesSettleSeconds = 4

// Parts are equal over time, not from the first second on: whoever connects first has the rate to itself.
async function measureShares(bench: BenchCase, server: ServerProcess, options: MeasureOptions): Promise<Round> {
  const seconds = sharesSettleSeconds + sharesSeconds + 2
  const loading = load(bench, server, { ...options, seconds })
  let over = false
  const end = () => {
    over = true
  }
  loading.then(end, end)
  while (!over && (await server.sharers()) < bench.connections) await setTimeout(50)
  if (over) {
    await loading
    throw new Error('not all connections were there in time')
  }
  await setTimeout(sharesSettleSeconds * 1000)
  await server.startShares()
  await setTimeout(sharesSeconds * 1000)
  const got = await server.stopShares()
  const result = await loading
  const total = got.bytes.reduce((sum, bytes) => sum + bytes, 0)
  const mean = total / got.bytes.length
  const offTotal = Math.abs(total / (got.limit * got.seconds) - 1)
  const offShare = Math.max(...got.bytes.map((bytes) => Math.abs(bytes / mean - 1)))
  return { ...asRound(result), value: 100 * (bench.kind === 'total' ? offTotal : offShare) }
}

async function load(
  bench: BenchCase,
  server: ServerProcess,
  options: MeasureOptions,
  onOpen?: () => Promise<void>,
): Promise<LoadResult> {
  const edges: number[] = []
  const onEdge = async () => {
    edges.push(await server.cpuNanoseconds())
  }
  const { connections, bytes, depth } = bench
  const mode = modeOf[bench.kind as keyof typeof modeOf]
  const { port, pid, preface } = server
  const { identity } = options
  const tls = identity && { ca: identity.cert, resumes: bench.tls?.resumes ?? false }
  const result = await runLoad({
    ...options,
    mode,
    port,
    server: pid,
    connections,
    bytes,
    depth,
    preface,
    tls,
    onEdge,
    onOpen,
  })
  if (edges.length < 2) return result
  return { ...result, serverCpuNs: edges.at(-1)! - edges[0]! }
}

function asRound(result: LoadResult): Round {
  const { seconds, messages, bytes, latencyUs, serverCpuNs, serverSchedstatNs, loadCpuNs } = result
  return { value: 0, seconds, messages, bytes, latencyUs, serverCpuNs, serverSchedstatNs, loadCpuNs }
}
