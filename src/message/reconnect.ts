import { integer, milliseconds, number, type Parsed, type Shape } from '../options.js'

/** How long a pool waits before it connects again. Source: SF-45. */
export interface ReconnectOptions {
  /** The longest step. Default 10 000. */
  baseMs?: number
  /** Failures in a row until that is reached, each waiting one step more than the one before. Default 10. */
  steps?: number
  /** Added to each wait, at least: by chance, so that not all come at once. Default 100. */
  jitterMinMs?: number
  /** Added at most. Default 999. */
  jitterMaxMs?: number
}

export const reconnectOptions = {
  baseMs: milliseconds({ default: 10_000 }),
  steps: integer({ min: 1, max: 1000, default: 10 }),
  jitterMinMs: number({ min: 0, max: 86_400_000, default: 100 }),
  jitterMaxMs: number({ min: 0, max: 86_400_000, default: 999 }),
} satisfies Shape<ReconnectOptions>

/**
 * The wait after so many failures in a row; 0 for a connection that had been up, which is what the chance part alone is for.
 */
export function reconnectDelayMs(
  failures: number,
  options: Parsed<typeof reconnectOptions>,
  random: () => number,
): number {
  const { baseMs, steps, jitterMinMs, jitterMaxMs } = options
  const jitter = jitterMinMs + random() * Math.max(0, jitterMaxMs - jitterMinMs)
  return Math.floor((Math.min(failures, steps) * baseMs) / steps + jitter)
}
