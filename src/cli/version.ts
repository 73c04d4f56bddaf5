import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CommandHelp, type Flags, helpPage, parseArguments } from './arguments.js'

const help: CommandHelp = {
  name: 'sluice version',
  summary: 'Prints the version of the package, of Node, and the platform.',
}
const flags = {} satisfies Flags

export async function run(argv: string[]): Promise<number> {
  if (!parseArguments(flags, argv)) {
    process.stdout.write(helpPage(help, flags))
    return 0
  }
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string }
  process.stdout.write(`sluice ${version}, node ${process.version}, ${process.platform}-${process.arch}\n`)
  return 0
}
