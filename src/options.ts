import { inspect } from 'node:util'
import { SluiceError } from './errors.js'

/** Checks one option. `parse` returns the checked value or throws {@link expected}. */
export interface Parser<T> {
  /** What is allowed, completing "expected …". */
  readonly allowed: string
  parse(value: unknown, option: string): T
}

/** A parser of an option that may be left out: it then answers with its default, or undefined. */
export interface OptionalParser<T> extends Parser<T> {
  readonly absent: T
}

/**
 * One parser per field of T, none missing and none too many: write `{ … } satisfies Shape<ListenOptions>`. A field that
 * may be left out needs a parser that knows a default, or {@link optional}.
 */
export type Shape<T> = { readonly [K in keyof T]-?: undefined extends T[K] ? OptionalParser<T[K]> : Parser<T[K]> }

/** What {@link parse} makes of a shape: every default filled in. */
export type Parsed<S> = { [K in keyof S]: S[K] extends Parser<infer V> ? V : never }

/** A rule over several options: which were given, and under which name to complain. */
export type Rule = (given: ReadonlySet<string>, nameOf: (option: string) => string) => void

// biome-ignore lint/suspicious/noExplicitAny: a shape of parsers for whatever types
type AnyShape = Readonly<Record<string, Parser<any>>>

/**
 * Turns user input into checked options, before anything is done. `undefined` counts as left out, and so does a missing
 * `input`.
 *
 * @param within name of the option that holds `input`, when options are nested.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` naming option, value and what is allowed; an unknown name is
 *   refused, together with the nearest known one.
 */
export function parse<S extends AnyShape>(
  shape: S,
  input: unknown,
  rules: readonly Rule[] = [],
  within = '',
): Parsed<S> {
  const nameOf = (option: string) => (within ? `${within}.${option}` : option)
  if (input !== undefined && (typeof input !== 'object' || input === null || Array.isArray(input))) {
    throw expected('an object', input, within || 'options')
  }
  const values = (input ?? {}) as Record<string, unknown>
  for (const key of Object.keys(values)) {
    if (!Object.hasOwn(shape, key))
      throw unknownOption(nameOf(key), nearest(key, Object.keys(shape)), Object.keys(shape))
  }
  const given = new Set<string>()
  const parsed: Record<string, unknown> = {}
  for (const [key, parser] of Object.entries(shape)) {
    const value = values[key]
    if (value !== undefined) {
      given.add(key)
      parsed[key] = parser.parse(value, nameOf(key))
    } else if ('absent' in parser) {
      parsed[key] = parser.absent
    } else {
      throw refuse(nameOf(key), `is missing; expected ${parser.allowed}`)
    }
  }
  for (const rule of rules) rule(given, nameOf)
  return parsed as Parsed<S>
}

// ---- Parsers: without a default the option is required; optional() lifts that.

/** A parser from a description and a check that answers whether the value is allowed. */
function parser<T>(allowed: string, check: (value: unknown) => boolean): Parser<T> {
  return {
    allowed,
    parse(value, option) {
      if (!check(value)) throw expected(allowed, value, option)
      return value as T
    },
  }
}

/** The parser `of`, with undefined for an option that is left out. */
export function optional<T>(of: Parser<T>): OptionalParser<T | undefined> {
  return { ...of, absent: undefined }
}

/** The parser `of`, with `value` for an option that is left out. */
export function withDefault<T>(of: Parser<T>, value: NoInfer<T>): OptionalParser<T> {
  return { ...of, absent: value }
}

/** An object of that class. */
export function instanceOf<T>(type: abstract new (...args: never) => T, allowed = `a ${type.name}`): Parser<T> {
  return {
    allowed,
    parse(value, option) {
      if (value instanceof type) return value
      throw expected(allowed, value, option)
    },
  }
}

interface Range {
  min?: number
  max?: number
}

/** A whole number; without bounds, one that JavaScript holds exactly. */
export function integer(range: Range & { default: number }): OptionalParser<number>
export function integer(range?: Range): Parser<number>
export function integer(range: Range & { default?: number } = {}): Parser<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = range
  const of = parser<number>(
    `an integer${rangeText(range)}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
  )
  return range.default === undefined ? of : withDefault(of, range.default)
}

/** A finite number, whole or not. */
export function number(range: Range & { default: number }): OptionalParser<number>
export function number(range?: Range): Parser<number>
export function number(range: Range & { default?: number } = {}): Parser<number> {
  const { min = -Infinity, max = Infinity } = range
  const of = parser<number>(
    `a number${rangeText(range)}`,
    (value) => Number.isFinite(value) && (value as number) >= min && (value as number) <= max,
  )
  return range.default === undefined ? of : withDefault(of, range.default)
}

/** Milliseconds, up to the 24.8 days that a timer can wait. */
export function milliseconds(range: Range & { default: number }): OptionalParser<number>
export function milliseconds(range?: Range): Parser<number>
export function milliseconds(range: Range & { default?: number } = {}): Parser<number> {
  return integer({ min: 0, max: 2_147_483_647, ...range } as Range) as Parser<number>
}

export function boolean(options: { default: boolean }): OptionalParser<boolean>
export function boolean(options?: { default?: undefined }): Parser<boolean>
export function boolean(options: { default?: boolean } = {}): Parser<boolean> {
  const of = parser<boolean>('true or false', (value) => typeof value === 'boolean')
  return options.default === undefined ? of : withDefault(of, options.default)
}

interface StringLimits {
  /** UTF-16 units. */
  maxLength?: number
  /** It may start with NUL, as the names of abstract sockets do, and then hold further ones. */
  abstract?: boolean
}

/** A non-empty string without NUL. */
export function string(options: StringLimits & { default: string }): OptionalParser<string>
export function string(options?: StringLimits): Parser<string>
export function string(options: StringLimits & { default?: string } = {}): Parser<string> {
  const { maxLength = Infinity, abstract = false } = options
  const limit = options.maxLength === undefined ? '' : ` of at most ${maxLength} characters`
  const of = parser<string>(
    `a non-empty string${limit} without NUL${abstract ? ', unless it starts with one' : ''}`,
    (value) => {
      if (typeof value !== 'string' || value === '' || value.length > maxLength) return false
      return abstract && value.startsWith('\0') ? value.length > 1 : !value.includes('\0')
    },
  )
  return options.default === undefined ? of : withDefault(of, options.default)
}

/** One of a few values; an unknown string is answered with the nearest known one. */
export function oneOf<const T extends string | number>(
  choices: readonly T[],
  options: { default: NoInfer<T> },
): OptionalParser<T>
export function oneOf<const T extends string | number>(choices: readonly T[]): Parser<T>
export function oneOf<const T extends string | number>(choices: readonly T[], options?: { default: T }): Parser<T> {
  const allowed = `one of ${choices.map((choice) => JSON.stringify(choice)).join(', ')}`
  const of: Parser<T> = {
    allowed,
    parse(value, option) {
      if (choices.includes(value as T)) return value as T
      const guess = typeof value === 'string' ? nearest(value, choices.map(String)) : undefined
      throw expected(allowed, value, option, guess)
    },
  }
  return options === undefined ? of : withDefault(of, options.default)
}

/** A function; what it takes and returns is up to TypeScript. */
// biome-ignore lint/suspicious/noExplicitAny: any function type fits
export function fn<F extends (...args: any[]) => unknown>(): Parser<F> {
  return parser<F>('a function', (value) => typeof value === 'function')
}

/** An AbortSignal, also one of another realm. */
export function signal(): Parser<AbortSignal> {
  return parser<AbortSignal>(
    'an AbortSignal',
    (value) =>
      typeof value === 'object' &&
      value !== null &&
      'aborted' in value &&
      'addEventListener' in value &&
      typeof value.addEventListener === 'function',
  )
}

/** Options within an option. */
export function nested<S extends AnyShape>(shape: S, rules: readonly Rule[] = []): Parser<Parsed<S>> {
  return { allowed: 'an object', parse: (value, option) => parse(shape, value, rules, option) }
}

/** Either of two parsers; the value goes to the first that takes it. */
export function either<A, B>(first: Parser<A>, second: Parser<B>): Parser<A | B> {
  const allowed = `${first.allowed}, or ${second.allowed}`
  return {
    allowed,
    parse(value, option) {
      for (const of of [first, second]) {
        try {
          return of.parse(value, option)
        } catch {
          // The next one may take it.
        }
      }
      throw expected(allowed, value, option)
    },
  }
}

/** Whatever it is, it is taken as it is. */
export function anything(): OptionalParser<unknown> {
  return { allowed: 'any value', absent: undefined, parse: (value) => value }
}

// ---- Rules

/** Where `option` is given, none of `others` may be. */
export function excludes(option: string, others: readonly string[]): Rule {
  return (given, nameOf) => {
    const clash = given.has(option) && others.find((other) => given.has(other))
    if (clash) throw refuse(nameOf(clash), `cannot be given together with "${nameOf(option)}"`)
  }
}

/** At least one of `names` is given. */
export function requiresOneOf(...names: string[]): Rule {
  return (given, nameOf) => {
    if (names.some((name) => given.has(name))) return
    const quoted = names.map((name) => `"${nameOf(name)}"`)
    throw refuse(nameOf(names[0]!), `is missing; expected ${quoted.length > 1 ? 'one of ' : ''}${quoted.join(', ')}`)
  }
}

/** `option` means nothing without `needed`. */
export function requires(option: string, needed: string): Rule {
  return (given, nameOf) => {
    if (given.has(option) && !given.has(needed)) throw refuse(nameOf(option), `needs "${nameOf(needed)}" as well`)
  }
}

// ---- Errors

/** The error for a value that is not allowed, for parsers and for checks of a single argument. */
export function expected(allowed: string, value: unknown, option: string, guess?: string): SluiceError {
  return refuse(option, `must be ${allowed}, not ${render(value)}${guess ? `; did you mean "${guess}"?` : ''}`)
}

function refuse(option: string, why: string): SluiceError {
  return new SluiceError('INVALID_OPTION', { phase: 'options', option, detail: `option "${option}" ${why}` })
}

function unknownOption(option: string, guess: string | undefined, known: readonly string[]): SluiceError {
  const help = guess ? `did you mean "${guess}"?` : `known are ${known.join(', ')}`
  return refuse(option, `is unknown; ${help}`)
}

function rangeText({ min, max }: Range): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`
  if (min !== undefined) return ` of at least ${min}`
  return max === undefined ? '' : ` of at most ${max}`
}

function render(value: unknown): string {
  const text = inspect(value, { depth: 0, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 60 })
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

/**
 * The candidate closest to a mistyped `word`, or undefined when none is near: at most one edit per three letters.
 * Case does not count.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Levenshtein distance, a swap of neighbours counting as one edit; `limit` when it is at least that. */
export function editDistance(a: string, b: string, limit = Number.POSITIVE_INFINITY): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; ++i) {
    const current = [i]
    for (let j = 1; j <= b.length; ++j) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      current[j] = Math.min(replaced, previous[j]! + 1, current[j - 1]! + 1)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (swapped) current[j] = Math.min(current[j]!, before[j - 2]! + 1)
    }
    before = previous
    previous = current
  }
  return Math.min(previous[b.length]!, limit)
}
