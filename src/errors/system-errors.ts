/** Rows of the error table told by the system or the engine; the same list stands in native/base/error.h. */
export const systemErrors = {
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
} as const
