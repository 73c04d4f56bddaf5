import { readdirSync, readFileSync } from 'node:fs'

/**
 * CPU time of another process so far, all its threads, in nanoseconds: the scheduler's own account, not sampled by
 * ticks. Undefined where the system does not tell.
 */
export function cpuNanosecondsOf(pid: number): number | undefined {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    return tasks.reduce((sum, task) => sum + threadNanoseconds(pid, task), 0)
  } catch {
    return undefined
  }
}

/** Resident memory of another process in bytes. Undefined where the system does not tell. */
export function residentBytesOf(pid: number): number | undefined {
  try {
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
  } catch {
    return undefined
  }
}

function threadNanoseconds(pid: number, task: string): number {
  return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0])
}
