// Several protocols on one port: which handlers a connection gets, by TLS, ALPN and first bytes.
import {
  type Connection,
  type ConnectionHandlers,
  createCertificate,
  type ListenOptions,
  type Routes,
  type Runtime,
  routes,
  type SluiceError,
  SniPolicy,
  sniff,
  type TlsClientOptions,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { eventually, portOf } from '../support/pair.js'

/** Answers each message with a word and what came. */
const echoing = (word: string): ConnectionHandlers<never> => ({
  data: (connection: Connection<never>, bytes: Uint8Array) => {
    connection.write(`${word}:`)
    connection.write(bytes)
    connection.write('\n')
  },
  // Clients that have their answer go away at once.
  error() {},
})

async function serve(runtime: Runtime, to: Routes | undefined, options: Partial<ListenOptions> = {}) {
  const listener = await runtime.listen({ port: 0, host: '127.0.0.1', ...options }, to)
  const port = portOf(listener)
  return {
    listener,
    /** What is answered to these messages, each sent when the answer to the one before it has come, or the code of a failure. */
    async say(messages: (string | Uint8Array)[], tls?: TlsClientOptions): Promise<string> {
      try {
        const secured = tls && { ...id.trusting, sessions: false, ...tls }
        const connection = await runtime.connect({ port, host: '127.0.0.1', ...(secured ? { tls: secured } : {}) })
        let answer = ''
        const [first = '', ...others] = messages
        connection.write(first)
        for await (const batch of connection) {
          answer += Buffer.concat(batch).toString('latin1')
          if (!answer.endsWith('\n')) continue
          const next = others.shift()
          if (next === undefined) break
          connection.write(next)
        }
        connection.destroy()
        return answer
      } catch (error) {
        return (error as SluiceError).code
      }
    },
    connect: () => runtime.connect({ port, host: '127.0.0.1' }),
  }
}

function refusal(run: () => unknown): SluiceError {
  try {
    run()
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('nothing was refused')
}

describe('routes()', () => {
  const handlers = echoing('x')
  it.each<[string, object, string]>([
    ['nothing', {}, 'otherwise'],
    ['an unknown name', { other: handlers }, 'other'],
    ['what is no handlers', { plain: 5 }, 'plain'],
    ['a handler that is none', { otherwise: { data: 5 } }, 'otherwise.data'],
    ['no handlers for a protocol', { alpn: { h2: undefined } }, 'alpn["h2"]'],
    ['an empty list', { firstBytes: [] }, 'firstBytes'],
    ['an empty prefix', { firstBytes: [{ prefix: '', to: handlers }] }, 'firstBytes[0].prefix'],
    ['a prefix that is too long', { firstBytes: [{ prefix: 'x'.repeat(257), to: handlers }] }, 'firstBytes[0].prefix'],
    ['a prefix beyond Latin-1', { firstBytes: [{ prefix: '€', to: handlers }] }, 'firstBytes[0].prefix'],
    ['a prefix for nobody', { firstBytes: [{ prefix: 'x' }] }, 'firstBytes[0].to'],
    [
      'a prefix twice',
      {
        firstBytes: [
          { prefix: 'x', to: handlers },
          { prefix: Buffer.from('x'), to: handlers },
        ],
      },
      'firstBytes[1].prefix',
    ],
    ['a time that is none', { otherwise: handlers, firstBytesTimeoutMs: -1 }, 'firstBytesTimeoutMs'],
  ])('refuses %s and names the option', (_, table, option) => {
    expect(refusal(() => routes(table))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe.each(modes())('routes on $name', (mode) => {
  it('send each protocol of ALPN to its own handlers', async () => {
    await using runtime = mode.start()
    const to = routes({ alpn: { h2: echoing('h2'), 'http/1.1': echoing('http') }, otherwise: echoing('none') })
    const service = await serve(runtime, to, { tls: { ...id.serving, alpn: ['h2', 'http/1.1', 'other'] } })
    expect(await service.say(['a', 'b'], { alpn: ['h2'] })).toBe('h2:a\nh2:b\n')
    expect(await service.say(['a'], { alpn: ['http/1.1'] })).toBe('http:a\n')
    expect(await service.say(['a'], { alpn: ['other'] })).toBe('none:a\n')
    expect(await service.say(['a'], {})).toBe('none:a\n')
  })

  it('tell HTTP from JSON-RPC by the first bytes, in the clear and in TLS', async () => {
    await using runtime = mode.start()
    const web = echoing('http')
    const to = routes({
      firstBytes: [
        { prefix: 'GET ', to: web },
        { prefix: 'GETX', to: echoing('getx') },
        { prefix: '{', to: echoing('json') },
        { prefix: Buffer.from([0xff, 0]), to: echoing('binary') },
      ],
      otherwise: echoing('rest'),
    })
    const service = await serve(runtime, to, { tls: id.serving, handshake: [sniff({ plain: 'allow' })] })
    for (const tls of [undefined, {}]) {
      expect(await service.say(['GET / HTTP/1.1', 'GETX'], tls)).toBe('http:GET / HTTP/1.1\nhttp:GETX\n')
      expect(await service.say(['GETXY'], tls)).toBe('getx:GETXY\n')
      expect(await service.say(['{"jsonrpc":"2.0"}', 'more'], tls)).toBe('json:{"jsonrpc":"2.0"}\njson:more\n')
      expect(await service.say([Buffer.from([0xff, 0, 2])], tls)).toBe('binary:\xff\0\x02\n')
      expect(await service.say(['GET\t'], tls)).toBe('rest:GET\t\n')
    }
  })

  it('wait for the rest of a prefix that comes byte by byte', async () => {
    await using runtime = mode.start()
    const to = routes({ firstBytes: [{ prefix: 'HELLO', to: echoing('hello') }], otherwise: echoing('rest') })
    const service = await serve(runtime, to)
    for (const [text, answer] of [
      ['HELLO', 'hello:HELLO\n'],
      ['HELP', 'rest:HELP\n'],
    ]) {
      const connection = await service.connect()
      let got = ''
      for (const letter of text!) {
        connection.write(letter)
        await connection.drained()
      }
      for await (const batch of connection) {
        got += Buffer.concat(batch).toString()
        if (got.endsWith('\n')) break
      }
      // What came behind the bytes that decided comes as a message of its own.
      expect(got.replaceAll(/\n\w+:/g, '')).toBe(answer)
      connection.destroy()
    }
  })

  it('call the handlers that were chosen as if there had been no others', async () => {
    await using runtime = mode.start()
    const events: string[] = []
    const chosen: ConnectionHandlers<never> = {
      open: () => void events.push('open'),
      readable: (_, input) => void events.push(`readable ${input.take().toString()}`),
      end: () => void events.push('end'),
      close: () => void events.push('close'),
    }
    const service = await serve(runtime, routes({ firstBytes: [{ prefix: 'abc', to: chosen }] }))
    const connection = await service.connect()
    connection.write('ab')
    await connection.drained()
    connection.end('cdef')
    await eventually(() => events.includes('close'))
    expect(events).toEqual(['open', 'readable abcdef', 'end', 'close'])
  })

  it('reset those whom nobody takes, and tell', async () => {
    await using runtime = mode.start()
    const failures: SluiceError[] = []
    const service = await serve(
      runtime,
      routes({
        firstBytes: [{ prefix: 'abc', to: echoing('abc') }],
        handshakeError: (error) => void failures.push(error),
      }),
    )
    expect(await service.say(['xyz'])).toMatch(/^(ERR_SLUICE_CONNECTION_RESET|)$/)
    // Who leaves before it is clear is nobody's either.
    const early = await service.connect()
    early.end('ab')
    await eventually(() => failures.length === 2)
    expect(failures.map(({ code }) => code)).toEqual(Array(2).fill('ERR_SLUICE_PROTOCOL_UNKNOWN'))
    expect(failures[0]).toMatchObject({ reason: 'NO_PROTOCOL', address: '127.0.0.1' })
    await eventually(() => service.listener.connections === 0)
  })

  it('give up on first bytes that trickle in, at the deadline', async () => {
    await using runtime = mode.start()
    const failures: SluiceError[] = []
    const service = await serve(
      runtime,
      routes({
        firstBytes: [{ prefix: 'abcdefghijklmnopqrstuvwxyz', to: echoing('abc') }],
        firstBytesTimeoutMs: 50,
        handshakeError: (error) => void failures.push(error),
      }),
    )
    const connection = await service.connect()
    connection.write('a')
    await eventually(() => failures.length === 1)
    expect(failures[0]!.code).toBe('ERR_SLUICE_PROTOCOL_UNKNOWN')
    await eventually(() => service.listener.connections === 0)
  })

  it('lie within each other, and within the entries of a policy', async () => {
    await using runtime = mode.start()
    const policy = new SniPolicy({
      entries: [
        {
          names: 'a.example',
          tls: { ...createCertificate({ names: ['a.example'], issuer: id.authority }), alpn: ['h2'] },
          handlers: routes({ alpn: { h2: echoing('a-h2') }, otherwise: echoing('a') }),
        },
        { names: 'b.example', tls: createCertificate({ names: ['b.example'], issuer: id.authority }) },
      ],
    })
    const service = await serve(
      runtime,
      routes({
        plain: routes({ firstBytes: [{ prefix: '{', to: echoing('plain-json') }], otherwise: echoing('plain') }),
        otherwise: echoing('listener'),
      }),
      { tls: policy, handshake: [sniff({ plain: 'allow' })] },
    )
    expect(await service.say(['x'], { serverName: 'a.example', alpn: ['h2'] })).toBe('a-h2:x\n')
    expect(await service.say(['x'], { serverName: 'a.example' })).toBe('a:x\n')
    expect(await service.say(['x'], { serverName: 'b.example' })).toBe('listener:x\n')
    expect(await service.say(['{}'])).toBe('plain-json:{}\n')
    expect(await service.say(['x'])).toBe('plain:x\n')
  })

  it('need handlers for all, when some names of a policy have none', async () => {
    await using runtime = mode.start()
    const certificate = createCertificate({ names: ['a.example'], issuer: id.authority })
    const policy = new SniPolicy({
      entries: [
        { names: 'a.example', tls: certificate, handlers: echoing('a') },
        { names: 'b.example', tls: certificate },
      ],
    })
    await expect(serve(runtime, undefined, { tls: policy })).rejects.toMatchObject({
      code: 'ERR_SLUICE_INVALID_OPTION',
      option: 'handlers',
    })
    policy.update({ entries: [{ names: 'a.example', tls: certificate, handlers: echoing('a') }] })
    const service = await serve(runtime, undefined, { tls: policy })
    expect(await service.say(['x'], { serverName: 'a.example' })).toBe('a:x\n')
  })
})
