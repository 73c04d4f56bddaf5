// Parts of the proxy that know no sockets: what a client's hello says, networks, rates.

import { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { maxHelloBytes, parseClientHello } from '../../src/proxy/client-hello.js'
import { Networks } from '../../src/proxy/networks.js'
import { RecentRate } from '../../src/proxy/recent-rate.js'
import { recently } from '../../src/proxy/recently.js'

/** The first bytes of a real client. */
function helloOf(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({
      read() {},
      write(chunk: Buffer, _, done) {
        resolve(chunk)
        done()
      },
    })
    tlsConnect({ socket, ...options }).on('error', () => {})
  })
}

describe("a client's hello", () => {
  it('tells the name and the protocols that a real client asks for', async () => {
    const hello = await helloOf({ servername: 'a.example', ALPNProtocols: ['h2', 'http/1.1'] })
    expect(parseClientHello(hello)).toEqual({ serverName: 'a.example', alpn: ['h2', 'http/1.1'] })
    expect(parseClientHello(await helloOf({}))).toEqual({ serverName: undefined, alpn: [] })
  })

  it('is waited for to its last byte, wherever it is cut, and in however many records', async () => {
    const hello = await helloOf({ servername: 'a.example' })
    for (let length = 0; length < hello.length; length++) {
      expect([length, parseClientHello(hello.subarray(0, length))]).toEqual([length, 'needMore'])
    }
    const message = hello.subarray(5)
    for (const size of [1, 3, 100]) {
      const records: Buffer[] = []
      for (let at = 0; at < message.length; at += size) {
        const part = message.subarray(at, at + size)
        records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part)
      }
      expect(parseClientHello(Buffer.concat(records))).toEqual({ serverName: 'a.example', alpn: [] })
    }
  })

  it('is not seen in what is no TLS, or broken, or endless', async () => {
    expect(parseClientHello(Buffer.from('GET / HTTP/1.1\r\n'))).toBeUndefined()
    expect(parseClientHello(Buffer.from([22, 2]))).toBeUndefined()
    expect(parseClientHello(Buffer.from([22, 3, 1, 0, 0]))).toBeUndefined()
    expect(parseClientHello(Buffer.from([22, 3, 1, 0, 1, 2]))).toBeUndefined()
    const endless = Buffer.alloc(maxHelloBytes, 0xff)
    Buffer.from([22, 3, 1, 0x40, 0]).copy(endless)
    Buffer.from([1, 0xff, 0xff, 0xff]).copy(endless, 5)
    expect(parseClientHello(endless)).toBeUndefined()
    expect(parseClientHello(endless.subarray(0, 1000))).toBe('needMore')
  })

  it('never makes it throw, whatever comes', async () => {
    const hello = await helloOf({ servername: 'a.example', ALPNProtocols: ['h2'] })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { maxLength: 8 }), (changes) => {
        const altered = Buffer.from(hello)
        for (const [at, value] of changes) altered[at] = value
        const answer = parseClientHello(altered)
        expect(answer === undefined || answer === 'needMore' || Array.isArray(answer.alpn)).toBe(true)
      }),
    )
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseClientHello(bytes)))
  })
})

describe('networks of routes', () => {
  it('hold addresses of both families, mapped and scoped ones too', () => {
    const networks = new Networks(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32'], 'from')
    const isIn = (address: string) => networks.has(address)
    expect(['10.1.2.3', '192.0.2.7', '::ffff:10.9.9.9', '2001:db8::1', '2001:db8::1%eth0'].map(isIn)).toEqual(Array(5).fill(true)) // biome-ignore format: one line
    expect(['11.0.0.1', '192.0.2.8', '2001:db9::1', '::1', 'nonsense', ''].map(isIn)).toEqual(Array(6).fill(false))
  })

  it.each([
    '10.0.0.0/33',
    '2001:db8::/129',
    '10.0.0',
    '10.0.0.0/8/8',
    '10.0.0.0/x',
    'example.org',
    '',
  ])('%j is none', (text) => {
    expect(() => new Networks([text], 'from')).toThrow(/"from\[0\]" must be an address or a network/)
  })
})

describe('what is asked for often', () => {
  function asked(tookMs: number) {
    const clock = { nowMs: 1000, count: 0 }
    const ask = recently(
      () => {
        clock.nowMs += tookMs
        return ++clock.count
      },
      () => clock.nowMs,
    )
    return { clock, ask }
  }

  it('is asked for anew each time where that costs little', () => {
    const { ask } = asked(5)
    expect([ask(), ask(), ask()]).toEqual([1, 2, 3])
  })

  it('stands for twenty times as long as it took where that is much', () => {
    const { ask, clock } = asked(10)
    expect([ask(), ask(), ask()]).toEqual([1, 1, 1])
    clock.nowMs = 1000 + 199
    expect(ask()).toBe(1)
    clock.nowMs = 1000 + 200
    expect(ask()).toBe(2)
  })
})

describe('a recent rate', () => {
  it('is what the last second brought, forgetting it little by little', () => {
    const rate = new RecentRate()
    for (let i = 0; i < 100; i++) rate.count(5000 + i * 10)
    expect(rate.perSecond(5999)).toBe(100)
    expect(rate.perSecond(6500)).toBe(50)
    expect(rate.perSecond(6999)).toBe(0)
    expect(rate.perSecond(9000)).toBe(0)
  })
})
