import { readFileSync } from 'node:fs'
import { arch, cpus, release, totalmem, type } from 'node:os'
import { join } from 'node:path'

/** Where the figures come from; without it they mean nothing. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly architecture: string
  /** Whether a hypervisor is underneath, as far as the CPU tells. */
  readonly virtual?: boolean
  /** Time of one system call that does nothing, in nanoseconds: machines differ in it more than in anything else. */
  readonly systemCallNs?: number
  readonly congestionControl?: string
  readonly node: string
  readonly v8: string
  readonly sluice: string
}

export function describeMachine(systemCallNs?: number): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    system: `${type()} ${release()}`,
    architecture: arch(),
    virtual: read('/proc/cpuinfo')?.includes(' hypervisor'),
    systemCallNs,
    congestionControl: read('/proc/sys/net/ipv4/tcp_congestion_control')?.trim(),
    node: process.version,
    v8: process.versions.v8,
    sluice: packageVersion(),
  }
}

/** The cores this process may run on. Empty where the system does not tell. */
export function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(read('/proc/self/status') ?? '')?.[1]
  return list === undefined ? [] : parseCoreList(list)
}

/** "0-2,5" → [0, 1, 2, 5] */
export function parseCoreList(list: string): number[] {
  return list.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number)
    return Array.from({ length: last! - first! + 1 }, (_, index) => first! + index)
  })
}

function packageVersion(): string {
  return JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')).version
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
