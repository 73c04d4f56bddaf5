import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SluiceError } from '../errors.js'
import { type ProxyPlan, planOf } from './plan.js'

/**
 * Reads and checks a file of configuration: JSON, or a module whose default export is the configuration, or a function that
 * answers it. Each call reads the file again; what a module imports itself is read once.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` naming the file, and the path to the mistake in it.
 */
export async function loadConfig(file: string, former?: ProxyPlan): Promise<ProxyPlan> {
  const path = resolve(file)
  const config = path.endsWith('.json') ? readJson(path) : await readModule(path)
  try {
    return planOf(config, dirname(path), former)
  } catch (error) {
    throw error instanceof SluiceError ? inFile(path, error) : error
  }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw unreadable(path, error)
  }
}

async function readModule(path: string): Promise<unknown> {
  try {
    statSync(path)
    // Modules are remembered by their address: a number makes it another one. What `require` remembers has to go.
    if (!path.endsWith('.mjs')) delete require.cache[path]
    const found = (await import(`${pathToFileURL(path).href}?${nextNumber++}`)) as { default?: unknown }
    // A CommonJS module compiled from `export default` has it one level deeper.
    const exported = found.default as { default?: unknown } | undefined
    const config = exported?.default ?? exported
    return typeof config === 'function' ? await (config as () => unknown)() : config
  } catch (error) {
    throw unreadable(path, error)
  }
}

let nextNumber = 0

function unreadable(path: string, error: unknown): SluiceError {
  const { code, message } = error as NodeJS.ErrnoException
  const why = code === 'ENOENT' ? 'no such file' : code === undefined ? message : `${message} (${code})`
  return new SluiceError('INVALID_OPTION', {
    ...{ phase: 'options', option: 'config', cause: error },
    detail: `${path}: cannot be read as a configuration: ${why}`,
  })
}

function inFile(path: string, error: SluiceError): SluiceError {
  const name = error.code.slice('ERR_SLUICE_'.length) as 'INVALID_OPTION'
  return new SluiceError(name, {
    phase: 'options',
    option: error.option,
    detail: `${path}: ${error.message}`,
    cause: error,
  })
}
