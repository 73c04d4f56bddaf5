import type { NativeProxySend } from './proxy.js'
import type { NativeCidrSet, NativeRuleList } from './rules.js'

// Opening steps: native/handshake/ as the addon shows it.

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
  reasons(): string[]
  /** Undefined for a network; otherwise which one may be meant, or ''. */
  checkNetwork(text: string): string | undefined
  /** Undefined for what can be asked for; otherwise the field to blame. */
  checkSocks(request: NativeSocksRequest): string | undefined
}
