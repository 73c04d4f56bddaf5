import dns from 'node:dns'
import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import {
  type LookupFunction,
  type NativeResolve,
  type ResolvedAddress,
  type ResolveOptions,
  resolveHost,
} from '../../src/resolve.js'
import { FakeClock, settled } from './fake-clock.js'

const v4: ResolvedAddress = { address: '192.0.2.1', family: 4 }
const v6: ResolvedAddress = { address: '2001:db8::1', family: 6 }

/** A native resolver that answers when told to, and notes what happens to it. */
function nativeResolver() {
  const asked: { host: string; family: number; cancelled: boolean; answer: Parameters<NativeResolve>[2] }[] = []
  const resolve: NativeResolve = (host, family, answer) => {
    const query = { host, family, cancelled: false, answer }
    asked.push(query)
    return () => {
      query.cancelled = true
    }
  }
  return { asked, resolve }
}

const nobody: NativeResolve = () => {
  throw new Error('nobody should have been asked')
}

const nobodyEither: LookupFunction = () => {
  throw new Error('nobody should have been asked')
}

function options(more: Partial<ResolveOptions> = {}): ResolveOptions {
  return { resolve: nobody, family: 0, timeoutMs: 0, ...more }
}

describe('resolveHost', () => {
  it.each([
    ['127.0.0.1', 4],
    ['::1', 6],
    ['fe80::1%lo', 6],
    ['::ffff:192.0.2.1', 6],
  ])('takes the literal %s as it is, and asks nobody', async (address, family) => {
    expect(await resolveHost(address, options({ lookup: nobodyEither }))).toEqual([{ address, family }])
  })

  it('refuses a literal of the other family', async () => {
    await expect(resolveHost('127.0.0.1', options({ family: 6 }))).rejects.toMatchObject({
      code: 'ERR_SLUICE_NAME_NOT_RESOLVED',
      message: 'resolve 127.0.0.1: the name could not be resolved: this is no IPv6 address',
    })
  })

  it.each([
    'localhost',
    'LocalHost',
    'localhost.',
    'db.localhost',
  ])('knows %s to be the loopback addresses', async (host) => {
    expect(await resolveHost(host, options())).toEqual([
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ])
    expect(await resolveHost(host, options({ family: 4 }))).toEqual([{ address: '127.0.0.1', family: 4 }])
  })

  it('asks the resolver and keeps its order', async () => {
    const { asked, resolve } = nativeResolver()
    const promise = resolveHost('example.test', options({ resolve, family: 0 }))
    expect(asked).toMatchObject([{ host: 'example.test', family: 0 }])
    asked[0]!.answer(null, [v6, v4])
    expect(await promise).toEqual([v6, v4])
    expect(asked[0]!.cancelled).toBe(false)
  })

  it('takes an answer that comes at once', async () => {
    const resolve: NativeResolve = (_host, _family, answer) => {
      answer(null, [v4])
      return () => {}
    }
    expect(await resolveHost('example.test', options({ resolve, timeoutMs: 5, clock: new FakeClock() }))).toEqual([v4])
  })

  it('asks for the ASCII form of an international name', async () => {
    const { asked, resolve } = nativeResolver()
    void resolveHost('bücher.example', options({ resolve }))
    expect(asked[0]!.host).toBe('xn--bcher-kva.example')
  })

  it('refuses what is no host name', async () => {
    await expect(resolveHost('no way', options())).rejects.toMatchObject({ code: 'ERR_SLUICE_NAME_NOT_RESOLVED' })
  })

  it('tells a failure in the words of the system', async () => {
    const { asked, resolve } = nativeResolver()
    const promise = resolveHost('nobody.test', options({ resolve }))
    const detail = 'Name or service not known (EAI_NONAME)'
    asked[0]!.answer({ codeName: 'NAME_NOT_RESOLVED', errno: 0, syscall: 'getaddrinfo', detail }, [])
    await expect(promise).rejects.toMatchObject({
      code: 'ERR_SLUICE_NAME_NOT_RESOLVED',
      syscall: 'getaddrinfo',
      address: 'nobody.test',
      phase: 'resolve',
      message: `resolve nobody.test: the name could not be resolved: ${detail} (getaddrinfo)`,
    })
  })

  it('gives up after its time and cancels the query', async () => {
    const { asked, resolve } = nativeResolver()
    const clock = new FakeClock()
    const promise = resolveHost('slow.test', options({ resolve, timeoutMs: 300, clock }))
    const rejected = expect(promise).rejects.toMatchObject({ code: 'ERR_SLUICE_RESOLVE_TIMEOUT', address: 'slow.test' })
    await clock.run()
    await rejected
    expect(clock.now).toBe(300)
    expect(asked[0]!.cancelled).toBe(true)
  })

  it('leaves no timer and no listener behind', async () => {
    const { asked, resolve } = nativeResolver()
    const clock = new FakeClock()
    const controller = new AbortController()
    const promise = resolveHost('example.test', options({ resolve, timeoutMs: 300, clock, signal: controller.signal }))
    asked[0]!.answer(null, [v4])
    await promise
    expect(clock.pending).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
  })

  it('stops when its signal is aborted, before and during the query', async () => {
    const { asked, resolve } = nativeResolver()
    const controller = new AbortController()
    const promise = resolveHost('example.test', options({ resolve, signal: controller.signal }))
    controller.abort('enough')
    await expect(promise).rejects.toMatchObject({ code: 'ERR_SLUICE_ABORTED', cause: 'enough', phase: 'resolve' })
    expect(asked[0]!.cancelled).toBe(true)
    await expect(resolveHost('127.0.0.1', options({ signal: controller.signal }))).rejects.toMatchObject({
      code: 'ERR_SLUICE_ABORTED',
    })
  })

  describe('with a lookup function', () => {
    const answering = (...answer: Parameters<Parameters<LookupFunction>[2]>): LookupFunction => {
      return (_host, _options, callback) => callback(...answer)
    }

    it('asks it as node:net would, also for localhost', async () => {
      let asked: unknown
      const lookup: LookupFunction = (host, given, callback) => {
        asked = [host, given]
        callback(null, [v4])
      }
      expect(await resolveHost('localhost', options({ lookup, family: 4 }))).toEqual([v4])
      expect(asked).toEqual(['localhost', { all: true, family: 4, hints: 0, verbatim: true }])
    })

    it('works with dns.lookup itself', async () => {
      const found = await resolveHost('localhost', options({ lookup: dns.lookup as LookupFunction, family: 4 }))
      expect(found).toEqual([{ address: '127.0.0.1', family: 4 }])
    })

    it('takes a single address, and drops those of the other family', async () => {
      expect(await resolveHost('a.test', options({ lookup: answering(null, '192.0.2.1', 4) }))).toEqual([v4])
      expect(await resolveHost('a.test', options({ lookup: answering(null, [v4, v6]), family: 6 }))).toEqual([v6])
    })

    it.each([
      ['its error', answering(new Error('on holiday'), []), /could not be resolved: on holiday/],
      ['an empty answer', answering(null, []), /answered no IP address/],
      ['an answer that is no address', answering(null, [{ address: 'example.test' }]), /holds no IP address/],
      ['an answer that is nothing', answering(null, undefined), /holds no IP address/],
      [
        'an exception',
        () => {
          throw new Error('oops')
        },
        /could not be resolved: oops/,
      ],
    ] as [string, LookupFunction, RegExp][])('reports %s', async (_, lookup, message) => {
      const expected = {
        code: 'ERR_SLUICE_NAME_NOT_RESOLVED',
        address: 'a.test',
        message: expect.stringMatching(message),
      }
      await expect(resolveHost('a.test', options({ lookup }))).rejects.toMatchObject(expected)
    })

    it('ignores an answer that comes too late', async () => {
      const clock = new FakeClock()
      let answer = () => {}
      const lookup: LookupFunction = (_host, _options, callback) => {
        answer = () => callback(null, [v4])
      }
      const promise = resolveHost('a.test', options({ lookup, timeoutMs: 1, clock }))
      const rejected = expect(promise).rejects.toMatchObject({ code: 'ERR_SLUICE_RESOLVE_TIMEOUT' })
      await clock.run()
      answer()
      await settled()
      await rejected
    })
  })
})
