import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where a program is that the PATH knows, or undefined. */
export function findProgram(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(existsSync)
}
