/** Where a connection is in its life. */
export type ConnectionState = 'connecting' | 'open' | 'ending' | 'peerEnded' | 'closing' | 'closed'

/** How a connection has ended, as `shutdown()` tells. */
export type ShutdownOutcome = 'clean' | 'truncated' | 'timeout' | 'reset'

/** What rules have left on a connection. */
export interface RuleMarks {
  /** In the order they were first given. */
  readonly tags: readonly string[]
  /** What rules have set, by name. */
  readonly variables: Readonly<Record<string, string>>
  /** Whom rules say that it comes from; undefined where none did. */
  readonly source?: RuleEndpoint
  /** Likewise where it goes to. */
  readonly destination?: RuleEndpoint
}

/** An address that a rule has set. */
export interface RuleEndpoint {
  /** IP address. */
  readonly address: string
  /** Port. */
  readonly port: number
}

/** What a rule with the action `log` says. */
export interface RuleLogEntry {
  /** Its number in the list, from 0. */
  readonly rule: number
  /** The stage at which it was asked. */
  readonly stage: 'socket' | 'session' | 'content'
  /** Its `text`. */
  readonly text: string
  /** The fact that it names by `value`, as text; undefined where it names none, or the connection has none. */
  readonly value?: string
  /** Who it is as far as known then: whom rules or a PROXY header name, else the peer. */
  readonly source?: string
  /** Of the socket's other end. */
  readonly address?: string
  /** Its port. */
  readonly port?: number
}

/** Counters of one connection. */
export interface ConnectionStats {
  /** Received from the peer. */
  bytesRead: number
  /** Taken by the kernel for the peer. */
  bytesWritten: number
  /** Written and not yet taken by the kernel. */
  queuedBytes: number
}

/** What the kernel knows of a TCP connection (TCP_INFO); zero where the system does not tell. */
export interface TcpInfo {
  /** State of the protocol, numbered as the kernel does: 1 is ESTABLISHED on Linux. */
  state: number
  /** Round trip, smoothed, in microseconds. */
  rttUs: number
  /** How much the round trip varies. */
  rttVarianceUs: number
  /** Shortest round trip lately. */
  minRttUs: number
  /** Congestion window. */
  sendWindowSegments: number
  /** Window at which slow start ends. */
  slowStartThresholdSegments: number
  /** Largest segment we may send. */
  sendSegmentBytes: number
  /** Largest segment the peer has sent, as estimated. */
  receiveSegmentBytes: number
  /** Sent and not yet acknowledged. */
  unackedSegments: number
  /** Taken for lost at present. */
  lostSegments: number
  /** Unanswered retransmissions in a row, at present. */
  retransmits: number
  /** Segments sent again since the connection began. */
  totalRetransmits: number
  /** Receive buffer that the kernel aims at. */
  receiveSpaceBytes: number
  /** Queued in the kernel and not yet sent. */
  notSentBytes: number
  /** Bytes that the peer has acknowledged. */
  bytesAcked: number
  /** Bytes that the peer sent and we acknowledged. */
  bytesReceived: number
  /** Rate at which data lately arrived at the peer. */
  deliveryRateBytesPerSecond: number
  /** Rate at which the kernel paces what it sends. */
  pacingRateBytesPerSecond: number
}
