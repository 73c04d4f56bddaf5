import {
  expected,
  integer,
  type OptionalParser,
  optional,
  type Parsed,
  type Parser,
  parse,
  string,
} from '../options.js'
import { type RouteTarget, reachable, routeTarget } from '../routing/routes.js'
import { parseCertificate } from './certificate.js'
import { TlsContext } from './context.js'
import { tlsLibrary } from './library.js'
import { nameIn } from './names.js'
import { overlay, type TlsServerOptions } from './options.js'
import type { PemOrDer } from './parsers.js'
import { forgetEntries, numberEntry } from './sni-entries.js'

/** Whom a {@link SniPolicy} serves by which rules. */
export interface SniEntry {
  /**
   * `'a.example'`, `'*.a.example'` for exactly one label more, `'!x.a.example'` to take a name out of that wildcard, and `'*'`
   * for all names that nobody else has, and for clients that ask for none. Default: the names of the certificate. Source: HP-86.
   */
  names?: string | readonly string[]
  /** The rules: certificate, certificates of clients, authorities, protocols, versions … */
  tls: Omit<TlsServerOptions, 'sni' | 'sniStrict'> | TlsContext
  /** Who gets such connections. Default: the handlers given to `listen()`. */
  handlers?: RouteTarget
  /** What `connection.tls.entry` says. Default: the first name. */
  label?: string
}

/** Rules by server name. */
export interface SniPolicyOptions {
  /** At least one. */
  entries: readonly SniEntry[]
  /** Who serves clients that ask for a name that no entry has: the label of an entry, or `'refuse'` with a fatal alert. Default:
   *  the entry that has `'*'`, else `'refuse'`. */
  unknownName?: string
  /** Likewise for clients that ask for no name. */
  withoutName?: string
  /** How long sessions can be resumed, in seconds, for entries that do not say so themselves; a `TlsContext` does. Default 300.
   *  Source: HP-89. */
  sessionTimeoutS?: number
  /** Sessions that the server remembers itself, for clients without tickets, of all entries. Default 20 000. Source: HP-89. */
  sessionCacheCount?: number
}

const isContext = (value: unknown): value is TlsContext => value instanceof TlsContext

const tlsAllowed = 'options of TLS without "sni", or a TlsContext of servers'
const tls: Parser<TlsServerOptions | TlsContext> = {
  allowed: tlsAllowed,
  parse(value, option) {
    const isOptions = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (!isOptions || (isContext(value) && (value.role !== 'server' || value.input.sni !== undefined)))
      throw expected(tlsAllowed, value, option)
    if (isContext(value)) return value
    const { sni, sniStrict, context } = value as TlsServerOptions
    const nested = { sni, sniStrict, context } as Readonly<Record<string, unknown>>
    for (const name of Object.keys(nested))
      if (nested[name] !== undefined) throw expected('absent within an entry', nested[name], nameIn(option, name))
    return value as TlsServerOptions
  },
}

const namesAllowed = 'a name, or a list of names'
const names: OptionalParser<string[] | undefined> = {
  allowed: namesAllowed,
  absent: undefined,
  parse(value, option) {
    const list = Array.isArray(value) ? value : [value]
    if (list.length === 0 || list.some((name) => typeof name !== 'string')) throw expected(namesAllowed, value, option)
    return list as string[]
  },
}

const entryShape = { names, tls, handlers: routeTarget, label: optional(string({ maxLength: 255 })) }
const entriesParser: Parser<Parsed<typeof entryShape>[]> = {
  allowed: 'a list of { names, tls, handlers, label }',
  parse(value, option) {
    if (!Array.isArray(value) || value.length === 0) throw expected(this.allowed, value, option)
    return value.map((item, i) => parse(entryShape, item, [], `${option}[${i}]`))
  },
}

const policyShape = {
  entries: entriesParser,
  unknownName: optional(string()),
  withoutName: optional(string()),
  sessionTimeoutS: integer({ min: 1, max: 604_800, default: 300 }),
  sessionCacheCount: integer({ min: 0, max: 1_000_000_000, default: 20_000 }),
}
const checkedShape: Readonly<Record<keyof SniPolicyOptions, unknown>> = policyShape
void checkedShape
interface Entry {
  readonly label: string
  readonly names: readonly string[]
  readonly context: TlsContext
  readonly handlers: RouteTarget | undefined
  readonly number: number
}

interface Fallback {
  readonly entry: Entry
  readonly option: string
}

/** A listener with this policy: its handlers, and whether it serves plaintext as well. */
export interface PolicyUse {
  readonly handlers: RouteTarget | undefined
  readonly servesPlaintext: boolean
}

const policies = new WeakMap<TlsContext, SniPolicy>()

/**
 * Rules of TLS by the name that clients ask for, for `listen({ tls: policy })`: each entry has its own certificate, its own
 * demands on clients, its own protocols and versions, and handlers of its own if it likes. Nobody gets around an entry:
 * not by asking for no name or for an unknown one, which is refused unless an entry says otherwise; not by another case, a
 * dot at the end, or a dot of another alphabet; not by resuming a session of another name. Source: SV-01 to SV-04, HP-85 to
 * HP-88.
 */
export class SniPolicy {
  /** The policy as a context: for `{ context, maxHandshakes: … }`, which adds what holds for all its connections. */
  readonly context: TlsContext
  private entries: readonly Entry[] = []
  private former: readonly Entry[] = []
  private fallbacks: readonly Fallback[] = []
  private readonly uses = new Set<PolicyUse>()
  private readonly sessionTimeoutS: number
  // A context may outlive its policies.
  private readonly guard: () => void

  /**
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_…`, naming the option; also where clients that ask for
   *   no name, or for an unknown one, would get to the same handlers as an entry that demands more of them. `listen()` looks
   *   again, as it knows its own handlers, and those of plaintext.
   */
  constructor(options: SniPolicyOptions) {
    const parsed = parse(policyShape, options)
    const { sessionTimeoutS, sessionCacheCount } = parsed
    this.sessionTimeoutS = sessionTimeoutS
    const entries = makeEntries(parsed, sessionTimeoutS)
    const self = new WeakRef(this)
    this.guard = () => self.deref()?.checkWays()
    // It serves nobody itself: all are sent on, or refused.
    this.context = TlsContext.make('server', { sni: {}, sniStrict: true, sessionTimeoutS, sessionCacheCount }, '')
    this.context.namesAreFixed = true
    this.put(entries, parsed)
    policies.set(this.context, this)
  }

  /** @internal The policy whose context this is. */
  static of(context: TlsContext | undefined): SniPolicy | undefined {
    return context && policies.get(context)
  }

  /**
   * Puts other entries in place, all at once, for handshakes that begin from now on; nothing changes when it throws. Entries
   * whose `tls` is a context that stays keep their tickets.
   */
  update(options: Omit<SniPolicyOptions, 'sessionTimeoutS' | 'sessionCacheCount'>): void {
    const { entries, unknownName, withoutName } = options
    const parsed = parse(policyShape, { entries, unknownName, withoutName })
    this.put(makeEntries(parsed, this.sessionTimeoutS), parsed)
  }

  /** The label of the entry that serves who asks for this name, `''` for none; undefined when it is refused. */
  find(serverName: string): string | undefined {
    if (typeof serverName !== 'string') throw expected('a string', serverName, 'serverName')
    const number = tlsLibrary().chooseServerName(this.context.native, serverName)
    return this.entries.find((entry) => entry.number === number)?.label
  }

  /** The context of the entry with this label, e.g. to `reload()` its certificate. */
  contextOf(label: string): TlsContext | undefined {
    return this.entries.find((entry) => entry.label === label)?.context
  }

  /** @internal Whether some entries have handlers, and whether all have. */
  get handlers(): { some: boolean; all: boolean } {
    return {
      some: this.entries.some(({ handlers }) => handlers !== undefined),
      all: this.entries.every(({ handlers }) => handlers !== undefined),
    }
  }

  /** @internal A listener has it from now on, until the returned function is called. */
  use(use: PolicyUse): () => void {
    refuseWeaker(this.entries, this.fallbacks, use)
    this.uses.add(use)
    return () => this.uses.delete(use)
  }

  // Whether there is still none around an entry.
  private checkWays(): void {
    for (const use of [anyListener, ...this.uses]) refuseWeaker(this.entries, this.fallbacks, use)
  }

  private put(entries: readonly Entry[], { unknownName, withoutName }: Parsed<typeof policyShape>): void {
    const fallback = (given: string | undefined, option: string): Fallback | undefined => {
      if (given === 'refuse') return undefined
      const entry = entries.find(({ label, names }) => (given === undefined ? names.includes('*') : label === given))
      if (entry === undefined && given !== undefined) {
        const labels = entries.map(({ label }) => JSON.stringify(label))
        throw expected(`"refuse", or the label of an entry: ${labels.join(', ')}`, given, option)
      }
      return entry && { entry, option: given === undefined ? 'entries' : option }
    }
    const choice = (fallback: Fallback | undefined) => ({
      refuse: fallback === undefined,
      context: fallback?.entry.context.native,
      entry: fallback?.entry.number ?? 0,
    })
    try {
      const unknown = fallback(unknownName, 'unknownName')
      const nameless = fallback(withoutName, 'withoutName')
      const fallbacks = [unknown, nameless].filter((one) => one !== undefined)
      for (const use of [anyListener, ...this.uses]) refuseWeaker(entries, fallbacks, use)
      const named = entries.flatMap(({ names, context, number }) =>
        names.filter((name) => name !== '*').map((pattern) => ({ pattern, context, entry: number })),
      )
      this.context.putNames(named, { unknown: choice(unknown), nameless: choice(nameless) }, (index) => {
        const { pattern, entry } = named[index]!
        const place = entries.findIndex(({ number }) => number === entry)
        return `entries[${place}].names[${entries[place]!.names.indexOf(pattern)}]`
      })
      this.fallbacks = fallbacks
    } catch (error) {
      forgetEntries(entries.map(({ number }) => number))
      throw error
    }
    // Handshakes that began under the former entries may still end.
    forgetEntries(this.former.map(({ number }) => number))
    this.former = this.entries
    for (const { context } of this.entries) context.guards.delete(this.guard)
    for (const { context } of entries) context.guards.add(this.guard)
    this.entries = entries
  }
}

function makeEntries({ entries }: Parsed<typeof policyShape>, sessionTimeoutS: number): Entry[] {
  const stars = entries.flatMap(({ names }, i) => (names?.includes('*') ? [i] : []))
  if (stars.length > 1) throw expected(`absent, as "entries[${stars[0]}]" has it`, '*', `entries[${stars[1]}].names`)
  const made: Omit<Entry, 'number'>[] = entries.map(({ names, tls, handlers, label }, i) => {
    const where = `entries[${i}]`
    const context = isContext(tls)
      ? tls
      : TlsContext.make('server', overlay({ sessionTimeoutS }, tls as never), `${where}.tls`)
    const own = names ?? certificateNames(context, where)
    return { label: label ?? own[0]!, names: own, context, handlers }
  })
  made.forEach(({ label }, i) => {
    const twin = made.findIndex((other) => other.label === label)
    if (label === 'refuse') throw expected('another word than "refuse"', label, `entries[${i}].label`)
    if (twin !== i) throw expected(`another one than that of "entries[${twin}]"`, label, `entries[${i}].label`)
  })
  return made.map((entry) => ({ ...entry, number: numberEntry(entry) }))
}

// Those of its first certificate: alternative names, else the common name.
function certificateNames({ input }: TlsContext, where: string): string[] {
  const { cert } = input as { cert?: PemOrDer | PemOrDer[] }
  const first = Array.isArray(cert) ? cert[0] : cert
  const info = first === undefined ? undefined : parseCertificate(first)
  const found = info?.dnsNames.length ? info.dnsNames : info?.commonName === undefined ? [] : [info.commonName]
  if (found.length === 0) throw expected('given, as the certificate names none', undefined, `${where}.names`)
  return [...found]
}

// What is demanded of clients: nothing, a good certificate if any, or one in any case.
function demand({ input }: TlsContext): number {
  const { clientCert, requestCert, rejectUnauthorized } = input as TlsServerOptions
  const asked = clientCert ?? (requestCert ? (rejectUnauthorized === false ? 'request' : 'require') : 'none')
  if (rejectUnauthorized === false) return asked === 'none' ? 0 : 0.5
  return ['none', 'request', 'require'].indexOf(asked)
}

const anyListener: PolicyUse = { handlers: undefined, servesPlaintext: false }

// Whoever leaves the name away, or TLS, must not get to handlers that an entry keeps for clients of whom it demands more.
function refuseWeaker(entries: readonly Entry[], fallbacks: readonly Fallback[], use: PolicyUse): void {
  const handlersOf = ({ handlers }: Entry) => reachable(handlers ?? use.handlers, false)
  const advice = 'or handlers of its own: otherwise there is a way around that entry'
  for (const { entry: fallback, option } of fallbacks) {
    const ways = handlersOf(fallback)
    const stricter = entries.find(
      (entry) => demand(entry.context) > demand(fallback.context) && meets(handlersOf(entry), ways),
    )
    if (stricter !== undefined)
      throw expected(
        `an entry that demands as much of clients as "${stricter.label}", ${advice}`,
        fallback.label,
        option,
      )
  }
  if (!use.servesPlaintext) return
  const ways = reachable(use.handlers, true)
  const stricter = entries.find((entry) => demand(entry.context) > 0 && meets(handlersOf(entry), ways))
  if (stricter !== undefined)
    throw expected(
      `routes() whose "plain" leads elsewhere than the entry "${stricter.label}", which demands certificates of clients`,
      use.handlers,
      'handlers',
    )
}

function meets<T>(one: ReadonlySet<T>, other: ReadonlySet<T>): boolean {
  return [...one].some((item) => other.has(item))
}
