// A service in the middle that passes messages on between those that have registered, and never looks into them.
import {
  bytes,
  type Codec,
  defineProtocol,
  json,
  type MessageConnection,
  type MessagePool,
  MessageService,
  oneWay,
  parts,
  relayProtocol,
  request,
  stream,
  utf8,
} from 'sluice/messages'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../support/code-of.js'
import { type Mode, modes } from '../support/modes.js'
import { eventually, nextTurn, portOf } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'

const messages = {
  echo: request(bytes(), bytes()),
  wait: request(utf8(), utf8()),
  note: oneWay(utf8()),
  count: parts(json<number>(), json<number>()),
  mirror: request(stream(), stream()),
}
const protocol = defineProtocol({ name: 'test', messages })
const { echo, wait, note, count, mirror } = protocol.messages
// The relay knows the names alone.
const sealed: Codec<never> = {
  encode() {
    throw new Error('a relay encoded a body')
  },
  decode() {
    throw new Error('a relay decoded a body')
  },
}
const names = defineProtocol({
  name: 'test',
  messages: {
    note: oneWay(sealed),
    echo: request(sealed, sealed),
    wait: request(sealed, sealed),
    mirror: request(sealed, sealed),
    count: parts(sealed, sealed),
  },
})

class Three implements AsyncDisposable {
  readonly notes: string[] = []
  readonly waiting: { resolve: (text: string) => void; signal: AbortSignal }[] = []
  readonly services: MessageService[] = []
  readonly relay: MessageService
  port = 0

  private constructor(readonly runtime: ReturnType<Mode['start']>) {
    this.relay = new MessageService({ protocols: [relayProtocol, names], runtime, relay: true })
  }

  static async start(mode: Mode): Promise<Three> {
    const three = new Three(mode.start())
    const listener = await three.relay.listen({ host: '127.0.0.1', port: 0 })
    three.port = portOf(listener)
    return three
  }

  /** Somebody who is connected to the relay, and registered there. */
  async peer(group: number, replica: number): Promise<MessagePool> {
    const service = new MessageService({
      ...{ protocols: [protocol, relayProtocol], runtime: this.runtime, start: 'inactive', windowBytes: 100_000 },
      prepare: (connection: MessageConnection) =>
        connection.request(relayProtocol.messages.register, { group, replica }),
    })
    service.handle(protocol, {
      echo: (body) => body,
      wait: (text, { signal }) => {
        this.notes.push(`${replica} ${text}`)
        return new Promise((resolve) => this.waiting.push({ resolve, signal }))
      },
      note: (text) => void this.notes.push(`${replica} ${text}`),
      async *count(to) {
        for (let i = 0; i < to; i++) yield i
      },
      mirror: (body) => body,
    })
    this.services.push(service)
    const pool = service.pool(
      { host: '127.0.0.1', port: this.port },
      { connectNow: true, reconnect: { baseMs: 10, steps: 1, jitterMinMs: 0, jitterMaxMs: 1 } },
    )
    await eventually(() => pool.stats().active === 1)
    return pool
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.destroy()
  }
}

describe.each(modes())('relayed messages on $name', (mode) => {
  it('reach whom they are for, and so do their answers, of any size', async () => {
    await using three = await Three.start(mode)
    const asker = await three.peer(1, 1)
    await three.peer(2, 1)
    const relay = { group: 2 }
    for (const size of [0, 100, 20_000, 3_000_000]) {
      const body = pattern(size)
      expect(Buffer.compare(await asker.request(echo, body, { relay }), body)).toBe(0)
    }
    const seen: number[] = []
    for await (const part of asker.parts(count, 300, { relay })) seen.push(part)
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i))
    const pieces = Array.from({ length: 100 }, (_, i) => pattern(10_000, i))
    const mirrored = await asker.request(mirror, pieces, { relay })
    expect(hashOf(await mirrored.bytes())).toBe(hashOf(...pieces))
    await asker.send(note, 'hello', { relay, idempotent: true })
    expect(three.notes).toEqual(['1 hello'])
    expect(three.relay.stats().relayed).toBe(7)
  })

  it('go to the replica they name, or to any, in turn', async () => {
    await using three = await Three.start(mode)
    const asker = await three.peer(1, 1)
    await three.peer(2, 1)
    await three.peer(2, 2)
    for (let i = 0; i < 4; i++) await asker.send(note, 'any', { relay: { group: 2 }, idempotent: true })
    for (let i = 0; i < 2; i++) await asker.send(note, 'second', { relay: { group: 2, replica: 2 }, idempotent: true })
    expect([...three.notes].sort()).toEqual(['1 any', '1 any', '2 any', '2 any', '2 second', '2 second'])
    expect(await codeOf(asker.request(wait, '', { relay: { group: 3 } }))).toBe('ERR_SLUICE_MESSAGE_NOT_CONNECTED')
    expect(await codeOf(asker.request(wait, ''))).toBe('ERR_SLUICE_MESSAGE_NO_HANDLER')
  })

  it('are canceled across the relay', async () => {
    await using three = await Three.start(mode)
    const asker = await three.peer(1, 1)
    await three.peer(2, 1)
    const controller = new AbortController()
    const asked = codeOf(asker.request(wait, 'x', { relay: { group: 2 }, signal: controller.signal }))
    await eventually(() => three.waiting.length === 1)
    controller.abort()
    expect(await asked).toBe('ERR_SLUICE_MESSAGE_CANCELED')
    await eventually(() => three.waiting[0]!.signal.aborted)
    expect((await asker.request(echo, pattern(5), { relay: { group: 2 } })).length).toBe(5)
  })

  it('fail when the one that handles them goes away, and are canceled when the one that asked does', async () => {
    await using three = await Three.start(mode)
    const asker = await three.peer(1, 1)
    await three.peer(2, 1)
    const asked = codeOf(asker.request(wait, 'x', { relay: { group: 2 } }))
    await eventually(() => three.waiting.length === 1)
    await three.services[1]!.destroy()
    expect(await asked).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
    await three.peer(3, 1)
    const second = codeOf(asker.request(wait, 'y', { relay: { group: 3 } }))
    await eventually(() => three.waiting.length === 2)
    await three.services[0]!.destroy()
    expect(await second).toBe('ERR_SLUICE_MESSAGE_CONNECTION')
    await eventually(() => three.waiting[1]!.signal.aborted)
  })

  it('do not pile up at the relay when nobody reads them', async () => {
    await using three = await Three.start(mode)
    const asker = await three.peer(1, 1)
    await three.peer(2, 1)
    let made = 0
    async function* endless() {
      for (;;) {
        made += 10_000
        yield pattern(10_000)
      }
    }
    const download = await asker.request(mirror, endless(), { relay: { group: 2 } })
    for (let i = 0; i < 300; i++) await nextTurn()
    const standing = made
    for (let i = 0; i < 300; i++) await nextTurn()
    // Windows of the peers and of the relay, in both directions.
    expect(made).toBeLessThan(6_000_000)
    expect(made - standing).toBeLessThan(1_000_000)
    download.cancel()
    expect((await asker.request(echo, pattern(5), { relay: { group: 2 } })).length).toBe(5)
  })
})
