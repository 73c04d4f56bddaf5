// Runs vitest and sums it up: for all tests, and for those that the sanitizers watch.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { root } from './sources.mjs'

/** Runs vitest with its own arguments, e.g. parts of file names. Returns { passed, failed, skipped: [{ name, reason }] }. */
export function runVitest(args, env = process.env) {
  const summaryFile = join(root, 'build/vitest-summary.json')
  rmSync(summaryFile, { force: true })
  const bin = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const reporters = ['--reporter=default', `--reporter=${join(root, 'tools/vitest-reporter.mjs')}`]
  const { status } = spawnSync(process.execPath, [bin, 'run', ...reporters, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...env, SLUICE_TEST_SUMMARY: summaryFile },
  })
  if (!existsSync(summaryFile)) throw new Error(`vitest ended with ${status} and left no summary`)
  const summary = JSON.parse(readFileSync(summaryFile, 'utf8'))
  if (status !== 0 && summary.failed === 0) summary.failed = 1
  return summary
}
