import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** What {@link startChild} needs to know beside the command. */
export interface ChildOptions {
  readonly command: readonly string[]
  /** The program `launch`; without it the child is neither pinned nor given more descriptors. */
  readonly launch?: string
  readonly core?: number
  /** Descriptors it will need. */
  readonly files: number
  /** Ends the child. */
  readonly signal: AbortSignal
}

/** A child process that talks in lines of JSON. */
export class Child {
  readonly #child: ChildProcess
  readonly #lines: string[] = []
  #waiting: ((line: string | undefined) => void) | undefined
  #stderr = ''
  #gone: string | undefined
  readonly #exited: Promise<void>

  constructor({ command, launch, core, files, signal }: ChildOptions) {
    const pinned = ['--core', core === undefined ? 'any' : String(core), '--files', String(files), '--', ...command]
    const [program, ...args] = launch === undefined ? command : [launch, ...pinned]
    // SLUICE_ENGINE would change what is measured behind our back.
    const { SLUICE_ENGINE: _, ...env } = process.env
    this.#child = spawn(program!, args, { env, stdio: ['pipe', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' })
    this.#child.stdin!.on('error', () => {}) // its death is told by its exit
    this.#child.stderr!.on('data', (bytes) => (this.#stderr = `${this.#stderr}${bytes}`.slice(-4000)))
    const reader = createInterface({ input: this.#child.stdout! })
    reader.on('line', (line) => this.#arrived(line))
    this.#exited = new Promise((settle) => {
      const gone = (how: string) => {
        this.#gone ??= how
        this.#arrived(undefined)
        settle()
      }
      this.#child.on('error', (error) => gone(error.message))
      this.#child.on('close', (code, name) => gone(name === null ? `exit code ${code}` : `ended by ${name}`))
    })
  }

  /** How it ended, and what it said last; undefined while it runs. */
  get hasEnded(): Error | undefined {
    return this.#gone === undefined ? undefined : this.#ended()
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** The next line of JSON on its stdout. Rejects when it ends or takes longer than `timeoutMs`. */
  async next<T>(timeoutMs: number): Promise<T> {
    const line = await this.#nextLine(timeoutMs)
    try {
      return JSON.parse(line) as T
    } catch {
      throw new Error(`said something else than JSON: ${line.slice(0, 200)}`)
    }
  }

  /** Writes a line to its stdin. */
  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`)
  }

  /** Ends it now and resolves when it is gone. */
  async stop(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  #nextLine(timeoutMs: number): Promise<string> {
    return new Promise((settle, reject) => {
      const given = this.#lines.shift()
      if (given !== undefined) return settle(given)
      if (this.#gone !== undefined) return reject(this.#ended())
      const timer = setTimeout(() => {
        this.#waiting = undefined
        reject(new Error(`said nothing for ${timeoutMs / 1000} s`))
      }, timeoutMs)
      this.#waiting = (line) => {
        clearTimeout(timer)
        this.#waiting = undefined
        if (line === undefined) reject(this.#ended())
        else settle(line)
      }
    })
  }

  #arrived(line: string | undefined): void {
    if (this.#waiting !== undefined) this.#waiting(line)
    else if (line !== undefined) this.#lines.push(line)
  }

  #ended(): Error {
    const said = this.#stderr.trim()
    return new Error(said === '' ? this.#gone! : `${this.#gone}: ${said}`)
  }
}
