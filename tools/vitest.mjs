// Runs vitest and sums it up: for all tests, and for those that the sanitizers watch.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { root } from './sources.mjs'

// A test that blocks its thread has no timeout of its own, and would hold up CI for ever.
const limitMs = 30 * 60_000

/** Runs vitest with its own arguments, e.g. parts of file names. Returns { passed, failed, skipped: [{ name, reason }] }. */
export async function runVitest(args, env = process.env) {
  const summaryFile = join(root, 'build/vitest-summary.json')
  rmSync(summaryFile, { force: true })
  const bin = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const reporters = ['--reporter=default', `--reporter=${join(root, 'tools/vitest-reporter.mjs')}`]
  const ending = await runGroup([bin, 'run', ...reporters, ...args], { ...env, SLUICE_TEST_SUMMARY: summaryFile })
  if (!existsSync(summaryFile)) throw new Error(`vitest ended with ${ending} and left no summary`)
  const summary = JSON.parse(readFileSync(summaryFile, 'utf8'))
  if (ending !== 0 && summary.failed === 0) summary.failed = 1
  return summary
}

/** Runs node in a process group of its own, so that its workers end with it. Resolves with the exit code or signal. */
function runGroup(args, env) {
  return new Promise((settle, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env,
      detached: true,
    })
    const end = (signal) => {
      try {
        process.kill(-child.pid, signal)
      } catch {
        // It has ended by itself.
      }
    }
    const limit = setTimeout(() => {
      console.log(`vitest has not ended after ${limitMs / 60_000} minutes`)
      end('SIGKILL')
    }, limitMs)
    const signals = ['SIGINT', 'SIGTERM']
    for (const signal of signals) process.on(signal, end)
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      clearTimeout(limit)
      for (const signal of signals) process.off(signal, end)
      // A worker that is blocked in a call outlives vitest.
      end('SIGKILL')
      settle(signal ?? code)
    })
  })
}
