import { native } from '../native/binding.js'

// Fresh memory costs a fault per page, which takes longer than to copy as much: large bodies are laid where others were.
const pooledFromBytes = 131_072
const mostFreeBytes = 33_554_432

/** Where lent bodies were, the newest last. */
const free: Uint8Array[] = []
let freeBytes = 0

/** Memory for a body that is its receiver's to keep. */
export function ownMemory(sizeBytes: number): Uint8Array {
  const memory = sizeBytes >= pooledFromBytes ? native.takeMemory(sizeBytes) : undefined
  return memory === undefined ? Buffer.allocUnsafeSlow(sizeBytes) : new Uint8Array(memory)
}

/** Memory for a body that is lent to its handler: at least so many bytes. */
export function lentMemory(sizeBytes: number): Uint8Array {
  for (let i = free.length - 1; i >= 0; i--) {
    const memory = free[i]!
    if (memory.length < sizeBytes || memory.length > 2 * sizeBytes) continue
    free.splice(i, 1)
    freeBytes -= memory.length
    return memory
  }
  return Buffer.allocUnsafeSlow(sizeBytes)
}

/** What was lent comes back. */
export function giveBack(memory: Uint8Array): void {
  if (memory.length < pooledFromBytes || memory.length > mostFreeBytes) return
  free.push(memory)
  freeBytes += memory.length
  while (freeBytes > mostFreeBytes) freeBytes -= free.shift()!.length
}
