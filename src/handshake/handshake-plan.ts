import type { NativeOpening, NativeStep } from '../native/binding.js'
import {
  expected,
  fn,
  integer,
  milliseconds,
  type OptionalParser,
  optional,
  parse,
  type Shape,
  string,
  withDefault,
} from '../options.js'
import type { RateClock } from '../rate-limit/rate-limit-group.js'
import type { CustomStep } from './custom-step.js'
import { HandshakeStep } from './handshake-step.js'

/** Options of listen() and connect() about what comes before the session. */
export interface HandshakeOptions {
  /** Steps, in order, before TLS: built-in ones such as `acceptProxy()`, and your own. Default: none. */
  handshake?: readonly (HandshakeStep | CustomStep)[]
  /** Bound on all steps together, the handshake of TLS behind them included; bytes that trickle in do not extend it. 0 for
   *  none. Default 10 000. Needs steps. Source: HP-16. */
  handshakeTimeoutMs?: number
}

const stepAllowed = 'a step such as acceptProxy(), or { name, bytes(connection, bytes) }'
const customShape = {
  name: string({ maxLength: 100 }),
  maxBytes: integer({ min: 1, max: 65_536, default: 16_384 }),
  begin: optional(fn<NonNullable<CustomStep['begin']>>()),
  bytes: fn<CustomStep['bytes']>(),
} satisfies Shape<CustomStep>

const steps: OptionalParser<(HandshakeStep | CustomStep)[] | undefined> = {
  allowed: `a list of steps, each ${stepAllowed}`,
  absent: undefined,
  parse(value, option) {
    if (!Array.isArray(value) || value.length === 0) throw expected(steps.allowed, value, option)
    return value.map((item, i) => checkStep(item, `${option}[${i}]`))
  },
}

function checkStep(value: unknown, option: string): HandshakeStep | CustomStep {
  if (value instanceof HandshakeStep) return value
  if (typeof value !== 'object' || value === null) throw expected(stepAllowed, value, option)
  // An instance of a class may hold more than a step needs, and needs its own `this`.
  const { name, maxBytes, begin, bytes } = value as CustomStep
  parse(customShape, { name, maxBytes, begin, bytes }, [], option)
  return value as CustomStep
}

/** Parsers of {@link HandshakeOptions}. */
export const handshakeOptions = {
  handshake: steps,
  handshakeTimeoutMs: withDefault(milliseconds(), 10_000),
}
const checkedOptions: Readonly<Record<keyof HandshakeOptions, unknown>> = handshakeOptions
void checkedOptions

/** What a listener or connect() needs to know of its steps. */
export interface HandshakePlan {
  readonly native: NativeOpening
  /** The steps of JavaScript's, by the number that native code calls them by. */
  readonly scripts: readonly CustomStep[]
  /** Whom the last of SOCKS brings the connection to. */
  readonly target: { host: string; port: number } | undefined
  /** For what steps share with others: it goes by one clock. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  useClock(clock: RateClock): void
}

/** Puts the steps in order for native code. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for a step out of place. */
export function handshakePlan(
  {
    handshake,
    handshakeTimeoutMs,
    firstIndex = 0,
  }: {
    handshake: (HandshakeStep | CustomStep)[] | undefined
    handshakeTimeoutMs: number
    /** How many steps the user has not put into the list. */
    firstIndex?: number
  },
  side: 'accept' | 'connect',
  hasTls: boolean,
): HandshakePlan | undefined {
  if (handshake === undefined) return undefined
  const scripts: CustomStep[] = []
  const steps: NativeStep[] = handshake.map((step, i) => {
    checkPlace(handshake, i, side, hasTls, firstIndex)
    if (step instanceof HandshakeStep) return step.native
    scripts.push(step)
    return { kind: 'script', name: step.name, number: scripts.length - 1, maxBytes: step.maxBytes ?? 16_384 }
  })
  const built = handshake.filter((step) => step instanceof HandshakeStep)
  const targets = handshake.map((step) => (step instanceof HandshakeStep ? step.target : undefined))
  return {
    native: {
      steps,
      sessionSteps: built.flatMap((step) => step.sessionSteps),
      timeoutMs: handshakeTimeoutMs,
      connectsTls: side === 'connect' && hasTls,
    },
    scripts,
    useClock: (clock) => {
      for (const step of built) step.useClock(clock)
    },
    target: targets.filter((target) => target !== undefined).at(-1),
  }
}

function checkPlace(
  list: readonly (HandshakeStep | CustomStep)[],
  i: number,
  side: 'accept' | 'connect',
  hasTls: boolean,
  firstIndex: number,
): void {
  const step = list[i]!
  if (!(step instanceof HandshakeStep)) return
  const refuse = (why: string) => HandshakeStep.misplaced(`handshake[${i - firstIndex}]`, `${step.name}() ${why}`)
  if (step.side !== side) throw refuse(`is a step of ${step.side === 'accept' ? 'listen()' : 'connect()'}`)
  const before = list.slice(0, i).map((each) => (each instanceof HandshakeStep ? each.native.kind : 'script'))
  const { kind } = step.native
  if (kind === 'monitor' && before.some((each) => each !== 'monitor')) throw refuse('comes before all other steps')
  if (kind === 'sniff' && !hasTls) throw refuse('needs the option "tls"')
  if (kind === 'sniff' && i < list.length - 1) throw refuse('is the last step before TLS')
  if ('byRule' in step.native && step.native.byRule && !before.includes('rules'))
    throw refuse('needs rules() before it, because of "byRule"')
  if (kind === 'socks' && before.includes('sendProxy')) throw refuse('comes before sendProxy()')
}
