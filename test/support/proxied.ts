import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { Program, root } from './program.js'

/** What the first line of `sluice proxy` tells. */
export interface ProxyLine {
  listening: { name: string; address?: string; port?: number; path?: string }[]
  stats?: { port: number; address: string }
  engine: string
  threads: number
  pid: number
}

/** `sluice proxy` in a process of its own. */
export function proxyProgram(args: string[], env: Record<string, string> = {}): Program {
  return new Program([process.execPath, join(root, 'dist/cli/main.js'), 'proxy', ...args], {
    SLUICE_ENGINE: '',
    ...env,
  })
}

/** The same, once it listens. */
export async function startProxy(
  args: string[],
  env?: Record<string, string>,
): Promise<Program & { line1: ProxyLine; port: number; statsUrl: string }> {
  const program = proxyProgram(args, env)
  const line1 = JSON.parse(await program.line()) as ProxyLine
  return Object.assign(program, {
    line1,
    port: line1.listening[0]!.port!,
    statsUrl: `http://127.0.0.1:${line1.stats?.port}`,
  })
}

/** A server of node:net that greets with its name and sends back what it gets. */
export class NamedServer implements AsyncDisposable {
  accepted = 0
  readonly sockets = new Set<Socket>()
  /** What it got, of all connections. */
  received = ''

  private constructor(
    readonly name: string,
    private readonly server: Server,
  ) {
    server.on('connection', (socket) => {
      this.accepted++
      this.sockets.add(socket)
      socket.on('error', () => {}).on('close', () => this.sockets.delete(socket))
      socket.on('data', (bytes) => {
        this.received += bytes.toString('latin1')
        socket.write(`${name}:${bytes.toString('latin1')}`)
      })
      socket.on('end', () => socket.end())
    })
  }

  static async listen(name: string, port = 0): Promise<NamedServer> {
    const server = createServer({ allowHalfOpen: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve)
    })
    return new NamedServer(name, server)
  }

  get port(): number {
    return (this.server.address() as { port: number }).port
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
