// All tests: builds, runs the native tests, then vitest, and adds up. The last line is "N passed, N failed".
//
//   npm test                        everything
//   npm test -- --native            the C++ tests alone
//   npm test -- --js [filter …]     vitest alone, with its own arguments
import { buildAddon, buildTypeScript } from './build-if-needed.mjs'
import { buildNativeTests, runNativeTests } from './native-tests.mjs'
import { runVitest } from './vitest.mjs'

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
  return runVitest(filters)
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
