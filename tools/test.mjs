// All tests: builds, runs the native tests, then vitest, and adds up. The last line is "N passed, N failed".
//
//   npm test                        everything
//   npm test -- --native            the C++ tests alone
//   npm test -- --js [filter …]     vitest alone, with its own arguments
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { buildAddon, buildTypeScript } from './build-if-needed.mjs'
import { buildNativeTests, runNativeTests } from './native-tests.mjs'
import { root } from './sources.mjs'

const args = process.argv.slice(2)
const only = ['--native', '--js'].includes(args[0]) ? args.shift() : undefined

const results = []
if (only !== '--js') results.push(await part(nativeTests))
if (only !== '--native') results.push(await part(() => vitest(args)))
finish(results)

/** A part that cannot be built or run is one failure, and the other part still runs. */
async function part(work) {
  try {
    return await work()
  } catch (error) {
    console.log(error.message)
    return { passed: 0, failed: 1, skipped: [] }
  }
}

async function nativeTests() {
  return runNativeTests(await buildNativeTests())
}

function vitest(filters) {
  buildAddon()
  buildTypeScript()
  const summaryFile = join(root, 'build/vitest-summary.json')
  rmSync(summaryFile, { force: true })
  const bin = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const reporters = ['--reporter=default', `--reporter=${join(root, 'tools/vitest-reporter.mjs')}`]
  const command = [bin, 'run', ...reporters, ...filters]
  const env = { ...process.env, SLUICE_TEST_SUMMARY: summaryFile }
  const { status } = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit', env })
  if (!existsSync(summaryFile)) throw new Error(`vitest ended with ${status} and left no summary`)
  const summary = JSON.parse(readFileSync(summaryFile, 'utf8'))
  if (status !== 0 && summary.failed === 0) summary.failed = 1
  return summary
}

function finish(parts) {
  const skipped = parts.flatMap((part) => part.skipped)
  for (const { name, reason } of skipped) console.log(`skipped: ${name}${reason ? ` (${reason})` : ''}`)
  if (skipped.length > 0) console.log(`${skipped.length} skipped`)
  const passed = parts.reduce((sum, part) => sum + part.passed, 0)
  const failed = parts.reduce((sum, part) => sum + part.failed, 0)
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1
}
