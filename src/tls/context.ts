import { createHash } from 'node:crypto'
import { isTlsFailure, tlsError } from '../errors.js'
import type { NativeTlsContext, NativeTlsFallbacks } from '../native/binding.js'
import { boolean, expected, type Parsed, parse, type Shape } from '../options.js'
import { tlsLibrary } from './library.js'
import { nameIn } from './names.js'
import { nativeClientOptions, nativeServerOptions, userOption } from './native-options.js'
import {
  clientRules,
  clientShape,
  connectionPart,
  overlay,
  serverRules,
  serverShape,
  type TlsClientOptions,
  type TlsServerOptions,
} from './options.js'
import { TlsSessions } from './sessions.js'
import { TlsTicketKeys } from './ticket-keys.js'

type Input = Readonly<Record<string, unknown>>

/** Contexts, or their options, by name: `sni` of {@link TlsServerOptions}. */
export type TlsServerNames = Readonly<Record<string, TlsContext | TlsServerOptions>>

const strictShape = { strict: boolean({ default: false }) } satisfies Shape<{ strict?: boolean }>

/**
 * A policy that connections share: certificates, authorities, versions, ciphers. Making one reads certificates and takes
 * milliseconds; connections that use it take none. Comes from {@link TlsContext.server} or {@link TlsContext.client}.
 */
export class TlsContext {
  /** Whose policy it is. */
  readonly role: 'server' | 'client'
  /** @internal */ readonly native: NativeTlsContext
  /** @internal What it was made of. */ input: Input
  /** @internal The names are those of a SniPolicy. */ namesAreFixed = false
  /** @internal Those who throw where `input` opens a way around what others demand: policies by name that have it. */
  readonly guards = new Set<() => void>()
  private keys: TlsTicketKeys | undefined

  private constructor(role: 'server' | 'client', native: NativeTlsContext, input: Input) {
    this.role = role
    this.native = native
    this.input = input
  }

  /**
   * A policy for servers. What it holds for connections, such as `handshakeTimeoutMs`, counts where it is used.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_KEY_MISMATCH` and others; `option` names the culprit.
   */
  static server(options: TlsServerOptions): TlsContext {
    return TlsContext.make('server', options, '')
  }

  /**
   * A policy for clients. Sessions are kept in it, so connections through the same context resume them.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_BAD_CA_DATA` and others; `option` names the culprit.
   */
  static client(options: TlsClientOptions = {}): TlsContext {
    return TlsContext.make('client', options, '')
  }

  /** @internal Options are `within` others in names of errors. */
  static make(role: 'server' | 'client', options: unknown, within: string): TlsContext {
    const library = tlsLibrary()
    const input = role === 'client' ? withSessions(asInput(options, within)) : asInput(options, within)
    if (input.context !== undefined) throw expected('absent', input.context, nameIn(within, 'context'))
    const { native: policy, names, strict } = policyOf(role, input, within)
    const made = library.createContext(role === 'server', policy)
    if (isTlsFailure(made)) throw optionError(made, input, within)
    const context = new TlsContext(role, made, input)
    if (names !== undefined) context.setNames(names, strict, within)
    return context
  }

  /**
   * Puts other options in place, all at once; nothing changes when it throws. Connections that exist go on with what
   * they have. Options that `changes` leaves out stay as they were; without any, stores of the system are read again.
   * Tickets stay good while what decides about clients, and the ciphers, stay the same.
   *
   * @throws {SluiceError} also where a {@link SniPolicy} that has this context would be left with a way around another entry.
   */
  reload(changes: TlsServerOptions | TlsClientOptions = {}): void {
    const given = asInput(changes, '')
    if (given.context !== undefined) throw expected('absent', given.context, 'context')
    if (this.namesAreFixed && given.sni !== undefined)
      throw expected('absent on the context of a SniPolicy, which has update()', given.sni, 'sni')
    // Tickets keys may have been rotated since, and those in use stay unless others are given.
    const { ticketKeys: _, ...former } = this.input
    const input = overlay(former, given)
    const { native: policy, names, strict } = policyOf(this.role, input, '', given.sni !== undefined)
    const before = this.input
    this.input = overlay(before, given)
    try {
      for (const guard of this.guards) guard()
      const failure = tlsLibrary().reloadContext(this.native, policy)
      if (failure !== undefined) throw optionError(failure, input, '')
    } catch (error) {
      this.input = before
      throw error
    }
    if (given.ticketKeys !== undefined) this.keys = undefined
    if (names !== undefined) this.setNames(names, strict, '')
  }

  /**
   * Replaces the list of `sni`, for handshakes that begin from now on. With `strict`, clients that ask for no name of it are
   * refused; else they get this context.
   */
  serverNames(names: TlsServerNames, options?: { strict?: boolean }): void {
    if (this.role !== 'server') throw expected('absent on a context of clients', names, 'names')
    if (this.namesAreFixed) throw expected('absent on the context of a SniPolicy, which has update()', names, 'names')
    this.setNames(namedContexts(names, 'names'), parse(strictShape, options).strict, '')
  }

  /** Keys of the tickets it gives out; undefined for clients. */
  get ticketKeys(): TlsTicketKeys | undefined {
    const given = this.input.ticketKeys
    if (given instanceof TlsTicketKeys) return given
    if (this.keys === undefined) {
      const native = tlsLibrary().contextTicketKeys(this.native)
      if (native !== undefined) this.keys = TlsTicketKeys.wrap(native)
    }
    return this.keys
  }

  /** @internal Who serves which names, and all others. `optionAt` tells the option of the name that is wrong. */
  putNames(
    names: readonly (NamedContext & { entry: number })[],
    fallbacks: NativeTlsFallbacks,
    optionAt: (index: number) => string,
  ): void {
    const list = names.map(({ pattern, context, entry }) => ({ pattern, context: context.native, entry }))
    const failure = tlsLibrary().setServerNames(this.native, list, fallbacks)
    if (failure === undefined) return
    const index = /^serverNames\[(\d+)\]/.exec(failure.option)?.[1]
    throw tlsError(failure, { option: index === undefined ? 'sni' : optionAt(Number(index)) })
  }

  private setNames(names: NamedContext[], strict: boolean, within: string): void {
    const others = { refuse: strict, context: undefined, entry: 0 }
    this.putNames(
      names.map((name) => ({ ...name, entry: 0 })),
      { unknown: others, nameless: others },
      (index) => nameIn(within, `sni[${JSON.stringify(names[index]!.pattern)}]`),
    )
  }
}

interface NamedContext {
  pattern: string
  context: TlsContext
}

// Options given under several names make one context, so that "!name" finds the wildcard of its own.
function namedContexts(names: unknown, option: string): NamedContext[] {
  if (typeof names !== 'object' || names === null || Array.isArray(names))
    throw expected('contexts or their options, by name', names, option)
  const made = new Map<unknown, TlsContext>()
  return Object.entries(names).map(([pattern, value]) => {
    const where = `${option}[${JSON.stringify(pattern)}]`
    if (value instanceof TlsContext) {
      if (value.role !== 'server') throw expected('a context of servers', value, where)
      return { pattern, context: value }
    }
    const context = made.get(value) ?? TlsContext.make('server', value, where)
    made.set(value, context)
    return { pattern, context }
  })
}

function policyOf(role: 'server' | 'client', input: Input, within: string, withNames = true) {
  const nameOf = (option: string) => nameIn(within, option)
  if (role === 'client') {
    const parsed = parse(clientShape, input, clientRules, within)
    return { native: nativeClientOptions(parsed, nameOf), names: undefined, strict: false }
  }
  const parsed: Parsed<typeof serverShape> = parse(serverShape, input, serverRules, within)
  const { sni, sniStrict } = parsed
  if (sniStrict && sni === undefined) throw expected('false without "sni"', sniStrict, nameOf('sniStrict'))
  const names = sni === undefined || !withNames ? undefined : namedContexts(sni, nameOf('sni'))
  return { native: nativeServerOptions(parsed, nameOf), names, strict: sniStrict }
}

// One cache for all that the context will ever be.
function withSessions(input: Input): Input {
  const { sessions } = input
  return sessions === undefined || sessions === true ? { ...input, sessions: new TlsSessions() } : input
}

function asInput(options: unknown, within: string): Input {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw expected('options of TLS', options, within || 'options')
  return options as Input
}

function optionError(failure: Parameters<typeof tlsError>[0], input: Input, within: string) {
  if (failure.option === '') return tlsError(failure)
  return tlsError(failure, { option: nameIn(within, userOption(failure.option, input)) })
}

// ---- Contexts of connect()

const maxRemembered = 32
const remembered = new Map<string, TlsContext>()

/**
 * The context of a client for these options; the same one for the same options, as reading the authorities that Node
 * brings takes longer than a handshake. Only what is part of a policy counts.
 */
export function clientContext(options: Input, within: string): TlsContext {
  const connection = connectionPart(options)
  const policy = Object.fromEntries(
    Object.entries(options).filter(([name, value]) => value !== undefined && !(name in connection)),
  )
  const key = keyOf(policy)
  const known = key === undefined ? undefined : remembered.get(key)
  const context = known ?? TlsContext.make('client', policy, within)
  if (key === undefined) return context
  // The one used last stands last.
  remembered.delete(key)
  remembered.set(key, context)
  if (remembered.size > maxRemembered) remembered.delete(remembered.keys().next().value!)
  return context
}

const cacheNumbers = new WeakMap<TlsSessions, number>()
let nextCacheNumber = 1

// Undefined when they hold something that cannot be compared.
function keyOf(policy: Input): string | undefined {
  let comparable = true
  const replace = (_: string, value: unknown) => {
    if (typeof value === 'function' || typeof value === 'bigint') {
      comparable = false
      return undefined
    }
    if (value instanceof TlsSessions) {
      if (!cacheNumbers.has(value)) cacheNumbers.set(value, nextCacheNumber++)
      return { cache: cacheNumbers.get(value) }
    }
    return value instanceof Uint8Array ? { bytes: Buffer.from(value).toString('latin1') } : value
  }
  try {
    const text = JSON.stringify(policy, replace)
    // Hashed, as it may hold secrets.
    return comparable ? createHash('sha256').update(text).digest('base64') : undefined
  } catch {
    return undefined // it goes round in circles, which will be refused
  }
}
