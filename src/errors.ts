import { getSystemErrorName } from 'node:util'
import { handshakeErrors } from './handshake/handshake-errors.js'
import { messageErrors } from './message/message-errors.js'

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
  TLS_FATAL: {
    meaning: 'the TLS session failed',
    advice: 'The text is what OpenSSL said; it is none of the cases that have a code of their own.',
  },

  OPENING_FAILED: {
    meaning: 'the connection did not get to its session',
    advice: 'A step of `handshake` ended it. So many others failed meanwhile that which one and why is forgotten.',
  },
  RELAY_FAILED: {
    meaning: 'the relay failed',
    advice:
      '`side` says which of its connections failed first, and `cause` how; the other one was reset because of it.',
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
  RELAYED: {
    meaning: 'the connection belongs to a relay',
    advice:
      'From `relay()` on nothing else reads or writes it. Use the `close()`, `destroy()` or `stats()` of the relay.',
  },
  TUNNEL_TIMEOUT: {
    meaning: 'nothing relayed in time',
    advice: '`tunnelTimeoutMs` passed without a byte in either direction.',
  },
  FIN_TIMEOUT: {
    meaning: 'the half-closed relay was not finished in time',
    advice: '`finTimeoutMs` passed without a byte after one direction had ended, and the other had not.',
  },
  WRITE_AFTER_END: {
    meaning: 'written after the end',
    advice: '`end()`, `close()` or `destroy()` was called before this `write()`.',
  },
  FRAME_INVALID: {
    meaning: 'the peer sent what is no frame',
    advice: 'The text says what is wrong: too long (`maxBytes`), malformed, or cut off by the end. End the connection.',
  },
  STORE_UNREACHABLE: {
    meaning: 'the rate limit store does not answer',
    advice:
      'A warning, once per outage: the group goes on with the part of its last lease (`stats().shared`). See `cause`.',
  },
  PEERS_UNREACHABLE: {
    meaning: 'the peers of a stick table cannot be reached',
    advice: 'A warning, once per outage: the table counts by itself, and tells the others when it can. See `cause`.',
  },
  SNAPSHOT_INVALID: {
    meaning: 'this is no snapshot of such a table',
    advice: 'It is damaged, or of a table with other keys, or of a later version of this package. Nothing was taken.',
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
  UPSTREAM_UNAVAILABLE: {
    meaning: 'no server is usable',
    advice: 'All are down, drained or in maintenance; `stats()` of the pool tells why, and what the last checks said.',
  },
  UPSTREAM_QUEUE_FULL: {
    meaning: 'too many wait for a server',
    advice: '`maxQueue` of the pool or the server is reached; add servers, or raise `maxConnections`.',
  },
  UPSTREAM_QUEUE_TIMEOUT: {
    meaning: 'no server had a place in time',
    advice: '`queueTimeoutMs` is over; add servers, or raise `maxConnections`.',
  },
  UPSTREAM_CHECK_FAILED: {
    meaning: 'the health check failed',
    advice: 'The text says what the server answered, or that it did not within `timeoutMs` of the check.',
  },
  PLAINTEXT_BEFORE_TLS: {
    meaning: 'plaintext came in before the handshake',
    advice:
      'Perhaps somebody injected it (CVE-2011-0411). `discardPlaintext` of `startTls()` drops it instead of failing.',
  },
  ADDON_NOT_LOADED: {
    meaning: 'no addon could be loaded for this system',
    advice: 'Thrown by `import` or `require`. The text tells how to build it: `npx node-gyp rebuild` in its folder.',
  },

  ETCD_FAILED: {
    meaning: 'etcd did not do what it was asked',
    advice: '`cause` tells why: no member of `urls` answers, or what the one that did has refused.',
  },

  ...handshakeErrors,
  ...messageErrors,

  // Told by TLS; the same list, with TLS_FATAL above, stands in native/tls/tls_error.h.
  TLS_UNAVAILABLE: {
    meaning: 'this process has no OpenSSL 3',
    advice: 'TLS uses the OpenSSL that Node carries; take a Node of nodejs.org. Sockets without TLS work all the same.',
  },
  TLS_INVALID_OPTION: {
    meaning: 'invalid TLS option',
    advice: '`option` names it and the text says what is allowed. Nothing was done.',
  },
  TLS_BAD_CERTIFICATE_DATA: {
    meaning: 'this is no certificate',
    advice: 'Give PEM (`-----BEGIN CERTIFICATE-----`), the own one first and then its chain, or one in DER.',
  },
  TLS_BAD_KEY_DATA: {
    meaning: 'this is no private key',
    advice: 'Give PEM (PKCS#8, PKCS#1 or SEC1) or DER; a public key or a certificate does not do.',
  },
  TLS_PASSPHRASE_MISSING: {
    meaning: 'the key is encrypted',
    advice: 'Give its `passphrase`.',
  },
  TLS_PASSPHRASE_WRONG: {
    meaning: 'the passphrase does not fit the key',
    advice: 'Check `passphrase`, and that it belongs to this key or PFX.',
  },
  TLS_KEY_MISMATCH: {
    meaning: 'the key is not that of the certificate',
    advice:
      'Give the key the certificate was issued for. In `cert` the own certificate comes first, its chain behind it.',
  },
  TLS_KEY_TOO_WEAK: {
    meaning: 'the key is too weak',
    advice: 'Make a stronger one (RSA of 2048 bits, P-256, Ed25519), or lower `securityLevel`.',
  },
  TLS_BAD_PFX_DATA: {
    meaning: 'this is no PKCS#12 file',
    advice: 'Give the bytes of a .pfx or .p12 file that holds a key and its certificate.',
  },
  TLS_BAD_CA_DATA: {
    meaning: 'these are no certificates to trust',
    advice: 'Give certificates of authorities, in PEM, any number of them, or one in DER.',
  },
  TLS_BAD_CRL_DATA: {
    meaning: 'this is no revocation list',
    advice: 'Give CRLs in PEM (`-----BEGIN X509 CRL-----`), any number of them, or one in DER.',
  },
  TLS_UNKNOWN_CIPHER: {
    meaning: 'unknown cipher',
    advice: 'Take names that `openssl ciphers -v` shows; those of TLS 1.3 go into `cipherSuites`.',
  },
  TLS_UNKNOWN_GROUP: {
    meaning: 'unknown group',
    advice: 'Take names such as `X25519:P-256`; ML-KEM groups need the OpenSSL 3.5 of newer Nodes.',
  },
  TLS_UNKNOWN_SIGNATURE_ALGORITHM: {
    meaning: 'unknown signature algorithm',
    advice: 'Take names such as `ECDSA+SHA256:rsa_pss_rsae_sha256`.',
  },
  TLS_BAD_VERSION_RANGE: {
    meaning: 'these versions do not go together',
    advice: '`minVersion` may not be above `maxVersion`; TLS 1.0 and 1.1 also need `securityLevel: 0`.',
  },
  TLS_BAD_TICKET_KEY: {
    meaning: 'these are no ticket keys',
    advice: 'Give 1 to 16 keys of 48 or 80 bytes each, with different names (their first 16 bytes).',
  },
  TLS_BAD_SESSION: {
    meaning: 'this is no session to resume',
    advice: 'Give what `connection.tls.session` was at an earlier connection.',
  },
  TLS_NO_TRUST_STORE: {
    meaning: 'the system has no trust store',
    advice: 'Install the package `ca-certificates`, or give `ca`, or take `trust: "node"`.',
  },
  TLS_EMPTY: {
    meaning: 'the peer left before it said anything',
    advice: 'Health checks and port scans do this. Nothing is wrong here.',
  },
  TLS_ABORTED: {
    meaning: 'the peer left in the middle of the handshake',
    advice: 'It may dislike our certificate, version or ciphers without saying so; look at its log.',
  },
  TLS_TIMEOUT: {
    meaning: 'the handshake took too long',
    advice: '`handshakeTimeoutMs` bounds it from beginning to end, waiting for its turn included.',
  },
  TLS_TOO_MANY: {
    meaning: 'too many handshakes',
    advice: 'Raise `maxHandshakes` or `maxHandshakesWaiting`, or find out who floods the port.',
  },
  TLS_NO_MEMORY: {
    meaning: 'no memory left for TLS',
    advice: 'Hold fewer connections, or raise the limits of the process or container.',
  },
  TLS_NOT_TLS: {
    meaning: 'the peer does not speak TLS',
    advice: 'What it sent is no TLS record: perhaps plain text on a TLS port, or the other way round.',
  },
  TLS_UNSUPPORTED_VERSION: {
    meaning: 'no version of TLS in common',
    advice: 'Compare `minVersion` and `maxVersion` of both sides.',
  },
  TLS_NO_COMMON_CIPHER: {
    meaning: 'no cipher or group in common',
    advice:
      'Compare `ciphers`, `cipherSuites`, `groups` and the key type of the certificate with what the peer allows.',
  },
  TLS_NO_COMMON_PROTOCOL: {
    meaning: 'no application protocol in common',
    advice: 'Compare `alpn` of both sides.',
  },
  TLS_UNRECOGNIZED_NAME: {
    meaning: 'nobody serves the name asked for',
    advice: 'With `sniStrict` a server refuses names that `sni` does not list; a client: check `serverName`.',
  },
  TLS_HANDSHAKE_TOO_LARGE: {
    meaning: 'the peer sends too much before the handshake is done',
    advice: 'Raise `maxHandshakeBytes` if its certificate chain is that long.',
  },
  TLS_HANDSHAKE_FAILED: {
    meaning: 'the handshake failed',
    advice: 'The text is what OpenSSL said.',
  },
  TLS_PEER_ALERT: {
    meaning: 'the peer refused',
    advice: '`alert` is the number it gave (RFC 8446, section 6.2); 42 to 49 and 116 are about our certificate.',
  },
  TLS_CERTIFICATE_MISSING: {
    meaning: 'the peer shows no certificate',
    advice: 'A client needs `cert` and `key` for this server; a server with `clientCert: "request"` tolerates absence.',
  },
  TLS_CERTIFICATE_EXPIRED: {
    meaning: 'a certificate of the peer has expired',
    advice: 'Renew it; check the clock.',
  },
  TLS_CERTIFICATE_NOT_YET_VALID: {
    meaning: 'a certificate of the peer is not valid yet',
    advice: 'Check the clocks of both machines.',
  },
  TLS_CERTIFICATE_SELF_SIGNED: {
    meaning: 'the certificate of the peer vouches for itself',
    advice: 'Where that is intended, give it as `ca`.',
  },
  TLS_CERTIFICATE_SELF_SIGNED_IN_CHAIN: {
    meaning: 'the authority of the peer is not trusted',
    advice: 'Give the certificate of its authority as `ca` if it is yours; `trust` chooses the public ones.',
  },
  TLS_CERTIFICATE_UNKNOWN_ISSUER: {
    meaning: 'nobody knows who issued the certificate of the peer',
    advice: 'Give the authority as `ca`, or make the peer send its intermediate certificates too.',
  },
  TLS_CERTIFICATE_REVOKED: {
    meaning: 'a certificate of the peer was revoked',
    advice: 'Its authority listed it in a CRL; the peer needs a new one.',
  },
  TLS_CERTIFICATE_NAME_MISMATCH: {
    meaning: 'the certificate is for another name',
    advice: 'Connect by a name that it lists, or set `serverName`.',
  },
  TLS_CERTIFICATE_BAD_PURPOSE: {
    meaning: 'the certificate is for another purpose',
    advice: 'A server needs `serverAuth` and a client `clientAuth` among the extended key usages, if there are any.',
  },
  TLS_CERTIFICATE_BAD_SIGNATURE: {
    meaning: 'a signature in the chain of the peer is wrong',
    advice: 'The certificate was altered, or an authority of the same name but with another key was given.',
  },
  TLS_CERTIFICATE_INVALID_CA: {
    meaning: 'a certificate in the chain may not sign others',
    advice: 'Authorities need the basic constraint CA and the key usage to sign certificates.',
  },
  TLS_CERTIFICATE_CHAIN_TOO_LONG: {
    meaning: 'the chain of the peer is too long',
    advice: 'Raise `verifyDepth`; an authority may also limit what stands below it.',
  },
  TLS_CERTIFICATE_TOO_WEAK: {
    meaning: 'a certificate of the peer is too weak',
    advice: 'Its key or its signature is below `securityLevel`: SHA-1, or RSA of less than 2048 bits.',
  },
  TLS_CERTIFICATE_INVALID: {
    meaning: 'a certificate of the peer does not verify',
    advice: '`verifyCode` and the text are what OpenSSL said (X509_V_ERR_…).',
  },
  TLS_CRL_MISSING: {
    meaning: 'no revocation list of the issuer',
    advice: 'With `crl` every certificate of the chain needs a list of its issuer.',
  },
  TLS_CRL_EXPIRED: {
    meaning: 'a revocation list is out of date',
    advice: 'Fetch a newer one from the authority, and `reload()`.',
  },
  TLS_CRL_INVALID: {
    meaning: 'a revocation list does not verify',
    advice: 'It must be signed by the issuer of the certificates it is about.',
  },
  TLS_TRUNCATED: {
    meaning: 'the peer ended without saying goodbye',
    advice: 'What was read may be incomplete. For peers that never send close_notify there is `allowTruncation`.',
  },
  TLS_RESET: {
    meaning: 'the connection beneath TLS failed',
    advice: 'Bytes on their way are lost.',
  },
  TLS_RENEGOTIATION: {
    meaning: 'the peer wants to negotiate again',
    advice: 'That is refused unless `allowRenegotiation` is set, and limited then.',
  },
  TLS_KEY_UPDATE_FLOOD: {
    meaning: 'the peer asks for new keys all the time',
    advice: '`maxKeyUpdatesPerSecond` is the limit; an honest peer stays far below.',
  },
  TLS_RECORD_FLOOD: {
    meaning: 'the peer sends empty records all the time',
    advice: '`maxEmptyRecordsPerSecond` is the limit; an honest peer stays far below.',
  },
  TLS_BAD_RECORD: {
    meaning: 'what came is damaged',
    advice: 'Something between the peers alters bytes, or the peer is broken.',
  },
  TLS_CLOSED: {
    meaning: 'written after close_notify',
    advice: '`end()` or `close()` was called before.',
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
export function abortError(signal: { readonly reason: unknown }, facts: ErrorFacts = {}): SluiceError {
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
