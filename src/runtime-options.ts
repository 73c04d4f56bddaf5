import { type EngineName, engineNames } from './engines.js'
import { anything, boolean, integer, oneOf, optional, type Shape } from './options.js'
import type { SimulationOptions } from './simulation.js'

/** Options of {@link Runtime}. Sizes are bytes. */
export interface RuntimeOptions {
  /** How to talk to the kernel. Default: the environment's SLUICE_ENGINE, else `'auto'`. A named engine that does not
   *  work here is an error, never replaced by another. */
  engine?: EngineName
  /** I/O threads, 0 to 64. Default 0: the loop runs inline on Node's own event loop. */
  threads?: number
  /** Threads per loop that carry TLS handshakes on, 0 to 64, so that their cryptography holds nobody up. Default 0: a
   *  loop does them itself, a few per turn. */
  handshakeThreads?: number
  /** Connections accepted by all listeners together that may be open at once. Default 0: no limit. Source: HP-71. */
  maxConnections?: number
  /** New connections per second for all listeners together. Default 0: no limit. Source: HP-71. */
  maxConnectionsPerSecond?: number
  /** Where received bytes go until handlers return, per loop, 65 536 to 67 108 864. Default 524 288: it should stay in
   *  the processor's cache. Source: our choice, measured. */
  slabBytes?: number
  /** What one connection may receive in a turn before the others have theirs. Default 262 144. Source: LE-20. */
  receiveTurnBytes?: number
  /** Connections that one listener may accept in a turn before the others have theirs. Default 64. Source: HP-70. */
  acceptTurnCount?: number
  /** How long an inline loop may stay awake for the next event before it sleeps, 0 to 1000 µs; 0: never. Tried only while
   *  one or two connections are answered so quickly, given up where nothing comes. It shortens round trips where peers have
   *  a core of their own, and costs CPU where they share one. Default 0, the only value with `threads` and with engine
   *  'sim'. Source: our choice, measured (docs/messages.md). */
  busyPollMicros?: number
  /** Gives handlers copies instead of views, and fills them with 0xdb afterwards: whoever keeps one sees it. Writes are
   *  copied too. Default false. */
  debug?: boolean
  /** Faults of the simulated network; with `engine: 'sim'` only. */
  sim?: SimulationOptions
}

const limit = () => integer({ min: 0, max: 1_000_000_000, default: 0 })

export const runtimeOptions = {
  engine: optional(oneOf(engineNames)),
  threads: integer({ min: 0, max: 64, default: 0 }),
  handshakeThreads: integer({ min: 0, max: 64, default: 0 }),
  maxConnections: limit(),
  maxConnectionsPerSecond: limit(),
  slabBytes: integer({ min: 65_536, max: 67_108_864, default: 524_288 }),
  receiveTurnBytes: integer({ min: 1024, max: 67_108_864, default: 262_144 }),
  acceptTurnCount: integer({ min: 1, max: 65_535, default: 64 }),
  busyPollMicros: integer({ min: 0, max: 1000, default: 0 }),
  debug: boolean({ default: false }),
  sim: anything() as { allowed: string; absent: undefined; parse: (value: unknown) => SimulationOptions },
} satisfies Shape<RuntimeOptions>
