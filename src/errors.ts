import { getSystemErrorName } from 'node:util'
import { ownErrors } from './errors/own-errors.js'
import { systemErrors } from './errors/system-errors.js'
import { handshakeErrors } from './handshake/handshake-errors.js'
import { messageErrors } from './message/message-errors.js'
import { tlsErrors } from './tls/tls-errors.js'

/**
 * Every code of a {@link SluiceError}: `ERR_SLUICE_` plus a name of this table. Codes never change their meaning;
 * texts may improve at any time, so match on `code`.
 *
 * `meaning` completes "listen 127.0.0.1:80: …"; `advice` says what to do about it.
 */
export const errorTable = {
  // In the order of native/base/error.h.
  ...systemErrors,
  ...ownErrors,
  ...handshakeErrors,
  ...messageErrors,
  ...tlsErrors,
} as const satisfies Record<string, { meaning: string; advice: string }>

/** A row of {@link errorTable}, e.g. `'ADDRESS_IN_USE'`. */
export type ErrorName = keyof typeof errorTable

/** What `error.code` can be, e.g. `'ERR_SLUICE_ADDRESS_IN_USE'`. */
export type SluiceErrorCode = `ERR_SLUICE_${ErrorName}`

/** What was being done when it failed. */
export type ErrorPhase =
  | 'options'
  | 'start'
  | 'resolve'
  | 'connect'
  | 'listen'
  | 'accept'
  | 'tls'
  | 'handshake'
  | 'read'
  | 'write'
  | 'handler'
  | 'message'
  | 'close'

/** What is known about a failure. All of it is optional; what is given becomes a property of the error. */
export interface ErrorFacts {
  /** What the system answered, positive as in errno(3) and `os.constants.errno`. */
  errno?: number
  /** The call that failed, e.g. `'bind'`. */
  syscall?: string
  /** IP literal, host name or Unix path. */
  address?: string
  /** Port it was about. */
  port?: number
  /** What was being done. */
  phase?: ErrorPhase
  /** The option to blame, e.g. `'backlog'` or `'sim.seed'`. */
  option?: string
  /** Replaces the meaning of {@link errorTable} in the message. */
  detail?: string
  /** What brought it about, if that was no system call. */
  cause?: unknown
  /** One error per attempt, when several were made. */
  errors?: readonly SluiceError[]
  /** TLS and steps: the reason as HAProxy names it, e.g. `'SSL_CA_FAIL'`, `'PRX_TIMEOUT'`. */
  reason?: string
  /** The step of `handshake` that failed. */
  step?: string
  /** TLS: why a certificate did not verify, X509_V_ERR_… */
  verifyCode?: number
  /** TLS: the alert that the peer sent. */
  alert?: number
  /** TLS: OpenSSL's error code. */
  libraryCode?: number
}

/** A failure as native code tells it; `codeName` is a row of {@link errorTable}. Zero and '' mean "not known". */
export interface NativeFailure extends Pick<ErrorFacts, 'address' | 'port' | 'phase' | 'detail'> {
  /** A row of {@link errorTable}. */
  codeName: string
  /** Positive. */
  errno: number
  /** The call that failed. */
  syscall: string
}

/** A failure of TLS as native code tells it. Zero, '' and an alert of -1 mean "not known". */
export interface NativeTlsFailure {
  /** A row of {@link errorTable} without `TLS_`. */
  failure: string
  stage: 'library' | 'options' | 'handshake' | 'read' | 'write' | 'shutdown'
  reason: string
  option: string
  text: string
  libraryCode: number
  verifyCode: number
  alert: number
}

/** Every error of this package. Match on {@link SluiceError.code}, which never changes. */
export class SluiceError extends Error {
  /** Which failure: a row of the error table behind `ERR_SLUICE_`. */
  readonly code: SluiceErrorCode
  /** Positive, as in errno(3) and `os.constants.errno`; absent when no system call failed. */
  declare readonly errno?: number
  /** The call that failed, e.g. `'bind'`. */
  declare readonly syscall?: string
  /** IP literal, host name or Unix path it was about. */
  declare readonly address?: string
  /** Port it was about. */
  declare readonly port?: number
  /** What was being done. */
  declare readonly phase?: ErrorPhase
  /** The option to blame, e.g. `'backlog'` or `'sim.seed'`. */
  declare readonly option?: string
  /** One error per attempt, when several addresses were tried. */
  declare readonly errors?: readonly SluiceError[]
  /** TLS and steps: the reason as HAProxy names it, e.g. `'SSL_CA_FAIL'` for an authority, `'SSL_CRT_FAIL'` for the peer
   *  itself, `'PRX_TIMEOUT'` for a PROXY header that did not come. */
  declare readonly reason?: string
  /** The step of `handshake` that failed, by its name. */
  declare readonly step?: string
  /** TLS: why a certificate did not verify, as OpenSSL numbers it (X509_V_ERR_…). */
  declare readonly verifyCode?: number
  /** TLS: the alert that the peer sent. Source: RFC 8446, section 6. */
  declare readonly alert?: number
  /** TLS: OpenSSL's error code, as `openssl errstr` takes it in hex. */
  declare readonly libraryCode?: number

  /** From a row of {@link errorTable} and what is known; the message is made of both. */
  constructor(name: ErrorName, facts: ErrorFacts = {}) {
    super(describe(name, facts), 'cause' in facts ? { cause: facts.cause } : undefined)
    this.code = `ERR_SLUICE_${name}`
    const { errno, syscall, address, port, phase, option, errors, reason, step, verifyCode, alert, libraryCode } = facts
    const known = { errno, syscall, address, port, phase, option, errors, reason, step, verifyCode, alert, libraryCode }
    // Only what is known becomes a property: printed errors stay short.
    for (const [key, value] of Object.entries(known)) {
      if (value !== undefined) Object.defineProperty(this, key, { value, enumerable: true, configurable: true })
    }
  }

  static {
    Object.defineProperty(SluiceError.prototype, 'name', { value: 'SluiceError', configurable: true, writable: true })
  }

  /** All that is known, ready for JSON.stringify. */
  toJSON(): Record<string, unknown> {
    const json: Record<string, unknown> = { name: this.name, message: this.message }
    Object.assign(json, this)
    if (this.cause !== undefined) json.cause = causeToJson(this.cause)
    return json
  }
}

/** The error for what native code told. */
export function nativeError(failure: NativeFailure): SluiceError {
  const { codeName, errno, syscall, address, port, phase, detail } = failure
  return new SluiceError(Object.hasOwn(errorTable, codeName) ? (codeName as ErrorName) : 'SYSTEM', {
    errno: errno || undefined,
    syscall: syscall || undefined,
    address: address || undefined,
    // A Unix path has no port.
    port: address && !port ? undefined : port,
    phase,
    detail,
  })
}

const phaseOfStage: Record<NativeTlsFailure['stage'], ErrorPhase | undefined> = {
  ...{
    library: undefined,
    options: 'options',
    handshake: 'handshake',
    read: 'read',
    write: 'write',
    shutdown: 'close',
  },
}

/** The error for what TLS told. */
export function tlsError(failure: NativeTlsFailure, facts: ErrorFacts = {}): SluiceError {
  const { option, text, reason, libraryCode, verifyCode, alert, stage } = failure
  const row = `TLS_${failure.failure}`
  const name = Object.hasOwn(errorTable, row) ? (row as ErrorName) : 'TLS_FATAL'
  const { meaning } = errorTable[name]
  const what = text.startsWith(meaning) ? text : text === '' ? meaning : `${meaning} (${text})`
  return new SluiceError(name, {
    option: option || undefined,
    detail: option === '' ? what : `option "${facts.option ?? option}": ${what}`,
    reason: reason || undefined,
    libraryCode: libraryCode || undefined,
    verifyCode: verifyCode || undefined,
    alert: alert < 0 ? undefined : alert,
    ...facts,
    phase: phaseOfStage[stage] ?? facts.phase,
  })
}

/** Whether native code answered with a failure of TLS instead of what was asked for. */
export function isTlsFailure(answer: unknown): answer is NativeTlsFailure {
  return typeof answer === 'object' && answer !== null && 'failure' in answer
}

/** The error that an aborted `signal` stands for. */
export function abortError(signal: AbortSignal, facts: ErrorFacts = {}): SluiceError {
  return new SluiceError('ABORTED', { cause: signal.reason, ...facts })
}

/** `127.0.0.1:80`, `[::1]:80`, or a path; abstract names start with @, as in ss(8). */
export function formatEndpoint(address: string, port?: number): string {
  if (port === undefined) return address.replace(/^\0/, '@')
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** `error` itself, or wrapped when it is none of ours. */
export function asSluiceError(error: unknown, name: ErrorName, facts: ErrorFacts = {}): SluiceError {
  if (error instanceof SluiceError) return error
  const detail = error instanceof Error ? `${errorTable[name].meaning}: ${error.message}` : undefined
  return new SluiceError(name, { detail, cause: error, ...facts })
}

// "listen 127.0.0.1:80: permission denied (EACCES in bind)"
function describe(name: ErrorName, { phase, address, port, errno, syscall, detail }: ErrorFacts): string {
  const subject = [phase === 'options' ? undefined : phase, address && formatEndpoint(address, port)]
  const where = subject.filter(Boolean).join(' ')
  const source = [errno && getSystemErrorName(-errno), syscall].filter(Boolean).join(' in ')
  return `${where ? `${where}: ` : ''}${detail ?? errorTable[name].meaning}${source ? ` (${source})` : ''}`
}

function causeToJson(cause: unknown): unknown {
  if (!(cause instanceof Error)) return typeof cause === 'bigint' || typeof cause === 'symbol' ? String(cause) : cause
  if (cause instanceof SluiceError) return cause.toJSON()
  return { name: cause.name, message: cause.message, ...('code' in cause && { code: cause.code }) }
}
