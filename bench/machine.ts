import { spawnSync } from 'node:child_process'
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
  /** The one in Node. */
  readonly openssl?: string
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
    openssl: process.versions.openssl,
    sluice: packageVersion(),
  }
}

/** The cores this process may run on. Empty where the system does not tell. */
export function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(read('/proc/self/status') ?? '')?.[1]
  return list === undefined ? [] : parseCoreList(list)
}

/** How many descriptors a child may have that is started by `launch` and asks for `wanted`, or by itself. */
export function fileLimit(launch: string | undefined, wanted: number): number {
  const shell = ['/bin/sh', '-c', launch === undefined ? 'ulimit -Hn' : 'ulimit -Sn']
  const command = launch === undefined ? shell : [launch, '--files', String(wanted), '--', ...shell]
  const { stdout } = spawnSync(command[0]!, command.slice(1), { encoding: 'latin1', timeout: 5000 })
  return stdout?.trim() === 'unlimited' ? Number.POSITIVE_INFINITY : Number.parseInt(stdout, 10) || 1024
}

/** Time of one system call that does nothing, as the native load generator measures it. */
export function systemCallNanoseconds(load: string | undefined): number | undefined {
  if (load === undefined) return undefined
  const { stdout } = spawnSync(load, ['--mode', 'machine'], { encoding: 'latin1', timeout: 5000 })
  return Number.parseFloat(stdout) || undefined
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
