import { type EngineName, engines, Runtime, type RuntimeOptions } from 'sluice'

/** One way to run a loop on this machine. */
export interface Mode {
  /** E.g. `'epoll'`, or `'epoll on a thread'`. */
  readonly name: string
  readonly engine: Exclude<EngineName, 'auto'>
  readonly threads: number
  /** Whether the network is the simulated one: no kernel, no other process, virtual time. */
  readonly simulated: boolean
  /** A runtime of this mode; `await using` destroys it, with all that is open. */
  start(options?: RuntimeOptions): Runtime
}

/** Every engine of this machine, inline and with one I/O thread; `sim` inline alone, where it can only be. */
export function modes(): Mode[] {
  const available = engines().filter((engine) => engine.available)
  return available.flatMap(({ name }) => (name === 'sim' ? [modeOf(name, 0)] : [modeOf(name, 0), modeOf(name, 1)]))
}

/** Those of {@link modes} that talk to the system's network. */
export function kernelModes(): Mode[] {
  return modes().filter(({ simulated }) => !simulated)
}

/** Those of {@link kernelModes} that run on Node's own event loop. */
export function inlineKernelModes(): Mode[] {
  return kernelModes().filter(({ threads }) => threads === 0)
}

function modeOf(engine: Mode['engine'], threads: number): Mode {
  return {
    name: threads === 0 ? engine : `${engine} on a thread`,
    engine,
    threads,
    simulated: engine === 'sim',
    start(options = {}) {
      const runtime = new Runtime({ engine, threads, ...options })
      // Nobody waits for what a test leaves open.
      return Object.assign(runtime, { [Symbol.asyncDispose]: () => runtime.destroy() })
    },
  }
}
