import { type Clock, systemClock } from './clock.js'
import { abortError, asSluiceError, type ErrorFacts, type ErrorName, errorTable, SluiceError } from './errors.js'
import type { StopSignal } from './stop.js'

/** One try to connect to one address. */
export interface Attempt<C> {
  /** The connection, or a {@link SluiceError}. */
  promise: Promise<C>
  /** Ends the attempt, and its connection too if that has just come about. */
  cancel(): void
}

export interface RaceOptions {
  /** How long an attempt runs alone before the next one starts beside it. Source: RFC 8305, section 5. */
  attemptDelayMs: number
  /** Bound over all attempts together; 0 leaves it to the system. */
  connectTimeoutMs: number
  signal?: StopSignal | undefined
  /** What the caller asked for, for errors that concern no single address. */
  address?: string
  port?: number
  clock?: Clock
}

/**
 * Connects to whichever address answers first (Happy Eyeballs, RFC 8305): the next attempt starts after
 * `attemptDelayMs`, or at once when one fails, and none is given up while the race lasts, so that a slow path still
 * wins when it is the only one. The losers are cancelled when it is over.
 *
 * @throws {SluiceError} of the only attempt or, with several, the code of the failure that tells most, and all of them
 *   in `errors`; `ERR_SLUICE_CONNECT_TIMEOUT` with those failed so far; `ERR_SLUICE_ABORTED`.
 */
export function connectRace<A extends { family: 4 | 6 }, C>(
  addresses: readonly A[],
  attempt: (address: A) => Attempt<C>,
  options: RaceOptions,
): Promise<C> {
  const { attemptDelayMs, connectTimeoutMs, signal, address, port, clock = systemClock } = options
  const facts: ErrorFacts = { phase: 'connect', address, port }
  const waiting = interleaveFamilies(addresses)
  const running = new Set<Attempt<C>>()
  const errors: SluiceError[] = []

  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw abortError(signal, facts)
    let over = false
    let cancelDelay = () => {}
    let cancelDeadline = () => {}

    const finish = (settle: () => void) => {
      over = true
      cancelDelay()
      cancelDeadline()
      signal?.removeEventListener('abort', abort)
      for (const loser of running) loser.cancel()
      running.clear()
      settle()
    }
    const abort = () => finish(() => reject(abortError(signal!, facts)))
    const timeOut = () => finish(() => reject(new SluiceError('CONNECT_TIMEOUT', { ...facts, errors })))

    const fail = (error: unknown) => {
      errors.push(asSluiceError(error, 'SYSTEM', facts))
      // The peer was reached, and did not prove itself: another address would be no better.
      if (/^ERR_SLUICE_(TLS|SOCKS|PROXY|STEP|OPENING)_/.test(errors.at(-1)!.code))
        return finish(() => reject(errors.at(-1)))
      if (waiting.length > 0) startNext()
      else if (running.size === 0) finish(() => reject(summary(errors, facts)))
    }

    const startNext = () => {
      cancelDelay()
      let started: Attempt<C>
      try {
        started = attempt(waiting.shift()!)
      } catch (error) {
        return fail(error)
      }
      if (over) return started.cancel()
      running.add(started)
      if (waiting.length > 0) cancelDelay = clock.after(attemptDelayMs, startNext)
      started.promise.then(
        (connection) => {
          if (over) return // cancelled, and gone by itself
          running.delete(started)
          finish(() => resolve(connection))
        },
        (error) => {
          if (over) return
          running.delete(started)
          fail(error)
        },
      )
    }

    if (waiting.length === 0) throw new SluiceError('NAME_NOT_RESOLVED', facts)
    signal?.addEventListener('abort', abort, { once: true })
    if (connectTimeoutMs > 0) cancelDeadline = clock.after(connectTimeoutMs, timeOut)
    startNext()
  })
}

/**
 * Both families in turn, each in the order given, so that a family without a route costs one delay at most. The family
 * of the first address leads: the resolver has sorted by RFC 6724, which puts IPv6 first where it works. Source: RFC
 * 8305, section 4.
 */
export function interleaveFamilies<A extends { family: 4 | 6 }>(addresses: readonly A[]): A[] {
  const leading = addresses.filter(({ family }) => family === addresses[0]!.family)
  const others = addresses.filter(({ family }) => family !== addresses[0]!.family)
  const interleaved: A[] = []
  for (let i = 0; i < Math.max(leading.length, others.length); ++i) {
    interleaved.push(...leading.slice(i, i + 1), ...others.slice(i, i + 1))
  }
  return interleaved
}

// From a peer that answered to a network that is not there: the first found in this list says most about what is wrong.
const tellingFirst: readonly ErrorName[] = [
  'CONNECTION_REFUSED',
  'CONNECTION_RESET',
  'CONNECTION_ABORTED',
  'PERMISSION_DENIED',
  'DESCRIPTOR_LIMIT',
  'MEMORY_LIMIT',
  'PEER_TIMED_OUT',
  'HOST_UNREACHABLE',
]

function summary(errors: readonly SluiceError[], facts: ErrorFacts): SluiceError {
  const first = errors[0]!
  if (errors.length === 1) return first
  const telling = tellingFirst.map((name) => errors.find(({ code }) => code === `ERR_SLUICE_${name}`))
  const { code, errno, syscall } = telling.find((error) => error !== undefined) ?? first
  const name = code.slice('ERR_SLUICE_'.length) as ErrorName
  const detail = `all ${errors.length} addresses failed, foremost: ${errorTable[name].meaning}`
  return new SluiceError(name, { ...facts, errno, syscall, detail, errors })
}
