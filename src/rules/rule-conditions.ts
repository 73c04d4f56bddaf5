import type { NativeCondition, NativeCounter } from '../native/binding.js'
import {
  anything,
  boolean,
  expected,
  integer,
  nearest,
  oneOf,
  optional,
  type Parser,
  parse,
  string,
} from '../options.js'
import { type CidrSet, cidrSetParser, oneOrMany } from './cidr-set.js'
import type { RuleStage } from './rule.js'
import { canBeKey, factParser } from './rule-facts.js'
import { type StickTable, tableParser } from './stick-table.js'
import { columnNames, counterNames, type TableCounter } from './table-columns.js'

/** What a condition is read with. */
export interface RuleContext {
  readonly stage: RuleStage
  /** The tables that rules of the list track in, by place. */
  readonly tracked: readonly ReadonlySet<StickTable>[]
  /** Every table that the list uses. */
  readonly tables: Set<StickTable>
  /** How deep in others the condition lies. */
  readonly depth?: number
}

const maxDepth = 32
const stageOrder: Readonly<Record<RuleStage, number>> = { socket: 0, session: 1, content: 2 }

/** Whether a stage knows what another one is the first to know. */
export function refuseEarly(from: RuleStage, stage: RuleStage, value: unknown, option: string): void {
  if (stageOrder[stage] >= stageOrder[from]) return
  throw expected(`absent: nobody knows it before the stage "${from}", and this rule is of "${stage}"`, value, option)
}

const text = string({ maxLength: 4096 })
const texts = oneOrMany(text)
const name = oneOrMany(string({ maxLength: 200 }))
export const bytesParser: Parser<string | Uint8Array> = {
  allowed: 'a non-empty string or Uint8Array',
  parse(value, option) {
    const isBytes = value instanceof Uint8Array
    if ((!isBytes && typeof value !== 'string') || value.length === 0 || value.length > 65_536)
      throw expected(this.allowed, value, option)
    // Of a view nobody knows what becomes.
    return isBytes ? Uint8Array.from(value) : (value as string)
  },
}
const anyBytes = oneOrMany(bytesParser)

const port: Parser<[number, number]> = {
  allowed: 'a port, or [first, last]',
  parse(value, option) {
    const one = integer({ min: 0, max: 65_535 })
    if (!Array.isArray(value)) {
      const only = one.parse(value, option)
      return [only, only]
    }
    if (value.length !== 2) throw expected(this.allowed, value, option)
    const [first, last] = value.map((item, i) => one.parse(item, `${option}[${i}]`)) as [number, number]
    if (first > last) throw expected('[first, last], the first being no larger', value, option)
    return [first, last]
  },
}

const labels = /^(\*?\.)?[^.*\s/]+(\.[^.*\s/]+)*$/
const pattern: Parser<string> = {
  allowed: 'a name, "*." and a name, or "." and a name',
  parse(value, option) {
    if (typeof value !== 'string' || value.length > 255 || !labels.test(value))
      throw expected(this.allowed, value, option)
    return value
  },
}

export const fingerprintParser: Parser<Uint8Array> = {
  allowed: 'the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons',
  parse(value, option) {
    const digits = typeof value === 'string' ? value.replaceAll(':', '') : ''
    if (!/^[0-9a-f]{64}$/i.test(digits)) throw expected(this.allowed, value, option)
    return Buffer.from(digits, 'hex')
  },
}

// ---- Counters

const comparisons = {
  above: 'greater',
  atLeast: 'greaterOrEqual',
  below: 'less',
  atMost: 'lessOrEqual',
  equals: 'equal',
  differs: 'notEqual',
} as const
const limit = optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER }))

export const placeParser = integer({ min: 0, max: 2, default: 0 })
export const counterShape = {
  counter: oneOf(counterNames),
  index: integer({ min: 0, max: 99, default: 0 }),
  place: optional(placeParser as Parser<number>),
  in: optional(tableParser),
  by: optional(factParser),
}
const comparisonShape = { above: limit, atLeast: limit, below: limit, atMost: limit, equals: limit, differs: limit }

interface ParsedCounter {
  counter: TableCounter
  index: number
  place: number | undefined
  in: StickTable | undefined
  by: { native: { fact: string }; from: RuleStage } | undefined
}

/** A counter, as native code takes it, if some table has it. */
export function counterOf(parsed: ParsedCounter, context: RuleContext, option: string): NativeCounter {
  const { counter, index, place, by } = parsed
  const column = { data: columnNames[counter], index }
  const table = parsed.in
  if (table === undefined) {
    if (by !== undefined) throw expected('absent without "in"', by.native.fact, `${option}.by`)
    const tables = context.tracked[place ?? 0]!
    if (tables.size === 0)
      throw expected(
        `one that a rule of this list tracks in: nothing is tracked in ${place ?? 0}`,
        place ?? 0,
        `${option}.place`,
      )
    if (![...tables].some((each) => has(each, column))) throw noColumn(parsed, option)
    return { ...column, place: place ?? 0 }
  }
  if (place !== undefined) throw expected('absent with "in"', place, `${option}.place`)
  if (!has(table, column)) throw noColumn(parsed, option)
  const fact = by ?? factParser.parse('source', `${option}.by`)
  refuseEarly(fact.from, context.stage, fact.native.fact, `${option}.by`)
  if (!canBeKey(fact.native, table.keyType))
    throw expected(`a fact that can be a key of that table (${table.keyType})`, fact.native.fact, `${option}.by`)
  context.tables.add(table)
  return { ...column, table: table.handle, key: fact.native }
}

function has(table: StickTable, { data, index }: { data: string; index: number }): boolean {
  return table.columns.some((each) => each.data === data && each.index === index)
}

function noColumn({ counter, index }: ParsedCounter, option: string): Error {
  const named = index === 0 ? counter : `${counter}[${index}]`
  return expected('a counter that the table stores', named, `${option}.counter`)
}

// ---- The kinds of conditions, by the field that tells them apart

interface Kind {
  /** The first stage that knows it. */
  readonly from?: RuleStage
  // biome-ignore lint/suspicious/noExplicitAny: a shape of parsers for whatever types
  readonly shape: Record<string, Parser<any>>
  // biome-ignore lint/suspicious/noExplicitAny: what its shape makes of the input
  make(parsed: any, context: RuleContext, option: string): NativeCondition
}

const not = (part: NativeCondition): NativeCondition => ({ kind: 'none', parts: [part] })
const isTrue = (kind: string) => (wanted: boolean) => (wanted ? { kind } : not({ kind }))

function network(fact: string): Kind {
  return {
    shape: { [fact]: cidrSetParser, value: optional(oneOrMany(string({ maxLength: 4096 }))) },
    make(parsed: { value?: string[] } & Record<string, CidrSet>) {
      const set = parsed[fact]!
      return { kind: 'network', fact, networks: set.handle, texts: parsed.value }
    },
  }
}

function ports(field: string, fact: string): Kind {
  return {
    shape: { [field]: port },
    make: (parsed: Record<string, [number, number]>) => {
      const [number, upTo] = parsed[field]!
      return { kind: 'port', fact, number, upTo }
    },
  }
}

function textual(field: string, of: Parser<(string | Uint8Array)[]>, from: RuleStage, kind = field): Kind {
  return {
    from,
    shape: { [field]: of },
    make: (parsed: Record<string, (string | Uint8Array)[]>) => ({ kind, texts: parsed[field]! }),
  }
}

// Parts are read with the context that they stand in, so not by their shape.
const raw = anything() as unknown as Parser<unknown>

const kinds: Readonly<Record<string, Kind>> = {
  all: {
    shape: { all: raw },
    make: ({ all }, context, option) => ({ kind: 'all', parts: list(all, context, `${option}.all`) }),
  },
  any: {
    shape: { any: raw },
    make: ({ any }, context, option) => ({ kind: 'any', parts: list(any, context, `${option}.any`) }),
  },
  not: {
    shape: { not: raw },
    make: (parsed, context, option) => not(conditionOf(parsed.not, context, `${option}.not`)),
  },
  source: network('source'),
  destination: network('destination'),
  peer: network('peer'),
  local: network('local'),
  sourcePort: ports('sourcePort', 'source'),
  destinationPort: ports('destinationPort', 'destination'),
  peerPort: ports('peerPort', 'peer'),
  localPort: ports('localPort', 'local'),
  proxied: { from: 'session', shape: { proxied: boolean() }, make: ({ proxied }) => isTrue('proxied')(proxied) },
  tlv: {
    from: 'session',
    shape: { tlv: integer({ min: 0, max: 255 }), is: optional(anyBytes) },
    make: ({ tlv, is }) => ({ kind: 'tlv', number: tlv, texts: is }),
  },
  tls: { from: 'session', shape: { tls: boolean() }, make: ({ tls }) => isTrue('tls')(tls) },
  serverName: textual('serverName', oneOrMany(pattern), 'session'),
  alpn: textual('alpn', texts, 'session'),
  clientCertificate: {
    from: 'session',
    shape: { clientCertificate: oneOf(['presented', 'verified', 'absent']) },
    make: ({ clientCertificate: wanted }) =>
      wanted === 'verified' ? { kind: 'certificateVerified' } : isTrue('certificatePresented')(wanted === 'presented'),
  },
  commonName: textual('commonName', texts, 'session'),
  fingerprint: textual('fingerprint', oneOrMany(fingerprintParser), 'session'),
  counter: {
    shape: { ...counterShape, ...comparisonShape },
    make(parsed: ParsedCounter & Record<keyof typeof comparisons, number | undefined>, context, option) {
      const given = Object.entries(comparisons).filter(
        ([name]) => parsed[name as keyof typeof comparisons] !== undefined,
      )
      if (given.length !== 1)
        throw expected(
          `compared by one of ${Object.keys(comparisons).join(', ')}`,
          given.map(([name]) => name),
          option,
        )
      const [[field, comparison]] = given as [[keyof typeof comparisons, string]]
      return { kind: 'counter', comparison, number: parsed[field]!, counter: counterOf(parsed, context, option) }
    },
  },
  contentStarts: textual('contentStarts', anyBytes, 'content'),
  contentContains: textual('contentContains', anyBytes, 'content'),
  contentBytes: {
    from: 'content',
    shape: { contentBytes: integer({ min: 1, max: 65_536 }) },
    make: ({ contentBytes }) => ({ kind: 'contentLength', number: contentBytes }),
  },
  tag: textual('tag', name, 'socket'),
  variable: {
    shape: { variable: string({ maxLength: 200 }), is: optional(texts) },
    make: ({ variable, is }) => ({ kind: 'variable', text: variable, texts: is }),
  },
}
const fields = Object.keys(kinds)

/** A condition, as native code takes it. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, naming the part that is wrong. */
export function conditionOf(value: unknown, context: RuleContext, option: string): NativeCondition {
  const depth = context.depth ?? 0
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw expected('a condition, e.g. { source: "10.0.0.0/8" }', value, option)
  const given = Object.keys(value).filter((key) => (value as Record<string, unknown>)[key] !== undefined)
  const [field, another] = given.filter((key) => Object.hasOwn(kinds, key))
  if (field === undefined)
    throw expected(`a condition: one of ${fields.join(', ')}`, value, option, given[0] && nearest(given[0], fields))
  if (another !== undefined) throw expected(`one condition; combine them by { all: […] }`, value, option)
  if (depth >= maxDepth) throw expected(`nested at most ${maxDepth} deep`, value, option)
  const kind = kinds[field]!
  refuseEarly(kind.from ?? 'socket', context.stage, (value as Record<string, unknown>)[field], `${option}.${field}`)
  return kind.make(parse(kind.shape, value, [], option), { ...context, depth: depth + 1 }, option)
}

function list(value: unknown, context: RuleContext, option: string): NativeCondition[] {
  if (!Array.isArray(value)) throw expected('a list of conditions', value, option)
  return value.map((item, i) => conditionOf(item, context, `${option}[${i}]`))
}

/** An optional condition of a rule. */
export function whenOf(value: unknown, context: RuleContext, option: string): NativeCondition {
  return value === undefined ? { kind: 'all' } : conditionOf(value, context, option)
}
