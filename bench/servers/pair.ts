// No server: a message goes to and fro between two ends within this process, and each end looks at what it gets.
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { pair } from 'sluice'
import { announce } from './service.js'

/** One end: `arrived` is called with each piece of what the other end has written. */
interface End {
  write(bytes: Uint8Array): void
  end(): void
}

type Arrived = (bytes: Uint8Array) => void

const kinds: Record<string, (left: Arrived, right: Arrived) => Promise<[End, End]>> = {
  async 'sluice-pair'(left, right) {
    return pair({}, { data: (_, bytes) => left(bytes) }, { data: (_, bytes) => right(bytes) })
  },
  async 'unix-pair'(left, right) {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'))
    const path = join(folder, 'socket')
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const accepted = new Promise<End>((resolve) =>
      server.once('connection', (socket) => resolve(socket.on('data', right))),
    )
    const client = createConnection(path).on('data', left)
    const ends: [End, End] = [client, await accepted]
    server.close()
    rmSync(folder, { recursive: true })
    return ends
  },
  // As stream.duplexPair() of newer Nodes has it.
  async 'duplex-pair'(left, right) {
    const side = (): Duplex & { other?: Duplex; next?: (() => void) | undefined } =>
      new Duplex({
        read(this: ReturnType<typeof side>) {
          const { next } = this
          this.next = undefined
          next?.()
        },
        write(this: ReturnType<typeof side>, chunk, _encoding, callback) {
          const other = this.other as ReturnType<typeof side>
          other.next = callback
          other.push(chunk)
        },
      })
    const ends = [side(), side()] as const
    ends[0].other = ends[1]
    ends[1].other = ends[0]
    ends[0].on('data', left)
    ends[1].on('data', right)
    return [...ends]
  },
}

const kind = process.argv[process.argv.indexOf('--with') + 1]!

async function work(lengthBytes: number, _depth: number, seconds: number): Promise<object> {
  const message = Buffer.alloc(lengthBytes, 1)
  let messages = 0
  let got = 0
  let done = (_error?: Error) => {}
  const finished = new Promise<void>((resolve, reject) => {
    done = (error) => (error === undefined ? resolve() : reject(error))
  })
  const start = process.hrtime.bigint()
  const spent = () => Number(process.hrtime.bigint() - start) / 1e9
  const bounce = (to: () => End) => (bytes: Uint8Array) => {
    if (bytes[0] !== 1) done(new Error(`${kind} gave another byte than was written`))
    got += bytes.length
    if (got < lengthBytes) return
    got = 0
    messages++
    if (messages % 1000 === 0 && spent() >= seconds) done()
    else to().write(message)
  }
  let ends: [End, End]
  ends = await kinds[kind]!(
    bounce(() => ends[0]),
    bounce(() => ends[1]),
  )
  ends[0].write(message)
  await finished
  const result = { pieces: messages, seconds: spent() }
  for (const end of ends) end.end()
  return result
}

announce(0, { work })
