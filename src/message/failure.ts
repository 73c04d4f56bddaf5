import { type ErrorFacts, type ErrorName, errorTable, SluiceError, type SluiceErrorCode } from '../errors.js'

/**
 * The errors that one side tells the other, and their numbers on the wire; never renumbered. Seed names, where there are
 * any, stand beside them. Source: docs/wire-format.md, D15.
 */
const wireErrors = [
  [1, 'MESSAGE_INVALID_PACKET', 'error_reader_invalid_packet_header'],
  [2, 'MESSAGE_INVALID_COMMAND', 'error_reader_invalid_message_switch'],
  [3, 'MESSAGE_TOO_MANY_SLOTS', 'error_reader_too_many_multiplex'],
  [4, 'MESSAGE_FLOW', 'error_connection_too_many_recv_buffers'],
  [5, 'MESSAGE_VERSION', 'error_reader_protocol'],
  [6, 'MESSAGE_INVALID_STATE', 'error_connection_invalid_state'],
  [7, 'MESSAGE_COMPRESSION_UNAVAILABLE', 'error_compression_unavailable'],
  [8, 'MESSAGE_COMPRESSION_FAILED', 'error_compression_engine'],
  [9, 'MESSAGE_TOO_MANY_KEEPALIVES', 'error_too_many_keepalive_packets_received'],
  [10, 'MESSAGE_INACTIVE', 'error_inactivity_timeout'],
  [11, 'MESSAGE_NO_TLS', 'error_connection_no_secure_configuration'],
  [12, 'MESSAGE_TOO_LARGE', undefined],
  [13, 'MESSAGE_TOO_MANY_CONNECTIONS', 'error_service_too_many_active_connections'],
  [14, 'MESSAGE_UNKNOWN_TYPE', 'error_service_unknown_message'],
  [15, 'MESSAGE_NO_HANDLER', undefined],
  [16, 'MESSAGE_NOT_ACTIVE', undefined],
  [17, 'MESSAGE_CODEC', undefined],
  [18, 'MESSAGE_HANDLER_FAILED', undefined],
  [19, 'MESSAGE_REFUSED', undefined],
  [20, 'MESSAGE_CANCELED', 'error_message_canceled'],
  [21, 'MESSAGE_CONNECTION', 'error_message_connection'],
  [22, 'PLAINTEXT_BEFORE_TLS', undefined],
  [23, 'MESSAGE_TIMEOUT', undefined],
  [24, 'MESSAGE_NOT_CONNECTED', undefined],
  [25, 'MESSAGE_QUEUE_FULL', undefined],
] as const satisfies readonly (readonly [number, ErrorName, string | undefined])[]

const nameOfNumber = new Map<number, ErrorName>(wireErrors.map(([number, name]) => [number, name]))
const numberOfName = new Map<string, number>(wireErrors.map(([number, name]) => [name, number]))

/** Codes of errors by the names that they had in SolidFrame. Source: D15. */
export const messageErrorAliases: Readonly<Record<string, SluiceErrorCode>> = Object.fromEntries(
  wireErrors.flatMap(([, name, alias]) => (alias === undefined ? [] : [[alias, `ERR_SLUICE_${name}` as const]])),
)

/** All rows, for the table of docs/wire-format.md. */
export const wireErrorRows: readonly (readonly [number, ErrorName])[] = wireErrors.map(([number, name]) => [
  number,
  name,
])

/** An error of this folder. `detail` completes the meaning. */
export function messageError(name: ErrorName, detail?: string, facts: ErrorFacts = {}): SluiceError {
  const text = detail === undefined ? undefined : `${errorTable[name].meaning}: ${detail}`
  return new SluiceError(name, { phase: 'message', detail: text, ...facts })
}

/** How an error is called on the wire; those that are nobody else's business are what the handler failed of. */
export function wireNumberOf(error: SluiceError): number {
  return numberOfName.get(error.code.slice('ERR_SLUICE_'.length)) ?? numberOfName.get('MESSAGE_HANDLER_FAILED')!
}

/** The error for a number that the peer told, with its text. */
export function errorOfWire(number: number, text: string): SluiceError {
  const name = nameOfNumber.get(number) ?? 'MESSAGE_CLOSED_BY_PEER'
  const told = text === '' ? `(number ${number})` : text
  return messageError(name, `the peer says: ${told}`)
}

/**
 * What a handler throws to tell the peer why: there it is the `cause` of `ERR_SLUICE_MESSAGE_REFUSED`. Whatever else is
 * thrown is told as `ERR_SLUICE_MESSAGE_HANDLER_FAILED`, without its text.
 */
export class MessageError extends Error {
  /** Chosen by the handler, at most 255 characters. */
  readonly code: string

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for a code that is too long or no string. */
  constructor(code: string, message = code) {
    super(message)
    if (typeof code !== 'string' || code.length === 0 || code.length > 255)
      throw new SluiceError('INVALID_OPTION', {
        option: 'code',
        detail: 'option "code" must be a string of 1 to 255 characters',
      })
    this.code = code
  }

  static {
    Object.defineProperty(MessageError.prototype, 'name', { value: 'MessageError', configurable: true, writable: true })
  }
}
