import type { ByteQueue } from '../byte-queue/queue.js'
import { SluiceError } from '../errors.js'
import type { Filter, FilterResult, FlushMode } from './filter.js'

/**
 * What a step says of its run: `'waiting'`, it is at work and will tell when there is something to do; `'ended'`, nothing
 * will come out any more, whatever goes in.
 */
export type StepResult = Exclude<FilterResult, 'error'> | 'waiting' | 'ended'

/** One direction of one filter, whatever it is made of. */
export interface Step {
  /** Not 0 when it could hand out something, or has something to do, without further bytes. */
  readonly readyBytes: number
  /** Bytes that it holds in memory on their way. */
  readonly heldBytes: number
  /** Bytes on their way through it, wherever they are. */
  readonly movingBytes: number
  /** @throws {SluiceError} `ERR_SLUICE_FILTER_…` */
  run(source: ByteQueue, destination: ByteQueue, limitBytes: number, mode: FlushMode): StepResult
  /** Nothing more is wanted of it. */
  destroy(): void
}

/** A step that is a function of the filter. */
export class FunctionStep implements Step {
  readonly readyBytes = 0
  readonly heldBytes = 0
  readonly movingBytes = 0

  constructor(
    private readonly filter: Filter,
    private readonly direction: 'input' | 'output',
  ) {}

  run(source: ByteQueue, destination: ByteQueue, limitBytes: number, mode: FlushMode): StepResult {
    const result = this.call(source, destination, limitBytes, mode)
    if (result === 'ok' || result === 'needMore') return result
    if (result === 'error') throw filterError('FAILED', this.filter, this.direction, 'reports an error')
    const detail = `answered ${String(result)}; 'ok', 'needMore' or 'error' are allowed`
    throw filterError('RESULT', this.filter, this.direction, detail)
  }

  destroy(): void {}

  private call(source: ByteQueue, destination: ByteQueue, limitBytes: number, mode: FlushMode): unknown {
    const { filter } = this
    try {
      // As a method, so that filters may be classes.
      if (this.direction === 'input') return (filter.input as Callable)(source, destination, limitBytes, mode)
      return (filter.output as Callable)(source, destination, limitBytes, mode)
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : String(thrown)
      throw filterError('THREW', filter, this.direction, `threw: ${text}`, thrown)
    }
  }
}

type Callable = (source: ByteQueue, destination: ByteQueue, limitBytes: number, mode: FlushMode) => unknown

/** The error that ends one direction of a filter. */
export function filterError(
  name: 'FAILED' | 'THREW' | 'RESULT' | 'EXPANSION',
  filter: Filter,
  direction: 'input' | 'output',
  what: string,
  cause?: unknown,
): SluiceError {
  return new SluiceError(`FILTER_${name}`, {
    phase: direction === 'input' ? 'read' : 'write',
    detail: `${direction} of ${filter.name ?? 'filter'} ${what}`,
    ...(cause !== undefined && { cause }),
  })
}
