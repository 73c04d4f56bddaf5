import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import { acceptNetscaler, acceptProxy, monitor, sniff } from '../handshake/accept-steps.js'
import type { CustomStep } from '../handshake/custom-step.js'
import type { HandshakeStep } from '../handshake/handshake-step.js'
import { type ProxyClient, type ProxySendOptions, parseProxySend, writeProxySend } from '../handshake/proxy-options.js'
import type { ListenOptions } from '../listener.js'
import { expected } from '../options.js'
import { RuleList, type RuleListOptions } from '../rules/rule-list.js'
import { rules } from '../rules/rules-step.js'
import type { StickTable } from '../rules/stick-table.js'
import { type ClientHello, maxHelloBytes, parseClientHello } from './client-hello.js'
import type { ProxySendChoice } from './config.js'
import { type NetworkList, namedSet } from './network-lists.js'

/** What of a listener's options is about the time before the session. */
export interface OpeningInput {
  readonly tls: unknown
  readonly plain: 'refuse' | 'allow' | undefined
  readonly acceptProxy: unknown
  readonly acceptNetscaler: unknown
  readonly monitor: unknown
  readonly rules: unknown
  readonly inspectDelayMs: number | undefined
  readonly handshakeTimeoutMs: number | undefined
}

/** What a configuration names for others of its parts to use. */
export interface Named {
  readonly tables: ReadonlyMap<string, StickTable>
  readonly networks: ReadonlyMap<string, NetworkList>
}

/** The steps of a listener, and its rules. */
export interface OpeningPlan {
  readonly options: Partial<ListenOptions>
  readonly rules: RuleList | undefined
}

/**
 * What a listener does with a connection before its session.
 *
 * @param peeks whether the name asked for has to be known where TLS does not end here.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function openingPlan(input: OpeningInput, within: string, peeks: boolean, named: Named): OpeningPlan {
  const steps: (HandshakeStep | CustomStep)[] = []
  if (input.monitor !== undefined) {
    const options = withSet(input.monitor, 'networks', `${within}.monitor`, named)
    steps.push(inside(`${within}.monitor`, () => monitor(options as object)))
  }
  const list = rulesOf(input, within, named)
  if (list !== undefined) steps.push(rules(list))
  if (input.acceptProxy !== undefined && input.acceptProxy !== false) {
    const options = input.acceptProxy === true ? undefined : input.acceptProxy
    const resolved = withSet(options, 'from', `${within}.acceptProxy`, named)
    steps.push(inside(`${within}.acceptProxy`, () => acceptProxy(resolved as object | undefined)))
  }
  if (input.acceptNetscaler !== undefined) steps.push(netscalerOf(input, within, named))
  if (input.plain === 'allow') steps.push(sniff({ plain: 'allow' }))
  if (peeks) steps.push(peek)
  const { handshakeTimeoutMs } = input
  if (steps.length === 0 && handshakeTimeoutMs !== undefined && input.tls === undefined)
    throw expected(
      'absent without something to do before the session',
      handshakeTimeoutMs,
      `${within}.handshakeTimeoutMs`,
    )
  if (steps.length === 0) return { options: {}, rules: list }
  const bound = handshakeTimeoutMs === undefined ? {} : { handshakeTimeoutMs }
  return { options: { handshake: steps, ...bound }, rules: list }
}

// Of everybody either this header or that one can be expected, not both.
function netscalerOf({ acceptNetscaler: input, acceptProxy: other }: OpeningInput, within: string, named: Named) {
  const option = `${within}.acceptNetscaler`
  const options = typeof input === 'number' ? { magic: input } : input
  const isOfSome = (choice: unknown) => {
    const { from, byRule } = (choice ?? {}) as { from?: unknown; byRule?: unknown }
    return from !== undefined || byRule === true
  }
  const isOther = other !== undefined && other !== false
  if (isOther && !(isOfSome(options) && isOfSome(other)))
    throw expected(`absent beside "${within}.acceptProxy", unless both have "from"`, input, option)
  const resolved = withSet(options, 'from', option, named)
  return inside(option, () => acceptNetscaler(resolved as { magic: number }))
}

// Options with the set in place of its name.
function withSet(options: unknown, key: string, within: string, { networks }: Named): unknown {
  if (typeof options !== 'object' || options === null) return options
  const set = namedSet((options as Record<string, unknown>)[key], `${within}.${key}`, networks)
  return set === undefined ? options : { ...options, [key]: set }
}

function rulesOf({ rules: input, inspectDelayMs }: OpeningInput, within: string, named: Named): RuleList | undefined {
  if (input === undefined) {
    if (inspectDelayMs === undefined) return undefined
    throw expected('absent without "rules"', inspectDelayMs, `${within}.inspectDelayMs`)
  }
  if (!Array.isArray(input)) throw expected('a list of rules', input, `${within}.rules`)
  const list = input.map((rule, i) => withNamed(rule, named, `${within}.rules[${i}]`))
  const options: RuleListOptions = inspectDelayMs === undefined ? {} : { inspectDelayMs }
  return inside(within, () => new RuleList(list, options))
}

const networkFacts: ReadonlySet<string> = new Set(['source', 'destination', 'peer', 'local'])

// Tables and lists of networks stand in rules by their names.
function withNamed(value: unknown, named: Named, option: string): never {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value as never
  if (Array.isArray(value)) return value.map((each, i) => withNamed(each, named, `${option}[${i}]`)) as never
  if (Object.getPrototypeOf(value) !== Object.prototype) return value as never
  const entries = Object.entries(value).map(([name, each]) => {
    if (networkFacts.has(name) && typeof each === 'string')
      return [name, namedSet(each, `${option}.${name}`, named.networks) ?? each]
    if ((name !== 'table' && name !== 'in') || typeof each !== 'string') {
      return [name, withNamed(each, named, `${option}.${name}`)]
    }
    const table = named.tables.get(each)
    if (table !== undefined) return [name, table]
    const known = [...named.tables.keys()].join(', ')
    throw expected(
      known === '' ? 'a table of "tables", of which there are none' : `one of ${known}`,
      each,
      `${option}.${name}`,
    )
  })
  return Object.fromEntries(entries) as never
}

/** Options that others are inside of are named by their whole path. */
export function inside<T>(within: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof SluiceError) || error.option === undefined) throw error
    const isWhole = error.option === 'options'
    const option = isWhole ? within : `${within}.${error.option}`
    const detail = error.message.replace(`option "${error.option}"`, `option "${option}"`)
    throw new SluiceError(error.code.slice('ERR_SLUICE_'.length) as 'INVALID_OPTION', {
      phase: 'options',
      option,
      detail,
    })
  }
}

// ---- Clients

/** What a step before the session has found out. */
interface Peeked {
  readonly hello: ClientHello | undefined
}

// Looks at what the client asks for, and takes none of it: TLS is for the server to end.
const peek: CustomStep = {
  name: 'peek',
  maxBytes: maxHelloBytes,
  bytes(connection, bytes) {
    const hello = parseClientHello(bytes)
    if (hello === 'needMore') return 'needMore'
    connection.data = { hello } satisfies Peeked
    return { consumed: 0 }
  },
}

/** An address of a client; undefined on Unix sockets, and once the connection is gone. */
export interface ProxyClientAddress {
  readonly address: string | undefined
  readonly port: number | undefined
}

/** Whom a connection comes from: as a PROXY header says, or else as the system does. */
export function clientOf(connection: Connection): ProxyClientAddress {
  const { proxy } = connection
  const claimed = proxy?.replacesAddresses ? proxy.source : undefined
  if (claimed !== undefined) return { address: claimed.address, port: claimed.port }
  return { address: connection.remoteAddress, port: connection.remotePort }
}

/** What a client shows of itself in TLS, whoever ends that. */
export function facesOf(client: Connection): { tls: boolean; serverName: string | undefined; alpn: readonly string[] } {
  const { tls } = client
  if (tls !== undefined) return { tls: true, serverName: tls.serverName || undefined, alpn: tls.alpn ? [tls.alpn] : [] }
  const hello = (client.data as Peeked | undefined)?.hello
  return { tls: hello !== undefined, serverName: hello?.serverName, alpn: hello?.alpn ?? [] }
}

// ---- Servers

/** Which header to send. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkSendProxy(choice: unknown, within: string): void {
  if (choice === undefined) return
  const isWord = choice === 'v1' || choice === 'v2'
  if (!isWord && (typeof choice !== 'object' || choice === null))
    throw expected("'v1', 'v2' or options", choice, within)
  if (!isWord) {
    const stray = ['onBehalfOf', 'source', 'destination', 'local', 'tlvs'].find((name) => name in (choice as object))
    if (stray !== undefined)
      throw expected('absent: it is the client', (choice as Record<string, unknown>)[stray], `${within}.${stray}`)
    const { uniqueId } = choice as { uniqueId?: unknown }
    if (uniqueId !== undefined && typeof uniqueId !== 'boolean')
      throw expected('true or false', uniqueId, `${within}.uniqueId`)
  }
  headerOf(choice as ProxySendChoice, anybody, 'x', within)
}

/** The PROXY header that a server gets about a client. */
export function prefaceFor(
  choice: ProxySendChoice | undefined,
  client: Connection,
  uniqueId: () => string | Uint8Array,
): Uint8Array | undefined {
  return choice === undefined ? undefined : headerOf(choice, client, sendsUniqueId(choice) ? uniqueId() : undefined, '')
}

/** Whether sessions have a name of their own for their servers. */
export function sendsUniqueId(choice: ProxySendChoice | undefined): boolean {
  return typeof choice === 'object' && choice.uniqueId === true
}

function headerOf(
  choice: ProxySendChoice,
  client: Connection,
  uniqueId: string | Uint8Array | undefined,
  within: string,
): Buffer {
  const options: ProxySendOptions =
    typeof choice === 'string'
      ? { version: choice === 'v1' ? 1 : 2 }
      : { ...choice, uniqueId: choice.uniqueId === true ? uniqueId : undefined }
  return writeProxySend(parseProxySend({ ...options, onBehalfOf: client }, within))
}

// Stands for whoever will come, so that options can be checked.
const anybody = {
  ...{ localAddress: '127.0.0.1', localPort: 1, remoteAddress: '127.0.0.1', remotePort: 1, tls: undefined },
  write() {},
} satisfies ProxyClient & { write(): void } as unknown as Connection
