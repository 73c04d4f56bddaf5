// The list of native sources, and where headers are found. Used by binding.gyp, CMakeLists.txt and the other tools.
//
//   node tools/sources.mjs             prints native/sources.txt, one path per line
//   node tools/sources.mjs --units     writes a unit per folder to build/units and prints their paths
//   node tools/sources.mjs --include   prints the include folders beside native/ and Node's own
//   node tools/sources.mjs --headers   prints the folder of Node's headers
//   node tools/sources.mjs --write     rewrites the list from the files found under native/
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const listFile = join(root, 'native/sources.txt')
const unitFolder = 'build/units'

/** Paths of native/sources.txt, relative to the root. One per line; `#` starts a comment. */
export function sources() {
  return readFileSync(listFile, 'utf8')
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter(Boolean)
}

/**
 * Writes a unit for each folder of native/, which includes the sources in it, and returns the units' paths, relative to
 * the root. Headers are what takes the compiler's time: from scratch, units take a fifth of what the sources would.
 * What is in an unnamed namespace is therefore named once per folder.
 */
export function units() {
  const files = sources()
  const folders = [...new Set(files.map((file) => dirname(file)))]
  mkdirSync(join(root, unitFolder), { recursive: true })
  return folders.map((folder) => {
    const unit = `${unitFolder}/${basename(folder)}.cc`
    const inside = files.filter((file) => dirname(file) === folder)
    const text = inside.map((file) => `#include "${relative(unitFolder, file)}"\n`).join('')
    const path = join(root, unit)
    // Written again, it would be compiled again.
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text)
    return unit
  })
}

/** Include folders of packages: that of node-addon-api. None while nothing is installed yet. */
export function packageIncludes() {
  try {
    return [dirname(createRequire(import.meta.url).resolve('node-addon-api'))]
  } catch {
    return []
  }
}

/** Node's headers: from npm's `nodedir`, else beside the running node, else those node-gyp fetched. Throws if none. */
export function nodeHeaders() {
  const cache = process.platform === 'darwin' ? 'Library/Caches' : '.cache'
  const fetched = join(homedir(), cache, 'node-gyp', process.versions.node)
  const prefixes = [process.env.npm_config_nodedir, dirname(dirname(process.execPath)), fetched].filter(Boolean)
  const found = prefixes
    .map((prefix) => join(prefix, 'include/node'))
    .find((dir) => existsSync(join(dir, 'node_api.h')))
  if (!found) {
    const searched = prefixes.join(' or ')
    throw new Error(
      `No node_api.h under ${searched}: "npx node-gyp install" fetches it, npm_config_nodedir names others.`,
    )
  }
  return found
}

/** Every file under `folder` (relative to the root) whose name ends in `suffix`, sorted. */
export function filesUnder(folder, suffix) {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { recursive: true })
    .filter((name) => name.endsWith(suffix))
    .map((name) => `${folder}/${name}`)
    .sort()
}

function writeList() {
  const header = [
    '# The native sources, read by binding.gyp and CMakeLists.txt. The same on every platform: a file for one',
    '# kernel guards itself with #if. After adding a file: node tools/sources.mjs --write',
  ]
  writeFileSync(listFile, `${[...header, ...filesUnder('native', '.cc')].join('\n')}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const wanted = process.argv[2]
  if (wanted === '--write') writeList()
  else if (wanted === '--include') console.log(packageIncludes().join('\n'))
  else if (wanted === '--headers') console.log(nodeHeaders())
  else if (wanted === '--units') console.log(units().join('\n'))
  else console.log(sources().join('\n'))
}
