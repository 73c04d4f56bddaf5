import { readFileSync } from 'node:fs'

/** What two processes of one peer are told. */
export interface PeerOptions {
  /** Engine of sluice's runtime. */
  readonly engine: string
  /** Likewise. */
  readonly busyPollMicros: number
  /** Bytes of a message. */
  readonly bytes: number
  /** Whether requests are answered with what they brought; otherwise with as little as possible. */
  readonly echoes: boolean
  /** Whether bodies are streams, of pieces that the receiver counts. */
  readonly streams: boolean
  /** Whether bodies are lent to their handlers, as the bytes of a connection are. */
  readonly lends: boolean
  /** PEM; undefined for plain TCP. Clients trust the certificate and have no use for the key. */
  readonly identity?: { readonly cert: Buffer; readonly key: Buffer }
}

/** What is measured, as both of its ends. */
export interface Peer {
  /** Listens on a port of 127.0.0.1, and answers which. */
  serve(options: PeerOptions): Promise<number>
  /** Makes one connection there. */
  connect(port: number, options: PeerOptions): Promise<PeerClient>
}

/** The client of a peer. */
export interface PeerClient {
  /** Sends one request and resolves when its answer is there, which has been looked at. */
  request(): Promise<void>
  /**
   * Sends messages without answer, as many as are taken, until `mayGoOn` says no; resolves with their number when the
   * server has confirmed that it has got so many.
   */
  push?(mayGoOn: () => boolean): Promise<number>
  /** Sends a body of so many bytes as a stream. */
  stream?(bytes: number): Promise<void>
}

/** The body of all messages: text, because not all peers can send bytes. */
export function bodyOf(bytes: number): Buffer {
  return Buffer.alloc(bytes, 'The quick brown fox jumps over the lazy dog 0123456789')
}

/** Tells whether an answer is what was sent. Comparing all of it would cost all peers the same, and hide the differences. */
export function checkAnswer(got: { length: number }, { bytes, echoes }: PeerOptions): void {
  if (echoes && got.length !== bytes) throw new Error(`an answer of ${got.length} bytes, not ${bytes}`)
}

/** The server has got more or less than was sent. */
export function checkCount(got: number, sent: number): number {
  if (got !== sent) throw new Error(`the server has got ${got} of ${sent}`)
  return sent
}

/** Reads `--name value` pairs. They come from the runner alone, so nothing is checked. */
export function peerArguments(): PeerOptions & { peer: string; port: number; server: number; depth: number } {
  const args = process.argv.slice(2)
  const option = (name: string, otherwise: string) => {
    const at = args.indexOf(`--${name}`)
    return at < 0 ? otherwise : args[at + 1]!
  }
  return {
    peer: option('peer', ''),
    port: Number(option('port', '0')),
    server: Number(option('server', '0')),
    depth: Number(option('depth', '1')),
    engine: option('engine', 'auto'),
    busyPollMicros: Number(option('busy-poll', '0')),
    bytes: Number(option('bytes', '128')),
    echoes: option('answers', 'echo') === 'echo',
    streams: option('bodies', 'bytes') === 'streams',
    lends: option('bodies', 'bytes') === 'lent',
    identity: args.includes('--cert')
      ? { cert: readFileSync(option('cert', '')), key: readFileSync(option('key', '')) }
      : undefined,
  }
}

/** Resolves after the I/O that is there has had its turn. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
