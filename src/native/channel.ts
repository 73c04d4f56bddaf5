import type { NativeFailure, NativeTlsFailure } from '../errors.js'
import type { NativeAddress } from './address.js'
import type { NativeOpening } from './openings.js'
import type { NativeProxyHeader } from './proxy.js'
import type { NativeRateGroup, NativeRateGroupMap, NativeRateLimit, NativeRateStanding } from './rates.js'
import type { NativeTlsConfig, NativeTlsInfo } from './tls.js'

// One loop, with its listeners and connections.

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
  ruleMarks(slot: number, tag: number): { tags: string[]; variables: Record<string, string> } | undefined
  connectionStats(slot: number, tag: number): { bytesRead: number; bytesWritten: number; queuedBytes: number }
  stats(): Record<string, number>
  nowMs(): number
  destroyAll(): void
  reference(alive: boolean): void
  close(): void
}
