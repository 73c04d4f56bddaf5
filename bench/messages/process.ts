// One side of a measurement: `serve ID CERT KEY` or `load ID CERT KEY PORT KIND BYTES IN_FLIGHT WARMUP_S SECONDS`.
import { type Client, findPeers } from './peers.js'

const [, , role, id, cert, key, port, kind, bytes, inFlight, warmupSeconds, seconds] = process.argv
const peer = findPeers().find((known) => known.id === id)!
const identity = peer.tls ? { cert: cert!, key: key! } : undefined

/** What a load process has found. */
export interface LoadFigures {
  perSecond: number
  /** Of one request, in microseconds. */
  medianUs: number
  p99Us: number
  /** CPU of this process per message. */
  cpuUs: number
}

async function requests(client: Client, forMs: number): Promise<LoadFigures> {
  const body = Buffer.alloc(Number(bytes), 'sluice ')
  const times: number[] = []
  let count = 0
  const began = performance.now()
  const cpu = process.cpuUsage()
  const until = began + forMs
  const worker = async () => {
    for (let now = performance.now(); now < until; ) {
      const answer = await client.request(body)
      if (answer.length !== body.length || answer[answer.length - 1] !== body[body.length - 1])
        throw new Error('what came back is not what was sent')
      const then = performance.now()
      if ((count++ & 15) === 0 || Number(inFlight) === 1) times.push(then - now)
      now = then
    }
  }
  await Promise.all(Array.from({ length: Number(inFlight) }, worker))
  return figures(count, performance.now() - began, process.cpuUsage(cpu), times)
}

async function notes(client: Client, forMs: number): Promise<LoadFigures> {
  const body = Buffer.alloc(Number(bytes), 'sluice ')
  const before = await client.arrived!()
  let count = 0
  const began = performance.now()
  const cpu = process.cpuUsage()
  while (performance.now() - began < forMs) {
    for (let i = 0; i < 500; i++) {
      count++
      if (client.post!(body)) continue
      await client.flushed!()
      count++
      break
    }
    await new Promise(setImmediate)
  }
  const arrived = (await client.arrived!()) - before
  if (arrived !== count) throw new Error(`${count} were sent, ${arrived} have arrived`)
  return figures(count, performance.now() - began, process.cpuUsage(cpu), [])
}

function figures(count: number, ms: number, cpu: NodeJS.CpuUsage, times: number[]): LoadFigures {
  times.sort((a, b) => a - b)
  const at = (share: number) => Math.round((times[Math.floor(times.length * share)] ?? 0) * 10_000) / 10
  return {
    perSecond: Math.round((count / ms) * 1000),
    medianUs: at(0.5),
    p99Us: at(0.99),
    cpuUs: Math.round(((cpu.user + cpu.system) / count) * 100) / 100,
  }
}

async function main(): Promise<void> {
  if (role === 'serve') {
    process.stdout.write(`${JSON.stringify({ port: await peer.serve(identity) })}\n`)
    return
  }
  const client = await peer.connect(Number(port), identity)
  const measure = kind === 'notes' ? notes : requests
  await measure(client, Number(warmupSeconds) * 1000)
  process.stdout.write(`${JSON.stringify(await measure(client, Number(seconds) * 1000))}\n`)
  process.exit()
}

process.stdin.on('end', () => process.exit()).resume()
main().catch((error: Error) => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
