// Sets of networks, from JavaScript: what they take, what they find, compared with arithmetic on big integers.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { type CidrEntry, CidrSet } from 'sluice'
import { describe, expect, it } from 'vitest'

/** An address as a number, and how many bits it has. */
function bitsOf(address: string): { value: bigint; width: 32 | 128 } {
  if (!address.includes(':')) {
    return { value: address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n), width: 32 }
  }
  const [head = '', tail] = address.split('::')
  const parts = (text: string) => text.split(':').filter(Boolean)
  const front = parts(head)
  const back = parts(tail ?? '')
  const all = [...front, ...Array(8 - front.length - back.length).fill('0'), ...back]
  return { value: all.reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n), width: 128 }
}

function textOf(value: bigint, width: 32 | 128): string {
  const [count, size, base] = width === 32 ? [4, 8n, 10] : [8, 16n, 16]
  const parts = Array.from({ length: count }, (_, i) => (value >> (BigInt(count - 1 - i) * size)) & ((1n << size) - 1n))
  return parts.map((part) => part.toString(base)).join(width === 32 ? '.' : ':')
}

function prefixOf(value: bigint, bits: number, width: number): bigint {
  const rest = BigInt(width - bits)
  return (value >> rest) << rest
}

describe('a CidrSet', () => {
  it('finds the longest network, with its value', () => {
    const set = new CidrSet(['10.0.0.0/8', ['10.1.0.0/16', 'office'], '2001:db8::/32', ['::1', 'me']])
    expect(set.find('10.1.2.3')).toEqual({ network: '10.1.0.0/16', value: 'office' })
    expect(set.find('10.2.2.3')).toEqual({ network: '10.0.0.0/8', value: '' })
    expect(set.find('::ffff:10.1.2.3')).toEqual({ network: '10.1.0.0/16', value: 'office' })
    expect(set.find('::1')).toEqual({ network: '::1/128', value: 'me' })
    expect(set.find('11.0.0.1')).toBeUndefined()
    expect(set.has('2001:db8:ffff::')).toBe(true)
    expect(set.has('2001:db9::')).toBe(false)
  })

  it('lists what it holds, each network once, and takes what it lists', () => {
    const set = new CidrSet(['::/0', '10.0.0.0/8', ['9.0.0.0/8', 'nine'], ['10.0.0.0/8', 'ten']])
    const listed = [...set]
    expect(listed).toEqual([
      { network: '9.0.0.0/8', value: 'nine' },
      { network: '10.0.0.0/8', value: 'ten' },
      { network: '::/0', value: '' },
    ])
    expect(set.size).toBe(3)
    expect([...new CidrSet(listed.map(({ network, value }) => [network, value] as const))]).toEqual(listed)
    expect(new CidrSet().size).toBe(0)
    expect(new CidrSet(new Set(['10.0.0.0/8'])).size).toBe(1)
  })

  it('is replaced as a whole, or not at all', () => {
    const set = new CidrSet(['10.0.0.0/8'])
    set.replace(['11.0.0.0/8'])
    expect([set.has('10.0.0.1'), set.has('11.0.0.1')]).toEqual([false, true])
    expect(() => set.replace(['12.0.0.0/8', 'nonsense'])).toThrow('networks[1]')
    expect([set.has('12.0.0.1'), set.has('11.0.0.1')]).toEqual([false, true])
  })

  it.each([
    [['10.0.0.1/8'], 'networks[0]', 'did you mean "10.0.0.0/8"?'],
    [['10.0.0.0/8', '10.0.0.0/33'], 'networks[1]', "not '10.0.0.0/33'"],
    [['localhost'], 'networks[0]', 'an address or a network'],
    [[''], 'networks[0]', "not ''"],
    [['10.0.0.0/8', ['11.0.0.0/8', 5]], 'networks[1]', '[network, value]'],
    [[7], 'networks[0]', 'not 7'],
    ['10.0.0.0/8', 'networks', 'a list of networks'],
    [null, 'networks', 'not null'],
  ])('refuses %j, and says which and why', (networks, option, text) => {
    const make = () => new CidrSet(networks as CidrEntry[])
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option }))
    expect(make).toThrow(text)
  })

  it('refuses to look for what is no address', () => {
    const set = new CidrSet(['0.0.0.0/0'])
    for (const bad of ['', 'localhost', '10.0.0.0/8', '1.2.3', '1.2.3.4\0', 5, undefined]) {
      expect(() => set.has(bad as string)).toThrow(expect.objectContaining({ option: 'address' }))
      expect(() => set.find(bad as string)).toThrow(expect.objectContaining({ option: 'address' }))
    }
  })

  it('is shared with worker threads by a number, and what one replaces the other sees', async () => {
    const set = new CidrSet(['10.0.0.0/8'])
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const { CidrSet } = require('sluice')
      const set = CidrSet.from(workerData)
      const before = set.has('10.0.0.1')
      set.replace(['11.0.0.0/8'])
      parentPort.postMessage(before)`
    const worker = new Worker(source, { eval: true, workerData: set.share() })
    const exited = once(worker, 'exit')
    expect(await once(worker, 'message')).toEqual([true])
    await exited
    expect(set.has('11.0.0.1')).toBe(true)
    expect(set.share()).toBe(set.share())
    expect(() => CidrSet.from(4_000_000_000)).toThrow('share()')
  })

  it('finds what arithmetic finds, whatever the networks', () => {
    const width = fc.constantFrom<32 | 128>(32, 128)
    // Few different values, so that networks lie in each other. None is IPv4-mapped.
    const address = width.chain((width) =>
      fc
        .array(fc.constantFrom(0n, 1n, 2n, 255n), { minLength: width / 8, maxLength: width / 8 })
        .map((bytes) => bytes.reduce((sum, byte) => sum * 256n + byte, 0n) | (width === 128 ? 1n << 125n : 0n))
        .map((value) => ({ value, width })),
    )
    const network = address.chain(({ value, width }) =>
      fc.integer({ min: 0, max: width }).map((bits) => ({ value: prefixOf(value, bits, width), width, bits })),
    )
    fc.assert(
      fc.property(fc.array(network, { maxLength: 60 }), fc.array(address, { maxLength: 20 }), (networks, addresses) => {
        const set = new CidrSet(
          networks.map(({ value, width, bits }, i) => [`${textOf(value, width)}/${bits}`, `${i}`]),
        )
        for (const { value, width } of [...addresses, ...networks]) {
          let best: { bits: number; i: number } | undefined
          for (const [i, each] of networks.entries()) {
            if (each.width !== width || prefixOf(value, each.bits, width) !== each.value) continue
            if (best === undefined || each.bits >= best.bits) best = { bits: each.bits, i }
          }
          expect(set.find(textOf(value, width))?.value).toBe(best && `${best.i}`)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('shows networks that are what they were', () => {
    const text = fc.oneof(fc.ipV4(), fc.ipV6())
    fc.assert(
      fc.property(text, (address) => {
        // fast-check also writes IPv6 with an IPv4 ending, which the arithmetic here does not read.
        fc.pre(!address.includes('.') || !address.includes(':'))
        const [{ network }] = [...new CidrSet([address])] as [{ network: string }]
        const [shown, bits] = network.split('/')
        // So are those below ::/96 shown.
        fc.pre(!shown!.includes('.') || !shown!.includes(':'))
        expect(Number(bits)).toBe(bitsOf(shown!).width)
        fc.pre(!/^(0:){0,5}:?(0:)*ffff:/i.test(address))
        expect(bitsOf(shown!)).toEqual(bitsOf(address))
      }),
    )
  })
})
