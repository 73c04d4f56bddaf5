import { milliseconds, type Shape } from './options.js'

/** How a listener or a runtime closes. */
export interface ShutdownOptions {
  /** How long connections may go on; then they are destroyed with `ERR_SLUICE_CLOSE_TIMEOUT`. Default 5 000; 0 waits
   *  for as long as they take. */
  timeoutMs?: number
}

export const shutdownOptions = { timeoutMs: milliseconds({ default: 5000 }) } satisfies Shape<ShutdownOptions>
