import { expected, type OptionalParser, optional, type Parser } from '../options.js'

/** PEM text, or the bytes of PEM or DER. */
export type PemOrDer = string | Uint8Array

/** PEM text, or bytes; not empty. */
export function pem(): Parser<PemOrDer> {
  const allowed = 'PEM as a string, or bytes of PEM or DER'
  return {
    allowed,
    parse(value, option) {
      const isPem = typeof value === 'string' || value instanceof Uint8Array
      if (isPem && value.length > 0) return value
      throw expected(allowed, value, option)
    },
  }
}

/** Bytes, not empty. */
export function bytes(): Parser<Uint8Array> {
  const allowed = 'a Uint8Array that is not empty'
  return {
    allowed,
    parse(value, option) {
      if (value instanceof Uint8Array && value.length > 0) return value
      throw expected(allowed, value, option)
    },
  }
}

/** One, or a list of at least `min`; either way a list comes out. Items of a list are named `option[i]`. */
export function oneOrMore<T>(of: Parser<T>, min: 0 | 1 = 1): OptionalParser<T[] | undefined> {
  return optional({
    allowed: `${of.allowed}, or a list of such`,
    parse(value, option) {
      if (!Array.isArray(value)) return [of.parse(value, option)]
      if (value.length < min) throw expected('a list that is not empty', value, option)
      return value.map((item, i) => of.parse(item, `${option}[${i}]`))
    },
  })
}

/** Names joined by colons, as OpenSSL takes lists, or a list of them. */
export function names(): OptionalParser<string> {
  const allowed = 'names in a list, or in a string with colons between'
  return {
    allowed,
    absent: '',
    parse(value, option) {
      const list = Array.isArray(value) ? value : [value]
      const areNames = list.every((name) => typeof name === 'string' && name !== '' && !name.includes('\0'))
      if (areNames && list.length > 0) return list.join(':')
      throw expected(allowed, value, option)
    },
  }
}
