import { tlsError } from '../errors.js'
import { type NativeTls, native } from '../native/binding.js'

let usable: NativeTls | undefined

/**
 * The TLS of the addon. Sockets without TLS never come here, so they work where it does not.
 *
 * @throws {SluiceError} `ERR_SLUICE_TLS_UNAVAILABLE` in a process without OpenSSL 3.
 */
export function tlsLibrary(): NativeTls {
  if (usable === undefined) {
    const failure = native.tls.check()
    if (failure !== undefined) throw tlsError(failure)
    usable = native.tls
  }
  return usable
}

/** What the TLS of this process can do. */
export interface TlsFeatures {
  /** Of OpenSSL, e.g. `'OpenSSL 3.0.15+quic 3 Sep 2024'`. */
  version: string
  /** Whether the hybrid group X25519MLKEM768 exists, which resists quantum computers. OpenSSL 3.5. */
  hasMlKem: boolean
}

/**
 * What the TLS of this process can do.
 *
 * @throws {SluiceError} `ERR_SLUICE_TLS_UNAVAILABLE` in a process without OpenSSL 3.
 */
export function tlsFeatures(): TlsFeatures {
  return tlsLibrary().features()
}
