import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../src/errors.js'
import {
  anything,
  boolean,
  editDistance,
  either,
  excludes,
  fn,
  integer,
  milliseconds,
  nearest,
  nested,
  number,
  oneOf,
  optional,
  type Parser,
  parse,
  requires,
  requiresOneOf,
  type Shape,
  signal,
  string,
} from '../../src/options.js'

interface Sample {
  port: number
  backlog?: number
  engine?: 'auto' | 'epoll'
  host?: string
  verbose?: boolean
}

const sample = {
  port: integer({ min: 0, max: 65_535 }),
  backlog: integer({ min: 1, default: 511 }),
  engine: oneOf(['auto', 'epoll'], { default: 'auto' }),
  host: optional(string()),
  verbose: boolean({ default: false }),
} satisfies Shape<Sample>

function refusal(action: () => unknown): SluiceError {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(SluiceError)
    expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION' })
    return error as SluiceError
  }
  throw new Error('nothing was refused')
}

describe('parse', () => {
  it('fills in defaults and keeps what was given', () => {
    const full = { port: 1, backlog: 511, engine: 'auto', host: undefined, verbose: false }
    expect(parse(sample, { port: 1 })).toEqual(full)
    expect(parse(sample, { port: 1, backlog: undefined })).toEqual(full)
    expect(parse(sample, { port: 0, backlog: 7, host: 'a', verbose: true })).toMatchObject({ backlog: 7, host: 'a' })
  })

  it('takes no input at all for no options', () => {
    expect(parse({ backlog: sample.backlog }, undefined)).toEqual({ backlog: 511 })
  })

  it('reads options that a class inherits or computes', () => {
    class Base {
      get port() {
        return 5
      }
    }
    expect(parse(sample, new Base()).port).toBe(5)
  })

  it.each([
    [{ port: -1 }, 'port', 'option "port" must be an integer from 0 to 65535, not -1'],
    [{ port: '80' }, 'port', `option "port" must be an integer from 0 to 65535, not '80'`],
    [{ port: 1.5 }, 'port', 'option "port" must be an integer from 0 to 65535, not 1.5'],
    [{ port: Number.NaN }, 'port', 'option "port" must be an integer from 0 to 65535, not NaN'],
    [{ port: null }, 'port', 'option "port" must be an integer from 0 to 65535, not null'],
    [{ port: 1, backlog: 0 }, 'backlog', 'option "backlog" must be an integer of at least 1, not 0'],
    [{}, 'port', 'option "port" is missing; expected an integer from 0 to 65535'],
    [{ port: 1, backlgo: 1 }, 'backlgo', 'option "backlgo" is unknown; did you mean "backlog"?'],
    [{ port: 1, Host: 'a' }, 'Host', 'option "Host" is unknown; did you mean "host"?'],
    [{ port: 1, qqqqq: 1 }, 'qqqqq', 'option "qqqqq" is unknown; known are port, backlog, engine, host, verbose'],
    [{ port: 1, toString: 1 }, 'toString', undefined],
    [
      { port: 1, engine: 'eppoll' },
      'engine',
      `option "engine" must be one of "auto", "epoll", not 'eppoll'; did you mean "epoll"?`,
    ],
    [{ port: 1, host: '' }, 'host', `option "host" must be a non-empty string without NUL, not ''`],
    [{ port: 1, verbose: 1 }, 'verbose', 'option "verbose" must be true or false, not 1'],
  ])('refuses %j, naming the option, the value and what is allowed', (input, option, message) => {
    const error = refusal(() => parse(sample, input))
    expect(error.option).toBe(option)
    if (message) expect(error.message).toBe(message)
  })

  it.each([[null], [3], ['port'], [[]], [() => {}]])('refuses %j as options', (input) => {
    expect(refusal(() => parse(sample, input)).message).toMatch(/^option "options" must be an object, not /)
  })

  it('does not print values of any length', () => {
    const error = refusal(() => parse(sample, { port: { a: 'x'.repeat(10_000), ...Array(1000).fill('y') } }))
    expect(error.message.length).toBeLessThan(200)
  })

  it('names options inside options by their path', () => {
    const outer = { sim: optional(nested({ seed: integer({ min: 0, default: 1 }) })) }
    expect(parse(outer, { sim: {} })).toEqual({ sim: { seed: 1 } })
    expect(refusal(() => parse(outer, { sim: { seed: -1 } })).option).toBe('sim.seed')
    expect(refusal(() => parse(outer, { sim: { sead: 1 } })).message).toMatch(
      /"sim.sead" is unknown; did you mean "seed"/,
    )
    expect(refusal(() => parse(outer, { sim: 4 })).message).toBe('option "sim" must be an object, not 4')
  })

  // Goal: no input gets past the parser. Method: any JSON-like value; it is either refused in the documented way or
  // comes out with every field allowed.
  it('either refuses or answers with allowed values, whatever it is given', () => {
    const field = fc.oneof(fc.anything(), fc.integer(), fc.constantFrom('auto', 'epoll', undefined))
    const input = fc.record(
      { port: field, backlog: field, engine: field, host: field, verbose: field },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(fc.anything(), input), (given) => {
        try {
          const parsed = parse(sample, given)
          expect(parsed.port >= 0 && parsed.port <= 65_535 && Number.isInteger(parsed.port)).toBe(true)
          expect(parsed.backlog).toBeGreaterThanOrEqual(1)
          expect(['auto', 'epoll']).toContain(parsed.engine)
          expect(['string', 'undefined']).toContain(typeof parsed.host)
          expect(typeof parsed.verbose).toBe('boolean')
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option: expect.any(String) })
        }
      }),
    )
  })
})

describe('rules over several options', () => {
  const shape = { port: optional(integer()), host: optional(string()), path: optional(string({ abstract: true })) }
  const rules = [excludes('path', ['port', 'host']), requiresOneOf('port', 'path'), requires('host', 'port')]

  it('accepts what fits together', () => {
    expect(parse(shape, { port: 1, host: 'a' }, rules)).toMatchObject({ port: 1 })
    expect(parse(shape, { path: '\0abstract' }, rules)).toMatchObject({ path: '\0abstract' })
  })

  it.each([
    [{ path: '/a', port: 1 }, 'option "port" cannot be given together with "path"'],
    [{ path: '/a', host: 'b' }, 'option "host" cannot be given together with "path"'],
    [{}, 'option "port" is missing; expected one of "port", "path"'],
  ])('refuses %j', (input, message) => {
    expect(refusal(() => parse(shape, input, rules)).message).toBe(message)
  })

  it('names what an option needs', () => {
    expect(refusal(() => parse(shape, { host: 'a' }, [requires('host', 'port')])).message).toBe(
      'option "host" needs "port" as well',
    )
  })
})

describe('parsers', () => {
  const controller = new AbortController()
  const accepted: [string, Parser<unknown>, unknown[], unknown[]][] = [
    ['integer', integer(), [0, -5, Number.MAX_SAFE_INTEGER], [2 ** 53, 1.5, '1', 1n, Infinity]],
    ['number', number({ min: 0, max: 1 }), [0, 0.5, 1], [-0.1, 1.1, Number.NaN, '0']],
    ['milliseconds', milliseconds(), [0, 2 ** 31 - 1], [-1, 2 ** 31, 0.5]],
    ['milliseconds from 1', milliseconds({ min: 1 }), [1], [0]],
    ['boolean', boolean(), [true, false], [0, 'true', null]],
    ['string', string(), ['a', ' '], ['', 'a\0b', '\0a', 3]],
    ['short string', string({ maxLength: 3 }), ['abc'], ['abcd']],
    ['abstract name', string({ abstract: true }), ['a', '\0a', '\0a\0b'], ['', '\0', 'a\0b']],
    ['function', fn(), [() => {}, class {}], [{}, 'f']],
    ['signal', signal(), [controller.signal, AbortSignal.abort()], [controller, {}, null]],
    ['either', either(boolean(), integer({ min: 2 })), [true, 2], [1, 'a']],
    ['number choices', oneOf([0, 4, 6]), [0, 4, 6], [5, '4']],
    ['anything', anything(), [null, 1, {}], []],
  ]
  it.each(accepted)('%s takes what it should and refuses the rest', (_, parser, good, bad) => {
    for (const value of good) expect(parser.parse(value, 'x')).toBe(value)
    for (const value of bad) expect(refusal(() => parser.parse(value, 'x')).option).toBe('x')
  })
})

describe('nearest', () => {
  it('finds one typing error in a short name and more in a long one', () => {
    const names = ['port', 'host', 'path', 'threads', 'engine', 'connectTimeoutMs']
    expect(nearest('prot', names)).toBe('port')
    expect(nearest('thread', names)).toBe('threads')
    expect(nearest('connectTimeout', names)).toBe('connectTimeoutMs')
    expect(nearest('ENGINE', names)).toBe('engine')
    expect(nearest('xyz', names)).toBeUndefined()
  })

  it('measures a distance: zero for the same, symmetric, and one per edit', () => {
    const word = fc.string({ maxLength: 12 })
    fc.assert(
      fc.property(word, word, fc.nat(12), (a, b, position) => {
        expect(editDistance(a, a)).toBe(0)
        expect(editDistance(a, b)).toBe(editDistance(b, a))
        expect(editDistance(a, `${a.slice(0, position)}x${a.slice(position)}`)).toBe(1)
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length))
        expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length))
      }),
    )
  })
})
