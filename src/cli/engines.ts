import { type EngineInfo, engines } from '../engines.js'
import { type CommandHelp, helpPage, parseArguments, table, toggle } from './arguments.js'

const help: CommandHelp = {
  name: 'sluice engines',
  summary: 'Lists the engines, the preferred first, with their features or the reason why they cannot start here.',
}
const flags = { json: toggle('print JSON') }

export async function run(argv: string[]): Promise<number> {
  const values = parseArguments(flags, argv)
  if (!values) process.stdout.write(helpPage(help, flags))
  else if (values.json) process.stdout.write(`${JSON.stringify(engines(), null, 2)}\n`)
  else process.stdout.write(`${table([['ENGINE', 'AVAILABLE', 'FEATURES OR REASON'], ...engines().map(row)])}\n`)
  return 0
}

function row({ name, available, reason, features }: EngineInfo): string[] {
  const present = Object.entries(features).filter(([, value]) => value === true)
  return [name, available ? 'yes' : 'no', available ? present.map(([feature]) => feature).join(', ') : (reason ?? '')]
}
