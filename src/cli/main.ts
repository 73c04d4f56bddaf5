#!/usr/bin/env node
import { SluiceError } from '../errors.js'
import { nearest } from '../options.js'
import { table, UsageError } from './arguments.js'

/** A command takes its own arguments, prints, and answers the exit code. */
interface Command {
  summary: string
  load(): Promise<{ run(argv: string[]): Promise<number> }>
}

// Each is loaded when it is called for: help and version need no addon.
const commands: Readonly<Record<string, Command>> = {
  engines: { summary: 'list the engines, and why those missing are', load: () => import('./engines.js') },
  echo: { summary: 'serve what is received back to its sender (RFC 862)', load: () => import('./echo.js') },
  discard: { summary: 'serve as a sink (RFC 863)', load: () => import('./discard.js') },
  chargen: { summary: 'serve an endless text (RFC 864)', load: () => import('./chargen.js') },
  bench: { summary: 'measure sluice against node:net and C on this machine', load: () => import('./bench.js') },
  'message-bench': { summary: 'measure messages against zeromq.js and gRPC', load: () => import('./message-bench.js') },
  version: { summary: 'print the version', load: () => import('./version.js') },
}

// Exit codes, as sysexits and most tools have them.
const succeeded = 0
const failed = 1
const misused = 2

async function main([name, ...argv]: string[]): Promise<number> {
  switch (name) {
    case undefined:
      process.stderr.write(helpPage())
      return misused
    case 'help':
      if (argv.length > 0) return run(argv[0]!, ['--help'])
      process.stdout.write(helpPage())
      return succeeded
    case '-h':
    case '--help':
      process.stdout.write(helpPage())
      return succeeded
    case '-v':
    case '--version':
      return run('version', argv)
    default:
      return run(name, argv)
  }
}

async function run(name: string, argv: string[]): Promise<number> {
  if (!Object.hasOwn(commands, name)) return refuse('sluice', unknownCommand(name))
  try {
    const command = await commands[name]!.load()
    return await command.run(argv)
  } catch (error) {
    if (error instanceof UsageError) return refuse(`sluice ${name}`, error.message)
    if (!(error instanceof SluiceError)) throw error
    if (error.code === 'ERR_SLUICE_INVALID_OPTION') return refuse(`sluice ${name}`, error.message)
    process.stderr.write(`sluice ${name}: ${error.message}\n`)
    return failed
  }
}

function refuse(name: string, why: string): number {
  process.stderr.write(`${name}: ${why}\nTry "${name} --help".\n`)
  return misused
}

function unknownCommand(name: string): string {
  if (name.startsWith('-')) return `unknown option "${name}"; options follow the command`
  const guess = nearest(name, [...Object.keys(commands), 'help'])
  return `unknown command "${name}"; ${guess ? `did you mean "${guess}"?` : `known are ${Object.keys(commands).join(', ')}`}`
}

function helpPage(): string {
  const rows = Object.entries(commands).map(([name, { summary }]) => [name, summary])
  return `Usage: sluice <command> [options]

Sockets for Node.js at the cost of C.

Commands:
${table([...rows, ['help [command]', 'show this page, or that of a command']])}

Exit codes: 0 done, 1 failed, 2 wrong usage. Set SLUICE_ENGINE to choose an engine where no option does.
`
}

// Whoever reads our output may stop early, as `head` does.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code
})
