import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** The programs in bench/native: what they are for is said at the top of each source. */
export type ProgramName = 'launch' | 'load' | 'load_tls' | 'echo_epoll' | 'echo_uring' | 'echo_tls' | 'relay_epoll'

export interface Program {
  /** The executable; undefined when it could not be made. */
  readonly path?: string
  /** Why not, for people. */
  readonly reason?: string
}

export type Programs = Readonly<Record<ProgramName, Program>>

const names: readonly ProgramName[] = [
  ...(['launch', 'load', 'load_tls', 'echo_epoll', 'echo_uring', 'echo_tls', 'relay_epoll'] as const),
]
const withOpenSsl: ReadonlySet<ProgramName> = new Set(['load_tls', 'echo_tls'])
const packageRoot = resolve(__dirname, '../..')
const sources = join(packageRoot, 'bench/native')

/** Finds the C programs, or compiles them, which takes a second: only the ones that are older than the sources. */
export async function preparePrograms(): Promise<Programs> {
  if (process.platform !== 'linux') return allMissing(`they are written for Linux, this is ${process.platform}`)
  if (!existsSync(sources)) return allMissing('their sources are not part of this installation')
  const folder = outputFolder()
  const compiler = await findCompiler()
  const made = await Promise.all(names.map(async (name) => [name, await prepare(name, folder, compiler)] as const))
  return Object.fromEntries(made) as Record<ProgramName, Program>
}

function allMissing(reason: string): Programs {
  return Object.fromEntries(names.map((name) => [name, { reason }])) as Record<ProgramName, Program>
}

async function prepare(name: ProgramName, folder: string, compiler: string | undefined): Promise<Program> {
  const path = join(folder, name)
  if (modifiedAt(path) > newestSource()) return { path }
  if (compiler === undefined) return { reason: 'no C compiler found (cc, gcc or clang)' }
  const libraries = withOpenSsl.has(name) ? ['-lssl', '-lcrypto'] : []
  const args = ['-O2', '-std=gnu11', '-o', path, join(sources, `${name}.c`), ...libraries]
  const { status, output } = await runCommand(compiler, args)
  if (status === 0) return { path }
  if (/openssl\/\w+\.h|-lssl|-lcrypto/.test(output)) return { reason: 'no OpenSSL to compile with (libssl-dev)' }
  const firstError = output.split('\n').find((line) => line.includes('error')) ?? output.split('\n')[0]
  return { reason: `${compiler} could not compile ${name}.c: ${firstError?.replace(`${sources}/`, '')}` }
}

/** build/bench in the package, or a new temporary folder where the package may not be written to. */
function outputFolder(): string {
  const folder = join(packageRoot, 'build/bench')
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return folder
  } catch {
    return mkdtempSync(join(tmpdir(), 'sluice-bench-'))
  }
}

async function findCompiler(): Promise<string | undefined> {
  for (const candidate of [process.env.CC, 'cc', 'gcc', 'clang']) {
    if (!candidate) continue
    const { status } = await runCommand(candidate, ['--version'])
    if (status === 0) return candidate
  }
  return undefined
}

function runCommand(command: string, args: readonly string[]): Promise<{ status: number; output: string }> {
  return new Promise((settle) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (bytes) => (output += bytes))
    child.stderr.on('data', (bytes) => (output += bytes))
    child.on('error', (error) => settle({ status: -1, output: error.message }))
    child.on('close', (status) => settle({ status: status ?? -1, output }))
  })
}

function newestSource(): number {
  return Math.max(...readdirSync(sources).map((file) => modifiedAt(join(sources, file))))
}

function modifiedAt(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
