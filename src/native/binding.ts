// Loads the addon and declares everything it exports, in files by topic. No other file knows that it exists.
import { join } from 'node:path'
import { type NativeFailure, type NativeTlsFailure, SluiceError } from '../errors.js'
import type { ResolvedAddress } from '../resolve.js'
import type { NativeChannel, NativeGate } from './channel.js'
import type { NativeEngineInfo } from './engines.js'
import type { NativeOpenings } from './openings.js'
import type { NativeProxy } from './proxy.js'
import type { NativeRateGroup, NativeRateGroupMap, NativeRateGroupStats, NativeRateLimit } from './rates.js'
import type { NativeCidrSet, NativeCidrSets, NativeRuleLists, NativeStickTables, NativeWrongNetwork } from './rules.js'
import type { NativeTls } from './tls.js'

export type * from './address.js'
export type * from './channel.js'
export type * from './engines.js'
export type * from './openings.js'
export type * from './proxy.js'
export type * from './rates.js'
export type * from './rules.js'
export type * from './tls.js'

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
