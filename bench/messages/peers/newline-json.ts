import { type AddressInfo, createServer, connect as netConnect, type Socket } from 'node:net'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import { bodyOf, breathe, checkAnswer, checkCount, type Peer } from '../peer.js'

/** Without `id` nothing is answered; without `body` the answer is a count. */
interface Line {
  id?: number
  body?: string
  count?: number
}

/** Lines of JSON over node:net. What a turn writes leaves together. */
export const peer: Peer = {
  async serve({ echoes, identity }) {
    let told = 0
    const serveOne = (socket: Socket) => {
      const write = writerOf(socket)
      onLines(socket, ({ id, body }) => {
        if (id === undefined) told++
        else if (body !== undefined) write(echoes ? { id, body } : { id })
        else {
          write({ id, count: told })
          told = 0
        }
      })
      socket.on('error', () => {}) // the client goes away when the bench is over
    }
    const server =
      identity === undefined
        ? createServer({ noDelay: true }, serveOne)
        : createTlsServer({ ...identity, noDelay: true }, serveOne)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  },

  async connect(port, options) {
    const { identity } = options
    const socket = await new Promise<Socket>((resolve, reject) => {
      const where = { host: '127.0.0.1', port, noDelay: true }
      const made: Socket =
        identity === undefined
          ? netConnect(where, () => resolve(made))
          : tlsConnect({ ...where, ca: identity.cert, servername: 'localhost' }, () => resolve(made))
      made.on('error', reject)
    })
    socket.setNoDelay(true)
    const write = writerOf(socket)
    const waiting = new Map<number, (answer: Line) => void>()
    onLines(socket, (line) => {
      const resolve = waiting.get(line.id!)
      waiting.delete(line.id!)
      resolve?.(line)
    })
    let last = 0
    const ask = (line: Line) =>
      new Promise<Line>((resolve) => {
        const id = ++last
        waiting.set(id, resolve)
        write({ id, ...line })
      })
    const body = bodyOf(options.bytes).toString('latin1')
    return {
      async request() {
        const answer = await ask({ body })
        checkAnswer(answer.body ?? '', options)
      },
      async push(mayGoOn) {
        let sent = 0
        while (mayGoOn()) {
          let hasRoom = true
          for (let i = 0; i < 256; i++, sent++) hasRoom = write({ body })
          if (hasRoom) await breathe()
          else await new Promise((resolve) => socket.once('drain', resolve))
        }
        return checkCount((await ask({})).count!, sent)
      },
    }
  },
}

function writerOf(socket: Socket): (line: Line) => boolean {
  let isCorked = false
  const uncork = () => {
    isCorked = false
    socket.uncork()
  }
  return (line) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      process.nextTick(uncork)
    }
    return socket.write(`${JSON.stringify(line)}\n`, 'latin1')
  }
}

function onLines(socket: Socket, handle: (line: Line) => void): void {
  // Pieces of a line that has not ended: a long one must not be copied with each piece.
  let pieces: string[] = []
  socket.setEncoding('latin1')
  socket.on('data', (data) => {
    const text = data as unknown as string
    let from = 0
    for (let to = text.indexOf('\n'); to >= 0; to = text.indexOf('\n', from)) {
      const rest = text.slice(from, to)
      handle(JSON.parse(pieces.length > 0 ? pieces.join('') + rest : rest))
      pieces = []
      from = to + 1
    }
    if (from < text.length) pieces.push(text.slice(from))
  })
}
