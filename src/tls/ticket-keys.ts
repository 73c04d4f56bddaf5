import { isTlsFailure, tlsError } from '../errors.js'
import type { NativeTicketKeys } from '../native/binding.js'
import { expected, integer, milliseconds, optional, parse, type Shape } from '../options.js'
import { tlsLibrary } from './library.js'
import { oneOrMore } from './parsers.js'

/** Options of {@link TlsTicketKeys}. */
export interface TicketKeysOptions {
  /** Keys of 48 or 80 bytes, oldest first, as HAProxy and nginx have them in files. Default: a random one. */
  keys?: Uint8Array | Uint8Array[]
  /** Which of `keys` encrypts. Default: the last of one or two, the last but one of more, so that a new key can be
   *  distributed before anybody uses it. Source: HP-90. */
  encryptIndex?: number
  /** Makes a new key so often, in milliseconds, until `stop()`. Does not keep the process alive. Default: never. */
  rotateEveryMs?: number
  /** How many older keys still decrypt after a rotation, 0 to 15. Default 2. */
  keep?: number
}

/** @internal */
export const ticketKey = {
  allowed: 'a Uint8Array of 48 or 80 bytes',
  parse(value: unknown, option: string): Uint8Array {
    if (value instanceof Uint8Array && (value.length === 48 || value.length === 80)) return value
    const told = value instanceof Uint8Array ? `${value.length} bytes` : value
    throw expected('a Uint8Array of 48 or 80 bytes', told, option)
  },
}

const shape = {
  keys: oneOrMore(ticketKey),
  encryptIndex: optional(integer({ min: 0, max: 15 })),
  rotateEveryMs: optional(milliseconds({ min: 1 })),
  keep: integer({ min: 0, max: 15, default: 2 }),
} satisfies { [K in keyof Required<TicketKeysOptions>]: unknown }

const rotateShape = { keep: integer({ min: 0, max: 15, default: 2 }) } satisfies Shape<{ keep?: number }>
const setShape = { encryptIndex: optional(integer({ min: 0, max: 15 })) } satisfies Shape<{ encryptIndex?: number }>

/**
 * Keys of session tickets, shared by any number of contexts, runtimes and threads. One encrypts, all decrypt: a session
 * survives rotations for as long as its key is kept.
 */
export class TlsTicketKeys {
  /** @internal */ readonly native: NativeTicketKeys
  private timer: NodeJS.Timeout | undefined

  /**
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_BAD_TICKET_KEY` (a name twice, or an index that no
   *   key has).
   */
  constructor(options?: TicketKeysOptions) {
    const parsed = parse(shape, options)
    const made = tlsLibrary().createTicketKeys()
    if (isTlsFailure(made)) throw tlsError(made)
    this.native = made
    if (parsed.keys !== undefined) this.replace(parsed.keys, parsed.encryptIndex, 'keys')
    else if (parsed.encryptIndex !== undefined)
      throw expected('absent without "keys"', parsed.encryptIndex, 'encryptIndex')
    if (parsed.rotateEveryMs !== undefined) {
      this.timer = setInterval(() => this.rotate({ keep: parsed.keep }), parsed.rotateEveryMs).unref()
    }
  }

  /**
   * The keys that another thread shares, by the number that its `share()` gave: send that number to a worker. They are the
   * same keys from now on, whoever changes them.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when nobody in this process has them any more.
   */
  static from(shared: number): TlsTicketKeys {
    const found = tlsLibrary().findTicketKeys(integer({ min: 0, max: 0xffffffff }).parse(shared, 'shared'))
    if (found === undefined) throw expected('a number of share(), whose keys somebody still has', shared, 'shared')
    return TlsTicketKeys.wrap(found)
  }

  /** @internal From the value of an option. */
  static of(value: unknown, option: string): TlsTicketKeys {
    if (value instanceof TlsTicketKeys) return value
    const list = oneOrMore(ticketKey).parse(value, option)!
    const keys = new TlsTicketKeys()
    keys.replace(list, undefined, option)
    return keys
  }

  /** @internal Keys that native code has. */
  static wrap(native: NativeTicketKeys): TlsTicketKeys {
    return Object.assign(Object.create(TlsTicketKeys.prototype) as TlsTicketKeys, { native })
  }

  /** A number for {@link TlsTicketKeys.from} in other threads of this process, valid while somebody has the keys. */
  share(): number {
    return tlsLibrary().shareTicketKeys(this.native)
  }

  /** Replaces all keys, e.g. by those of another process; nothing changes when it throws. */
  set(keys: Uint8Array | Uint8Array[], options?: { encryptIndex?: number }): void {
    const list = oneOrMore(ticketKey).parse(keys, 'keys')!
    this.replace(list, parse(setShape, options).encryptIndex, 'keys')
  }

  /** A new random key encrypts from now on; `keep` older ones still decrypt, by default 2. Returns it. */
  rotate(options?: { keep?: number }): Buffer {
    const made = tlsLibrary().rotateTicketKeys(this.native, parse(rotateShape, options).keep)
    if (isTlsFailure(made)) throw tlsError(made)
    return made
  }

  /** All keys, oldest first. They are secrets. */
  get keys(): Buffer[] {
    return tlsLibrary().ticketKeyList(this.native).keys
  }

  /** Which of `keys` encrypts. */
  get encryptIndex(): number {
    return tlsLibrary().ticketKeyList(this.native).encryptIndex
  }

  /** Ends the rotation by `rotateEveryMs`. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private replace(keys: Uint8Array[], encryptIndex: number | undefined, option: string): void {
    const failure = tlsLibrary().setTicketKeys(this.native, keys, encryptIndex ?? -1)
    if (failure !== undefined) throw tlsError(failure, { option })
  }
}
