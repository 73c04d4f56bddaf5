import { getSystemErrorName } from 'node:util'

/**
 * Every code of a {@link SluiceError}: `ERR_SLUICE_` plus a name of this table. Codes never change their meaning;
 * texts may improve at any time, so match on `code`.
 *
 * `meaning` completes "listen 127.0.0.1:80: …"; `advice` says what to do about it.
 */
export const errorTable = {
  // Told by the system or the engine; the same list stands in native/base/error.h.
  SYSTEM: {
    meaning: 'the system refused',
    advice:
      '`errno` and `syscall` say what the system answered; it is none of the cases that have a code of their own.',
  },
  INVALID_ARGUMENT: {
    meaning: 'the system does not accept these values',
    advice:
      'Check address, path and descriptor: a Unix path holds at most 107 bytes (103 on macOS), an `fd` must listen.',
  },
  ADDRESS_IN_USE: {
    meaning: 'address already in use',
    advice:
      'Another socket listens there. Choose another port (0 lets the system pick), or remove the stale Unix path.',
  },
  ADDRESS_NOT_AVAILABLE: {
    meaning: 'address not available on this machine',
    advice: 'Bind to an address of a local interface. When connecting: all local ports towards this peer are taken.',
  },
  PERMISSION_DENIED: {
    meaning: 'permission denied',
    advice: 'Ports below 1024, some socket options and some paths need privileges; a firewall may also refuse.',
  },
  CONNECTION_REFUSED: {
    meaning: 'connection refused',
    advice: 'Nobody listens at that address, or a firewall says so.',
  },
  CONNECTION_RESET: {
    meaning: 'connection reset by the peer',
    advice: 'The peer ended the connection without finishing it; bytes on their way may be lost.',
  },
  CONNECTION_ABORTED: {
    meaning: 'connection aborted by the system',
    advice: 'The local system gave the connection up, for example because its interface went away.',
  },
  BROKEN_PIPE: {
    meaning: 'the peer no longer receives',
    advice: 'Bytes were written after the peer had closed; stop writing when the connection ends.',
  },
  HOST_UNREACHABLE: {
    meaning: 'host unreachable',
    advice: 'The network knows no live host at that address; try another one, or later.',
  },
  NETWORK_UNREACHABLE: {
    meaning: 'network unreachable',
    advice: 'There is no route to that address, often because IPv6 is not set up here.',
  },
  PEER_TIMED_OUT: {
    meaning: 'the peer no longer answers',
    advice: 'The system gave up on retransmissions or keep-alive probes (`userTimeoutMs`, `keepAlive…`).',
  },
  CONNECT_TIMEOUT: {
    meaning: 'no connection in time',
    advice: '`connectTimeoutMs` is over; `errors` tells which addresses had failed by then.',
  },
  READ_TIMEOUT: {
    meaning: 'nothing received in time',
    advice: '`readTimeoutMs` passed without a byte while reading was not paused.',
  },
  WRITE_TIMEOUT: {
    meaning: 'nothing could be sent in time',
    advice: '`writeTimeoutMs` passed without progress although bytes were waiting: the peer does not read.',
  },
  HALF_CLOSED_TIMEOUT: {
    meaning: 'the half-closed connection was not finished in time',
    advice: '`halfClosedTimeoutMs` passed after one side had ended, and the other had not.',
  },
  CLOSE_TIMEOUT: {
    meaning: 'closing did not finish in time',
    advice: 'Work was left when the `timeoutMs` of `close()` was over, so the rest was ended at once.',
  },
  DESCRIPTOR_LIMIT: {
    meaning: 'no file descriptors left',
    advice: 'Raise the limit (`ulimit -n`), or hold fewer connections (`maxConnections`).',
  },
  MEMORY_LIMIT: {
    meaning: 'no memory left for sockets',
    advice: 'Hold fewer connections, smaller buffers, or raise the limits of the system or container.',
  },
  CONNECTION_LIMIT: {
    meaning: 'the connection limit is reached',
    advice: '`maxConnections` are open; close some or raise the limit.',
  },
  NOT_FOUND: {
    meaning: 'no such path',
    advice: 'The Unix socket, or the folder it should stand in, does not exist.',
  },
  NOT_SUPPORTED: {
    meaning: 'not supported here',
    advice: 'This system or engine lacks the feature; `engines()` tells what each engine can do.',
  },
  NOT_POLLABLE: {
    meaning: 'the descriptor cannot be watched',
    advice: 'Only sockets can be adopted, not files.',
  },
  ENGINE_UNAVAILABLE: {
    meaning: 'the engine cannot start',
    advice: '`engines()` lists the reason for each; choose another engine, or "auto". A named engine never falls back.',
  },
  NAME_NOT_RESOLVED: {
    meaning: 'the name could not be resolved',
    advice: 'Check spelling and DNS. The text tells a name that does not exist from a server that does not answer.',
  },
  ABORTED: {
    meaning: 'aborted',
    advice: 'The caller asked for it, by `signal` or `destroy()`; `cause` holds the reason given.',
  },
  CLOSED: {
    meaning: 'already closed',
    advice: 'The connection, listener or runtime has ended; open a new one.',
  },

  // Told by the JavaScript side alone.
  INVALID_OPTION: {
    meaning: 'invalid option',
    advice: '`option` names it and the text says what is allowed. Nothing was done.',
  },
  QUEUE_FULL: {
    meaning: 'the send queue is full',
    advice:
      'None of the bytes was taken. Wait for `drain` when `write()` returns false; `hardLimitBytes` is the bound.',
  },
  WRITE_AFTER_END: {
    meaning: 'written after the end',
    advice: '`end()`, `close()` or `destroy()` was called before this `write()`.',
  },
  FRAME_INVALID: {
    meaning: 'the peer sent what is no frame',
    advice: 'The text says what is wrong: too long (`maxBytes`), malformed, or cut off by the end. End the connection.',
  },
  FILE_FAILED: {
    meaning: 'the file cannot be sent',
    advice: '`cause` is what the system answered. Or the file is, or has become, shorter than what is to be sent.',
  },
  FILTER_FAILED: {
    meaning: 'a filter failed',
    advice:
      'What it got is not what it expects, e.g. no compressed data, or cut off. Only its own direction was ended.',
  },
  FILTER_THREW: {
    meaning: 'a filter threw',
    advice: '`cause` is what it threw. Only its own direction was ended.',
  },
  FILTER_RESULT: {
    meaning: 'a filter did not answer as filters do',
    advice: "It must return 'ok', 'needMore' or 'error'. Only its own direction was ended.",
  },
  FILTER_EXPANSION: {
    meaning: 'a filter made too much of what it got',
    advice: 'The peer may mean harm (a "zip bomb"); `maxExpansion` of the filter is the bound.',
  },
  HANDLER_THREW: {
    meaning: 'a handler threw',
    advice: '`cause` is what it threw. Only its own connection was ended.',
  },
  RESOLVE_TIMEOUT: {
    meaning: 'the name was not resolved in time',
    advice: '`resolveTimeoutMs` is over; the DNS servers do not answer.',
  },
  ADDON_NOT_LOADED: {
    meaning: 'no addon could be loaded for this system',
    advice: 'Thrown by `import` or `require`. The text tells how to build it: `npx node-gyp rebuild` in its folder.',
  },
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
  | 'read'
  | 'write'
  | 'handler'
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

  /** From a row of {@link errorTable} and what is known; the message is made of both. */
  constructor(name: ErrorName, facts: ErrorFacts = {}) {
    super(describe(name, facts), 'cause' in facts ? { cause: facts.cause } : undefined)
    this.code = `ERR_SLUICE_${name}`
    const { errno, syscall, address, port, phase, option, errors } = facts
    // Only what is known becomes a property: printed errors stay short.
    for (const [key, value] of Object.entries({ errno, syscall, address, port, phase, option, errors })) {
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
