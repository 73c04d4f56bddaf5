import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { createInterface } from 'node:readline'
import { SluiceError } from '../errors.js'
import type { ParsedEtcdOptions } from './etcd-options.js'

// etcd's API version 3 as JSON over HTTP. Source: https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/

const authenticate = '/v3/auth/authenticate'
// An answer to a question that is larger than this is none.
const mostBytes = 64 * 1024 * 1024
/** So often a connection that is silent, as that of a watch usually is, is asked by TCP whether it is there. */
const probeMs = 10_000

/** etcd has said no: another member would say the same. */
class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
    this.name = 'EtcdRefused'
  }
}

/** Asks the members of a cluster, one after the other until one answers. */
export class EtcdClient {
  private readonly agents: { readonly http: HttpAgent; readonly https: HttpsAgent }
  /** The member that has answered last. */
  private current = 0
  private token: string | undefined
  private isLost = false

  constructor(private readonly options: ParsedEtcdOptions) {
    const { ca, cert, key } = options
    const kept = { keepAlive: true, keepAliveMsecs: probeMs }
    this.agents = { http: new HttpAgent(kept), https: new HttpsAgent({ ...kept, ca, cert, key }) }
  }

  /** Whether it did not answer when it was asked last. */
  get lost(): boolean {
    return this.isLost
  }

  /** @throws {SluiceError} `ERR_SLUICE_ETCD_FAILED`. */
  ask<Answer>(path: string, body: object, signal?: AbortSignal): Promise<Answer> {
    const timeout = AbortSignal.timeout(this.options.timeoutMs * this.options.urls.length)
    const both = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    return this.each(async (url) => {
      const one = AbortSignal.any([both, AbortSignal.timeout(this.options.timeoutMs)])
      const response = await this.send(url, path, body, one)
      return JSON.parse(await textOf(response)) as Answer
    }, both)
  }

  /**
   * Asks for something that is told about for as long as it goes well, line by line. Resolves when etcd ends it.
   *
   * @throws {SluiceError} `ERR_SLUICE_ETCD_FAILED`; what `told` throws.
   */
  async follow<Line>(path: string, body: object, told: (line: Line) => void, signal: AbortSignal): Promise<void> {
    const response = await this.each((url) => this.send(url, path, body, signal), signal)
    try {
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }))
        if (line !== '') told(JSON.parse(line) as Line)
    } finally {
      response.destroy()
    }
  }

  private async each<T>(work: (url: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    const { urls } = this.options
    let failure: unknown
    for (let i = 0; i < urls.length && !signal.aborted; i++) {
      try {
        const answer = await this.authenticated(urls[this.current]!, work)
        this.tell(undefined)
        return answer
      } catch (error) {
        failure = error
        if (error instanceof Refused && error.status < 500) break
        this.current = (this.current + 1) % urls.length
      }
    }
    const cause = failure ?? signal.reason
    const error = new SluiceError('ETCD_FAILED', {
      phase: 'resolve',
      detail: `etcd at ${urls.join(', ')}: ${cause instanceof Error ? reasonOf(cause) : String(cause)}`,
      cause,
    })
    // What was stopped by its caller says nothing about etcd.
    if (!(failure instanceof Refused) && !(isAbort(failure ?? signal.reason) && signal.aborted)) this.tell(error)
    throw error
  }

  private async authenticated<T>(url: string, work: (url: string) => Promise<T>): Promise<T> {
    const { user, password } = this.options
    if (user === undefined) return work(url)
    const logIn = async () => {
      const signal = AbortSignal.timeout(this.options.timeoutMs)
      const response = await this.send(url, authenticate, { name: user, password }, signal)
      this.token = (JSON.parse(await textOf(response)) as { token: string }).token
    }
    if (this.token === undefined) await logIn()
    try {
      return await work(url)
    } catch (error) {
      // Tokens end, and those of another member may be unknown to this one.
      if (!(error instanceof Refused) || error.status !== 401) throw error
      this.token = undefined
      await logIn()
      return work(url)
    }
  }

  private send(url: string, path: string, body: object, signal: AbortSignal): Promise<IncomingMessage> {
    const text = JSON.stringify(body)
    const headers: Record<string, string | number> = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    }
    if (this.token !== undefined && path !== authenticate) headers.authorization = this.token
    const isSecure = url.startsWith('https:')
    const agent = isSecure ? this.agents.https : this.agents.http
    return new Promise((resolve, reject) => {
      const options = { method: 'POST', agent, headers, signal }
      const sent = (isSecure ? httpsRequest : httpRequest)(`${url}${path}`, options, (response) => {
        if (response.statusCode === 200) resolve(response)
        else textOf(response).then((answer) => reject(new Refused(response.statusCode!, messageOf(answer))), reject)
      })
      sent.on('socket', (socket) => socket.setKeepAlive(true, probeMs))
      sent.on('error', reject)
      sent.end(text)
    })
  }

  private tell(error: Error | undefined): void {
    const wasLost = this.isLost
    this.isLost = error !== undefined
    if (error !== undefined && !wasLost) this.options.events?.lost?.(error)
    if (error === undefined && wasLost) this.options.events?.found?.()
  }

  /** Closes its connections. */
  close(): void {
    this.agents.http.destroy()
    this.agents.https.destroy()
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    parts.push(part)
    bytes += part.length
    if (bytes > mostBytes) throw new Error(`the answer is larger than ${mostBytes} bytes`)
  }
  return Buffer.concat(parts).toString()
}

function messageOf(answer: string): string {
  try {
    const { message, error } = JSON.parse(answer) as { message?: string; error?: string }
    return message ?? error ?? answer
  } catch {
    return answer.slice(0, 500)
  }
}

// Where several addresses of a name have failed, the message is empty.
function reasonOf(error: Error): string {
  const { errors } = error as AggregateError
  return error.message || errors?.map(({ message }: Error) => message).join(', ') || error.name
}

function isAbort(error: unknown): boolean {
  return (error as Error | undefined)?.name === 'AbortError'
}

/** Keys and values travel as base64. */
export function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

/** The other way. */
export function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString()
}

/** Where the keys end that begin with `prefix`. */
export function endOf(prefix: string): string {
  const bytes = Buffer.from(prefix)
  // UTF-8 has no byte 0xff, so the last one can always be one more.
  bytes[bytes.length - 1]!++
  return bytes.toString('base64')
}

/** Waits before the next attempt; ends early, without an error, when `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    timer.unref()
    signal.addEventListener('abort', done)
  })
}

/** Waits that double, up to 20 times the first, half of each by chance. */
export class Backoff {
  private nextMs: number

  constructor(private readonly leastMs: number) {
    this.nextMs = leastMs
  }

  /** After success. */
  reset(): void {
    this.nextMs = this.leastMs
  }

  next(): number {
    const ms = this.nextMs
    this.nextMs = Math.min(ms * 2, this.leastMs * 20)
    return ms * (0.5 + Math.random() / 2)
  }
}
