import { type ChildProcess, spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { engines } from 'sluice'

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const prelude = join(root, 'test/lifecycle/prelude.mjs')

/** What a program runs on. */
export interface Mode {
  engine: string
  threads: number
  /** For the title of a test. */
  title: string
}

const mode = (engine: string, threads: number): Mode => ({ engine, threads, title: `${engine}, threads ${threads}` })
const available = engines().filter((engine) => engine.available)

/** Every engine of this machine that talks to a kernel, inline and with I/O threads. */
export const kernelModes = available
  .filter(({ features }) => !features.virtualClock)
  .flatMap(({ name }) => [0, 1, 2].map((threads) => mode(name, threads)))

/** The same, and the simulated network. */
export const allModes = [...kernelModes, mode('sim', 0)]

/** How a program ended. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** How a program is started. */
export interface ProgramOptions {
  flags?: string[]
  env?: Record<string, string>
  /** A module, which finds the names of prelude.mjs imported, or a script without them. */
  kind?: 'module' | 'script'
  args?: string[]
}

/** The lines of a stream, one by one. */
class Lines {
  text = ''
  private readonly unread: string[] = []
  private readonly waiting: ((line: string | undefined) => void)[] = []
  private partial = ''

  constructor(stream: Readable) {
    stream.setEncoding('utf8').on('data', (text: string) => this.take(text))
    stream.on('close', () => {
      for (const taker of this.waiting.splice(0)) taker(undefined)
    })
  }

  async next(): Promise<string | undefined> {
    return this.unread.shift() ?? (await new Promise((resolve) => this.waiting.push(resolve)))
  }

  private take(text: string): void {
    this.text += text
    const lines = (this.partial + text).split('\n')
    this.partial = lines.pop()!
    for (const line of lines) {
      const taker = this.waiting.shift()
      if (taker === undefined) this.unread.push(line)
      else taker(line)
    }
  }
}

/** A program in a process of its own. It is killed when it takes longer than its test may. */
export class Program implements AsyncDisposable {
  readonly process: ChildProcess
  readonly ended: Promise<Ended>
  private readonly streams: { stdout: Lines; stderr: Lines }

  constructor(
    command: string[],
    env: Record<string, string> = {},
    stdin: 'ignore' | 'pipe' = 'ignore',
    timeoutMs = 18_000,
  ) {
    this.process = spawn(command[0]!, command.slice(1), {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: [stdin, 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    const { stdout, stderr } = this.process
    this.streams = { stdout: new Lines(stdout!), stderr: new Lines(stderr!) }
    this.ended = new Promise((resolve, reject) => {
      this.process.on('error', reject)
      this.process.on('close', (code, signal) => {
        const { stdout, stderr } = this.streams
        resolve({ code, signal, stdout: stdout.text.trimEnd(), stderr: stderr.text.trimEnd() })
      })
    })
  }

  /** The next line that it prints; rejects when it ends without one. */
  async line(from: 'stdout' | 'stderr' = 'stdout'): Promise<string> {
    const line = await this.streams[from].next()
    if (line !== undefined) return line
    const { code, signal, stderr } = await this.ended
    throw new Error(`the program ended (${signal ?? code}) before its next line\n${stderr}`)
  }

  /** Types a line, where its input is a pipe. */
  say(line: string): void {
    this.process.stdin!.write(`${line}\n`)
  }

  /** Ends its input. */
  end(): void {
    this.process.stdin!.end()
  }

  /** Sends a signal. */
  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill('SIGKILL')
    await this.ended
  }
}

/** Starts `source` in a Node of its own. */
export function startProgram(
  { engine, threads }: Pick<Mode, 'engine' | 'threads'>,
  source: string,
  { flags = [], env = {}, kind = 'module', args = [] }: ProgramOptions = {},
): Program {
  const names = 'connect, echo, keepBusy, listen, mode, roundTrip, say, start'
  const text = kind === 'module' ? `import { ${names} } from ${JSON.stringify(prelude)}\n${source}` : source
  const type = kind === 'module' ? ['--input-type=module'] : []
  const command = [process.execPath, ...flags, ...type, '-e', text, '--', ...args]
  return new Program(command, { ENGINE: engine, THREADS: String(threads), ...env })
}

/** Runs `source` to its end. */
export function runProgram(
  mode: Pick<Mode, 'engine' | 'threads'>,
  source: string,
  options?: ProgramOptions,
): Promise<Ended> {
  return startProgram(mode, source, options).ended
}

/** What a program that reports and ends in good order looks like. */
export const fine = (stdout: string): Ended => ({ code: 0, signal: null, stdout, stderr: '' })
