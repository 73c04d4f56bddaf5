import { Transform } from 'node:stream'
import type { ByteQueue, Filter, FilterFunction } from 'sluice'

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

/** Whatever is written at once becomes one frame, of 16 KiB at most; frames are read whole. */
export function frames(): Filter {
  return {
    name: 'frames',
    output(source, destination) {
      if (source.sizeBytes === 0) return 'needMore'
      const length = Buffer.alloc(4)
      length.writeUInt32BE(Math.min(source.sizeBytes, 16_384))
      destination.append(length)
      destination.appendFrom(source, 16_384)
      return 'ok'
    },
    input(source, destination) {
      const length = Buffer.alloc(4)
      if (source.copyOut(length) < 4 || source.sizeBytes < 4 + length.readUInt32BE()) return 'needMore'
      source.drain(4)
      destination.appendFrom(source, length.readUInt32BE())
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
