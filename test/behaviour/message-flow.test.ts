// Nothing waits for ever: peers that talk at once, handlers that ask back, streams that nobody reads, long messages in order.
import { bytes, defineProtocol, empty, MessageService, oneWay, request, stream } from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { type Mode, modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'
import { pattern } from '../support/record.js'

const protocol = defineProtocol({
  name: 'test',
  messages: {
    echo: request(bytes(), bytes()),
    download: request(empty(), stream()),
    upload: request(stream(), empty()),
    askBack: request(empty(), empty()),
    askLater: oneWay(empty()),
    ping: request(empty(), empty()),
  },
})
const { echo, download, upload, askBack, askLater, ping } = protocol.messages

async function start(mode: Mode, options: { maxRequests?: number; windowBytes?: number } = {}) {
  const runtime = mode.start()
  let handled = 0
  const gate = { open: () => {} }
  const gateOpens = new Promise<void>((resolve) => {
    gate.open = resolve
  })
  const services = [0, 1].map(() => {
    const service = new MessageService({ protocols: [protocol], runtime, ...options })
    return service.handle(protocol, {
      echo: (body) => body,
      async *download() {
        for (let i = 0; i < 3; i++) yield pattern(4000, i)
      },
      async upload(body) {
        await gateOpens
        for await (const _ of body);
      },
      askBack: (_, { connection }) => connection.request(ping, undefined),
      async askLater(_, { connection }) {
        await connection.request(ping, undefined)
        handled++
      },
      ping() {},
    })
  })
  const [server, client] = services as [MessageService, MessageService]
  const listener = await server.listen({ host: '127.0.0.1', port: 0 })
  const pool = client.pool({ host: '127.0.0.1', port: portOf(listener) }, { maxRequestsPerConnection: 65_536 })
  await pool.request(ping, undefined)
  const [here, there] = [client.connections[0]!, server.connections[0]!]
  return {
    ...{ runtime, pool, here, there, gate, handled: () => handled },
    [Symbol.asyncDispose]: () => runtime.destroy(),
  }
}

describe.each(modes())('messages on $name', (mode) => {
  it('of both sides at once, more than fit on the way, do not wait for each other', async () => {
    await using two = await start(mode, { maxRequests: 65_536 })
    const body = pattern(16_000)
    const both = Array.from({ length: 1500 }, () => [two.here.request(echo, body), two.there.request(echo, body)])
    const answers = await Promise.all(both.flat())
    expect(answers.every((answer) => answer.length === body.length)).toBe(true)
  })

  it('whose handlers ask their sender something are answered, however many they are', async () => {
    await using two = await start(mode, { maxRequests: 65_536 })
    await Promise.all(Array.from({ length: 2500 }, () => two.pool.request(askBack, undefined)))
    for (let i = 0; i < 2500; i++) two.pool.post(askLater, undefined)
    await eventually(() => two.handled() === 2500)
  })

  it('are answered by more streams than share a connection, although those are read late', async () => {
    await using two = await start(mode, { maxRequests: 65_536, windowBytes: 4096 })
    const streams = await Promise.all(
      Array.from({ length: 1500 }, async (_, i) => {
        const body = await two.pool.request(download, undefined)
        await new Promise<void>((resolve) => two.runtime.after(i % 3, resolve))
        return body.bytes()
      }),
    )
    expect(streams.every(({ length }) => length === 12_000)).toBe(true)
  })

  it('that are synchronous and long let all others pass', async () => {
    await using two = await start(mode, { windowBytes: 4096 })
    const long = two.pool.request(upload, [pattern(100_000)], { synchronous: true })
    const next = two.pool.request(ping, undefined, { synchronous: true })
    let isNextDone = false
    void next.then(() => {
      isNextDone = true
    })
    for (let i = 0; i < 20; i++) await two.pool.request(ping, undefined)
    expect(isNextDone).toBe(false)
    two.gate.open()
    await Promise.all([long, next])
  })
})
