import { isWrongNetwork, type NativeCidrSet, type NativeWrongNetwork, native } from '../native/binding.js'
import { expected, integer, type Parser } from '../options.js'

/** A network, such as `'10.0.0.0/8'` or `'2001:db8::1'`, alone or with a value of yours. */
export type CidrEntry = string | readonly [network: string, value: string]

/** What an address was found in. */
export interface CidrMatch {
  /** The longest network that the address lies in, in its shortest form. */
  network: string
  /** Its value; `''` without one. */
  value: string
}

const allowed = 'an address or a network without bits behind its length, e.g. "10.0.0.0/8" or "2001:db8::1"'
const addressAllowed = 'an IP address'

/**
 * Networks, of IPv4 and IPv6, and which of them an address lies in: for rules, and to ask by yourself. A hundred thousand
 * take 12 to 22 MB, and a look-up less than half a microsecond. IPv4-mapped addresses (`::ffff:10.0.0.1`) are
 * IPv4, in networks and in look-ups; `'::/0'` holds none of them.
 *
 * The whole content is exchanged by {@link CidrSet.replace}, at once for all who look into it: rules, listeners, threads.
 */
export class CidrSet implements Iterable<CidrMatch> {
  /** @internal */ readonly handle: NativeCidrSet

  /** Of two entries for one network the later one counts. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, naming it. */
  constructor(networks: Iterable<CidrEntry> = []) {
    const { texts, values } = split(networks, 'networks')
    const made = native.cidrSets.create(texts, values)
    if (isWrongNetwork(made)) throw refusal(made, texts, 'networks')
    this.handle = made
  }

  /**
   * The set that another thread shares, by the number that its `share()` gave: send that number to a worker.
   *
   * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when nobody in this process has it any more.
   */
  static from(shared: number): CidrSet {
    const handle = native.cidrSets.fromShared(sharedNumber.parse(shared, 'shared'))
    if (handle === undefined) throw expected('a number of share(), whose set somebody still has', shared, 'shared')
    return CidrSet.wrap(handle)
  }

  private static wrap(handle: NativeCidrSet): CidrSet {
    return Object.assign(Object.create(CidrSet.prototype) as CidrSet, { handle })
  }

  /** A number for {@link CidrSet.from} in other threads of this process, valid while somebody has the set. */
  share(): number {
    return native.cidrSets.share(this.handle)
  }

  /** Replaces everything in it; nothing changes when it throws. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  replace(networks: Iterable<CidrEntry>): void {
    const { texts, values } = split(networks, 'networks')
    const wrong = native.cidrSets.replace(this.handle, texts, values)
    if (wrong !== undefined) throw refusal(wrong, texts, 'networks')
  }

  /** The longest network that an address lies in. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is no address. */
  find(address: string): CidrMatch | undefined {
    const found = typeof address === 'string' ? native.cidrSets.find(this.handle, address) : null
    if (found === null) throw expected(addressAllowed, address, 'address')
    return found
  }

  /** Whether an address lies in one. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for what is no address. */
  has(address: string): boolean {
    const found = typeof address === 'string' ? native.cidrSets.has(this.handle, address) : null
    if (found === null) throw expected(addressAllowed, address, 'address')
    return found
  }

  /** How many networks there are, each once. */
  get size(): number {
    return native.cidrSets.size(this.handle)
  }

  /** All networks, IPv4 first, by address. */
  [Symbol.iterator](): Iterator<CidrMatch> {
    return native.cidrSets.entries(this.handle)[Symbol.iterator]()
  }
}

/** @internal */
export const sharedNumber: Parser<number> = integer({ min: 0, max: 0xffffffff })

const nothing = native.cidrSets.create([], undefined) as NativeCidrSet

/** @internal */
export const addressParser: Parser<string> = {
  allowed: addressAllowed,
  parse(value, option) {
    if (typeof value !== 'string' || native.cidrSets.has(nothing, value) === null)
      throw expected(addressAllowed, value, option)
    return value
  },
}

/** @internal A set, or the networks of one. */
export const cidrSetParser: Parser<CidrSet> = {
  allowed: 'a CidrSet, a network, or a list of networks',
  parse(value, option) {
    if (value instanceof CidrSet) return value
    const list = typeof value === 'string' ? [value] : value
    if (!Array.isArray(list) || list.length === 0) throw expected(this.allowed, value, option)
    const { texts, values } = split(list, option)
    const made = native.cidrSets.create(texts, values)
    if (isWrongNetwork(made)) throw refusal(made, texts, option)
    return Object.assign(Object.create(CidrSet.prototype) as CidrSet, { handle: made })
  },
}

/** @internal One or several texts. */
export function oneOrMany<T>(of: Parser<T>): Parser<T[]> {
  const list: Parser<T[]> = {
    allowed: `a list, each ${of.allowed}`,
    parse(value, option) {
      if (!Array.isArray(value) || value.length === 0) throw expected(this.allowed, value, option)
      return value.map((item, i) => of.parse(item, `${option}[${i}]`))
    },
  }
  return {
    allowed: `${of.allowed}, or ${list.allowed}`,
    parse: (value, option) => (Array.isArray(value) ? list.parse(value, option) : [of.parse(value, option)]),
  }
}

function split(networks: unknown, option: string): { texts: string[]; values: string[] | undefined } {
  if (typeof (networks as Iterable<unknown> | null)?.[Symbol.iterator] !== 'function' || typeof networks === 'string')
    throw expected('a list of networks', networks, option)
  const texts: string[] = []
  let values: string[] | undefined
  for (const entry of networks as Iterable<CidrEntry>) {
    const [text, value] = Array.isArray(entry) && entry.length === 2 ? entry : [entry, '']
    if (typeof text !== 'string' || typeof value !== 'string')
      throw expected(`${allowed}, or [network, value]`, entry, `${option}[${texts.length}]`)
    texts.push(text)
    if (value !== '') values ??= Array<string>(texts.length - 1).fill('')
    values?.push(value)
  }
  return { texts, values }
}

function refusal({ index, meant }: NativeWrongNetwork, texts: readonly string[], option: string): Error {
  return expected(allowed, texts[index], `${option}[${index}]`, meant || undefined)
}
