import { Runtime } from 'sluice'
import { bodyOf, type Peer } from '../peer.js'

/** A connection of sluice without messages: for so many bytes one comes back. */
export const peer: Peer = {
  async serve({ engine, busyPollMicros, bytes, identity }) {
    const runtime = new Runtime({ engine: engine as 'auto', busyPollMicros })
    const listener = await runtime.listen<number>(
      { port: 0, host: '127.0.0.1', tls: identity },
      {
        open(connection) {
          connection.data = 0
        },
        data(connection, received) {
          connection.data += received.length
          for (; connection.data >= bytes; connection.data -= bytes) connection.write('.')
        },
        error() {},
      },
    )
    return listener.address.port!
  },

  async connect(port, { engine, busyPollMicros, bytes, identity }) {
    const runtime = new Runtime({ engine: engine as 'auto', busyPollMicros })
    const waiting: (() => void)[] = []
    const tls = identity && { ca: identity.cert, servername: 'localhost' }
    const connection = await runtime.connect(
      { host: '127.0.0.1', port, tls },
      {
        data(_connection, received) {
          for (const resolve of waiting.splice(0, received.length)) resolve()
        },
      },
    )
    const body = bodyOf(bytes)
    return {
      request: () =>
        new Promise((resolve) => {
          waiting.push(resolve)
          connection.write(body)
        }),
    }
  },
}
