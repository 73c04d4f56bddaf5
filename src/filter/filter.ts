import type { Duplex } from 'node:stream'
import type { ByteQueue } from '../byte-queue/queue.js'
import { expected } from '../options.js'

/**
 * How much has to come out: what is convenient; everything that has gone in so far; everything, and what belongs to the
 * end of the stream.
 */
export type FlushMode = 'normal' | 'flush' | 'finished'

/**
 * What a filter says of its call: `'ok'`, bytes have moved and there may be more to do; `'needMore'`, there is nothing to
 * do without further bytes or a stronger flush; `'error'`, its direction is over.
 */
export type FilterResult = 'ok' | 'needMore' | 'error'

/**
 * One direction of a filter: takes bytes out of `source` and puts what becomes of them into `destination`, at most
 * `limitBytes` of it; more is allowed at the price of memory. It is called again as long as it answers `'ok'` and leaves
 * something in `source`, which is there next time, with more behind it; without bytes it is only called to flush and to
 * finish, and when it has finished nothing may be left.
 * Source: LE-70.
 */
export type FilterFunction = (
  source: ByteQueue,
  destination: ByteQueue,
  limitBytes: number,
  mode: FlushMode,
) => FilterResult

/** Where the transforms of connections come from, one for each. */
export interface TransformSource {
  /** Makes one, when the first byte is there. */
  create(): Duplex
  /** Brings out everything that has gone in so far, and then calls `done`. Without it a flush waits for what is being
   *  transformed, and what the transform keeps stays there. */
  flush?(transform: Duplex, done: () => void): void
  /** A stream without a byte stays one: then none is made. Default false: the end of an empty stream makes one. */
  keepsEmpty?: boolean
}

/** One direction of a filter: a function, any Node `Transform` (or other duplex stream of bytes), or where to get one. */
export type FilterStep = FilterFunction | Duplex | TransformSource

/**
 * Changes the bytes of a connection on their way; see `Connection.filter()`. A direction that is left out stays as it
 * is. What goes wrong in one direction ends that one, with an `ERR_SLUICE_FILTER_…` error, and nothing else.
 */
export interface Filter {
  /** For error messages. Default `'filter'`. */
  name?: string
  /** What arrives, on its way from the peer to the handlers. */
  input?: FilterStep
  /** What is written, on its way to the peer. */
  output?: FilterStep
  /** Bytes that may come out for each that went in, per direction, after the first 1 048 576; else
   *  `ERR_SLUICE_FILTER_EXPANSION`. 1 or more; Infinity for no bound. Default 1 000. Source: our choice. */
  maxExpansion?: number
  /** Called once, when the connection is gone. Source: LE-78. */
  close?(): void
}

/** Bytes that have been handed out already and belong to a filter that comes only now. */
export interface FilterOptions {
  /** They go through the filter before what arrives from now on. */
  head?: Uint8Array
}

/** Expansion that is bounded for whoever says nothing else. */
export const defaultMaxExpansion = 1000

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is no filter. */
export function checkFilter(filter: Filter, option: string): void {
  if (typeof filter !== 'object' || filter === null) throw expected('a filter: an object', filter, option)
  const { name, input, output, maxExpansion, close } = filter
  for (const [key, step] of [['input', input] as const, ['output', output] as const]) {
    if (step !== undefined && !isStep(step)) {
      throw expected('a function, a transform stream or { create }', step, `${option}.${key}`)
    }
  }
  if (input === undefined && output === undefined) throw expected('a filter with "input" or "output"', filter, option)
  if (name !== undefined && typeof name !== 'string') throw expected('a string', name, `${option}.name`)
  if (maxExpansion !== undefined && !(typeof maxExpansion === 'number' && maxExpansion >= 1)) {
    throw expected('a number of at least 1', maxExpansion, `${option}.maxExpansion`)
  }
  if (close !== undefined && typeof close !== 'function') throw expected('a function', close, `${option}.close`)
}

function isStep(step: unknown): step is FilterStep {
  if (typeof step === 'function') return true
  if (typeof step !== 'object' || step === null) return false
  return isTransform(step as FilterStep) || ('create' in step && typeof step.create === 'function')
}

/** Whether it is a stream itself. */
export function isTransform(step: FilterStep): step is Duplex {
  return 'pipe' in step && typeof step.pipe === 'function' && 'write' in step && typeof step.write === 'function'
}
