import type { SluiceError } from 'sluice'

/** The code with which it was rejected, or `'done'`. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'done',
    (error: SluiceError) => error.code,
  )
}
