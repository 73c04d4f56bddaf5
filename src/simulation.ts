import { expected, integer, number, type Parsed, parse, type Shape } from './options.js'

const dayMs = 86_400_000
const maxSegmentBytes = 1 << 20
const maxBufferBytes = 1 << 30

/**
 * What the simulated network (`engine: 'sim'`) does to its connections. The defaults are a network without faults.
 * Times are virtual milliseconds, which pass at once; probabilities go from 0 to 1; ranges include both ends.
 */
export interface SimulationOptions {
  /** Everything random comes from here: the same seed and the same calls give the same run. Default 1. */
  seed?: number
  /** One-way delay, drawn once per connection and direction. Default 1. */
  latencyMinMs?: number
  /** Upper end of the delay. Default 0: the lower end. */
  latencyMaxMs?: number
  /** Up to so much more, drawn per segment; segments of one direction stay in order. Default 0. */
  jitterMs?: number
  /** Smallest piece that travels, and that one receive returns. Default 0: the largest. */
  segmentMinBytes?: number
  /** Largest piece. Default 65 536. */
  segmentMaxBytes?: number
  /** Speed per connection and direction. Default 0: unlimited. */
  bytesPerSecond?: number
  /** What a connection takes from its writer beyond what is under way. Default 262 144. */
  sendBufferBytes?: number
  /** What may be under way or unread. Default 262 144. */
  receiveWindowBytes?: number
  /** Per send: only a part is taken although there is room. Default 0. */
  shortSendProbability?: number
  /** Per send: nothing is taken at once, it is fetched later, as io_uring does. Default 0. */
  deferredSendProbability?: number
  /** Per send that waits: a wake-up although there is no room. Default 0. */
  spuriousSentProbability?: number
  /** Per connection: both ends see a reset once so many bytes have been sent. Default 0. */
  resetProbability?: number
  /** Bytes before such a reset, at least. Default 0. */
  resetAfterMinBytes?: number
  /** Bytes before such a reset, at most. Default 65 536. */
  resetAfterMaxBytes?: number
  /** Per segment: its connection stands still for a time. Default 0. */
  stallProbability?: number
  /** Shortest standstill. Default 100. */
  stallMinMs?: number
  /** Longest standstill. Default 1 000. */
  stallMaxMs?: number
  /** Per connect: refused although somebody listens. Default 0. */
  refuseProbability?: number
  /** Per connect: no answer ever comes. Default 0. */
  blackHoleProbability?: number
  /** How long a connect without answer lasts. Default 127 000, as on Linux. */
  connectGiveUpMs?: number
  /** Open sockets and listeners together; beyond it the descriptors are exhausted. Default 0: unlimited. */
  descriptorLimit?: number
  /** Per accept: it fails for want of descriptors and is tried again. Default 0. */
  acceptFailProbability?: number
}

const time = (standard: number, min = 0) => number({ min, max: dayMs, default: standard })
const probability = () => number({ min: 0, max: 1, default: 0 })
const size = (min: number, max: number, standard: number) => integer({ min, max, default: standard })

// The bounds stand a second time in native/engine/sim_options.cc; a test compares them.
export const simulationOptions = {
  seed: size(0, Number.MAX_SAFE_INTEGER, 1),
  latencyMinMs: time(1),
  latencyMaxMs: time(0),
  jitterMs: time(0),
  segmentMinBytes: size(0, maxSegmentBytes, 0),
  segmentMaxBytes: size(1, maxSegmentBytes, 65_536),
  bytesPerSecond: size(0, Number.MAX_SAFE_INTEGER, 0),
  sendBufferBytes: size(1, maxBufferBytes, 262_144),
  receiveWindowBytes: size(1, maxBufferBytes, 262_144),
  shortSendProbability: probability(),
  deferredSendProbability: probability(),
  spuriousSentProbability: probability(),
  resetProbability: probability(),
  resetAfterMinBytes: size(0, Number.MAX_SAFE_INTEGER, 0),
  resetAfterMaxBytes: size(0, Number.MAX_SAFE_INTEGER, 65_536),
  stallProbability: probability(),
  stallMinMs: time(100),
  stallMaxMs: time(1000),
  refuseProbability: probability(),
  blackHoleProbability: probability(),
  connectGiveUpMs: time(127_000, 1),
  descriptorLimit: size(0, maxSegmentBytes, 0),
  acceptFailProbability: probability(),
} satisfies Shape<SimulationOptions>

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, also for a range that ends before it begins. */
export function parseSimulation(input: unknown): Parsed<typeof simulationOptions> {
  const parsed = parse(simulationOptions, input, [], 'sim')
  const ranges = [
    ['latencyMinMs', parsed.latencyMaxMs === 0 ? parsed.latencyMinMs : parsed.latencyMaxMs, 'latencyMaxMs'],
    ['segmentMinBytes', parsed.segmentMaxBytes, 'segmentMaxBytes'],
    ['resetAfterMinBytes', parsed.resetAfterMaxBytes, 'resetAfterMaxBytes'],
    ['stallMinMs', parsed.stallMaxMs, 'stallMaxMs'],
  ] as const
  for (const [lower, max, upper] of ranges) {
    if (parsed[lower] > max) throw expected(`at most "sim.${upper}", ${max}`, parsed[lower], `sim.${lower}`)
  }
  return parsed
}
