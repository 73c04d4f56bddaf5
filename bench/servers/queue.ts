// No server: pieces go through a queue of bytes, in at the back and out at the front, with a backlog.
import { ByteQueue } from 'sluice'
import { announce } from './service.js'

interface Queue {
  append(piece: Buffer): void
  /** The first byte; then `lengthBytes` are dropped. */
  takeFirst(lengthBytes: number): number
}

const queues: Record<string, () => Queue> = {
  'byte-queue'() {
    const queue = new ByteQueue()
    return {
      append: (piece) => queue.append(piece),
      takeFirst(lengthBytes) {
        const first = queue.byteAt(0)!
        queue.drain(lengthBytes)
        return first
      },
    }
  },
  'Buffer.concat'() {
    let all = Buffer.alloc(0)
    return {
      append(piece) {
        all = Buffer.concat([all, piece])
      },
      takeFirst(lengthBytes) {
        const first = all[0]!
        all = all.subarray(lengthBytes)
        return first
      },
    }
  },
  bl() {
    const { BufferList } = require('bl') as typeof import('bl')
    const list = new BufferList()
    return {
      // It keeps what it is given, where sluice copies: a handler's bytes are a view, so they have to be copied first.
      append: (piece) => void list.append(Buffer.from(piece)),
      takeFirst(lengthBytes) {
        const first = list.get(0)
        list.consume(lengthBytes)
        return first
      },
    }
  },
}

const kind = process.argv[process.argv.indexOf('--with') + 1]!
const turnPieces = 1000

function work(lengthBytes: number, backlogPieces: number, seconds: number): object {
  const queue = queues[kind]!()
  const pieces = Array.from({ length: 251 }, (_, i) => Buffer.alloc(lengthBytes, i))
  const start = process.hrtime.bigint()
  let appended = 0
  let taken = 0
  while (appended < backlogPieces) queue.append(pieces[appended++ % 251]!)
  let spent = 0
  do {
    for (let i = 0; i < turnPieces; i++) {
      queue.append(pieces[appended++ % 251]!)
      const first = queue.takeFirst(lengthBytes)
      if (first !== taken++ % 251) throw new Error(`${kind} gave ${first} as the first byte of piece ${taken - 1}`)
    }
    spent = Number(process.hrtime.bigint() - start) / 1e9
  } while (spent < seconds)
  return { pieces: taken, seconds: spent }
}

announce(0, { work })
