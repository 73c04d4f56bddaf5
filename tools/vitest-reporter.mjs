// Sums up a vitest run for tools/test.mjs: what passed, what failed, and why something was skipped.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

export default class SummaryReporter {
  /** The file goes where SLUICE_TEST_SUMMARY says. */
  onTestRunEnd(modules, unhandledErrors) {
    const summary = { passed: 0, failed: unhandledErrors.length, skipped: [] }
    for (const module of modules) {
      // A file that does not load, or whose hooks fail, has errors outside every test.
      const suites = [module, ...module.children.allSuites()]
      summary.failed += suites.reduce((sum, suite) => sum + (suite.errors().length > 0 ? 1 : 0), 0)
      for (const test of module.children.allTests()) {
        const { state, note } = test.result()
        if (state === 'passed') summary.passed += 1
        else if (state === 'failed') summary.failed += 1
        else summary.skipped.push({ name: `${module.relativeModuleId}: ${test.fullName}`, reason: note ?? '' })
      }
    }
    const file = process.env.SLUICE_TEST_SUMMARY
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, JSON.stringify(summary))
  }
}
