import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { fine, kernelModes, Program, root, runProgram } from '../support/program.js'

/** Runs `source` as a file, for programs that start themselves once more. */
async function runFile(mode: { engine: string; threads: number }, source: string) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-processes-'))
  const prelude = pathToFileURL(join(root, 'test/lifecycle/prelude.mjs'))
  const names = 'connect, echo, keepBusy, listen, mode, roundTrip, say, start'
  try {
    const file = join(folder, 'program.mjs')
    writeFileSync(file, `import { ${names} } from '${prelude}'\n${source}`)
    return await new Program([process.execPath, file], { ENGINE: mode.engine, THREADS: String(mode.threads) }).ended
  } finally {
    rmSync(folder, { recursive: true })
  }
}

// Says who it is to everybody who connects; ends by itself when told to close.
const child = `
  const runtime = start()
  const handlers = { end: (connection) => connection.end(String(process.pid)), error() {} }
  process.on('message', async (port) => {
    if (port === 'close') {
      await listener.close()
      process.disconnect()
      return
    }
    listener = await listen(runtime, handlers, { port, reusePort: true })
    process.send(listener.address.port)
  })
  let listener
  // A worker of a cluster loses what it is sent before it listens.
  process.send('ready')`

describe.concurrent.each(kernelModes)('several processes on $title', (mode) => {
  it('share a port by reusePort when forked by child_process, each with runtimes of its own', async () => {
    const program = `
      import { fork } from 'node:child_process'
      import { once } from 'node:events'
      import { fileURLToPath } from 'node:url'
      if (process.send) {
        ${child}
      } else {
        // The parent's own connections must not reach into its children.
        const runtime = start()
        const { listener, connections } = await keepBusy(runtime)
        const children = Array.from({ length: 3 }, () => fork(fileURLToPath(import.meta.url)))
        const ends = children.map((child) => once(child, 'exit'))
        await Promise.all(children.map((child) => once(child, 'message')))
        let port = 0
        for (const child of children) {
          child.send(port)
          ;[port] = await once(child, 'message')
        }
        const served = new Set()
        for (let i = 0; i < 64; i++) served.add(await roundTrip(runtime, { address: { port } }))
        const pids = new Set(children.map(({ pid }) => String(pid)))
        say(served.size > 1, [...served].every((pid) => pids.has(pid)))
        for (const child of children) child.send('close')
        say((await Promise.all(ends)).map(([code]) => code).join())
        await runtime.destroy()
      }
    `
    expect(await runFile(mode, program)).toEqual(fine('true true\n0,0,0'))
  })

  it('share a port by reusePort as workers of a cluster', async () => {
    const program = `
      import cluster from 'node:cluster'
      import { once } from 'node:events'
      if (cluster.isWorker) {
        ${child}
      } else {
        const runtime = start()
        const workers = [cluster.fork(), cluster.fork()]
        const ends = workers.map((worker) => once(worker.process, 'exit'))
        await Promise.all(workers.map((worker) => once(worker, 'message')))
        let port = 0
        for (const worker of workers) {
          worker.send(port)
          ;[port] = await once(worker, 'message')
        }
        const served = new Set()
        for (let i = 0; i < 64; i++) served.add(await roundTrip(runtime, { address: { port } }))
        say(served.size)
        for (const worker of workers) worker.send('close')
        say((await Promise.all(ends)).map(([code]) => code).join())
      }
    `
    expect(await runFile(mode, program)).toEqual(fine('2\n0,0'))
  })
})

describe.concurrent('the package', () => {
  const mode = kernelModes[0]!
  const traffic = `
    async function traffic({ listen, connect }) {
      const listener = await listen({ port: 0, host: '127.0.0.1' }, { data: (connection, bytes) => connection.write(bytes) })
      const answer = await new Promise((resolve, reject) => {
        const data = (client, bytes) => { client.end(); resolve(Buffer.from(bytes).toString()) }
        connect({ port: listener.address.port, host: '127.0.0.1' }, { data }).then((client) => client.write('hello'), reject)
      })
      await listener.close()
      return answer
    }`

  it('is the same by import and by require in one process', async () => {
    const program = `
      import * as imported from 'sluice'
      import { createRequire } from 'node:module'
      const required = createRequire(process.cwd() + '/')('sluice')
      ${traffic}
      const names = Object.keys(required).filter((name) => imported[name] !== required[name])
      say(names.length === 0 ? 'the same' : 'different: ' + names)
      say(Object.keys(required).every((name) => name in imported), 'default' in imported)
      say(await traffic(imported), await traffic(required))`
    expect(await runProgram(mode, program)).toEqual(fine('the same\ntrue true\nhello hello'))
  })

  it('can be loaded twice, and both copies talk to each other', async () => {
    const program = `
      const first = require('sluice')
      for (const key of Object.keys(require.cache)) delete require.cache[key]
      const second = require('sluice')
      ${traffic}
      async function main() {
        console.log(first !== second, await traffic({ listen: first.listen, connect: second.connect }))
        console.log(await traffic({ listen: second.listen, connect: first.connect }))
      }
      main()`
    expect(await runProgram(mode, program, { kind: 'script' })).toEqual(fine('true hello\nhello'))
  })

  it.each([
    ['--frozen-intrinsics'],
    ['--disallow-code-generation-from-strings'],
    ['--disable-proto=throw'],
    ['--throw-deprecation --pending-deprecation'],
    ['--force-context-aware'],
    ['--jitless'],
    ['--unhandled-rejections=strict --trace-warnings'],
    ['--no-node-snapshot --zero-fill-buffers'],
  ])('works under node %s', async (flags) => {
    const program = `const sluice = require('sluice')\n${traffic}\ntraffic(sluice).then((answer) => console.log(answer))`
    const { code, stdout, stderr } = await runProgram(mode, program, { kind: 'script', flags: flags.split(' ') })
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'hello' })
    // Node itself warns of some of them.
    expect(stderr).not.toMatch(/sluice/i)
  })
})
