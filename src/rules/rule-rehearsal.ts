import type { RuleLogEntry, RuleMarks } from '../connection-facts.js'
import type { NativeRuleFacts, NativeRuleLogEntry, NativeRuleVerdict } from '../native/binding.js'
import {
  boolean,
  expected,
  integer,
  nested,
  type OptionalParser,
  oneOf,
  optional,
  parse,
  type Shape,
  string,
  withDefault,
} from '../options.js'
import { addressParser } from './cidr-set.js'
import type { RuleStage } from './rule.js'
import { bytesParser, fingerprintParser } from './rule-conditions.js'

/** A connection to ask rules about, without there being one. What is left out the connection does not have. */
export interface RehearsedConnection {
  /** Address of the socket's other end. Default `'127.0.0.1'`. */
  peer?: string
  /** Its port. Default 0. */
  peerPort?: number
  /** Address of our end. Default `'127.0.0.1'`. */
  local?: string
  /** Its port. Default 0. */
  localPort?: number
  /** A PROXY header that came. */
  proxy?: {
    /** 1 or 2. Default 2. */
    version?: 1 | 2
    /** Whom it names as the client. Default: nobody, as with `LOCAL`. */
    source?: { address: string; port?: number }
    /** Whom it names as the server. Default: `source`'s address. */
    destination?: { address: string; port?: number }
    /** Its TLVs, in their order. */
    tlvs?: readonly { type: number; value: string | Uint8Array }[]
  }
  /** What TLS has found out. Default: no TLS. */
  tls?: {
    /** The name that the client asked for. */
    serverName?: string
    /** The protocol that was agreed on. */
    alpn?: string
    /** The client's certificate. */
    certificate?: { verified: boolean; commonName?: string; fingerprint?: string }
  }
  /** First bytes of the application. */
  content?: string | Uint8Array
  /** No more content will come. Default false. */
  contentComplete?: boolean
}

/** What becomes of a connection. */
export interface RuleVerdict extends RuleMarks {
  /** `'undecided'`: rules of the stage `'content'` wait for more. */
  action: 'accept' | 'reject' | 'silentDrop' | 'undecided'
  /** The stage that it came to. */
  stage: RuleStage
  /** Which rule said so, or waits; undefined for the default, which is to accept. */
  rule: number | undefined
  /** How long it is held altogether. */
  delayMs: number
  /** Whether a PROXY header is asked for. */
  expectProxy: boolean
  /** What rules have said. */
  log: RuleLogEntry[]
}

const port = integer({ min: 0, max: 65_535, default: 0 })
const endpoint = nested({ address: addressParser, port })
const tlvShape = { type: integer({ min: 0, max: 255 }), value: bytesParser } satisfies Shape<{
  type: number
  value: string | Uint8Array
}>
const tlvs: OptionalParser<Buffer> = {
  allowed: 'a list of TLVs, each { type, value }',
  absent: Buffer.alloc(0),
  parse(value, option) {
    if (!Array.isArray(value)) throw expected(this.allowed, value, option)
    const parts = value.map((item, i) => {
      const { type, value: content } = parse(tlvShape, item, [], `${option}[${i}]`)
      const bytes = Buffer.from(content as Uint8Array)
      return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 255]), bytes])
    })
    return Buffer.concat(parts)
  },
}
const certificateShape = {
  verified: boolean(),
  commonName: optional(string()),
  fingerprint: optional(fingerprintParser),
}
const shape = {
  peer: withDefault(addressParser, '127.0.0.1'),
  peerPort: port,
  local: withDefault(addressParser, '127.0.0.1'),
  localPort: port,
  proxy: optional(
    nested({
      version: oneOf([1, 2], { default: 2 }),
      source: optional(endpoint),
      destination: optional(endpoint),
      tlvs,
    }),
  ),
  tls: optional(
    nested({
      serverName: optional(string()),
      alpn: optional(string()),
      certificate: optional(nested(certificateShape)),
    }),
  ),
  content: optional(bytesParser),
  contentComplete: boolean({ default: false }),
}
const checkedShape: Readonly<Record<keyof RehearsedConnection, unknown>> = shape
void checkedShape

/** A connection, as native code takes it. */
export function factsOf(connection: unknown, nowMs: number | undefined): NativeRuleFacts {
  const { peer, peerPort, local, localPort, proxy, tls, content, contentComplete } = parse(shape, connection)
  const source = proxy?.source
  const destination = proxy?.destination ?? source
  const certificate = tls?.certificate
  return {
    ...{ peer, peerPort, local, localPort },
    ...{ source: source?.address, sourcePort: source?.port ?? 0 },
    ...{ destination: destination?.address ?? '', destinationPort: destination?.port ?? 0 },
    ...{ proxyVersion: proxy?.version ?? 0, tlvs: proxy?.tlvs ?? Buffer.alloc(0) },
    ...{ tls: tls !== undefined, serverName: tls?.serverName ?? '', alpn: tls?.alpn ?? '' },
    ...{ presented: certificate !== undefined, verified: certificate?.verified ?? false },
    ...{ commonName: certificate?.commonName ?? '', fingerprint: certificate?.fingerprint ?? Buffer.alloc(0) },
    ...{ content: content ?? '', contentComplete, nowMs },
  }
}

/** And what it answers. */
export function verdictOf({ rule, marks, log, ...verdict }: NativeRuleVerdict): RuleVerdict {
  return { ...verdict, ...marks, rule: rule < 0 ? undefined : rule, log: log.map(ruleLogEntry) }
}

/** What a rule has said, for those who hear it. */
export function ruleLogEntry({ value, source, ...rest }: NativeRuleLogEntry & { address?: string }): RuleLogEntry {
  return { ...rest, ...(value === '' ? {} : { value }), ...(source === '' ? {} : { source }) }
}
