import { parseArgs } from 'node:util'
import { SluiceError } from '../errors.js'
import {
  boolean,
  integer as integerOption,
  nearest,
  type OptionalParser,
  oneOf,
  optional,
  type Parser,
  string,
  withDefault,
} from '../options.js'

/** One `--option` of a command. */
export interface Flag<T> {
  /** What stands for its value in the help; a switch has none. */
  readonly placeholder?: string
  readonly help: string
  readonly parser: OptionalParser<T>
  /** Turns the text of the command line into what the parser checks. */
  readonly read: (text: string) => unknown
  /** May be given several times: the value is a list. */
  readonly many?: boolean
}

/** The options of a command, by their names without `--`. */
export type Flags = Readonly<Record<string, Flag<unknown>>>

/** What the options of a command were given as, defaults filled in. */
export type Values<F extends Flags> = { [K in keyof F]: F[K] extends Flag<infer T> ? T : never }

/** What `sluice help` tells of a command. */
export interface CommandHelp {
  /** `sluice echo`. */
  name: string
  /** One sentence. */
  summary: string
  /** Further lines, if it takes some. */
  details?: string
}

/** The command line is wrong: told with a pointer to `--help`, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

// ---- Kinds of options

/** A switch: given or not. */
export function toggle(help: string): Flag<boolean> {
  return { help, parser: boolean({ default: false }), read: () => true }
}

/** A whole number. */
export function integer(help: string, limits: { min: number; max: number; default: number }): Flag<number>
export function integer(help: string, limits: { min: number; max: number }): Flag<number | undefined>
export function integer(
  help: string,
  limits: { min: number; max: number; default?: number },
): Flag<number | undefined> {
  const { default: value, ...range } = limits
  // Only digits count as a number: Number('') would be 0.
  const read = (text: string) => (/^[+-]?\d+$/.test(text) ? Number(text) : text)
  return { placeholder: 'N', help, parser: absentAs(integerOption(range), value), read }
}

/** Any text. */
export function text(help: string, more: { placeholder: string; default: string }): Flag<string>
export function text(help: string, more: { placeholder: string }): Flag<string | undefined>
export function text(help: string, more: { placeholder: string; default?: string }): Flag<string | undefined> {
  return { placeholder: more.placeholder, help, parser: absentAs(string(), more.default), read: (given) => given }
}

/** One of a few words. */
export function choice<const T extends string>(help: string, choices: readonly T[], value: NoInfer<T>): Flag<T>
export function choice<const T extends string>(help: string, choices: readonly T[]): Flag<T | undefined>
export function choice<const T extends string>(help: string, choices: readonly T[], value?: T): Flag<T | undefined> {
  return { placeholder: choices.join('|'), help, parser: absentAs(oneOf(choices), value), read: (given) => given }
}

function absentAs<T>(parser: Parser<T>, value: T | undefined): OptionalParser<T | undefined> {
  return value === undefined ? optional(parser) : withDefault(parser, value)
}

/** One that may be given several times; absent, an empty list. */
export function several<T>({ parser, ...flag }: Flag<T | undefined>): Flag<T[]> {
  return { ...flag, many: true, parser: { ...parser, absent: [] } as unknown as OptionalParser<T[]> }
}

// ---- Reading the command line

/**
 * Reads the arguments of a command.
 *
 * @returns undefined when help was asked for.
 * @throws {UsageError} naming the argument, what is allowed and, for an unknown option, the nearest known one.
 */
export function parseArguments<F extends Flags>(flags: F, argv: readonly string[]): Values<F> | undefined {
  const config = Object.entries(flags).map(([name, { placeholder }]) => [
    name,
    { type: placeholder === undefined ? ('boolean' as const) : ('string' as const) },
  ])
  const help = { type: 'boolean', short: 'h' } as const
  // Not strict, because our own messages know the nearest option.
  const { tokens } = parseArgs({
    args: [...argv],
    options: { ...Object.fromEntries(config), help },
    strict: false,
    tokens: true,
  })

  const given: Record<string, unknown> = {}
  let helpWanted = false
  for (const token of tokens) {
    if (token.kind === 'positional') throw new UsageError(`unexpected argument "${token.value}"`)
    if (token.kind === 'option-terminator') continue
    if (token.name === 'help') helpWanted = true
    else if (flags[token.name]?.many)
      given[token.name] = [...((given[token.name] as unknown[]) ?? []), readToken(flags, token)]
    else given[token.name] = readToken(flags, token)
  }
  if (helpWanted) return undefined
  return Object.fromEntries(
    Object.entries(flags).map(([name, { parser }]) => [name, given[name] ?? parser.absent]),
  ) as Values<F>
}

interface OptionToken {
  name: string
  rawName: string
  value?: string
  inlineValue?: boolean
}

function readToken(flags: Flags, { name, rawName, value, inlineValue }: OptionToken): unknown {
  if (!Object.hasOwn(flags, name)) {
    const guess = nearest(name, [...Object.keys(flags), 'help'])
    throw new UsageError(`unknown option "${rawName}"; ${guess ? `did you mean "--${guess}"?` : 'see --help'}`)
  }
  const { placeholder, parser, read } = flags[name]!
  if (placeholder === undefined && value !== undefined) throw new UsageError(`option "${rawName}" takes no value`)
  // "--host --port 7": the second is an option, not a host.
  const missing = !value || (!inlineValue && value.startsWith('--'))
  if (placeholder !== undefined && missing) throw new UsageError(`option "${rawName}" needs a value: ${parser.allowed}`)
  try {
    return parser.parse(read(value ?? ''), rawName)
  } catch (error) {
    throw error instanceof SluiceError ? new UsageError(error.message) : error
  }
}

// ---- Help

/** The page that `--help` shows. */
export function helpPage({ name, summary, details }: CommandHelp, flags: Flags): string {
  const rows = Object.entries(flags).map(([flag, { placeholder, help, parser }]) => {
    const isDefaultWorthTelling = ![undefined, false].includes(parser.absent as never) && !Array.isArray(parser.absent)
    return [
      `--${flag}${placeholder ? ` ${placeholder}` : ''}`,
      isDefaultWorthTelling ? `${help} (default ${parser.absent})` : help,
    ]
  })
  rows.push(['-h, --help', 'show this page'])
  return `Usage: ${name} [options]\n\n${summary}\n${details ? `${details}\n` : ''}\nOptions:\n${table(rows)}\n`
}

/** Rows of cells as indented columns of equal width. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  '))
  return lines.map((line) => `  ${line}`.trimEnd()).join('\n')
}

/** "1 byte", "2 bytes". */
export function count(howMany: number, noun: string): string {
  return `${howMany} ${noun}${howMany === 1 ? '' : 's'}`
}
