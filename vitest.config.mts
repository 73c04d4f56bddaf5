import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Tests talk to the built package, `import … from 'sluice'`, the way users load it.
    server: { deps: { external: [/\/dist\//] } },
    // One process per file: a crash or a leaked handle in one cannot hide in another.
    pool: 'forks',
    // By itself vitest leaves one core to others; tests wait more than they compute.
    maxWorkers: Math.max(2, availableParallelism()),
    testTimeout: 20_000,
    hookTimeout: 20_000,
    teardownTimeout: 5_000,
  },
})
