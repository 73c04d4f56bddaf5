// Runs the tests under sanitizers; CMake builds them in build/address and build/thread.
//
//   node tools/sanitize.mjs address   native tests, then test/sanitize/*.mjs and test/behaviour/ through the addon, under
//                                     ASan and UBSan
//   node tools/sanitize.mjs thread    those native tests that have threads, under TSan
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { buildTypeScript } from './build-if-needed.mjs'
import { runNativeTests } from './native-tests.mjs'
import { filesUnder, root } from './sources.mjs'
import { runVitest } from './vitest.mjs'

const preset = process.argv[2]
if (preset !== 'address' && preset !== 'thread') {
  console.error('Usage: node tools/sanitize.mjs address|thread')
  process.exit(1)
}

const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
}
// CI is otherwise quiet for minutes, so the build shows itself.
const cmake = (...args) => execFileSync('cmake', args, { cwd: root, stdio: 'inherit' })
cmake('--preset', preset)
// One thread has no races, and building a test takes longer than running it.
const hasThreads = (test) =>
  /std::thread|IoThread|useHandshakeThreads|Resolver|waitReady/.test(readFileSync(join(root, test), 'utf8'))
const chosen = filesUnder('test/native', '_test.cc').filter((test) => preset === 'address' || hasThreads(test))
const names = chosen.map((test) => basename(test, '.cc'))
const targets = preset === 'address' ? ['native_tests', 'sluice'] : names
cmake('--build', '--preset', preset, '--parallel', String(availableParallelism()), '--target', ...targets)

const programs = names.map((name) => join(root, `build/${preset}/tests`, name))
const total = await runNativeTests(programs, { ...process.env, ...sanitizerOptions })
if (preset === 'address') throughAddon(total)
for (const { name, reason } of total.skipped) console.log(`skipped: ${name} (${reason})`)
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1

/**
 * Runs scripts and tests with the instrumented addon in a plain node; a script passes when it exits with 0. This build
 * has the kqueue engine on its shim, so that it is run here through the public API.
 */
function throughAddon(sum) {
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
    SLUICE_PREBUILD: join(root, 'build/address'),
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
  // Without those that start programs of their own, each of which would take seconds, and without the largest.
  const left = ['cli', 'bench', 'message-bench', 'proxy', 'proxy-page', 'examples', 'many-connections'].flatMap(
    (name) => ['--exclude', `**/${name}.test.ts`],
  )
  const tests = runVitest(['test/behaviour/', ...left, '--testTimeout=60000'], env)
  sum.passed += tests.passed
  sum.failed += tests.failed
  sum.skipped.push(...tests.skipped)
}
