// HAProxy as somebody would set it up for one core: no tuning that its manual does not begin with, no logs, no splicing.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { IdentityFiles } from './identities.js'

/** Of the one that is installed. */
export function haproxyVersion(): string | undefined {
  const { status, stdout } = spawnSync('haproxy', ['-v'], { encoding: 'latin1', timeout: 5000 })
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined
}

/** A task for HAProxy: its files, and the port it will listen on. */
export class Haproxy {
  private constructor(
    readonly port: number,
    private readonly folder: string,
  ) {}

  /** Writes its configuration: what connects is joined to `upstream`, a port on 127.0.0.1; with `identity` TLS ends here. */
  static async prepare(upstream: number, identity?: IdentityFiles): Promise<Haproxy> {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-haproxy-'))
    const port = await freePort()
    const pem = join(folder, 'both.pem')
    if (identity) writeFileSync(pem, `${readFileSync(identity.cert)}\n${readFileSync(identity.key)}`, { mode: 0o600 })
    const tls = identity === undefined ? '' : ` ssl crt ${pem}`
    writeFileSync(
      join(folder, 'haproxy.cfg'),
      `global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend all
  bind 127.0.0.1:${port} backlog 4096${tls}
  default_backend echo
backend echo
  server echo 127.0.0.1:${upstream}
`,
    )
    return new Haproxy(port, folder)
  }

  get args(): readonly string[] {
    return ['-db', '-f', join(this.folder, 'haproxy.cfg')]
  }

  /** Resolves once it accepts. It does not say so itself. */
  async untilListening(timeoutMs: number, ended: () => Error | undefined): Promise<void> {
    for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; await setTimeout(20)) {
      if (ended() !== undefined) throw ended()!
      if (await accepts(this.port)) return
    }
    throw new Error(`does not listen after ${timeoutMs / 1000} s`)
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

// It cannot be told to take one that is free and to say which.
function freePort(): Promise<number> {
  return new Promise((settle, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => settle(port))
    })
  })
}

function accepts(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const socket = connect(port, '127.0.0.1', () => settle(true)).on('error', () => settle(false))
    socket.on('close', () => settle(false)).on('connect', () => socket.destroy())
  })
}
