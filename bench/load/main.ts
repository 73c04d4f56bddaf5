// The load generator where there is no C compiler: slower than bench/native/load.c, with the same options, the same
// comparing of every byte and the same report. It leaves the server's CPU time to the runner.
import type { LoadMode } from '../load-process.js'
import { Meter, tell } from './meter.js'
import { modes } from './modes.js'
import { readSettings } from './settings.js'

function fail(error: Error): void {
  process.stdout.write(`${JSON.stringify({ error: error.message })}\n`, () => process.exit(1))
}

async function main(): Promise<void> {
  const settings = readSettings(process.argv.slice(2))
  setTimeout(fail, settings.limitMs, new Error('out of time: the server stopped answering'))
  tell(await modes[settings.mode as LoadMode](settings, new Meter(), fail))
  process.exit(0)
}

main().catch(fail)
