import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { type Clock, systemClock } from './clock.js'
import { abortError, asSluiceError, type ErrorFacts, type NativeFailure, nativeError, SluiceError } from './errors.js'
import type { StopSignal } from './stop.js'

/** An IP address, as `dns.lookup` with `all: true` tells it. */
export interface ResolvedAddress {
  /** IP literal, with %scope where it has one. */
  address: string
  /** 4 or 6. */
  family: 4 | 6
}

/** The native resolver. Calls back once, later or at once, unless the returned function is called first. */
export type NativeResolve = (
  host: string,
  family: 0 | 4 | 6,
  callback: (error: NativeFailure | null | undefined, addresses: ResolvedAddress[]) => void,
) => () => void

/** A function like `dns.lookup`, asked with `all: true`; an answer with a single address will do as well. */
export type LookupFunction = (
  hostname: string,
  options: { all: true; family: 0 | 4 | 6; hints: 0; verbatim: true },
  // biome-ignore lint/suspicious/noExplicitAny: dns.lookup itself has several callback types
  callback: (error: Error | null, address: any, family?: number) => void,
) => void

export interface ResolveOptions {
  /** The resolver to ask when there is no `lookup`. */
  resolve: NativeResolve
  /** 4 or 6 for one family alone, 0 for both. */
  family: 0 | 4 | 6
  /** 0 waits as long as the resolver does. */
  timeoutMs: number
  signal?: StopSignal | undefined
  /** Asked instead of the system, for everything but IP literals. */
  lookup?: LookupFunction
  clock?: Clock
}

/**
 * The addresses of `host`, at least one, in the resolver's order. IP literals stand for themselves, and `localhost`
 * and names below it mean the loopback addresses without anybody being asked (RFC 6761, section 6.3).
 *
 * @throws {SluiceError} `ERR_SLUICE_NAME_NOT_RESOLVED`, `ERR_SLUICE_RESOLVE_TIMEOUT`, `ERR_SLUICE_ABORTED`; `address`
 *   is the host, `phase` is `'resolve'`.
 */
export function resolveHost(host: string, options: ResolveOptions): Promise<ResolvedAddress[]> {
  const { family, timeoutMs, signal, lookup, clock = systemClock } = options
  const facts: ErrorFacts = { phase: 'resolve', address: host }
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw abortError(signal, facts)
    const known = literalOf(host, family, facts) ?? (lookup ? undefined : loopbackOf(host, family))
    if (known) return resolve(known)
    const name = domainToASCII(host)
    if (name === '') throw unresolved('this is no valid host name', facts)

    let settled = false
    let cancelQuery = () => {}
    let cancelTimeout = () => {}
    const settle = (finish: () => void) => {
      if (settled) return
      settled = true
      cancelTimeout()
      signal?.removeEventListener('abort', abort)
      finish()
    }
    const give = (addresses: ResolvedAddress[]) => settle(() => resolve(addresses))
    const fail = (error: SluiceError) => settle(() => reject(error))
    const stop = (error: SluiceError) => {
      if (!settled) cancelQuery()
      fail(error)
    }
    const abort = () => stop(abortError(signal!, facts))

    signal?.addEventListener('abort', abort, { once: true })
    if (timeoutMs > 0) cancelTimeout = clock.after(timeoutMs, () => stop(new SluiceError('RESOLVE_TIMEOUT', facts)))
    if (lookup) {
      askUser(lookup, name, family, facts).then(give, fail)
    } else {
      cancelQuery = options.resolve(name, family, (failure, addresses) => {
        if (failure) fail(nativeFailure(failure, facts))
        else give(addresses)
      })
    }
  })
}

function literalOf(host: string, family: 0 | 4 | 6, facts: ErrorFacts): ResolvedAddress[] | undefined {
  const version = isIP(host)
  if (version === 0) return undefined
  if (family !== 0 && family !== version) throw unresolved(`this is no IPv${family} address`, facts)
  return [{ address: host, family: version as 4 | 6 }]
}

const loopback: readonly ResolvedAddress[] = [
  { address: '::1', family: 6 },
  { address: '127.0.0.1', family: 4 },
]

function loopbackOf(host: string, family: 0 | 4 | 6): ResolvedAddress[] | undefined {
  if (!/^(.+\.)?localhost\.?$/i.test(host)) return undefined
  return loopback.filter((address) => family === 0 || address.family === family)
}

function askUser(
  lookup: LookupFunction,
  host: string,
  family: 0 | 4 | 6,
  facts: ErrorFacts,
): Promise<ResolvedAddress[]> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => reject(asSluiceError(error, 'NAME_NOT_RESOLVED', facts))
    const answered = (error: Error | null, answer: unknown, answeredFamily?: number) => {
      if (error) return fail(error)
      try {
        const list = Array.isArray(answer) ? answer : [{ address: answer, family: answeredFamily }]
        resolve(checkAnswer(list, family, facts))
      } catch (wrong) {
        fail(wrong)
      }
    }
    try {
      lookup(host, { all: true, family, hints: 0, verbatim: true }, answered)
    } catch (error) {
      fail(error)
    }
  })
}

// What a user's function answers is input like any other.
function checkAnswer(answer: unknown[], family: 0 | 4 | 6, facts: ErrorFacts): ResolvedAddress[] {
  const addresses = answer.map((entry): ResolvedAddress => {
    const address = (entry as Partial<ResolvedAddress> | undefined)?.address
    const version = typeof address === 'string' ? isIP(address) : 0
    if (version === 0)
      throw unresolved(`\`lookup\` answered ${JSON.stringify(entry)}, which holds no IP address`, facts)
    return { address: address!, family: version as 4 | 6 }
  })
  const wanted = addresses.filter((address) => family === 0 || address.family === family)
  if (wanted.length === 0)
    throw unresolved(`\`lookup\` answered no ${family === 0 ? 'IP' : `IPv${family}`} address`, facts)
  return wanted
}

function unresolved(why: string, facts: ErrorFacts): SluiceError {
  return new SluiceError('NAME_NOT_RESOLVED', { ...facts, detail: `the name could not be resolved: ${why}` })
}

function nativeFailure(failure: NativeFailure, { address }: ErrorFacts): SluiceError {
  const detail = failure.detail ? `the name could not be resolved: ${failure.detail}` : undefined
  return nativeError({ ...failure, detail, address, phase: 'resolve' })
}
