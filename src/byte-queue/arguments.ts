import { SluiceError } from '../errors.js'

/** The error for a wrong argument, or for an operation that is not possible now. */
export function refusal(detail: string): SluiceError {
  return new SluiceError('INVALID_ARGUMENT', { detail })
}

export function requireCount(value: number, name: string): void {
  if (!(Number.isSafeInteger(value) && value >= 0)) {
    throw refusal(`"${name}" must be an integer of at least 0, not ${String(value)}`)
  }
}

export function toBytes(value: unknown, method: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  if (typeof value === 'string') return Buffer.from(value)
  throw refusal(`${method}() takes a Uint8Array or a string`)
}

export function oneByte(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > 255) throw refusal(`${value} is not a byte`)
  return Buffer.of(value)
}
