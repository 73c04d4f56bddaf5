import { Transform } from 'node:stream'
import type { ByteQueue, Filter, FilterFunction } from 'sluice'
import { FrameReader, FrameWriter } from 'sluice'

/** Lets everything pass, piece by piece. */
export const pass: FilterFunction = (source, destination, limitBytes) =>
  destination.appendFrom(source, limitBytes) > 0 ? 'ok' : 'needMore'

/** Mixes every byte with its position, so that a lost, doubled or swapped one shows. */
export function scramble(seed: number): Filter {
  const step = (): FilterFunction => {
    let position = seed
    return (source, destination, limitBytes) => {
      const bytes = source.read(limitBytes)
      for (let i = 0; i < bytes.length; i++) bytes[i] = bytes[i]! ^ (position++ & 0xff)
      destination.appendReference(bytes)
      return bytes.length > 0 ? 'ok' : 'needMore'
    }
  }
  return { name: 'scramble', input: step(), output: step() }
}

/** Whatever is written at once becomes one frame; frames are read whole. */
export function frames(): Filter {
  return {
    name: 'frames',
    output(source, destination) {
      if (source.sizeBytes === 0) return 'needMore'
      const writer = new FrameWriter()
      writer.lengthPrefixed(source.read(), 'u32')
      destination.appendFrom(writer.queue)
      return 'ok'
    },
    input(source, destination) {
      const frame = new FrameReader(source).lengthPrefixed('u32')
      if (frame === undefined) return 'needMore'
      destination.append(frame)
      return 'ok'
    },
  }
}

/** Twice as many bytes, in letters. */
export function hex(): Filter {
  return {
    name: 'hex',
    output(source, destination, limitBytes) {
      const bytes = source.read(Math.max(1, limitBytes >> 1))
      destination.append(bytes.toString('hex'))
      return bytes.length > 0 ? 'ok' : 'needMore'
    },
    input(source, destination) {
      const bytes = source.read(source.sizeBytes & ~1)
      destination.append(Buffer.from(bytes.toString('latin1'), 'hex'))
      return bytes.length > 0 ? 'ok' : 'needMore'
    },
  }
}

/** Blocks of 16 bytes, each with its length before it; only a flush or the end lets a shorter one out. */
export function blocks(): Filter {
  return {
    name: 'blocks',
    output(source, destination, _limitBytes, mode) {
      if (source.sizeBytes >= 16 || (mode !== 'normal' && source.sizeBytes > 0)) {
        const block = source.read(Math.min(16, source.sizeBytes))
        destination.append(Buffer.of(block.length))
        destination.append(block)
        return 'ok'
      }
      return 'needMore'
    },
    input(source, destination) {
      const length = source.byteAt(0)
      if (length === undefined || source.sizeBytes < 1 + length) return 'needMore'
      source.drain(1)
      destination.appendFrom(source, length)
      return 'ok'
    },
  }
}

/** A last word after everything, that the peer takes off again; without it, the stream was cut off. */
export function trailer(text = 'the end'): Filter {
  let isWritten = false
  const moveAllBut = (source: ByteQueue, destination: ByteQueue, kept: number) =>
    destination.appendFrom(source, Math.max(0, source.sizeBytes - kept)) > 0
  return {
    name: 'trailer',
    output(source, destination, _limitBytes, mode) {
      const moved = moveAllBut(source, destination, 0)
      if (mode !== 'finished' || isWritten) return moved ? 'ok' : 'needMore'
      isWritten = true
      destination.append(text)
      return 'ok'
    },
    input(source, destination, _limitBytes, mode) {
      if (moveAllBut(source, destination, text.length)) return 'ok'
      if (mode !== 'finished') return 'needMore'
      if (source.sizeBytes < text.length) return 'error'
      return source.read().toString() === text || text === '' ? 'needMore' : 'error'
    },
  }
}

/** A Transform that takes its time for every chunk. */
export function slow(): Transform {
  return new Transform({
    transform(chunk, _encoding, callback) {
      setImmediate(() => callback(null, chunk))
    },
  })
}

/** Both directions through {@link slow}. */
export function slowBothWays(): Filter {
  return { name: 'slow', input: { create: slow }, output: { create: slow } }
}
