import { spawn } from 'node:child_process'
import { once } from 'node:events'

// Listens with the smallest queue, never accepts, and fills that queue itself: further SYNs are dropped.
const program = `
import socket, sys
server = socket.socket()
server.bind(('127.0.0.1', 0))
server.listen(0)
fillers = []
for _ in range(4):
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(server.getsockname())
    fillers.append(filler)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
`

/** A port of this machine that answers nothing, as a black hole does. Needs Python, as building the addon does. */
export async function fullListener(): Promise<AsyncDisposable & { port: number }> {
  const child = spawn('python3', ['-c', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout, 'data')
  return {
    port: Number(String(line)),
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit')
      child.stdin.end()
      await exited
    },
  }
}
