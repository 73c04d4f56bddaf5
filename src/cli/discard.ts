import { count } from './arguments.js'
import { type Service, serve } from './serve.js'

let connections = 0
let bytesDiscarded = 0

const discard: Service = {
  help: {
    name: 'sluice discard',
    summary: 'Throws away what it receives (RFC 863), and tells in the end on stderr how much it was.',
  },
  handlers: {
    open() {
      connections++
    },
    data(_connection, bytes) {
      bytesDiscarded += bytes.length
    },
  },
  overDuplex(stream) {
    connections++
    stream.on('data', (bytes: Uint8Array) => {
      bytesDiscarded += bytes.length
    })
  },
  finished() {
    process.stderr.write(`discarded ${count(bytesDiscarded, 'byte')} of ${count(connections, 'connection')}\n`)
  },
}

export const run = (argv: string[]): Promise<number> => serve(discard, argv)
