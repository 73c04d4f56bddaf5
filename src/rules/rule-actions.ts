import type { NativeRule } from '../native/binding.js'
import { expected, integer, nearest, oneOf, optional, type Parser, parse, string, withDefault } from '../options.js'
import { addressParser } from './cidr-set.js'
import type { RuleAction, RuleStage } from './rule.js'
import { counterOf, counterShape, placeParser, type RuleContext, refuseEarly, whenOf } from './rule-conditions.js'
import { canBeKey, factParser, type ParsedFact } from './rule-facts.js'
import { type StickTable, tableParser } from './stick-table.js'

type ActionName = RuleAction['action']
type Made = Omit<NativeRule, 'stage' | 'when' | 'action'>

interface Kind {
  // biome-ignore lint/suspicious/noExplicitAny: a shape of parsers for whatever types
  readonly shape: Record<string, Parser<any>>
  // biome-ignore lint/suspicious/noExplicitAny: what its shape makes of the input
  make(parsed: any, context: RuleContext, option: string): Made
}

const name = string({ maxLength: 200 })
const word = integer({ min: 0, max: 0xffffffff })
const source: ParsedFact = factParser.parse('source', 'by')
const countable = oneOf(['gpc', 'gpcRate', 'glitchCount', 'glitchRate'])
const plain: Kind = { shape: {}, make: () => ({}) }
const keepsPort = 0xffffffff
const addressing: Kind = {
  shape: {
    to: factParser,
    ipv4Bits: integer({ min: 0, max: 32, default: 32 }),
    ipv6Bits: integer({ min: 0, max: 128, default: 128 }),
    port: integer({ min: 0, max: 65_535, default: keepsPort }),
  },
  make({ to, port, ...bits }: { to: ParsedFact; port: number; ipv4Bits: number; ipv6Bits: number }, { stage }, option) {
    refuseEarly(to.from, stage, to.native.fact, `${option}.to`)
    const { fact, text } = to.native
    if (fact === 'constant') addressParser.parse(text, `${option}.to.text`)
    if (fact === 'localPort' || fact === 'alpn' || fact === 'fingerprint')
      throw expected('a fact that can be an address', fact, `${option}.to`)
    return { number: port, value: to.native, ...bits }
  },
}

const kinds: Readonly<Record<ActionName, Kind>> = {
  accept: plain,
  reject: plain,
  silentDrop: {
    shape: { resetTtl: optional(integer({ min: 1, max: 255 })) },
    make: ({ resetTtl }) => ({ number: resetTtl ?? 0 }),
  },
  delay: {
    shape: { delayMs: integer({ min: 1, max: 3_600_000 }) },
    make: ({ delayMs }) => ({ number: delayMs }),
  },
  expectProxy: {
    shape: {},
    make(_, { stage }, option) {
      if (stage !== 'socket') throw expected('"socket" for the action "expectProxy"', stage, `${option}.stage`)
      return {}
    },
  },
  track: {
    shape: { table: tableParser, by: withDefault(factParser, source), place: placeParser },
    make({ table, by, place }: { table: StickTable; by: ParsedFact; place: number }, context, option) {
      refuseEarly(by.from, context.stage, by.native.fact, `${option}.by`)
      if (!canBeKey(by.native, table.keyType))
        throw expected(`a fact that can be a key of that table (${table.keyType})`, by.native.fact, `${option}.by`)
      context.tables.add(table)
      return { counter: { data: 'conn_cnt', index: 0, place, table: table.handle, key: by.native } }
    },
  },
  tag: { shape: { tag: name }, make: ({ tag }) => ({ text: tag }) },
  set: {
    shape: { variable: name, to: factParser },
    make({ variable, to }: { variable: string; to: ParsedFact }, { stage }, option) {
      refuseEarly(to.from, stage, to.native.fact, `${option}.to`)
      return { text: variable, value: to.native }
    },
  },
  count: {
    shape: { ...counterShape, counter: countable, amount: integer({ min: 1, max: 0xffffffff, default: 1 }) },
    make: ({ amount, ...counter }, context, option) => ({
      number: amount,
      counter: counterOf(counter, context, option),
    }),
  },
  assign: {
    shape: { index: counterShape.index, place: placeParser, to: word },
    make({ index, place, to }: { index: number; place: number; to: number }, context, option) {
      const parsed = { counter: 'gpt', index, place, in: undefined, by: undefined } as const
      return { number: to, counter: counterOf(parsed, context, option) }
    },
  },
  typeOfService: { shape: { to: integer({ min: 0, max: 255 }) }, make: ({ to }) => ({ number: to }) },
  mark: { shape: { to: word }, make: ({ to }) => ({ number: to }) },
  setSource: addressing,
  setDestination: addressing,
  log: {
    shape: { text: string({ maxLength: 1000 }), value: optional(factParser) },
    make({ text, value }: { text: string; value: ParsedFact | undefined }, { stage }, option) {
      if (value !== undefined) refuseEarly(value.from, stage, value.native.fact, `${option}.value`)
      return value === undefined ? { text } : { text, value: value.native, says: true }
    },
  },
}
const names = Object.keys(kinds) as ActionName[]
const stages = oneOf<RuleStage>(['socket', 'session', 'content'], { default: 'socket' })
const actions = oneOf(names)
const taken: Parser<unknown> & { absent: undefined } = {
  allowed: 'any value',
  absent: undefined,
  parse: (value) => value,
}

/** Which table a rule tracks in, and in which place; before the others are read, as they may ask for it. */
export function trackedBy(value: unknown): { table: StickTable; place: number } | undefined {
  const { action, table, place } = (value ?? {}) as { action?: unknown; table?: unknown; place?: unknown }
  const isPlace = place === undefined || place === 0 || place === 1 || place === 2
  if (action !== 'track' || !isPlace) return undefined
  try {
    return { table: tableParser.parse(table, ''), place: place ?? 0 }
  } catch {
    // Whoever reads the rule says what is wrong with it.
    return undefined
  }
}

/** A rule, as native code takes it. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, naming the part that is wrong. */
export function ruleOf(value: unknown, context: Omit<RuleContext, 'stage'>, option: string): NativeRule {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw expected('a rule, e.g. { action: "reject", when: { source: "10.0.0.0/8" } }', value, option)
  const given = (value as { action?: unknown }).action
  if (!names.includes(given as ActionName)) {
    const guess = typeof given === 'string' ? nearest(given, names) : undefined
    throw expected(actions.allowed, given, `${option}.action`, guess)
  }
  const action = given as ActionName
  const kind = kinds[action]
  const parsed = parse({ stage: stages, when: taken, action: actions, ...kind.shape }, value, [], option)
  const { stage, when, action: _, ...own } = parsed
  const within: RuleContext = { ...context, stage }
  return { stage, when: whenOf(when, within, `${option}.when`), action, ...kind.make(own, within, option) }
}
