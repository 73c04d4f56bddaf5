import { readFileSync } from 'node:fs'

let known: number | undefined

/** How many descriptors this process may have; asked once. */
export function descriptorLimit(): number {
  known ??= fromProc() ?? fromReport() ?? 1024
  return known
}

function fromProc(): number | undefined {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return line === null ? undefined : line[1] === 'unlimited' ? Infinity : Number(line[1])
  } catch {
    return undefined
  }
}

// Takes some milliseconds, where there is no /proc.
function fromReport(): number | undefined {
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | 'unlimited' } } }
  const soft = userLimits?.open_files?.soft
  return soft === 'unlimited' ? Infinity : soft
}
