import type { NativeClientSessions } from '../native/binding.js'
import { integer, parse, type Shape } from '../options.js'
import { tlsLibrary } from './library.js'

const shape = { maxKeys: integer({ min: 1, max: 1_000_000, default: 256 }) } satisfies Shape<{ maxKeys?: number }>

/**
 * Sessions that clients may resume, by host, port, names and policy. Tickets of TLS 1.3 are used once each. When it is full,
 * what was not used for longest goes.
 */
export class TlsSessions {
  /** @internal */ readonly native: NativeClientSessions

  /** `maxKeys`: for how many peers, default 256; of each, up to four sessions are kept. */
  constructor(options?: { maxKeys?: number }) {
    this.native = tlsLibrary().createClientSessions(parse(shape, options).maxKeys)
  }

  /** How many there are. */
  get size(): number {
    return tlsLibrary().clientSessionsSize(this.native)
  }

  /** Forgets all. */
  clear(): void {
    tlsLibrary().clearClientSessions(this.native)
  }
}
