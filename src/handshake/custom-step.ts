import type { OpeningConnection } from './opening-connection.js'

/**
 * What a custom step answers:
 *
 * - `'needMore'`: not yet. It is called again with all these bytes and more.
 * - `{ consumed }`: done. So many of the bytes were its own; all others are for whoever comes next.
 * - `{ verdict }`: no session. `'close'` ends with FIN, `'reject'` with RST, `'drop'` without telling the peer, as far as the
 *   system allows. `text` says why, in the error that `handshakeError` or `connect()` gets.
 */
export type StepAnswer =
  | 'needMore'
  | { consumed: number; verdict?: undefined }
  | { verdict: 'close' | 'reject' | 'drop'; text?: string; consumed?: undefined }

/**
 * A step of your own: a preface that stands before TLS and before the first byte of the session. Bytes in, verdict out; an
 * answer may be a promise, and the connection waits for it, unread, until the deadline of all steps. What it throws ends
 * the connection with `ERR_SLUICE_STEP_THREW`.
 */
export interface CustomStep {
  /** As errors tell it. */
  name: string
  /** How many bytes it may want to see, 1 to 65 536. Default 16 384. Beyond: `ERR_SLUICE_STEP_TOO_LONG`. */
  maxBytes?: number
  /** Its turn has come, perhaps before any byte: for who speaks first. Default: waits for bytes. */
  begin?(connection: OpeningConnection): StepAnswer | Promise<StepAnswer>
  /** All bytes that have come and no step has taken, at most `maxBytes`. They are yours to keep. */
  bytes(connection: OpeningConnection, bytes: Buffer): StepAnswer | Promise<StepAnswer>
}
