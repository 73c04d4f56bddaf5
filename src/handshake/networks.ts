import { type NativeNetworks, native } from '../native/binding.js'
import { expected, type Parser } from '../options.js'
import { CidrSet } from '../rules/cidr-set.js'

const allowed = 'a CidrSet, or a list of addresses and networks, e.g. ["10.0.0.0/8", "2001:db8::1"]'

/** Networks as text; addresses are networks of one. IPv4 and IPv6, at least one. Or a set, whose content may change. */
export const networks: Parser<NativeNetworks> = {
  allowed,
  parse(value, option) {
    if (value instanceof CidrSet) return value.handle
    if (!Array.isArray(value) || value.length === 0) throw expected(allowed, value, option)
    return value.map((item, i) => network(item, `${option}[${i}]`))
  },
}

function network(value: unknown, option: string): string {
  const meant = typeof value === 'string' ? native.opening.checkNetwork(value) : ''
  if (meant === undefined) return value as string
  throw expected('an address or a network, e.g. "10.0.0.0/8"', value, option, meant === '' ? undefined : meant)
}
