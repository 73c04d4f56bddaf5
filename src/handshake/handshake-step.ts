import { SluiceError } from '../errors.js'
import type { NativeStep } from '../native/binding.js'
import type { RateClock } from '../rate-limit/rate-limit-group.js'

/**
 * A step between accept and session, or between connect and session, for the list `handshake` of `listen()` or `connect()`.
 * Made by {@link acceptProxy}, {@link monitor}, {@link sniff}, {@link socks5} and so on; runs natively.
 */
export class HandshakeStep {
  /** As errors tell it, e.g. `'acceptProxy'`. */
  readonly name: string
  /** @internal Where it may stand. */ readonly side: 'accept' | 'connect'
  /** @internal */ readonly native: NativeStep
  /** @internal Whom this step brings the connection to: for the certificate of TLS behind it. */
  readonly target: { host: string; port: number } | undefined

  /** @internal */
  constructor(name: string, side: 'accept' | 'connect', native: NativeStep, target?: { host: string; port: number }) {
    this.name = name
    this.side = side
    this.native = native
    this.target = target
  }

  /** @internal What of it runs when all handshakes are done, TLS included. */
  get sessionSteps(): readonly NativeStep[] {
    return []
  }

  /** @internal What it counts by goes by the clock of the loop. */
  useClock(_clock: RateClock): void {}

  /** @internal Steps are made before they are used, so a misplaced one is the caller's mistake. */
  static misplaced(option: string, why: string): SluiceError {
    return new SluiceError('INVALID_OPTION', { phase: 'options', option, detail: `option "${option}" ${why}` })
  }
}
