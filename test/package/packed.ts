import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { findProgram } from '../support/installed.js'

const execute = promisify(execFile)
export const root = resolve(import.meta.dirname, '../..')

/** What npm itself is started with, so that it works without a PATH. */
const npm = process.env.npm_execpath ?? realpathSync(find('npm'))

/** A folder that has sluice installed from its tarball, the way a stranger gets it. */
export interface Installed {
  folder: string
  /** Runs a script by name in the folder and resolves with what it printed. `node` names another executable. */
  run(script: string, how?: { node?: string[]; args?: string[]; env?: NodeJS.ProcessEnv }): Promise<string>
  /** Names of files inside the installed package, relative to it. */
  files(): string[]
  remove(): void
}

/**
 * Packs sluice and installs it into an empty folder, with install scripts refused and no compiler to be found.
 * Prebuilt addons older than a native source stay out; where none is left for this machine, its own build goes in.
 */
export async function installPacked(): Promise<Installed> {
  const scratch = mkdtempSync(join(tmpdir(), 'sluice-package-'))
  const [stage, folder, bin] = ['stage', 'app', 'bin'].map((name) => join(scratch, name))
  for (const path of [stage, folder, bin]) mkdirSync(path)
  symlinkSync(process.execPath, join(bin, 'node'))
  const env = { ...process.env, PATH: bin, CC: 'no-compiler', CXX: 'no-compiler' }

  copyPackage(stage)
  const packed = await execute(process.execPath, [npm, 'pack', '--ignore-scripts', '--pack-destination', scratch], {
    cwd: stage,
    env,
  })
  const tarball = packed.stdout.trim().split('\n').at(-1) ?? ''
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const install = ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', join(scratch, tarball)]
  await execute(process.execPath, [npm, ...install], { cwd: folder, env })

  return {
    folder,
    run: async (script, { node = [process.execPath], args = [], env: more = {} } = {}) => {
      const [command, ...rest] = [...node, script, ...args]
      const { stdout } = await execute(command, rest, {
        cwd: folder,
        env: { ...env, ...more },
        timeout: 60_000,
      })
      return stdout.trim()
    },
    files: () => readdirSync(join(folder, 'node_modules/sluice'), { recursive: true }).map(String),
    remove: () => rmSync(scratch, { recursive: true, force: true }),
  }
}

/** The path of a program, or '' when it is not to be found. */
export function find(program: string): string {
  return findProgram(program) ?? ''
}

function copyPackage(stage: string) {
  const left = new Set(['node_modules', 'build', 'prebuilds', '.git', 'test'])
  for (const name of readdirSync(root)) {
    if (!left.has(name)) cpSync(join(root, name), join(stage, name), { recursive: true, filter: notModules })
  }
  const sourcesChanged = newest(join(root, 'native'))
  for (const addon of addonsUnder(join(root, 'prebuilds'))) {
    const path = join(root, 'prebuilds', addon)
    if (statSync(path).mtimeMs > sourcesChanged) copyFile(path, join(stage, 'prebuilds', addon))
  }
  const host = join(stage, 'prebuilds', `${process.platform}-${process.arch}`)
  if (!existsSync(host)) copyFile(join(root, 'build/Release/sluice.node'), join(host, 'sluice.node'))
}

function copyFile(from: string, to: string) {
  mkdirSync(dirname(to), { recursive: true })
  cpSync(from, to)
}

function notModules(path: string): boolean {
  return !path.endsWith('/node_modules')
}

function addonsUnder(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.node'))
}

function newest(folder: string): number {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return Math.max(...names.map((name) => statSync(join(folder, name)).mtimeMs))
}
