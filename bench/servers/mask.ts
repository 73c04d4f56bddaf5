import { Transform } from 'node:stream'

/** Changes every byte; twice, it is as before. */
export function maskInPlace(bytes: Buffer): Buffer {
  for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i]! ^ 0x5a
  return bytes
}

/** The same as a stream. */
export function maskTransform(): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      callback(null, maskInPlace(chunk))
    },
  })
}
