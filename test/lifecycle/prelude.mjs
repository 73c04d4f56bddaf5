// What the programs of these tests begin with. Engine and number of I/O threads come from the environment.
import { Runtime } from 'sluice'

export const mode = { engine: process.env.ENGINE, threads: Number(process.env.THREADS) }

/** A runtime of the mode under test. */
export const start = (more = {}) => new Runtime({ ...mode, ...more })

/** One line of the program's report. */
export const say = (...words) => console.log(words.join(' '))

/** Echoes everything, and ends when its peer does. */
export const echo = {
  data: (connection, bytes) => void connection.write(bytes),
  error() {},
}

export const listen = (runtime, handlers = echo, more = {}) =>
  runtime.listen({ port: 0, host: '127.0.0.1', ...more }, handlers)

export const connect = (runtime, { address }, handlers = {}, more = {}) =>
  runtime.connect({ host: '127.0.0.1', port: address.port, ...more }, { error() {}, ...handlers })

/** An echo server with clients that never rest: bytes go both ways all the time. Resolves when all of them do. */
export async function keepBusy(runtime, { clients = 4, bytes = 20_000, listener } = {}) {
  listener ??= await listen(runtime)
  const message = Buffer.alloc(bytes, 'x')
  let echoed = 0
  const client = () =>
    new Promise((resolve, reject) => {
      let first = true
      const data = (connection, view) => {
        echoed += view.length
        connection.write(view)
        if (first) resolve(connection)
        first = false
      }
      connect(runtime, listener, { data }).then((connection) => connection.write(message), reject)
    })
  const connections = await Promise.all(Array.from({ length: clients }, client))
  return { listener, connections, echoed: () => echoed }
}

/** Sends `bytes` on a connection of its own and resolves with what came back when the peer has ended too. */
export function roundTrip(runtime, listener, bytes = 'there and back') {
  return new Promise((resolve, reject) => {
    let said = ''
    const handlers = {
      data: (_, view) => {
        said += Buffer.from(view).toString()
      },
      close: (_, error) => (error === undefined ? resolve(said) : reject(error)),
    }
    connect(runtime, listener, handlers).then((client) => client.end(bytes), reject)
  })
}
