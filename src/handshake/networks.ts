import { native } from '../native/binding.js'
import { expected, type Parser } from '../options.js'

const allowed = 'a list of addresses and networks, e.g. ["10.0.0.0/8", "2001:db8::1"]'

/** Networks as text; addresses are networks of one. IPv4 and IPv6, at least one. */
export const networks: Parser<string[]> = {
  allowed,
  parse(value, option) {
    if (!Array.isArray(value) || value.length === 0) throw expected(allowed, value, option)
    return value.map((item, i) => network(item, `${option}[${i}]`))
  },
}

function network(value: unknown, option: string): string {
  const meant = typeof value === 'string' ? native.opening.checkNetwork(value) : ''
  if (meant === undefined) return value as string
  throw expected('an address or a network, e.g. "10.0.0.0/8"', value, option, meant === '' ? undefined : meant)
}
