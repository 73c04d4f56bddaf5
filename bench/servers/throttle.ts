import { Transform } from 'node:stream'

const bytesPerSecond = 1e12

/** What packages for it do: a stream that takes every chunk out of a bucket, and holds it back while that is empty. */
export function throttle(): Transform {
  let level = bytesPerSecond / 10
  let filled = performance.now()
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      const pass = () => {
        const now = performance.now()
        level = Math.min(level + (bytesPerSecond * (now - filled)) / 1000, bytesPerSecond / 10)
        filled = now
        if (level < chunk.length) return setTimeout(pass, 10)
        level -= chunk.length
        return callback(null, chunk)
      }
      pass()
    },
  })
}
