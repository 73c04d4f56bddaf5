// Builds and runs the C++ tests: each test/native/x_test.cc with the sources outside native/binding/, which need no
// Node. On Linux the kqueue engine takes part, on top of a shim. Where the compiler has them, ASan and UBSan watch:
// building is what takes the time, and so the tests are built only once.
// A test program prints "ok name" or "not ok name" per test and "ok name # SKIP reason" for one it cannot run.
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { addonFlags, archive, compileObjects, link, parallel } from './compile.mjs'
import { filesUnder, root, units } from './sources.mjs'

const timeoutMs = 180_000
const onLinux = process.platform === 'linux'
const kqueueShim = 'test/support/kqueue-shim'

const folder = join(root, 'build/native-tests')
const shimFlags = onLinux ? ['-DSLUICE_KQUEUE_SHIM', '-isystem', kqueueShim] : []
// -O1 keeps stacks readable and the tests quick; a finding of UBSan ends the test as one of ASan does.
const plainFlags = ['-O1', '-g', '-Itest/native', '-DSLUICE_FAULTS', ...shimFlags]
const watchFlags = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer']

/** What the sanitizers are told; of use to every process that holds code which they watch. */
export const sanitizerOptions = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
}

/** Builds all test programs and returns their paths. */
export async function buildNativeTests() {
  const tests = filesUnder('test/native', '_test.cc')
  const support = filesUnder('test/native/support', '.cc')
  const watch = await watching()
  const core = await buildCore(watch)
  const flags = [...plainFlags, ...watch]
  const objects = await compileObjects({ folder, sources: [...support, ...tests], flags })
  // Support is linked whole; of the library each test takes what it needs.
  const shared = [...objects.slice(0, support.length), ...core.shim, core.library]
  const programs = []
  await parallel(tests, async (test) => {
    const output = join(folder, 'tests', basename(test, '.cc'))
    const flags = [...watch, '-ldl', '-lssl', '-lcrypto']
    programs.push(await link({ output, objects: [join(folder, 'objects', `${test}.o`), ...shared], flags }))
  })
  return programs.sort()
}

/** Builds the addon out of the same objects, watched by ASan and UBSan, where SLUICE_PREBUILD=`folder` finds it. */
export async function buildWatchedAddon() {
  const watch = await watching()
  if (watch.length === 0) throw new Error('The compiler has no ASan or UBSan')
  const core = await buildCore(watch)
  const binding = await compileObjects({
    folder,
    sources: units().filter(ofBinding),
    flags: [...plainFlags, ...watch, ...addonFlags()],
  })
  const output = join(folder, 'addon/build/Release/sluice.node')
  const flags = ['-shared', ...watch, ...(onLinux ? ['-Wl,-z,lazy', '-ldl'] : ['-Wl,-undefined,dynamic_lookup'])]
  await link({ output, objects: [...core.objects, ...core.shim, ...binding], flags })
  return join(folder, 'addon')
}

const ofBinding = (unit) => basename(unit) === 'binding.cc'

async function buildCore(watch) {
  const core = units().filter((unit) => !ofBinding(unit))
  const shim = onLinux ? filesUnder(kqueueShim, '.cc') : []
  const compiled = await compileObjects({ folder, sources: [...core, ...shim], flags: [...plainFlags, ...watch] })
  const objects = compiled.slice(0, core.length)
  const library = await archive({ output: join(folder, 'core.a'), objects })
  return { objects, shim: compiled.slice(core.length), library }
}

/** The flags of the sanitizers, none where the compiler cannot link them (musl has no ASan). */
async function watching() {
  const probe = join(folder, 'probe')
  mkdirSync(probe, { recursive: true })
  const source = join(probe, 'probe.cc')
  writeFileSync(source, 'int main() { return 0; }\n')
  try {
    const [object] = await compileObjects({ folder: probe, sources: [source], flags: watchFlags })
    rmSync(join(probe, 'probe'), { force: true })
    await link({ output: join(probe, 'probe'), objects: [object], flags: watchFlags })
    return watchFlags
  } catch {
    console.log('The native tests run without ASan and UBSan, which this compiler does not have.')
    return []
  }
}

/** Runs test programs one after another. Returns { passed, failed, skipped: [{ name, reason }] }. */
export async function runNativeTests(programs, env = { ...process.env, ...sanitizerOptions }) {
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
