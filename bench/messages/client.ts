// The client of a peer, in a process of its own: measures when it is told to, by lines "request seconds", "push seconds"
// and "large bytes".
import { createInterface } from 'node:readline'
import { Histogram } from '../histogram.js'
import { cpuNanosecondsOf } from '../process-clock.js'
import { type PeerClient, peerArguments } from './peer.js'
import { peerModules } from './peers/index.js'
import type { MessageRound } from './results.js'

const options = peerArguments()

async function main(): Promise<void> {
  const { peer } = await peerModules[options.peer]!()
  const client = await peer.connect(options.port, options)
  tell({})
  for await (const line of createInterface({ input: process.stdin })) {
    const [what, amount] = line.split(' ')
    tell(await measured(() => work[what as keyof typeof work](client, Number(amount))))
  }
  process.exit(0)
}

async function measured(work: () => Promise<Pick<MessageRound, 'messages' | 'latencyUs'>>): Promise<MessageRound> {
  const cpu = [cpuNanosecondsOf(process.pid), cpuNanosecondsOf(options.server)]
  const begun = process.hrtime.bigint()
  const done = await work()
  const seconds = Number(process.hrtime.bigint() - begun) / 1e9
  const since = (pid: number, before: number | undefined) => {
    const now = cpuNanosecondsOf(pid)
    return before === undefined || now === undefined ? undefined : now - before
  }
  return { ...done, seconds, clientCpuNs: since(process.pid, cpu[0]), serverCpuNs: since(options.server, cpu[1]) }
}

// So many at once; each that is answered makes place for the next.
async function request(client: PeerClient, seconds: number) {
  const histogram = new Histogram()
  const end = performance.now() + seconds * 1000
  const one = async () => {
    for (let now = performance.now(); now < end; ) {
      await client.request()
      const after = performance.now()
      histogram.add((after - now) * 1e6)
      now = after
    }
  }
  await Promise.all(Array.from({ length: options.depth }, one))
  return { messages: histogram.total, latencyUs: histogram.summary() }
}

async function push(client: PeerClient, seconds: number) {
  const end = performance.now() + seconds * 1000
  return { messages: await client.push!(() => performance.now() < end) }
}

// Small requests until the large body is there.
async function large(client: PeerClient, bytes: number) {
  const histogram = new Histogram()
  let isDone = false
  const one = async () => {
    while (!isDone) {
      const begun = performance.now()
      await client.request()
      histogram.add((performance.now() - begun) * 1e6)
    }
  }
  const small = Array.from({ length: options.depth }, one)
  await client.stream!(bytes).finally(() => {
    isDone = true
  })
  await Promise.all(small)
  return { messages: histogram.total, latencyUs: histogram.summary() }
}

const work = { request, streams: request, lent: request, push, large }

function tell(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

main()
