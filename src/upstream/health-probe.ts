import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import type { SocksServer } from '../handshake/connect-shorthand.js'
import type { Runtime } from '../runtime.js'
import type { PoolClock } from './clock.js'
import type { AgentVerdict, CheckRules, ServerRules } from './options.js'
import { adminState, weightOption } from './options.js'

/** What is looked at of an answer. */
const answerLimitBytes = 65_536

/** Where checks are made, and through which SOCKS server. */
export interface CheckEnvironment {
  readonly runtime: Runtime
  readonly clock: PoolClock
  readonly socks: SocksServer | undefined
}

/**
 * Checks a server once. Resolves when it is well; rejects with what is wrong.
 *
 * @throws {SluiceError} of connecting and of TLS; `ERR_SLUICE_UPSTREAM_CHECK_FAILED` for a wrong answer, or none in time.
 */
export async function probe(
  server: ServerRules,
  check: CheckRules,
  environment: CheckEnvironment,
): Promise<AgentVerdict> {
  const controller = new AbortController()
  const late = new SluiceError('UPSTREAM_CHECK_FAILED', { detail: `no answer within ${check.timeoutMs} ms` })
  const cancel = environment.clock.inBackground(check.timeoutMs, () => controller.abort(late))
  const { signal } = controller
  const timeOut = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(late)))
  const asked = check.agent === undefined ? ask(server, check, environment, signal) : askAgent(server, check, signal)
  try {
    // An agent may take no notice of its signal.
    return await Promise.race([asked, timeOut])
  } finally {
    cancel()
    asked.catch(() => {})
    timeOut.catch(() => {})
  }
}

async function askAgent(server: ServerRules, check: CheckRules, signal: AbortSignal): Promise<AgentVerdict> {
  const { name, host, port, path } = server
  const where = path === undefined ? { host, port } : { path }
  const answer: unknown = await check.agent!({ name, ...where }, signal)
  const verdict = typeof answer === 'boolean' ? { up: answer } : (answer as AgentVerdict)
  if (typeof verdict?.up !== 'boolean') throw failed('the agent answered neither true, false nor { up }')
  if (verdict.weight !== undefined) weightOption.parse(verdict.weight, 'weight')
  if (verdict.state !== undefined) adminState.parse(verdict.state, 'state')
  if (!verdict.up) throw failed(verdict.text ?? 'the agent says no')
  return verdict
}

async function ask(
  server: ServerRules,
  check: CheckRules,
  { runtime, socks }: CheckEnvironment,
  signal: AbortSignal,
): Promise<AgentVerdict> {
  const tls = check.tls ?? server.tls
  const where = server.path !== undefined && check.port === undefined ? { path: server.path } : undefined
  const to = where ?? { host: server.host, port: check.port ?? server.port! }
  const request = requestOf(server, check)
  const answer = new Answer(request.isEnough)
  const header = check.sendProxy === undefined ? undefined : { version: check.sendProxy, local: true }
  const how = { socks: where === undefined ? socks : undefined, sendProxy: header, signal }
  const connection = await runtime.connect({ ...to, ...how, tls: tls === false ? undefined : tls }, answer.handlers)
  connection.unref()
  const abort = () => connection.destroy()
  signal.addEventListener('abort', abort)
  try {
    if (request.bytes !== undefined) connection.write(request.bytes)
    if (request.isEnough !== undefined) await answer.complete
    return { up: true, text: request.judge(answer.text) }
  } finally {
    signal.removeEventListener('abort', abort)
    // Whoever says good-bye first keeps TIME_WAIT: not us, every two seconds, for each server.
    if (tls === undefined || tls === false) connection.reset()
    else void connection.close({ timeoutMs: 1000 })
  }
}

/** What comes back, as Latin-1, until it is enough. */
class Answer {
  text = ''
  readonly complete: Promise<void>
  private settle!: (error?: Error) => void
  readonly handlers = {
    data: (_: Connection, bytes: Uint8Array) => {
      if (this.text.length < answerLimitBytes) this.text += Buffer.from(bytes).toString('latin1')
      if (this.isEnough?.(this.text) || this.text.length >= answerLimitBytes) this.settle()
    },
    // Its end: what there is has to do.
    end: () => this.settle(),
    close: (_: Connection, error?: SluiceError) => this.settle(error),
  }

  constructor(private readonly isEnough: ((text: string) => boolean) | undefined) {
    this.complete = new Promise((resolve, reject) => {
      this.settle = (error) => (error === undefined ? resolve() : reject(error))
    })
    this.complete.catch(() => {})
  }
}

interface Request {
  bytes?: string | Uint8Array
  /** Undefined: no answer is waited for. */
  isEnough?: (text: string) => boolean
  /** @throws {SluiceError} for a wrong answer. @returns what to show of a good one. */
  judge(text: string): string
}

function requestOf(server: ServerRules, check: CheckRules): Request {
  const { http, send, expect } = check
  if (http !== undefined) return httpRequest(server, http)
  if (expect === undefined) return { bytes: send, judge: () => 'connected' }
  const isThere = (text: string) =>
    expect instanceof RegExp
      ? new RegExp(expect.source, expect.flags.replace(/[gy]/g, '')).test(text)
      : text.includes(latin1(expect))
  return {
    bytes: send,
    isEnough: isThere,
    judge(text) {
      if (isThere(text)) return 'answered as expected'
      throw failed(`the answer has no ${shown(expect)} in it: ${JSON.stringify(text.slice(0, 80))}`)
    },
  }
}

function httpRequest(server: ServerRules, http: NonNullable<CheckRules['http']>): Request {
  const { method, path, status, host = server.path === undefined ? server.host : 'localhost' } = http
  return {
    bytes: `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: sluice-check\r\nConnection: close\r\n\r\n`,
    isEnough: (text) => text.includes('\n'),
    judge(text) {
      const found = /^HTTP\/1\.[01] (\d{3})(?: |\r?\n)/.exec(text)
      if (found === null) throw failed(`the answer is not HTTP: ${JSON.stringify(text.slice(0, 80))}`)
      const code = Number(found[1])
      const isGood = status === undefined ? code >= 200 && code < 400 : [status].flat().includes(code)
      if (!isGood) throw failed(`the answer has status ${code}`)
      return `status ${code}`
    },
  }
}

function latin1(text: string | Uint8Array): string {
  return Buffer.from(text as string).toString('latin1')
}

function shown(expect: string | Uint8Array | RegExp): string {
  return expect instanceof RegExp ? String(expect) : JSON.stringify(latin1(expect))
}

function failed(detail: string): SluiceError {
  return new SluiceError('UPSTREAM_CHECK_FAILED', { detail })
}
