import { Readable } from 'node:stream'
import type { Connection } from '../connection.js'
import { type Service, serve } from './serve.js'

const printable = 95 // from the space on
const lineLength = 72
const roundsPerWrite = 9 // 63 270 bytes, about what a socket takes at once

/** Whole rounds of the text, so that writing it again and again goes on where it stopped. */
function wholeRounds(): Buffer {
  const line = (first: number) =>
    String.fromCharCode(...Array.from({ length: lineLength }, (_, column) => 32 + ((first + column) % printable)))
  const round = Array.from({ length: printable }, (_, first) => `${line(first)}\r\n`).join('')
  return Buffer.from(round.repeat(roundsPerWrite), 'latin1')
}

const text = wholeRounds()

function fill(connection: Connection): void {
  while (connection.write(text));
}

const chargen: Service = {
  help: {
    name: 'sluice chargen',
    summary: 'Sends lines of 72 characters, each beginning one character further, as long as the peer reads (RFC 864).',
    details: 'What it receives is thrown away.',
  },
  // A peer that has nothing to say may still want to read.
  options: { allowHalfOpen: true },
  handlers: { open: fill, drain: fill, data() {} },
  overDuplex(stream) {
    const source = new Readable({
      read() {
        this.push(text)
      },
    })
    source.pipe(stream.resume())
  },
}

export const run = (argv: string[]): Promise<number> => serve(chargen, argv)
