import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { SluiceError } from '../errors.js'
import { expected, nearest, optional, parse, string } from '../options.js'
import { CidrSet, oneOrMany } from '../rules/cidr-set.js'

/** A named list of networks: the set that rules look into, and what is to stand in it once the plan is in force. */
export interface NetworkList {
  readonly set: CidrSet
  readonly entries: readonly string[]
}

const nameAllowed = 'a name of letters, digits, - and _ that begins with a letter'
const listShape = { networks: optional(oneOrMany(string())), file: optional(oneOrMany(string())) }

/**
 * Checks `networks` of a configuration. A name that the plan in force knows keeps its set, whose content is exchanged when
 * the new plan is put in force: by {@link fillNetworkLists}.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` naming the list, or the file and its line.
 */
export function networkListsOf(
  input: unknown,
  folder: string,
  former: ReadonlyMap<string, NetworkList> | undefined,
): Map<string, NetworkList> {
  if (input === undefined) return new Map()
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw expected('an object of lists of networks by name', input, 'networks')
  return new Map(
    Object.entries(input).map(([name, value]) => {
      if (!/^[a-z][\w-]*$/i.test(name)) throw expected(nameAllowed, name, 'networks')
      const entries = entriesOf(value, `networks.${name}`, folder)
      // Made in any case: that checks them.
      const fresh = new CidrSet(entries)
      return [name, { set: former?.get(name)?.set ?? fresh, entries }]
    }),
  )
}

/** Puts the content of a plan's lists in place, for all who look into them. */
export function fillNetworkLists(
  lists: ReadonlyMap<string, NetworkList>,
  former: ReadonlyMap<string, NetworkList>,
): void {
  for (const [name, { set, entries }] of lists) {
    const known = former.get(name)
    if (known !== undefined && !isDeepStrictEqual(known.entries, entries)) set.replace(entries)
  }
}

/**
 * The set that a name stands for.
 *
 * @returns undefined for what is no name, and so networks themselves.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` for a name that nothing is called.
 */
export function namedSet(value: unknown, option: string, lists: ReadonlyMap<string, NetworkList>): CidrSet | undefined {
  if (typeof value !== 'string' || isIP(value) !== 0 || !/^[a-z][\w-]*$/i.test(value)) return undefined
  const found = lists.get(value)
  if (found !== undefined) return found.set
  const known = [...lists.keys()]
  const guess = nearest(value, known)
  const hint = known.length === 0 ? '"networks" has none' : guess ? `did you mean "${guess}"?` : `known are ${known.join(', ')}` // biome-ignore format: one line
  throw expected(`a network, or the name of a list in "networks" (${hint})`, value, option)
}

function entriesOf(value: unknown, option: string, folder: string): string[] {
  const isPlain = typeof value === 'string' || Array.isArray(value)
  const { networks, file } = isPlain
    ? { networks: oneOrMany(string()).parse(value, option), file: undefined }
    : parse(listShape, value, [], option)
  if (networks === undefined && file === undefined)
    throw expected('a list of networks, or { networks, file } with at least one of them', value, option)
  const own = (networks ?? []) as string[]
  check(own, (i) => (isPlain ? `${option}[${i}]` : `${option}.networks[${i}]`))
  const names = (file ?? []) as string[]
  return [...own, ...names.flatMap((name) => fileEntries(resolve(folder, name), `${option}.file`))]
}

// One network a line; # begins a comment.
function fileEntries(path: string, option: string): string[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw expected(`a file that can be read (${(error as NodeJS.ErrnoException).code})`, path, option)
  }
  const lines = text.split(/\r?\n/).map((line, i) => ({ entry: line.replace(/#.*/, '').trim(), number: i + 1 }))
  const entries = lines.filter(({ entry }) => entry !== '')
  check(
    entries.map(({ entry }) => entry),
    () => option,
    (i) => `${path}, line ${entries[i]!.number}: `,
  )
  return entries.map(({ entry }) => entry)
}

function check(entries: readonly string[], optionOf: (i: number) => string, within?: (i: number) => string): void {
  try {
    new CidrSet(entries)
  } catch (error) {
    if (!(error instanceof SluiceError) || error.option === undefined) throw error
    const i = Number(/\[(\d+)\]/.exec(error.option)?.[1] ?? 0)
    const option = optionOf(i)
    const detail = error.message.replace(`option "${error.option}"`, `${within?.(i) ?? ''}option "${option}"`)
    throw new SluiceError('INVALID_OPTION', { phase: 'options', option, detail })
  }
}
