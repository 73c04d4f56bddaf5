import { type NativeEngineFeatures, native } from './native/binding.js'

/** What a runtime can be told to use; `'auto'` takes the first available one of {@link engines}. */
export const engineNames = ['auto', 'io_uring', 'epoll', 'kqueue', 'poll', 'sim'] as const

/** A name of {@link engineNames}. */
export type EngineName = (typeof engineNames)[number]

/** What an engine can do on this machine. */
export interface EngineFeatures extends NativeEngineFeatures {}

/** One engine, as {@link engines} tells it. */
export interface EngineInfo {
  /** `'epoll'`, `'io_uring'`, `'kqueue'`, `'poll'` or `'sim'`. */
  name: Exclude<EngineName, 'auto'>
  /** Whether it works here; found by starting it, for io_uring with a real submission. */
  available: boolean
  /** Why it does not, with the system call that said so. */
  reason?: string
  /** All false when it is not available. */
  features: EngineFeatures
}

/** Every engine, the preferred one first. An engine that is not available says why. */
export function engines(): EngineInfo[] {
  return native.engines().map(({ name, available, reason, features }) => ({
    name: name as EngineInfo['name'],
    available,
    ...(available ? {} : { reason }),
    features,
  }))
}
