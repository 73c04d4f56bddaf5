// What a cross-compiled addon asks of the system that loads it, read from the file: it cannot be loaded here.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Symbols that the node executable gives to addons, beside those of its OpenSSL. */
const fromNode = /^_?(napi|node|uv)_/

/**
 * Throws when a Linux addon needs a newer glibc than promised, a library not everyone has, or a symbol nobody has.
 * `muslSource` lists musl's symbols as labels of an assembler file; glibc's are told by the version they bear.
 */
export function checkElf(file, { libc, glibcFloor, muslSource }) {
  const said = execFileSync('readelf', ['--wide', '--dynamic', '--version-info', file], { encoding: 'utf8' })
  const versions = [...said.matchAll(/GLIBC_([\d.]+)/g)].map(([, version]) => version)
  const newer = versions.filter((version) => libc === 'musl' || isNewer(version, glibcFloor))
  if (newer.length > 0) throw new Error(`${file} needs glibc ${[...new Set(newer)].join(', ')}, not ${glibcFloor}`)
  const needed = [...said.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, library]) => library)
  const everywhere = libc === 'musl' ? /^libc\.so$/ : /^(lib(c|m|dl|rt|pthread)\.so\.\d|ld-linux)/
  const foreign = needed.filter((library) => !everywhere.test(library))
  if (foreign.length > 0) throw new Error(`${file} needs ${foreign.join(', ')}`)

  refuseEarlyOpenssl(file)
  // A shared object may link with holes in it.
  const symbols = execFileSync('nm', ['--dynamic', '--undefined-only', file], { encoding: 'utf8' })
  const unversioned = [...symbols.matchAll(/ U (\w+)$/gm)].map(([, name]) => name)
  const known = new Set(libc === 'musl' ? labelsOf(muslSource) : [])
  refuseHoles(
    file,
    unversioned.filter((name) => !known.has(name)),
  )
}

/** Throws when a macOS addon needs a newer system, a library of somebody else, a symbol nobody has, or a signature. */
export function checkMachO(file, { macosFloor }) {
  const { commands, symbols, isArm64 } = readMachO(file)
  const built = commands.find(({ type }) => type === loadCommand.buildVersion)?.body
  const oldest = built ? `${built.readUInt16LE(14)}.${built[13]}` : 'an unknown macOS'
  if (!built || isNewer(oldest, macosFloor)) throw new Error(`${file} needs macOS ${oldest}, not ${macosFloor}`)
  const needed = commands
    .filter(({ type }) => type === loadCommand.loadDylib)
    .map(({ body }) => textAt(body, body.readUInt32LE(8)))
  const foreign = needed.filter((library) => !library.startsWith('/usr/lib/'))
  if (foreign.length > 0) throw new Error(`${file} needs ${foreign.join(', ')}`)
  if (isArm64 && !commands.some(({ type }) => type === loadCommand.codeSignature)) {
    throw new Error(`${file} is not signed, and arm64 Macs load nothing without a signature`)
  }
  // -undefined dynamic_lookup lets every hole pass: these are the symbols that no library was found to have.
  const anywhere = symbols.filter(({ undefined: hole, library }) => hole && library === dynamicLookup)
  refuseHoles(
    file,
    anywhere.map(({ name }) => name),
  )
}

const loadCommand = { symbolTable: 0x2, loadDylib: 0xc, codeSignature: 0x1d, buildVersion: 0x32 }
const dynamicLookup = 0xfe

/** Load commands and external symbols of a 64-bit Mach-O file; layout as in <mach-o/loader.h> and <mach-o/nlist.h>. */
function readMachO(file) {
  const bytes = readFileSync(file)
  if (bytes.readUInt32LE(0) !== 0xfeedfacf) throw new Error(`${file} is no 64-bit Mach-O file`)
  const commands = []
  for (let at = 32; commands.length < bytes.readUInt32LE(16); at += bytes.readUInt32LE(at + 4)) {
    commands.push({ type: bytes.readUInt32LE(at), body: bytes.subarray(at, at + bytes.readUInt32LE(at + 4)) })
  }
  const table = commands.find(({ type }) => type === loadCommand.symbolTable)?.body
  const [start, count, names] = [8, 12, 16].map((field) => table?.readUInt32LE(field) ?? 0)
  const symbols = Array.from({ length: count }, (_, index) => {
    const entry = bytes.subarray(start + 16 * index)
    const name = textAt(bytes, names + entry.readUInt32LE(0))
    return { name, undefined: (entry[4] & 0x0f) === 0x01, library: entry[7] }
  })
  return { commands, symbols, isArm64: bytes.readUInt32LE(4) === 0x0100000c }
}

function refuseHoles(file, names) {
  const openssl = opensslNames()
  const holes = names.filter((name) => !fromNode.test(name) && !openssl.has(name.replace(/^_/, '')))
  if (holes.length > 0) throw new Error(`${file} lacks ${holes.join(', ')}`)
}

/**
 * Throws unless OpenSSL's functions are looked up when they are called: a process without OpenSSL 3 loads the addon too.
 * Any relocation of them but a jump slot is resolved at load time.
 */
function refuseEarlyOpenssl(file) {
  const said = execFileSync('readelf', ['--wide', '--dynamic', '--relocs', file], { encoding: 'utf8' })
  if (/\b(BIND_NOW|Flags: .*\bNOW\b)/.test(said)) throw new Error(`${file} binds every function when it is loaded`)
  const openssl = opensslNames()
  const early = [...said.matchAll(/ (R_\w+) +\w+ (\w+)/g)]
    .filter(([, kind, name]) => !/JUMP_SLOT?$/.test(kind) && openssl.has(name))
    .map(([, , name]) => name)
  if (early.length > 0) throw new Error(`${file} needs ${early.join(', ')} when it is loaded`)
}

/** What the running node executable exports of its OpenSSL: every platform's has the same. */
function opensslNames() {
  const said = execFileSync('nm', ['--dynamic', '--defined-only', process.execPath], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  const names = [...said.matchAll(/ T (\w+)$/gm)].map(([, name]) => name).filter((name) => !name.startsWith('_Z'))
  if (!names.includes('SSL_CTX_new')) throw new Error(`${process.execPath} exports no OpenSSL`)
  return new Set(names)
}

function labelsOf(assembler) {
  return [...readFileSync(assembler, 'utf8').matchAll(/^(\w+):/gm)].map(([, label]) => label)
}

function textAt(bytes, start) {
  return bytes.toString('latin1', start, bytes.indexOf(0, start))
}

function isNewer(version, floor) {
  const [a, b] = [version, floor].map((text) => text.split('.').map(Number))
  return a[0] !== b[0] ? a[0] > b[0] : (a[1] ?? 0) > (b[1] ?? 0)
}
