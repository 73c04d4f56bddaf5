/** The same options as the native load generator; see bench/native/load.c. */
export interface Settings {
  readonly mode: string
  readonly port: number
  readonly connections: number
  readonly bytes: number
  readonly depth: number
  readonly warmupMs: number
  readonly durationMs: number
  readonly limitMs: number
  /** Connections begin with a PROXY header, which does not come back. */
  readonly preface: boolean
}

/** Reads `--name value` pairs. They come from the runner alone, so nothing is checked. */
export function readSettings(args: readonly string[]): Settings {
  const number = (name: string, otherwise: number) => {
    const at = args.indexOf(`--${name}`)
    return at < 0 ? otherwise : Number(args[at + 1])
  }
  return {
    mode: args[args.indexOf('--mode') + 1] ?? 'echo',
    port: number('port', 0),
    connections: number('connections', 64),
    bytes: number('bytes', 64),
    depth: number('depth', 1),
    warmupMs: number('warmup', 0.3) * 1000,
    durationMs: number('seconds', 1) * 1000,
    limitMs: number('limit', 30) * 1000,
    preface: args.includes('--preface'),
  }
}
