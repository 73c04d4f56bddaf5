// Builds what is older than its sources: the addon and the TypeScript.
// `npm start` and `npm test` begin with it.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modifiedAt } from './compile.mjs'
import { filesUnder, nodeHeaders, root } from './sources.mjs'

const require = createRequire(import.meta.url)

/** Builds the addon with node-gyp, unless it or a prebuilt one that fits is newer than every native file. */
export function buildAddon() {
  const inputs = [...filesUnder('native', ''), 'binding.gyp'].map((file) => modifiedAt(join(root, file)))
  if (modifiedAt(fittingAddon()) > Math.max(...inputs)) return
  console.log('Building the addon …')
  const args = ['configure', 'build', '-j', 'max', '--loglevel=warn', ...localHeaders()]
  try {
    nodeRun(require.resolve('node-gyp/bin/node-gyp.js'), ...args)
  } catch (error) {
    throw new Error(`${error.message}\n\n${advice}`)
  }
}

const advice = `The addon could not be built; what failed stands above. Building takes:
  a C++20 compiler   g++ 11 or clang 14 and newer, and make: apt-get install g++ make, or xcode-select --install
  Python 3           apt-get install python3
  Node's headers     they come with Node, else node-gyp fetches them from nodejs.org; npm_config_nodedir names others
Without these, put a prebuilt addon into prebuilds/: npm run prebuild, on another machine.`

/** Compiles src/ and bench/ to dist/. */
export function buildTypeScript() {
  const projects = ['src', 'bench'].filter((folder) => filesUnder(folder, '.ts').length > 0)
  nodeRun(require.resolve('typescript/bin/tsc'), '-b', ...projects.map((folder) => (folder === 'src' ? '.' : folder)))
}

/** Spares node-gyp a download where node came with its headers. */
function localHeaders() {
  try {
    return [`--nodedir=${resolve(nodeHeaders(), '../..')}`]
  } catch {
    return []
  }
}

function fittingAddon() {
  try {
    return require('node-gyp-build').path(root)
  } catch {
    return 'none'
  }
}

function nodeRun(...args) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    buildAddon()
    buildTypeScript()
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
