import type { NativeFact, NativeTableConfig } from '../native/binding.js'
import { expected, integer, oneOf, optional, type Parser, parse, string } from '../options.js'
import type { RuleFact, RuleStage } from './rule.js'

const names = oneOf([
  'source',
  'destination',
  'peer',
  'local',
  'localPort',
  'serverName',
  'alpn',
  'commonName',
  'fingerprint',
])
const shape = {
  tlv: optional(integer({ min: 0, max: 255 })),
  variable: optional(string({ maxLength: 200 })),
  text: optional(string({ maxLength: 4096 })),
}

/** A fact, checked. */
export interface ParsedFact {
  readonly native: NativeFact
  /** The first stage that knows it. */
  readonly from: RuleStage
}

const ofSession: ReadonlySet<string> = new Set(['serverName', 'alpn', 'commonName', 'fingerprint', 'tlv'])

export const factParser: Parser<ParsedFact> = {
  allowed: `${names.allowed}, or one of { tlv: type }, { variable: name }, { text }`,
  parse(value, option) {
    if (typeof value !== 'object' || value === null) {
      if (typeof value !== 'string') throw expected(this.allowed, value, option)
      return known({ fact: names.parse(value, option) })
    }
    const { tlv, variable, text } = parse(shape, value as RuleFact, [], option)
    if ([tlv, variable, text].filter((each) => each !== undefined).length !== 1)
      throw expected(this.allowed, value, option)
    if (tlv !== undefined) return known({ fact: 'tlv', number: tlv })
    return known(variable === undefined ? { fact: 'constant', text: text! } : { fact: 'variable', text: variable })
  },
}

function known(native: NativeFact): ParsedFact {
  return { native, from: ofSession.has(native.fact) ? 'session' : 'socket' }
}

const addresses: ReadonlySet<string> = new Set(['source', 'destination', 'peer', 'local'])

/** Whether a table of such keys can have one of that fact at all. */
export function canBeKey(fact: NativeFact, keyType: NativeTableConfig['keyType'] | undefined): boolean {
  switch (keyType) {
    case 'integer':
      return !addresses.has(fact.fact) && fact.fact !== 'fingerprint'
    case 'ip':
    case 'ipv4':
    case 'ipv6':
    case 'prefix':
      return fact.fact !== 'localPort' && fact.fact !== 'fingerprint' && fact.fact !== 'alpn'
    default:
      return true
  }
}
