// Runs tests under sanitizers, beyond the native ones that `npm test` runs under ASan and UBSan.
//
//   node tools/sanitize.mjs address [--all]   test/sanitize/*.mjs and the tests of what is written in C++ through the
//                                             addon, under ASan and UBSan; or all of test/behaviour/
//   node tools/sanitize.mjs thread            those native tests that have threads, under TSan, built by CMake
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { buildTypeScript } from './build-if-needed.mjs'
import { buildWatchedAddon, runNativeTests, sanitizerOptions } from './native-tests.mjs'
import { filesUnder, root } from './sources.mjs'
import { runVitest } from './vitest.mjs'

const [kind, extent] = process.argv.slice(2)
if (!['address', 'thread'].includes(kind) || (extent !== undefined && (kind !== 'address' || extent !== '--all'))) {
  console.error('Usage: node tools/sanitize.mjs address [--all] | thread')
  process.exit(1)
}

// What passes memory between JavaScript and C++ in ways of its own.
const closestTests = ['connection', 'writing', 'layers', 'pairs', 'rules', 'relay', 'tls-breaking-off'].map(
  (name) => `test/behaviour/${name}.test.ts`,
)
// Without those that start programs of their own, each of which would take seconds, and without the largest.
const startingPrograms = ['cli', 'bench', 'message-bench', 'proxy', 'proxy-page', 'examples', 'many-connections']
const allTests = ['test/behaviour/', ...startingPrograms.flatMap((name) => ['--exclude', `**/${name}.test.ts`])]

const total = kind === 'address' ? await throughAddon() : await withThreads()
for (const { name, reason } of total.skipped) console.log(`skipped: ${name} (${reason})`)
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1

/** One thread has no races, and building a test takes longer than running it. */
function withThreads() {
  const hasThreads = (test) =>
    /std::thread|IoThread|useHandshakeThreads|Resolver|waitReady/.test(readFileSync(join(root, test), 'utf8'))
  const names = filesUnder('test/native', '_test.cc')
    .filter(hasThreads)
    .map((test) => basename(test, '.cc'))
  // CI is otherwise quiet for minutes, so the build shows itself.
  const cmake = (...args) => execFileSync('cmake', args, { cwd: root, stdio: 'inherit' })
  cmake('--preset', 'thread')
  cmake('--build', '--preset', 'thread', '--parallel', String(availableParallelism()), '--target', ...names)
  return runNativeTests(names.map((name) => join(root, 'build/thread/tests', name)))
}

/**
 * Runs scripts and tests with the instrumented addon in a plain node; a script passes when it exits with 0. This build
 * has the kqueue engine on its shim, so that it is run here through the public API.
 */
async function throughAddon() {
  const sum = { passed: 0, failed: 0, skipped: [] }
  const addon = await buildWatchedAddon()
  buildTypeScript()
  // Node is not instrumented, so ASan has to be there first, and libstdc++ for it to wrap exceptions. Node keeps much
  // until it exits, which a leak check would report; the native tests check for leaks.
  const compiler = process.env.CXX ?? 'c++'
  const libraries = ['libasan.so', 'libstdc++.so'].map((library) =>
    execFileSync(compiler, [`-print-file-name=${library}`], { encoding: 'utf8' }).trim(),
  )
  const env = {
    ...process.env,
    ...sanitizerOptions,
    ASAN_OPTIONS: `${sanitizerOptions.ASAN_OPTIONS}:detect_leaks=0`,
    LD_PRELOAD: libraries.join(' '),
    SLUICE_PREBUILD: addon,
  }
  for (const script of filesUnder('test/sanitize', '.mjs')) {
    const { status, signal } = spawnSync(process.execPath, [script], {
      cwd: root,
      env,
      stdio: 'inherit',
      timeout: 180_000,
    })
    if (status === 0) sum.passed += 1
    else sum.failed += 1
    console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${script}${status === 0 ? '' : ` ended with ${signal ?? status}`}`)
  }
  const tests = await runVitest([...(extent === '--all' ? allTests : closestTests), '--testTimeout=60000'], env)
  sum.passed += tests.passed
  sum.failed += tests.failed
  sum.skipped.push(...tests.skipped)
  return sum
}
