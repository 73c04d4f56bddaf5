// Formatting, lint and types of everything: `npm run lint` checks, `npm run format` rewrites.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { filesUnder, root } from './sources.mjs'

const require = createRequire(import.meta.url)
const write = process.argv[2] === '--write'
const folders = ['native', 'test/native', 'bench/native']
const cFiles = folders.flatMap((folder) => ['.h', '.cc', '.c'].flatMap((suffix) => filesUnder(folder, suffix)))
// From a package, so that every machine formats with the same version.
const clangFormat = require('clang-format-node').clangFormatPath
const biome = require.resolve('@biomejs/biome/bin/biome')
const tsc = require.resolve('typescript/bin/tsc')

const checks = {
  biome: [
    process.execPath,
    biome,
    ...(write ? ['check', '--write'] : ['check', '--error-on-warnings', '--colors=off']),
  ],
  'clang-format': [clangFormat, ...(write ? ['-i'] : ['--dry-run', '-Werror']), ...cFiles],
  // tsc -b looks at src/ and bench/, the last one at the tests, which use what -b has written.
  'types of the package': [process.execPath, tsc, '-b', '.', 'bench'],
  'types of the tests': [process.execPath, tsc, '-p', 'test'],
}

const failed = Object.entries(checks).filter(([name, [command, ...args]]) => {
  console.log(`── ${name}`)
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) console.log(`${command}: ${error.message}`)
  return status !== 0
})
console.log(failed.length === 0 ? 'Clean.' : `Not clean: ${failed.map(([name]) => name).join(', ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
