// What `npm pack` and `npm publish` begin with: the TypeScript is built, and it is told which addons go along.
// Told on stderr, because stdout is npm's: the name of the tarball, or JSON.
import { join } from 'node:path'
import { buildTypeScript } from './build-if-needed.mjs'
import { modifiedAt } from './compile.mjs'
import { filesUnder, root } from './sources.mjs'

try {
  buildTypeScript()
} catch (error) {
  console.error(error.message)
  process.exit(1)
}
const addons = filesUnder('prebuilds', '.node')
const changed = Math.max(...filesUnder('native', '').map((file) => modifiedAt(join(root, file))))
if (addons.length === 0)
  console.error('No prebuilt addons: users will have to build theirs. To make them: npm run prebuild')
for (const addon of addons) {
  const isOld = modifiedAt(join(root, addon)) < changed
  console.error(`${addon}${isOld ? ': older than its sources, npm run prebuild makes it anew' : ''}`)
}
