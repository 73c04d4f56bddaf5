// The codec of sluice/msgpack, with the package msgpackr.
import { Packr } from 'msgpackr'
import { checked, defineProtocol, MessageService, request } from 'sluice/messages'
import { msgpack } from 'sluice/msgpack'
import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { portOf } from '../support/pair.js'

describe('msgpack()', () => {
  const value = { text: 'é€😀', list: [1, -1, 1.5, null, true], big: 2n ** 60n, at: new Date(7), nested: { a: {} } }

  it('gives back what it was given, as MessagePack that others read', () => {
    const codec = msgpack<unknown>()
    expect(codec.decode(codec.encode(value) as Uint8Array, false)).toEqual(value)
    expect(Buffer.from(codec.encode({ a: 1, b: [true] }) as Uint8Array).toString('hex')).toBe('82a16101a16291c3')
    expect(codec.decode(Buffer.from('82a16101a16291c3', 'hex'), false)).toEqual({ a: 1, b: [true] })
  })

  it.each([true, false])('keeps bytes of its own unless it owns what came in: %s', (owned) => {
    for (const codec of [msgpack<{ bytes: Uint8Array }>(), msgpack<{ bytes: Uint8Array }>(new Packr())]) {
      const wire = Buffer.from(codec.encode({ bytes: Buffer.from('hello') }) as Uint8Array)
      const { bytes } = codec.decode(wire, owned)
      wire.fill(0)
      expect(bytes.toString()).toBe(owned ? '\0\0\0\0\0' : 'hello')
    }
  })

  it('does not overwrite what it has given before', () => {
    const codec = msgpack<number[]>()
    const all = Array.from({ length: 2000 }, (_, i) => [i, i + 1, i + 2].map((n) => n * 1000))
    const encoded = all.map((one) => codec.encode(one) as Uint8Array)
    expect(encoded.map((one) => codec.decode(one, false))).toEqual(all)
  })

  it('refuses what it cannot say, and what is not MessagePack', () => {
    const codec = msgpack()
    expect(() => codec.encode(undefined)).toThrow(TypeError)
    for (const bad of ['', '82a161', 'ddffffffff', 'dfffffffff', 'c6ffffffff00', '0101'])
      expect(() => codec.decode(Buffer.from(bad, 'hex'), false), bad).toThrow()
    expect(Object.getPrototypeOf(codec.decode(Buffer.from('81a95f5f70726f746f5f5f81a16101', 'hex'), false))).toBe(
      Object.prototype,
    )
    for (const bad of [{}, null, { pack() {} }])
      expect(() => msgpack(bad as never)).toThrow(expect.objectContaining({ option: 'packer' }))
  })
})

describe.each(modes())('messages in MessagePack on $name', (mode) => {
  it('are answered, by packers of one kind on both sides', async () => {
    const copies = new Packr({ structuredClone: true, moreTypes: true })
    const protocol = defineProtocol({
      name: 'packed',
      messages: {
        sum: request(
          checked(msgpack<{ list: number[] }>(), (value) => {
            if (!Array.isArray(value.list)) throw new TypeError('no list')
            return value
          }),
          msgpack<{ sum: number }>(),
        ),
        copy: request(msgpack<Map<string, Set<number>>>(copies), msgpack<Map<string, Set<number>>>(copies)),
      },
    })
    const { sum, copy } = protocol.messages
    const runtime = mode.start()
    const server = new MessageService({ protocols: [protocol], runtime }).handle(protocol, {
      sum: ({ list }) => ({ sum: list.reduce((total, n) => total + n, 0) }),
      copy: (map) => map,
    })
    const listener = await server.listen({ host: '127.0.0.1', port: 0 })
    const pool = new MessageService({ protocols: [protocol], runtime }).pool({
      host: '127.0.0.1',
      port: portOf(listener),
    })
    expect(await pool.request(sum, { list: Array.from({ length: 50_000 }, (_, i) => i) })).toEqual({
      sum: 1_249_975_000,
    })
    const map = new Map([['a', new Set([1, 2])]])
    expect(await pool.request(copy, map)).toEqual(map)
    await expect(pool.request(sum, {} as never)).rejects.toMatchObject({ code: 'ERR_SLUICE_MESSAGE_CODEC' })
    await runtime.destroy()
  })
})
