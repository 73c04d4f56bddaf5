// 20 000 connections open at once on one loop, each echoing. Server and clients are processes of their own, since each
// needs as many descriptors; the limit is raised as far as it may be, and where that is too little, fewer have to do.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it } from 'vitest'
import { inlineKernelModes } from '../support/modes.js'

const raise = 'ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"'
const limit = Number(execFileSync('sh', ['-c', `${raise}; ulimit -n`], { encoding: 'utf8' }))
// Node and its addon need some of their own.
const count = Math.min(20_000, limit - 200)
const support = join(import.meta.dirname, '../support')

function start(program: string, ...args: string[]): ChildProcess {
  return spawn('sh', ['-c', `${raise}; exec "$0" "$@"`, process.execPath, join(support, program), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}

describe.each(inlineKernelModes())(`${count} connections on $name`, (mode) => {
  it('are open at once, and each echoes, without an error', async () => {
    const server = start('many-server.mjs', mode.engine)
    const serverLines = createInterface(server.stdout!)[Symbol.asyncIterator]()
    const { value: port } = await serverLines.next()
    const clients = start('many-clients.mjs', port!, String(count))
    const clientLines = createInterface(clients.stdout!)[Symbol.asyncIterator]()
    try {
      const report = JSON.parse((await clientLines.next()).value!)
      expect(report).toEqual({ open: count, echoed: count, errors: {} })
      server.stdin!.write('\n')
      const stats = JSON.parse((await serverLines.next()).value!)
      expect(stats).toMatchObject({ connections: count, accepted: count, acceptFailures: 0, errors: {} })
    } finally {
      const gone = Promise.all([once(clients, 'exit'), once(server, 'exit')])
      clients.stdin!.end()
      server.stdin!.end()
      await gone
    }
  }, 60_000)
})
