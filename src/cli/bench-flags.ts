// What the commands that measure have in common.
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { nearest, number, optional } from '../options.js'
import { type Flag, UsageError } from './arguments.js'

/** 128 and the number of SIGINT, as shells have it. */
export const interrupted = 130

/** Runs `work`; the first Ctrl-C aborts its signal, the second one ends the program. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const stop = () => {
    if (controller.signal.aborted) process.exit(interrupted) // the children end with their parent
    controller.abort()
  }
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    return await work(controller.signal)
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

/** Writes a file and says so. */
export function save(file: string, content: string): void {
  writeFileSync(file, content)
  process.stderr.write(`Written: ${resolve(file)}\n`)
}

/**
 * Before anything is measured: the report of 20 minutes is not to be lost over a mistyped folder.
 *
 * @throws {UsageError}
 */
export function checkFile(option: string, file: string | undefined): void {
  if (file === undefined) return
  try {
    closeSync(openSync(file, 'a'))
  } catch (error) {
    throw new UsageError(
      `option "--${option}": cannot write ${resolve(file)} (${(error as NodeJS.ErrnoException).code})`,
    )
  }
}

/** @throws {UsageError} for a name that is none of those known. */
export function checkNames(option: string, given: readonly string[] | undefined, known: readonly string[]): void {
  const unknown = given?.find((name) => !known.includes(name))
  if (unknown === undefined) return
  const guess = nearest(unknown, known)
  const hint = guess ? `did you mean "${guess}"?` : `known are ${known.join(', ')}`
  throw new UsageError(`option "--${option}": unknown name "${unknown}"; ${hint}`)
}

/** Names separated by commas. */
export function names(help: string): Flag<readonly string[] | undefined> {
  const parser = {
    allowed: 'names separated by commas',
    absent: undefined,
    parse: (value: unknown) => (value as string).split(',').map((name) => name.trim()),
  }
  return { placeholder: 'NAME,…', help, parser, read: (given) => given }
}

/** Seconds, also parts of one. */
export function seconds(help: string, min: number): Flag<number | undefined> {
  // Number('') and Number('0x10') are numbers, but nobody means them.
  const read = (given: string) => (/^\d*\.?\d+$/.test(given) ? Number(given) : given)
  return { placeholder: 'SECONDS', help, parser: optional(number({ min, max: 3600 })), read }
}
