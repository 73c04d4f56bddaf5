import { isIP } from 'node:net'
import { expected, type Parser } from '../options.js'
import { CidrSet, cidrSetParser } from '../rules/cidr-set.js'

const allowed = 'a list of addresses and networks, e.g. ["10.0.0.0/8", "2001:db8::1"]'

/** Addresses and networks, to ask whether one is among them. IPv4 in IPv6 counts as IPv4. */
export class Networks {
  private readonly set: CidrSet

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(networks: readonly string[] | CidrSet, option: string) {
    this.set = networks instanceof CidrSet ? networks : cidrSetParser.parse(networks, option)
  }

  has(address: string): boolean {
    const plain = address.replace(/%.*$/, '')
    return isIP(plain) !== 0 && this.set.has(plain)
  }
}

export const networksParser: Parser<Networks> = {
  allowed,
  parse(value, option) {
    if (!(value instanceof CidrSet) && (!Array.isArray(value) || value.length === 0))
      throw expected(allowed, value, option)
    return new Networks(value, option)
  },
}
