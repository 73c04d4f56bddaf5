// Rules, sets of networks and stick tables: native/rules/ as the addon shows it.

/** Handles of shared native objects; opaque. */
export type NativeCidrSet = object & { readonly cidrSet?: never }
export type NativeStickTable = object & { readonly stickTable?: never }
export type NativeTracked = object & { readonly tracked?: never }
export type NativeRuleList = object & { readonly ruleList?: never }

/** Which network of a list is none, and what may be meant, or ''. */
export interface NativeWrongNetwork {
  index: number
  part: 'address' | 'bits' | 'hostBits'
  meant: string
}

export interface NativeCidrSets {
  create(networks: string[], values: string[] | undefined): NativeCidrSet | NativeWrongNetwork
  replace(set: NativeCidrSet, networks: string[], values: string[] | undefined): NativeWrongNetwork | undefined
  /** Null for what is no address. */
  find(set: NativeCidrSet, address: string): { network: string; value: string } | undefined | null
  has(set: NativeCidrSet, address: string): boolean | null
  size(set: NativeCidrSet): number
  entries(set: NativeCidrSet): { network: string; value: string }[]
  share(set: NativeCidrSet): number
  fromShared(number: number): NativeCidrSet | undefined
}

/** `data` is HAProxy's name, e.g. "conn_cnt". */
export interface NativeColumn {
  data: string
  index: number
}

export interface NativeStoredColumn {
  data: string
  count: number
  periodMs: number
}

export interface NativeTableConfig {
  keyType: 'ip' | 'ipv4' | 'ipv6' | 'prefix' | 'integer' | 'string' | 'binary'
  ipv4Bits: number
  ipv6Bits: number
  keyBytes: number
  size: number
  expireMs: number
  noPurge: boolean
  columns: NativeStoredColumn[]
}

export interface NativeTableRow {
  key: string | number | Buffer
  /** One per column. */
  values: number[]
  references: number
  idleMs: number
  expiresInMs?: number
}

export type NativeTableKey = string | number | Uint8Array

/** Where `nowMs` is undefined the system's clock counts. Null: that is no key of this table. */
export interface NativeStickTables {
  create(config: NativeTableConfig): NativeStickTable
  columns(table: NativeStickTable): NativeColumn[]
  facts(table: NativeStickTable): { size: number; keyType: NativeTableConfig['keyType'] }
  row(table: NativeStickTable, key: NativeTableKey, nowMs: number | undefined): NativeTableRow | undefined | null
  /** About `atLeast` rows from the cursor on, which is 0 at first and -1 at the end. */
  rows(
    table: NativeStickTable,
    cursor: number,
    atLeast: number,
    nowMs: number | undefined,
  ): { rows: NativeTableRow[]; cursor: number }
  /** False when it is full. */
  set(
    table: NativeStickTable,
    key: NativeTableKey,
    changes: (NativeColumn & { value: number })[],
    nowMs: number | undefined,
  ): boolean | null
  remove(table: NativeStickTable, key: NativeTableKey, nowMs: number | undefined): boolean | null
  clear(table: NativeStickTable, nowMs: number | undefined): number
  stats(
    table: NativeStickTable,
    nowMs: number | undefined,
  ): { entries: number; referenced: number; tracked: number; untracked: number; purged: number; expired: number }
  /** Undefined when it is full. */
  track(table: NativeStickTable, key: NativeTableKey, nowMs: number | undefined): NativeTracked | undefined | null
  count(tracked: NativeTracked, amounts: (NativeColumn & { value: number })[], nowMs: number | undefined): void
  release(tracked: NativeTracked): void
  snapshot(table: NativeStickTable, wallMs: number, note: string, nowMs: number | undefined): Buffer
  /** How many entries; -1: damaged, -2: of a later version or another kind of key. So with applyChanges(). */
  restore(
    table: NativeStickTable,
    bytes: Uint8Array,
    wallMs: number,
    nowMs: number | undefined,
  ): { count: number; note: string }
  startExchange(table: NativeStickTable): void
  stopExchange(table: NativeStickTable): void
  /** Empty when nothing has changed. */
  takeChanges(table: NativeStickTable, maxBytes: number): Buffer
  applyChanges(table: NativeStickTable, bytes: Uint8Array, ageMs: number, nowMs: number | undefined): number
  share(table: NativeStickTable): number
  fromShared(number: number): NativeStickTable | undefined
}

/** FactSpec of native/rules/rule_spec.h, and so on. */
export interface NativeFact {
  fact: string
  number?: number
  text?: string
}

export interface NativeCounter extends NativeColumn {
  place?: number
  table?: NativeStickTable
  key?: NativeFact
}

export interface NativeCondition {
  kind: string
  parts?: NativeCondition[]
  networks?: NativeCidrSet
  fact?: string
  text?: string
  texts?: (string | Uint8Array)[]
  number?: number
  upTo?: number
  comparison?: string
  counter?: NativeCounter
}

export interface NativeRule {
  stage: 'socket' | 'session' | 'content'
  when: NativeCondition
  action: string
  number?: number
  text?: string
  value?: NativeFact
  counter?: NativeCounter
}

/** A connection that rules are asked about without there being one. */
export interface NativeRuleFacts {
  peer: string
  peerPort: number
  local: string
  localPort: number
  source?: string
  sourcePort: number
  destination: string
  destinationPort: number
  proxyVersion: number
  tlvs: Uint8Array
  tls: boolean
  serverName: string
  alpn: string
  presented: boolean
  verified: boolean
  commonName: string
  fingerprint: Uint8Array
  content: string | Uint8Array
  contentComplete: boolean
  nowMs: number | undefined
}

export interface NativeRuleVerdict {
  action: 'accept' | 'reject' | 'silentDrop' | 'undecided'
  stage: 'socket' | 'session' | 'content'
  /** -1 for the default. */
  rule: number
  delayMs: number
  expectProxy: boolean
  marks: { tags: string[]; variables: Record<string, string> }
}

export interface NativeRuleLists {
  rehearse(list: NativeRuleList, facts: NativeRuleFacts): NativeRuleVerdict
  create(rules: NativeRule[], inspectDelayMs: number): NativeRuleList
  replace(list: NativeRuleList, rules: NativeRule[], inspectDelayMs: number): void
  /** How often each rule has been carried out. */
  hits(list: NativeRuleList): number[]
  share(list: NativeRuleList): number
  fromShared(number: number): NativeRuleList | undefined
}
