import type { SluiceError } from '../errors.js'

/** Where a request for a connection is on its way. The short names are HAProxy's. Source: HP-03. */
export enum AcquisitionState {
  /** Just made. */
  initial = 'INI',
  /** Wants a connection. */
  requested = 'REQ',
  /** Waits for a place at a server. */
  queued = 'QUE',
  /** Rests after a failed attempt, before the next one at the same server. */
  turnAround = 'TAR',
  /** Has a server, and a place there. */
  assigned = 'ASS',
  /** Its connection is being made. */
  connecting = 'CON',
  /** The attempt failed. */
  connectError = 'CER',
  /** Has its connection. */
  established = 'EST',
  /** Is giving it back. */
  disconnecting = 'DIS',
  /** Over. */
  closed = 'CLO',
}

const {
  initial,
  requested,
  queued,
  turnAround,
  assigned,
  connecting,
  connectError,
  established,
  disconnecting,
  closed,
} = AcquisitionState

// A connection that is there already needs no attempt: ASS → EST. A queue that loses its server asks again: QUE → REQ.
const mayMove: Readonly<Record<AcquisitionState, readonly AcquisitionState[]>> = {
  [initial]: [requested],
  [requested]: [queued, assigned, closed],
  [queued]: [assigned, requested, closed],
  [assigned]: [connecting, established, closed],
  [connecting]: [established, connectError, closed],
  [connectError]: [turnAround, requested, closed],
  [turnAround]: [assigned, requested, closed],
  [established]: [disconnecting],
  [disconnecting]: [closed],
  [closed]: [],
}

/** One step of an acquisition. */
export interface AcquisitionStep {
  /** Counts the acquisitions of a pool, from 1. */
  id: number
  /** The state that is left. */
  from: AcquisitionState
  /** The state that is reached. */
  to: AcquisitionState
  /** The server that it is about, if there is one. */
  server?: string
  /** What went wrong, with `'CER'` and with an unsuccessful `'CLO'`. */
  error?: SluiceError
}

/** The state of one request for a connection, from its beginning until the connection is given back. */
export class Acquisition {
  private current = AcquisitionState.initial
  /** Attempts that failed so far. */
  failures = 0

  constructor(
    readonly id: number,
    private readonly told: (step: AcquisitionStep) => void,
  ) {}

  get state(): AcquisitionState {
    return this.current
  }

  /** The one writer of the state. */
  moveTo(to: AcquisitionState, facts: Pick<AcquisitionStep, 'server' | 'error'> = {}): void {
    const from = this.current
    if (!mayMove[from].includes(to)) throw new Error(`no way from ${from} to ${to}`)
    this.current = to
    this.told({ id: this.id, from, to, ...facts })
  }
}
