import { Runtime } from 'sluice'
import { bytes, defineProtocol, empty, json, lentBytes, MessageService, oneWay, request, stream } from 'sluice/messages'
import { bodyOf, checkAnswer, checkCount, type Peer } from '../peer.js'

const protocol = defineProtocol({
  name: 'bench',
  messages: {
    echo: request(bytes(), bytes()),
    take: request(bytes(), empty()),
    lend: request(lentBytes(), empty()),
    pour: request(stream(), json<number>()),
    tell: oneWay(bytes()),
    count: request(empty(), json<number>()),
  },
})
const { echo, take, lend, pour, tell, count } = protocol.messages

/** sluice/messages. */
export const peer: Peer = {
  async serve({ engine, busyPollMicros, identity }) {
    let told = 0
    const runtime = new Runtime({ engine: engine as 'auto', busyPollMicros })
    const service = new MessageService({ protocols: [protocol], runtime })
    service.handle(protocol, {
      echo: (body) => body,
      take: () => {},
      lend: () => {},
      pour: async (body) => {
        let got = 0
        for await (const piece of body) got += piece.length
        return got
      },
      tell: () => {
        told++
      },
      count: () => {
        const all = told
        told = 0
        return all
      },
    })
    const listener = await service.listen({ port: 0, host: '127.0.0.1', tls: identity })
    return listener.address.port!
  },

  async connect(port, options) {
    const { engine, busyPollMicros, identity } = options
    const runtime = new Runtime({ engine: engine as 'auto', busyPollMicros })
    const service = new MessageService({ protocols: [protocol], runtime })
    const tls = identity && { ca: identity.cert, servername: 'localhost' }
    const pool = service.pool({ host: '127.0.0.1', port, tls })
    const body = bodyOf(options.bytes)
    await pool.request(count, undefined)
    return {
      async request() {
        if (options.streams) checkCount(await pool.request(pour, body), body.length)
        else if (options.echoes) checkAnswer(await pool.request(echo, body), options)
        else await pool.request(options.lends ? lend : take, body)
      },
      async stream(length) {
        checkCount(await pool.request(pour, piecesOf(length)), length)
      },
      async push(mayGoOn) {
        let sent = 0
        while (mayGoOn()) {
          let hasRoom = true
          for (; hasRoom && sent % 256 !== 255; sent++) hasRoom = pool.post(tell, body)
          // This one resolves when those before it are on their way.
          await pool.send(tell, body)
          sent++
        }
        return checkCount(await pool.request(count, undefined), sent)
      },
    }
  },
}

const piece = bodyOf(1 << 18)

async function* piecesOf(length: number): AsyncGenerator<Uint8Array> {
  for (let rest = length; rest > 0; rest -= piece.length) yield rest >= piece.length ? piece : piece.subarray(0, rest)
}
