import { setTimeout as after } from 'node:timers/promises'
import { Histogram } from '../histogram.js'
import type { LoadResult } from '../load-process.js'
import type { Settings } from './settings.js'

/** Counts what happens within the measured time, and tells the runner when that begins and ends. */
export class Meter {
  readonly #latency = new Histogram()
  #messages = 0
  #bytes = 0
  #measuring = false

  message(latencyNs: bigint): void {
    if (!this.#measuring) return
    this.#messages++
    this.#latency.add(Number(latencyNs))
  }

  bytes(count: number): void {
    if (this.#measuring) this.#bytes += count
  }

  /** Waits for warm-up and measured time to pass and returns what happened in the latter. */
  async run({ warmupMs, durationMs }: Settings): Promise<LoadResult> {
    await after(warmupMs)
    const cpu = process.cpuUsage()
    const began = process.hrtime.bigint()
    this.#measuring = true
    tell({ event: 'begin' })
    await after(durationMs)
    this.#measuring = false
    tell({ event: 'end' })
    const seconds = Number(process.hrtime.bigint() - began) / 1e9
    const { user, system } = process.cpuUsage(cpu)
    const loadCpuNs = (user + system) * 1000
    return { seconds, messages: this.#messages, bytes: this.#bytes, latencyUs: this.#latency.summary(), loadCpuNs }
  }
}

/** Writes one line of JSON for the runner. */
export function tell(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
