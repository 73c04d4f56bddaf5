import { BlockList, isIP } from 'node:net'
import { expected, type Parser } from '../options.js'

const allowed = 'a list of addresses and networks, e.g. ["10.0.0.0/8", "2001:db8::1"]'

/** Addresses and networks, to ask whether one is among them. IPv4 in IPv6 counts as IPv4. */
export class Networks {
  private readonly list = new BlockList()

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(texts: readonly string[], option: string) {
    texts.forEach((text, i) => {
      const [address = '', length, more] = String(text).split('/')
      const family = isIP(address)
      const most = family === 4 ? 32 : 128
      const bits = length === undefined ? most : /^\d{1,3}$/.test(length) ? Number(length) : -1
      if (family === 0 || more !== undefined || bits < 0 || bits > most)
        throw expected('an address or a network, e.g. "10.0.0.0/8"', text, `${option}[${i}]`)
      this.list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6')
    })
  }

  has(address: string): boolean {
    const plain = address.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '')
    const family = isIP(plain)
    return family !== 0 && this.list.check(plain, family === 4 ? 'ipv4' : 'ipv6')
  }
}

export const networksParser: Parser<Networks> = {
  allowed,
  parse(value, option) {
    if (!Array.isArray(value) || value.length === 0) throw expected(allowed, value, option)
    return new Networks(value, option)
  },
}
