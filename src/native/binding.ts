// Loads the addon and declares everything it exports. No other file knows that it exists.
import { join } from 'node:path'
import { type NativeFailure, SluiceError } from '../errors.js'
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

/** What a new connection starts with; times in milliseconds, 0 for none. */
export interface NativeConnectionConfig {
  readTimeoutMs: number
  writeTimeoutMs: number
  halfClosedTimeoutMs: number
  lowWaterBytes: number
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
  options: NativeSocketOptions
  gates: NativeGate[]
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
  listenerStats(key: number): {
    accepted: number
    acceptFailures: number
    state: 'accepting' | 'waiting' | 'backingOff'
  }
  closeListener(key: number): void
  connect(options: NativeConnectOptions): { slot: number; tag: number } | NativeFailure
  adopt(options: NativeConnectionConfig & { fd: number }): { slot: number; tag: number } | NativeFailure
  setTimeouts(slot: number, tag: number, readMs: number, writeMs: number, halfClosedMs: number): void
  setOptions(slot: number, tag: number, options: { options: NativeSocketOptions }): NativeFailure | undefined
  tcpInfo(slot: number, tag: number): Record<string, number> | NativeFailure
  endpoints(slot: number, tag: number): { local?: NativeAddress; remote?: NativeAddress }
  connectionStats(slot: number, tag: number): { bytesRead: number; bytesWritten: number; queuedBytes: number }
  stats(): Record<string, number>
  nowMs(): number
  destroyAll(): void
  reference(alive: boolean): void
  close(): void
}

interface NativeBinding {
  Channel: new () => NativeChannel
  engines(): NativeEngineInfo[]
  createGate(maxConnections: number, maxConnectionsPerSecond: number, sharers: number): NativeGate
  resolve(
    host: string,
    family: 0 | 4 | 6,
    callback: (failure: NativeFailure | null, addresses: ResolvedAddress[]) => void,
  ): () => void
  syscallName(index: number): string
  errorName(code: number): string
  errorNames(): string[]
  duplicateFd(fd: number): number | NativeFailure
  recordNumbers(): Record<string, number>
}

/** Whether native code answered with a failure instead of what was asked for. */
export function isFailure(answer: unknown): answer is NativeFailure {
  return typeof answer === 'object' && answer !== null && 'codeName' in answer
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
