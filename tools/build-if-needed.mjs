// Builds what is older than its sources: the addon and the TypeScript.
// `npm start` and `npm test` begin with it. --ts-only builds the TypeScript alone.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modifiedAt } from './compile.mjs'
import { filesUnder, root } from './sources.mjs'

const require = createRequire(import.meta.url)

/** Builds the addon with node-gyp, unless it or a prebuilt one that fits is newer than every native file. */
export function buildAddon() {
  const inputs = [...filesUnder('native', ''), 'binding.gyp'].map((file) => modifiedAt(join(root, file)))
  if (modifiedAt(fittingAddon()) > Math.max(...inputs)) return
  console.log('Building the addon …')
  nodeRun(require.resolve('node-gyp/bin/node-gyp.js'), 'configure', 'build', '-j', 'max', '--loglevel=warn')
}

/** Compiles src/ and bench/ to dist/. */
export function buildTypeScript() {
  const projects = ['src', 'bench'].filter((folder) => filesUnder(folder, '.ts').length > 0)
  nodeRun(require.resolve('typescript/bin/tsc'), '-b', ...projects.map((folder) => (folder === 'src' ? '.' : folder)))
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
  if (status !== 0) process.exit(status ?? 1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] !== '--ts-only') buildAddon()
  buildTypeScript()
}
