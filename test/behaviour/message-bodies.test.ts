// Where the bodies of messages lie, and for how long.
import { bytes, defineProtocol, lentBytes, MessageService, request, utf8 } from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { type Mode, modes } from '../support/modes.js'
import { nextTurn, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const protocol = defineProtocol({
  name: 'bodies',
  messages: {
    weigh: request(lentBytes(), utf8()),
    mirror: request(lentBytes(), bytes()),
    refuse: request(lentBytes(), utf8()),
    keep: request(bytes(), utf8()),
  },
})
const { weigh, mirror, refuse, keep } = protocol.messages
const mebibyte = 1 << 20

async function start(mode: Mode) {
  const runtime = mode.start()
  const places = new Set<ArrayBufferLike>()
  const kept: Uint8Array[] = []
  const server = new MessageService({ protocols: [protocol], runtime, events: { handlerError() {} } })
  server.handle(protocol, {
    async weigh(body) {
      places.add(body.buffer)
      const hash = hashOf(body)
      for (let i = 0; i < 5; i++) await nextTurn()
      return hash === hashOf(body) ? hash : 'it has changed'
    },
    mirror: (body) => body,
    refuse(body) {
      places.add(body.buffer)
      throw new Error('no')
    },
    keep(body) {
      kept.push(body)
      return hashOf(body)
    },
  })
  const listener = await server.listen({ host: '127.0.0.1', port: 0 })
  const client = new MessageService({ protocols: [protocol], runtime })
  const pool = client.pool({ host: '127.0.0.1', port: portOf(listener) })
  return { places, kept, pool, [Symbol.asyncDispose]: () => runtime.destroy() }
}

describe.each(modes())('bodies on $name', (mode) => {
  it('that are lent stay as they are until their handlers have finished, however many there are', async () => {
    await using two = await start(mode)
    const sizes = [0, 10, 20_000, 200_000, mebibyte, 3 * mebibyte]
    const bodies = Array.from({ length: 18 }, (_, i) => pattern(sizes[i % sizes.length]!, i))
    const answers = await Promise.all(bodies.map((body) => two.pool.request(weigh, body)))
    expect(answers).toEqual(bodies.map((body) => hashOf(body)))
  })

  it('that are lent and answered with arrive as they were', async () => {
    await using two = await start(mode)
    const bodies = Array.from({ length: 12 }, (_, i) => pattern(300_000, i))
    const answers = await Promise.all(bodies.map((body) => two.pool.request(mirror, body)))
    expect(answers.map((answer) => hashOf(answer))).toEqual(bodies.map((body) => hashOf(body)))
  })

  it('that are lent lie where those before them lay', async () => {
    await using two = await start(mode)
    for (let i = 0; i < 6; i++) {
      await two.pool.request(weigh, pattern(mebibyte, i))
      await two.pool.request(refuse, pattern(mebibyte, i)).catch(() => {})
    }
    expect(two.places.size).toBe(1)
  })

  it('that are not lent may be kept', async () => {
    await using two = await start(mode)
    const bodies = Array.from({ length: 10 }, (_, i) => pattern(mebibyte, i))
    for (const body of bodies) expect(await two.pool.request(keep, body)).toBe(hashOf(body))
    expect(two.kept.map((body) => hashOf(body))).toEqual(bodies.map((body) => hashOf(body)))
    expect(new Set(two.kept.map(({ buffer }) => buffer)).size).toBe(bodies.length)
  })
})
