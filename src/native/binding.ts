// Loads the addon and declares everything it exports. No other file knows that it exists.
import { join } from 'node:path'
import { type NativeFailure, type NativeTlsFailure, SluiceError } from '../errors.js'
import type { ResolvedAddress } from '../resolve.js'

/** An IP endpoint, or the path of a Unix socket (empty when the socket has no name). */
export type NativeAddress =
  | { address: string; port: number; family: 'IPv4' | 'IPv6'; path?: undefined }
  | { path: string; address?: undefined; port?: undefined; family?: undefined }

export interface NativeEngineInfo {
  name: string
  available: boolean
  reason: string
  features: NativeEngineFeatures
}

export interface NativeEngineFeatures {
  wakeStyle: 'descriptor' | 'thread' | 'virtual time'
  virtualClock: boolean
  batchedSubmission: boolean
  multishotAccept: boolean
  multishotReceive: boolean
  incrementalBuffers: boolean
  limitedReceives: boolean
  unixSockets: boolean
  sendsFiles: boolean
}

/** Bytes per tick; a direction without a rate has no limit. */
export interface NativeRateLimit {
  readRate?: number
  readBurst?: number
  writeRate?: number
  writeBurst?: number
  tickMs: number
}

/** Handles; opaque. */
export type NativeRateGroup = object
export type NativeRateGroupMap = object

/** How a connection stands; a level or allowance without a limit is the largest number of native code. */
export interface NativeRateStanding {
  readLevel: number
  writeLevel: number
  maxToRead: number
  maxToWrite: number
  readHeldByLimit: boolean
  readHeldByGroup: boolean
  writeHeldByLimit: boolean
  writeHeldByGroup: boolean
}

export interface NativeRateGroupStats {
  members: number
  readLevel: number
  writeLevel: number
  totalRead: number
  totalWritten: number
  readPerSecond: number
  writtenPerSecond: number
  waitingToRead: number
  waitingToWrite: number
  /** 1 while members are served in turn. */
  readScarce: number
  writeScarce: number
  tick: number
  refills: number
  minShare: number
}

/** One step of an opening; `kind` and fields as native/binding/opening_values.cc reads them. */
export type NativeStep =
  | ({ kind: 'acceptProxy'; version1: boolean; version2: boolean } & NativeHeaderSources & NativeProxyLimits)
  | ({ kind: 'acceptNetscaler'; magic: number } & NativeHeaderSources)
  | { kind: 'monitor'; networks: NativeNetworks | undefined; answer: 'plain' | 'http' | 'none' }
  | { kind: 'sniff'; allowPlain: boolean; plainAfterMs: number }
  | { kind: 'script'; name: string; number: number; maxBytes: number }
  | ({ kind: 'socks' } & NativeSocksRequest)
  | { kind: 'sendProxy'; header: NativeProxySend }
  | { kind: 'rules'; rules: NativeRuleList; stage: 'socket' | 'session' | 'content' }

/** Texts, or a set that may be exchanged. */
export type NativeNetworks = string[] | NativeCidrSet

interface NativeHeaderSources {
  from: NativeNetworks | undefined
  byRule: boolean
}

interface NativeProxyLimits {
  maxHeaderBytes: number
  maxTlvBytes: number
}

/** '' for none. */
export interface NativeSocksRequest {
  version: 4 | 5
  host: string
  port: number
  user: string
  password: string
}

/** The steps of a listener or connect(): OpeningPlan in native/net/opening.h. */
export interface NativeOpening {
  steps: NativeStep[]
  /** Behind TLS. */
  sessionSteps: NativeStep[]
  timeoutMs: number
  /** Of connect(): startTls() follows, under the same bound. */
  connectsTls: boolean
}

/** What rules have left on a connection. */
export interface NativeRuleMarks {
  tags: string[]
  variables: Record<string, string>
  source?: { address: string; port: number }
  destination?: { address: string; port: number }
}

/** What a rule has said; texts are '' where there is nothing. */
export interface NativeRuleLogEntry {
  rule: number
  stage: 'socket' | 'session' | 'content'
  text: string
  value: string
  source: string
}

/** Everything of openings that is no connection. */
export interface NativeOpenings {
  /** What the failure of this number was; step and address are '' when too many have followed. */
  takeFailure(number: number): {
    reason: string
    meaning: string
    text: string
    step: string
    address: string
    port: number
  }
  /** What a rule has said, by the number of an event; undefined when too much has followed. */
  takeRuleLog(number: number): (NativeRuleLogEntry & { address: string; port: number }) | undefined
  reasons(): string[]
  /** Undefined for a network; otherwise which one may be meant, or ''. */
  checkNetwork(text: string): string | undefined
  /** Undefined for what can be asked for; otherwise the field to blame. */
  checkSocks(request: NativeSocksRequest): string | undefined
}

/** What a new connection starts with; times in milliseconds, 0 for none. */
export interface NativeConnectionConfig {
  opening?: NativeOpening | undefined
  rateLimit?: NativeRateLimit
  rateGroup?: NativeRateGroup
  rateGroups?: NativeRateGroupMap
  /** Reads nothing before setRateGroup(). */
  rateGroupFollows?: boolean
  readTimeoutMs: number
  writeTimeoutMs: number
  halfClosedTimeoutMs: number
  lowWaterBytes: number
  maxReadBytes: number
  maxWriteBytes: number
  startPaused: boolean
}

export type NativeSocketOptions = Array<[number, number | string]>
/** A gate's handle; opaque. */
export type NativeGate = object

export interface NativeChannelOptions {
  engine: string
  threaded: boolean
  frames: number
  slab: Uint8Array
  events: Int32Array
  ops: Int32Array
  out: Uint8Array
  taken: Int32Array
  control: Int32Array
  references: (Uint8Array | Float64Array | undefined)[]
  batch: (first: number, count: number) => void
  /** Of the slab, the engine's; the rest is for what layers make of received bytes. */
  receiveBytes: number
  /** Threads for handshakes; 0 for none. */
  handshakeThreads: number
  receiveChunkBytes: number
  receiveTurnBytes: number
  acceptTurnCount: number
  sim?: Record<string, number>
}

export interface NativeListenOptions extends NativeConnectionConfig {
  key: number
  fd?: number
  host?: string
  port?: number
  path?: string
  backlog: number
  ipv6Only: boolean
  reusePort: boolean
  shared: boolean
  options: NativeSocketOptions
  gates: NativeGate[]
  tls?: NativeTlsConfig
}

export interface NativeConnectOptions extends NativeConnectionConfig {
  host?: string
  port?: number
  path?: string
  localAddress?: string
  localPort?: number
  options: NativeSocketOptions
  connectTimeoutMs: number
}

/** Handles of shared native objects; opaque. */
export type NativeTlsContext = object & { readonly tlsContext?: never }
export type NativeTicketKeys = object & { readonly ticketKeys?: never }
export type NativeClientSessions = object & { readonly clientSessions?: never }

/** PEM text, or the bytes of PEM or DER. */
export type NativePem = string | Uint8Array

/** Who serves clients that no name of a table is for: nobody, another context, or the one that has the table. */
export interface NativeTlsFallback {
  refuse: boolean
  context: NativeTlsContext | undefined
  entry: number
}
export interface NativeTlsFallbacks {
  unknown: NativeTlsFallback
  nameless: NativeTlsFallback
}

/** A policy, complete; fields are those of TlsOptions in native/tls/options.h. */
export interface NativeTlsOptions {
  keys: { certificate: NativePem; key: NativePem; passphrase: string }[]
  pfx: { data: Uint8Array; passphrase: string }[]
  ca: NativePem[]
  systemTrust: boolean
  crls: NativePem[]
  rejectUnauthorized: boolean
  /** 0 none, 1 request, 2 require. */
  clientAuth: number
  verifyDepth: number
  /** 0 for TLS 1.0 to 3 for TLS 1.3. */
  minVersion: number
  maxVersion: number
  ciphers: string
  cipherSuites: string
  groups: string
  signatureAlgorithms: string
  securityLevel: number
  honorCipherOrder: boolean
  alpn: string[]
  tickets: boolean
  ticketKeys: NativeTicketKeys | undefined
  ticketCount: number
  sessionTimeoutS: number
  sessionCacheCount: number
  caNames: boolean
  sessionIdContext: string
  clientSessions: NativeClientSessions | undefined
  ocspResponse: Uint8Array | undefined
  requestOcsp: boolean
  psks: { identity: string; key: Uint8Array }[]
  pskHint: string
  allowRenegotiation: boolean
  maxRenegotiationsPerMinute: number
  maxKeyUpdatesPerSecond: number
  maxEmptyRecordsPerSecond: number
  maxHandshakeBytes: number
  dynamicRecordSize: boolean
  /** A path to append to, or a function for lines. */
  keylog: string | ((line: string) => void) | undefined
}

/** What a listener, connect() or startTls() needs to know of TLS: TlsConfig in native/net/tls_config.h. */
export interface NativeTlsConfig {
  context: NativeTlsContext
  serverName: string
  verifyName: string
  checkCommonName: boolean
  /** Replaces that of the context, unless empty. */
  alpn: string[]
  sessionKey: string
  session: Uint8Array | undefined
  handshakeTimeoutMs: number
  maxHandshakes: number
  maxHandshakesWaiting: number
  maxHandshakesPerSecond: number
  allowTruncation: boolean
  discardPlaintext: boolean
}

/** TlsInfo in native/tls/session.h; '' means "none". */
export interface NativeTlsInfo {
  protocol: string
  cipher: string
  cipherStandard: string
  group: string
  alpn: string
  serverName: string
  pskIdentity: string
  resumed: boolean
  hasPeerCertificate: boolean
  /** Of a SniPolicy; 0 for none. */
  entry: number
  /** Present when the peer's certificate did not verify. */
  verifyFailure?: NativeTlsFailure
}

/** CertificateRequest in native/tls/certificate.h. */
export interface NativeCertificateRequest {
  names: string[]
  commonName: string
  keyType: number
  notBeforeS: number
  days: number
  authority: boolean
  purpose: string
  issuerCertificate: NativePem
  issuerKey: NativePem
}

export interface NativeCertificate {
  subject: string
  issuer: string
  subjectCommonName: string
  dnsNames: string[]
  ipAddresses: string[]
  uris: string[]
  emails: string[]
  serialNumber: string
  notBeforeS: number
  notAfterS: number
  fingerprint: string
  fingerprint256: string
  fingerprint512: string
  keyType: string
  keyBits: number
  signatureAlgorithm: string
  isAuthority: boolean
  der: Buffer
}

/** Everything of TLS that is no connection. Nothing but check() may be called before check() has answered undefined. */
export interface NativeTls {
  check(): NativeTlsFailure | undefined
  features(): { version: string; hasMlKem: boolean }
  failureNames(): string[]
  createContext(isServer: boolean, options: NativeTlsOptions): NativeTlsContext | NativeTlsFailure
  reloadContext(context: NativeTlsContext, options: NativeTlsOptions): NativeTlsFailure | undefined
  setServerNames(
    context: NativeTlsContext,
    names: { pattern: string; context: NativeTlsContext; entry: number }[],
    fallbacks: NativeTlsFallbacks,
  ): NativeTlsFailure | undefined
  /** The entry that serves who asks for this name; 0 for the context itself, -1 for nobody. */
  chooseServerName(context: NativeTlsContext, name: string): number
  contextTicketKeys(context: NativeTlsContext): NativeTicketKeys | undefined
  createTicketKeys(): NativeTicketKeys | NativeTlsFailure
  setTicketKeys(keys: NativeTicketKeys, list: Uint8Array[], encryptIndex: number): NativeTlsFailure | undefined
  rotateTicketKeys(keys: NativeTicketKeys, keep: number): Buffer | NativeTlsFailure
  ticketKeyList(keys: NativeTicketKeys): { keys: Buffer[]; encryptIndex: number }
  /** A number by which other threads of the process find them. */
  shareTicketKeys(keys: NativeTicketKeys): number
  findTicketKeys(shared: number): NativeTicketKeys | undefined
  createClientSessions(maxKeys: number): NativeClientSessions
  clientSessionsSize(sessions: NativeClientSessions): number
  clearClientSessions(sessions: NativeClientSessions): void
  createCertificate(request: NativeCertificateRequest): { cert: string; key: string } | NativeTlsFailure
  createCrl(
    authority: { cert: NativePem; key: NativePem },
    revoked: NativePem[],
    days: number,
  ): string | NativeTlsFailure
  parseCertificate(pemOrDer: NativePem): NativeCertificate | NativeTlsFailure
  splitCertificates(pemOrDer: NativePem): Buffer[] | NativeTlsFailure
}

/** ProxyHeader in native/handshake/proxy_header.h. */
export interface NativeProxyHeader {
  version: 1 | 2
  local: boolean
  /** 0 unknown, 1 IPv4, 2 IPv6, 3 Unix. */
  family: number
  /** 0 unknown, 1 stream, 2 datagrams. */
  transport: number
  hasAddresses: boolean
  source?: NativeAddress
  destination?: NativeAddress
  raw: Buffer
  /** Type, offset in `raw` and length, of one after another. */
  tlvs: number[]
}

/** ProxySsl likewise; '' for what is not told. */
export interface NativeProxySsl {
  client: number
  verify: number
  version: string
  commonName: string
  cipher: string
  certificateSignature: string
  keyAlgorithm: string
  group: string
  signatureScheme: string
  certificate: Buffer | undefined
}

/** What is to be sent in a header: ProxySend in native/binding/proxy_values.h. */
export interface NativeProxySend {
  version: 1 | 2
  local: boolean
  crc32c: boolean
  source: NativeAddress | undefined
  destination: NativeAddress | undefined
  tlvs: { type: number; value: Uint8Array }[]
  alpn: string | undefined
  authority: string | undefined
  uniqueId: string | Uint8Array | undefined
  netns: string | undefined
  ssl: NativeProxySsl | undefined
}

/** PROXY headers as such; connections have their own ways. */
export interface NativeProxy {
  /** Undefined while bytes are missing. */
  parse(
    bytes: Uint8Array,
    maxHeaderBytes: number,
    maxTlvBytes: number,
  ): { header: NativeProxyHeader; consumed: number } | { reason: string; text: string } | undefined
  /** The parts of an `ssl` TLV; undefined when it is malformed. */
  decodeSsl(value: Uint8Array): NativeProxySsl | undefined
  write(send: NativeProxySend): Buffer | NativeFailure
}

/** One loop. Everything but start() and flush() is for rare use: each call waits for the loop's thread. */
export interface NativeChannel {
  /** The engine's name. */
  start(options: NativeChannelOptions): string | NativeFailure
  /** Hands over the staged operations; only outside a turn, where native code takes them by itself. */
  flush(): void
  listen(options: NativeListenOptions): NativeAddress | NativeFailure
  listenerFd(key: number): number
  /** -1 for one that is gone, or no socket of the system's. */
  connectionFd(slot: number, tag: number): number
  listenerStats(key: number): {
    accepted: number
    acceptFailures: number
    handshakesDone: number
    handshakesFailed: number
    handshakesUnderWay: number
    handshakesWaiting: number
    turnedAway: Record<string, number>
    state: 'accepting' | 'waiting' | 'backingOff'
  }
  closeListener(key: number): void
  connect(options: NativeConnectOptions): { slot: number; tag: number } | NativeFailure
  pair(
    options: { bufferBytes: number; endOnDestroy: boolean },
    first: NativeConnectionConfig,
    second: NativeConnectionConfig,
  ): { slot: number; tag: number }[] | NativeFailure
  adopt(options: NativeConnectionConfig & { fd: number }): { slot: number; tag: number } | NativeFailure
  /** Begins TLS over what the connection is now; `securing` follows at once. */
  startTls(slot: number, tag: number, tls: NativeTlsConfig): NativeFailure | NativeTlsFailure | undefined
  tlsInfo(slot: number, tag: number): NativeTlsInfo | undefined
  tlsExport(
    slot: number,
    tag: number,
    label: string,
    lengthBytes: number,
    context: Uint8Array | undefined,
  ): Buffer | NativeTlsFailure
  tlsBinding(slot: number, tag: number, kind: string): Buffer | NativeTlsFailure
  tlsSession(slot: number, tag: number): Buffer | undefined
  tlsPeerCertificates(slot: number, tag: number): Buffer[]
  tlsOwnCertificate(slot: number, tag: number): Buffer | undefined
  tlsOcspResponse(slot: number, tag: number): Buffer | undefined
  setLowWater(slot: number, tag: number, bytes: number): void
  /** Joins two connections; per connection what may wait for it, and when there is room again. The relay's number. */
  relay(
    firstSlot: number,
    firstTag: number,
    secondSlot: number,
    secondTag: number,
    firstHighWaterBytes: number,
    firstLowWaterBytes: number,
    secondHighWaterBytes: number,
    secondLowWaterBytes: number,
    tunnelTimeoutMs: number,
    finTimeoutMs: number,
  ): number | NativeFailure
  /** Bytes of the first and of the second; undefined once both are closed. */
  relayNumbers(relay: number): [number, number] | undefined
  setOperationBounds(slot: number, tag: number, readBytes: number, writeBytes: number): void
  setTimeouts(slot: number, tag: number, readMs: number, writeMs: number, halfClosedMs: number): void
  setRateLimit(slot: number, tag: number, limit: NativeRateLimit | undefined): void
  setRateGroup(slot: number, tag: number, group: NativeRateGroup | undefined): void
  /** Direction 0 is reading, 1 writing. False without a limit of its own. */
  debitRate(slot: number, tag: number, direction: 0 | 1, bytes: number): boolean
  /** Undefined once it is gone. */
  rateStanding(slot: number, tag: number): NativeRateStanding | undefined
  setOptions(slot: number, tag: number, options: { options: NativeSocketOptions }): NativeFailure | undefined
  tcpInfo(slot: number, tag: number): Record<string, number> | NativeFailure
  endpoints(slot: number, tag: number): { local?: NativeAddress; remote?: NativeAddress }
  /** What a step has read; undefined when there was none. */
  proxyHeader(slot: number, tag: number): NativeProxyHeader | undefined
  /** What rules have left; undefined when nothing. */
  ruleMarks(slot: number, tag: number): NativeRuleMarks | undefined
  connectionStats(slot: number, tag: number): { bytesRead: number; bytesWritten: number; queuedBytes: number }
  stats(): Record<string, number>
  nowMs(): number
  destroyAll(): void
  reference(alive: boolean): void
  close(): void
}

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
  /** Of setSource and setDestination. */
  ipv4Bits?: number
  ipv6Bits?: number
  /** Of log: whether there is a value. */
  says?: boolean
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
  marks: NativeRuleMarks
  log: NativeRuleLogEntry[]
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

/** Whether native code found a network that is none. */
export function isWrongNetwork(answer: NativeCidrSet | NativeWrongNetwork): answer is NativeWrongNetwork {
  return 'part' in answer
}

interface NativeBinding {
  cidrSets: NativeCidrSets
  stickTables: NativeStickTables
  ruleLists: NativeRuleLists
  Channel: new () => NativeChannel
  engines(): NativeEngineInfo[]
  createGate(maxConnections: number, maxConnectionsPerSecond: number, sharers: number): NativeGate
  // Rate groups belong to no loop. `nowMs` is left out where the system's clock counts.
  createRateGroup(limit: NativeRateLimit, minShare: number, parent: NativeRateGroup | undefined): NativeRateGroup
  restartRateGroupClock(group: NativeRateGroup, nowMs: number): void
  configureRateGroup(group: NativeRateGroup, limit: NativeRateLimit, minShare: number, nowMs: number | undefined): void
  debitRateGroup(group: NativeRateGroup, direction: 0 | 1, bytes: number, nowMs: number | undefined): void
  rateGroupStats(group: NativeRateGroup, nowMs: number | undefined): NativeRateGroupStats
  resetRateGroupTotals(group: NativeRateGroup): void
  dissolveRateGroup(group: NativeRateGroup): void
  createRateGroupMap(limit: NativeRateLimit, minShare: number, parent: NativeRateGroup | undefined): NativeRateGroupMap
  rateGroupOfMap(map: NativeRateGroupMap, key: string, nowMs: number | undefined): NativeRateGroup
  configureRateGroupMap(
    ...args: [map: NativeRateGroupMap, limit: NativeRateLimit, minShare: number, nowMs: number | undefined]
  ): void
  rateGroupMapSize(map: NativeRateGroupMap, nowMs: number | undefined): number
  resolve(
    host: string,
    family: 0 | 4 | 6,
    callback: (failure: NativeFailure | null, addresses: ResolvedAddress[]) => void,
  ): () => void
  /** What the failure of this number was; undefined when too many have followed. */
  takeTlsFailure(number: number): (NativeTlsFailure & { address: string; port: number }) | undefined
  syscallName(index: number): string
  errorName(code: number): string
  errorNames(): string[]
  duplicateFd(fd: number): number | NativeFailure
  passDescriptors(socket: number, descriptors: readonly number[], text: string): NativeFailure | undefined
  /** Waits for them, and holds up all else meanwhile. */
  takeDescriptors(
    path: string,
    timeoutMs: number,
  ): { socket: number; descriptors: number[]; text: string } | NativeFailure
  closeDescriptor(descriptor: number): void
  recordNumbers(): Record<string, number>
  opening: NativeOpenings
  tls: NativeTls
  proxy: NativeProxy
}

/** Whether native code answered with a failure instead of what was asked for. */
export function isFailure(answer: unknown): answer is NativeFailure {
  return typeof answer === 'object' && answer !== null && 'codeName' in answer
}

/** Whether native code refused a PROXY header. */
export function isProxyRefusal<T extends object>(
  answer: T | { reason: string; text: string },
): answer is { reason: string; text: string } {
  return 'reason' in answer
}

/** node-gyp-build takes build/Release first, then the prebuilt addon for this platform and libc. */
function load(folder: string): NativeBinding {
  try {
    return require('node-gyp-build')(folder)
  } catch (cause) {
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split('\n')
    throw new SluiceError('ADDON_NOT_LOADED', {
      detail: [
        `no addon could be loaded for ${process.platform}-${process.arch}, Node ${process.versions.node}: ${reason}`,
        'Prebuilt ones are for Linux (glibc 2.28 and newer, musl) and macOS 11 and newer, on x64 and arm64.',
        `To build it, with a C++20 compiler, make and Python 3: npm install node-addon-api && npx node-gyp rebuild -C ${folder}`,
        'On a musl system other than Alpine, set LIBC=musl in the environment.',
      ].join('\n'),
      cause,
    })
  }
}

export const native = load(join(__dirname, '..', '..'))
