import type { SluiceError } from '../errors.js'
import { putCompact, readCompact } from './compact.js'
import { errorOfWire, MessageError, messageError, wireNumberOf } from './failure.js'

const refusedNumber = wireNumberOf(messageError('MESSAGE_REFUSED'))
const textLimit = 1000

/** The body of an answer that is a failure. What was thrown is told only if it is a {@link MessageError}. */
export function failureBody(failure: SluiceError | MessageError): Uint8Array {
  if (failure instanceof MessageError) {
    const code = Buffer.from(failure.code)
    const text = Buffer.from(failure.message.slice(0, textLimit))
    const head = new Uint8Array(2 + 9)
    head[0] = refusedNumber & 0xff
    head[1] = refusedNumber >>> 8
    return Buffer.concat([head.subarray(0, putCompact(head, 2, code.length)), code, text])
  }
  const number = wireNumberOf(failure)
  const isOurs = failure.code.startsWith('ERR_SLUICE_MESSAGE_') && failure.code !== 'ERR_SLUICE_MESSAGE_HANDLER_FAILED'
  const text = isOurs ? Buffer.from(failure.message.slice(0, textLimit)) : Buffer.alloc(0)
  return Buffer.concat([Uint8Array.of(number & 0xff, number >>> 8), text])
}

/** The error that such a body tells of. */
export function readFailure(body: Uint8Array): SluiceError {
  const invalid = () => messageError('MESSAGE_CODEC', 'the failure that the peer told of is cut off')
  if (body.length < 2) return invalid()
  const number = body[0]! | (body[1]! << 8)
  const bytes = Buffer.from(body.subarray(2))
  if (number !== refusedNumber) return errorOfWire(number, bytes.toString())
  const cursor = { at: 0 }
  const length = readCompact(bytes, cursor, bytes.length)
  if (length < 1 || length > 1020 || cursor.at + length > bytes.length) return invalid()
  const code = bytes.toString('utf8', cursor.at, cursor.at + length).slice(0, 255)
  const cause = new MessageError(code, bytes.toString('utf8', cursor.at + length))
  return messageError('MESSAGE_REFUSED', `${code}: ${cause.message}`, { cause })
}
