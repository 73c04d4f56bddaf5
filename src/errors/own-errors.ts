/** Rows of the error table told by the JavaScript side alone. */
export const ownErrors = {
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
} as const
