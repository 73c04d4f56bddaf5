/** Rows of the error table told by TLS; the same list, with TLS_FATAL of the system's, stands in native/tls/tls_error.h. */
export const tlsErrors = {
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
} as const
