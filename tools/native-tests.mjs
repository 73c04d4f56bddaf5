// Builds and runs the C++ tests: each test/native/x_test.cc with the sources outside native/binding/, which need no
// Node. On Linux the kqueue engine takes part, on top of a shim. A test program prints "ok name" or "not ok name" per test and "ok name # SKIP reason" for one it cannot run.
import { spawn } from 'node:child_process'
import { basename, join } from 'node:path'
import { archive, compileObjects, link, parallel } from './compile.mjs'
import { filesUnder, root, sources } from './sources.mjs'

const timeoutMs = 180_000
const onLinux = process.platform === 'linux'
const kqueueShim = 'test/support/kqueue-shim'

/** Builds all test programs and returns their paths. */
export async function buildNativeTests() {
  const tests = filesUnder('test/native', '_test.cc')
  const core = sources().filter((source) => !source.startsWith('native/binding/'))
  const support = [...filesUnder('test/native/support', '.cc'), ...(onLinux ? filesUnder(kqueueShim, '.cc') : [])]
  const folder = join(root, 'build/native-tests')
  const shimFlags = onLinux ? ['-DSLUICE_KQUEUE_SHIM', '-isystem', kqueueShim] : []
  const flags = ['-O1', '-g', '-Itest/native', '-DSLUICE_FAULTS', ...shimFlags]
  const objects = await compileObjects({ folder, sources: [...core, ...support, ...tests], flags })
  // A library, so that each test takes what it needs of the core; support is linked whole.
  const library = await archive({ output: join(folder, 'core.a'), objects: objects.slice(0, core.length) })
  const shared = [...objects.slice(core.length, core.length + support.length), library]
  const programs = []
  await parallel(tests, async (test) => {
    const output = join(folder, 'tests', basename(test, '.cc'))
    const flags = ['-ldl', '-lssl', '-lcrypto']
    programs.push(await link({ output, objects: [join(folder, 'objects', `${test}.o`), ...shared], flags }))
  })
  return programs.sort()
}

/** Runs test programs one after another. Returns { passed, failed, skipped: [{ name, reason }] }. */
export async function runNativeTests(programs, env = process.env) {
  const total = { passed: 0, failed: 0, skipped: [] }
  for (const program of programs) {
    const { output, ending } = await runProgram(program, env)
    const counts = count(output)
    // A crash, a time-out or a sanitizer's report is a failure of its own when no test line tells of it.
    if (ending !== undefined && counts.failed === 0) counts.failed = 1
    total.passed += counts.passed
    total.failed += counts.failed
    total.skipped.push(...counts.skipped)
    if (counts.failed > 0) console.log(`${output}\n${program} ended with ${ending}`)
    console.log(
      `${counts.failed > 0 ? 'FAIL' : 'ok  '} ${basename(program)}: ${counts.passed} passed, ${counts.failed} failed`,
    )
  }
  return total
}

function runProgram(program, env) {
  return new Promise((settle) => {
    const child = spawn(program, {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    child.stdout.on('data', (bytes) => (output += bytes))
    child.stderr.on('data', (bytes) => (output += bytes))
    child.on('close', (code, signal) => settle({ output, ending: code === 0 ? undefined : (signal ?? `code ${code}`) }))
  })
}

function count(output) {
  const counts = { passed: 0, failed: 0, skipped: [] }
  for (const line of output.split('\n')) {
    const [, verdict, name, reason] = /^(ok|not ok|skip) (.*?)(?: # SKIP (.*))?$/.exec(line) ?? []
    if (verdict === undefined) continue
    if (verdict === 'skip' || reason !== undefined) counts.skipped.push({ name, reason: reason ?? '' })
    else if (verdict === 'ok') counts.passed += 1
    else counts.failed += 1
  }
  return counts
}
