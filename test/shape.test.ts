import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { errorTable } from '../src/errors.js'
import * as records from '../src/native/records.js'

const root = resolve(import.meta.dirname, '..')
const addon = createRequire(import.meta.url)('node-gyp-build')(root)

// Which folders of native/ a folder may include from, beside itself. The lower layers know bytes, the upper ones time
// and the kernel; they meet in net/.
const arrows: Record<string, string[]> = {
  base: [],
  buffer: ['base'],
  limit: ['buffer', 'base'],
  tls: ['buffer', 'base'],
  handshake: ['buffer', 'base'],
  rules: ['base'],
  engine: ['buffer', 'base'],
  loop: ['engine', 'buffer', 'base'],
  net: ['loop', 'engine', 'tls', 'handshake', 'rules', 'limit', 'buffer', 'base'],
  binding: ['net', 'loop', 'engine', 'tls', 'handshake', 'rules', 'limit', 'buffer', 'base'],
}

// Headers that only one folder of native/ knows.
const privateHeaders: [pattern: RegExp, folder: string][] = [
  [/^(node_api|napi|js_native_api|uv)\b/, 'binding'],
  [/^openssl\//, 'tls'],
]

describe('native/', () => {
  const files = filesUnder('native', /\.(h|cc)$/)

  it('has no folder without a place in the drawing', () => {
    expect(new Set(files.map(folderOf))).toEqual(new Set(files.map(folderOf).filter((name) => name in arrows)))
  })

  it('includes along the arrows only', () => {
    const wrong = files.flatMap((file) => {
      const allowed = [folderOf(file), ...arrows[folderOf(file)]]
      return includes(file)
        .filter(({ quoted, path }) => quoted && !allowed.includes(path.split('/')[0]))
        .map(({ path }) => `${file} includes ${path}`)
    })
    expect(wrong).toEqual([])
  })

  it('names every own header from native/, and each exists', () => {
    const wrong = files.flatMap((file) =>
      includes(file)
        .filter(({ quoted, path }) => quoted && !existsSync(join(root, 'native', path)))
        .map(({ path }) => `${file} includes ${path}`),
    )
    expect(wrong).toEqual([])
  })

  it('knows Node in binding/ and OpenSSL in tls/ alone', () => {
    const wrong = files.flatMap((file) =>
      includes(file)
        .filter(({ path }) => privateHeaders.some(([header, home]) => header.test(path) && folderOf(file) !== home))
        .map(({ path }) => `${file} includes ${path}`),
    )
    expect(wrong).toEqual([])
  })

  it('lists every source in sources.txt', () => {
    const lines = readFileSync(join(root, 'native/sources.txt'), 'utf8').split('\n')
    const listed = lines.filter((line) => line && !line.startsWith('#'))
    expect(listed).toEqual(files.filter((file) => file.endsWith('.cc')))
  })
})

describe('src/', () => {
  const imports = filesUnder('src', /\.ts$/).flatMap((file) => importsOf(file).map((path) => ({ file, path })))
  const wrong = (rule: (file: string, path: string) => boolean) =>
    imports.filter(({ file, path }) => rule(file, path)).map(({ file, path }) => `${file} imports ${path}`)

  it('has no file that imports index.ts', () => {
    expect(wrong((_, path) => path === 'src/index')).toEqual([])
  })

  it('loads the addon in native/binding.ts alone', () => {
    expect(wrong((file, path) => path === 'node-gyp-build' && file !== 'src/native/binding.ts')).toEqual([])
  })

  it('builds the command line and the look-alikes on the nouns, not on the binding, and no noun on them', () => {
    const above = /^src\/(cli|compat)\//
    expect(wrong((file, path) => above.test(file) && path.startsWith('src/native/'))).toEqual([])
    expect(wrong((file, path) => !above.test(file) && above.test(path))).toEqual([])
  })
})

describe('both sides of the border', () => {
  it('number events, operations and control words alike', () => {
    expect({ ...records }).toEqual(addon.recordNumbers())
  })

  it('know the same errors, but for those that TypeScript alone tells', () => {
    const [none, ...told] = addon.errorNames()
    expect(none).toBe('NONE')
    expect(Object.keys(errorTable).slice(0, told.length)).toEqual(told)
  })
})

describe('the public API', () => {
  it('documents every exported name, and every member of it', () => {
    expect(undocumented(join(root, 'src/index.ts'))).toEqual([])
    expect(undocumented(join(root, 'src/message/index.ts'))).toEqual([])
    expect(undocumented(join(root, 'src/etcd/index.ts'))).toEqual([])
    expect(undocumented(join(root, 'src/msgpack/index.ts'))).toEqual([])
  })
})

function filesUnder(folder: string, pattern: RegExp): string[] {
  const names = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
  return names
    .filter((name) => pattern.test(name))
    .map((name) => `${folder}/${name}`)
    .sort()
}

function folderOf(file: string): string {
  return file.split('/')[1]
}

function includes(file: string): { quoted: boolean; path: string }[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/^\s*#\s*include\s*([<"])([^>"]+)/gm)].map(([, mark, path]) => ({
    quoted: mark === '"',
    path,
  }))
}

/** What a file imports: own modules as `src/…` without an ending, others by name. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => {
    if (!fileName.startsWith('.')) return fileName
    return relative(root, resolve(root, dirname(file), fileName)).replace(/\.[jt]s$/, '')
  })
}

function undocumented(entry: string): string[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram([entry], { ...options, noEmit: true, composite: false })
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(entry)
  const module = source && checker.getSymbolAtLocation(source)
  if (!module) throw new Error(`${entry} exports nothing`)

  const isDocumented = (symbol: ts.Symbol) => symbol.getDocumentationComment(checker).length > 0
  return checker.getExportsOfModule(module).flatMap((exported) => {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
    const members = [...(symbol.members?.values() ?? [])].filter(isPublicMember)
    return [
      ...(isDocumented(symbol) ? [] : [exported.name]),
      ...members.filter((member) => !isDocumented(member)).map((member) => `${exported.name}.${memberName(member)}`),
    ]
  })
}

function isPublicMember(member: ts.Symbol): boolean {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected
  const isHidden = (declaration: ts.Declaration) =>
    (ts.getCombinedModifierFlags(declaration) & hidden) !== 0 ||
    ts.getJSDocTags(declaration).some((tag) => tag.tagName.text === 'internal')
  // Type parameters are members to the compiler, and a name with an underscore is between a stream and Node.
  if (member.flags & ts.SymbolFlags.TypeParameter || member.name.includes('#')) return false
  if (member.name.startsWith('_') && !member.name.startsWith('__@')) return false
  return !(member.declarations ?? []).some(isHidden)
}

/** Members named by a symbol are `__@asyncIterator@123` inside the compiler. */
function memberName(member: ts.Symbol): string {
  return member.name.replace(/^__@(\w+)@\d+$/, '[Symbol.$1]')
}
