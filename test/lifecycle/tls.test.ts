// TLS and the life of processes, threads and memory.
import { describe, expect, it } from 'vitest'
import { allModes, fine, type Mode, type ProgramOptions, root, runProgram } from '../support/program.js'

const prelude = JSON.stringify(`${root}/test/lifecycle/prelude.mjs`)

/** Runs `main` with startWorker(workerData), which runs `body` in a thread. */
function runWithWorker(mode: Mode, main: string, body: string, options?: ProgramOptions) {
  const source = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${prelude}).then(async ({ connect, echo, keepBusy, listen, roundTrip, start }) => {
      const sluice = await import('sluice')
      ${body}
    })`
  const program = `
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import * as sluice from 'sluice'
    const startWorker = (workerData) => new Worker(${JSON.stringify(source)}, { eval: true, workerData, execArgv: [] })
    ${main}`
  return runProgram(mode, program, options)
}

/** The simulated network has its own time, which threads know nothing of. */
const declaring = 'const handshakeThreads = process.env.ENGINE === "sim" ? 0 : 2;'

const modes = allModes.filter(({ threads }) => threads < 2)

// One after another: each keeps all cores busy.
describe.each(modes)('a process with TLS on $title', (mode) => {
  it('ends by itself when the last connection and the last listener are gone', async () => {
    const program = `
      ${declaring}
      import { createSelfSigned, TlsTicketKeys } from 'sluice'
      const identity = createSelfSigned()
      const runtime = start({ handshakeThreads: Math.min(1, handshakeThreads) })
      const ticketKeys = new TlsTicketKeys({ rotateEveryMs: 1000 })
      const lines = []
      const tls = { ...identity, ticketKeys, keylog: (line) => lines.push(line) }
      const listener = await listen(runtime, echo, { tls })
      const client = await connect(runtime, listener, { data: (client) => client.close() }, { tls: { ca: identity.cert } })
      client.write('hello')
      client.whenClosed(() => listener.close())
    `
    expect(await runProgram(mode, program)).toEqual(fine(''))
  })

  it('exits at any time, busy or in the middle of handshakes', async () => {
    const program = `
      ${declaring}
      import { createSelfSigned } from 'sluice'
      const identity = createSelfSigned({ keyType: 'RSA-2048' })
      const runtime = start({ handshakeThreads })
      const tls = { ...identity, keylog: () => {} }
      let opened = 0
      const handlers = { ...echo, open() { if (++opened === 20) process.exit(3) } }
      const listener = await listen(runtime, handlers, { tls })
      const again = async () => {
        const options = { tls: { ca: identity.cert, sessions: false } }
        for (;;) await connect(runtime, listener, {}, options).then((client) => client.destroy(), () => {})
      }
      for (let i = 0; i < 4; i++) again()
    `
    expect(await runProgram(mode, program)).toMatchObject({ code: 3, stderr: '' })
  })

  it('resumes sessions that a worker thread has given out, by shared ticket keys', async () => {
    const main = `
      const keys = new sluice.TlsTicketKeys()
      const identity = sluice.createSelfSigned()
      const worker = startWorker({ keys: keys.share(), identity: { cert: identity.cert, key: identity.key } })
      worker.on('message', async (message) => {
        if (typeof message !== 'string') keys.rotate()
        worker.postMessage('rotated')
        say(message.resumed ?? message)
      })
      await once(worker, 'exit')
      say(keys.keys.length)`
    const body = `
      const ticketKeys = sluice.TlsTicketKeys.from(workerData.keys)
      const runtime = start()
      const [one, two] = [await listen(runtime, echo, { tls: { ...workerData.identity, ticketKeys } }),
        await listen(runtime, echo, { tls: { ...workerData.identity, ticketKeys } })]
      const tls = sluice.TlsContext.client({ ca: workerData.identity.cert, sessionKey: 'same' })
      async function visit(listener) {
        let resolve
        const came = new Promise((done) => { resolve = done })
        const connection = await connect(runtime, listener, { data: () => resolve() }, { tls })
        connection.write('x')
        await came
        const { resumed } = connection.tls
        await connection.close()
        return resumed
      }
      const ask = (message) => new Promise((resolve) => { parentPort.once('message', resolve); parentPort.postMessage(message) })
      await ask({ resumed: await visit(one) })
      await ask({ resumed: await visit(two) })
      await ask(String(ticketKeys.keys.length))
      await one.close()
      await two.close()
      parentPort.unref()`
    expect(await runWithWorker(mode, main, body)).toEqual(fine('false\ntrue\n3\n3'))
  })

  it('goes on when worker threads are terminated in the middle of handshakes', async () => {
    const main = `
      const identity = sluice.createSelfSigned()
      for (let i = 0; i < 3; i++) {
        const worker = startWorker({ cert: identity.cert, key: identity.key })
        await once(worker, 'message')
        say(await worker.terminate())
      }
      const runtime = start()
      const listener = await listen(runtime, echo, { tls: { cert: identity.cert, key: identity.key } })
      const client = await connect(runtime, listener, { data: (client) => client.close() }, { tls: { ca: identity.cert } })
      client.write('x')
      client.whenClosed(() => { say('alive'); listener.close() })`
    const body = `
      ${declaring}
      const runtime = start({ handshakeThreads })
      let opened = 0
      const handlers = { ...echo, open() { if (++opened === 10) parentPort.postMessage('busy') } }
      const listener = await listen(runtime, handlers, { tls: { ...workerData, keylog: () => {} } })
      const again = async () => {
        for (;;) await connect(runtime, listener, {}, { tls: { ca: workerData.cert, sessions: false } }).then((client) => client.destroy(), () => {})
      }
      for (let i = 0; i < 4; i++) again()`
    expect(await runWithWorker(mode, main, body)).toEqual(fine('1\n1\n1\nalive'))
  })
})

describe.runIf(process.platform === 'linux').each(modes)('memory of TLS on $title', (mode) => {
  it('is the same after 300 connections and after 1 500, good ones and failed ones', async () => {
    const where = mode.engine === 'sim' ? `{ port: 9, host: '127.0.0.1' }` : `{ path: '\\0sluice-tls-' + process.pid }`
    const program = `
      import { readdirSync } from 'node:fs'
      import { createSelfSigned, TlsContext } from 'sluice'
      const turn = () => new Promise(setImmediate)
      async function held() {
        // Who was refused is read from for a while, so that our alert arrives.
        while (runtime.stats().connections > 0) await turn()
        for (let i = 0; i < 4; i++) { await turn(); gc() }
        return { rss: process.memoryUsage().rss, descriptors: readdirSync('/proc/self/fd').length }
      }
      const identity = createSelfSigned()
      const stranger = createSelfSigned()
      const good = TlsContext.client({ ca: identity.cert })
      const bad = TlsContext.client({ ca: stranger.cert })
      const runtime = start()
      const where = ${where}
      const listener = await runtime.listen({ ...where, tls: identity }, echo)
      const once = (tls) => new Promise((resolve) => {
        const handlers = { data: (client) => client.end(), close: resolve, error() {} }
        runtime.connect({ ...where, tls }, handlers).then((client) => client.write('hello'), resolve)
      })
      async function rounds(count) {
        for (let i = 0; i < count; i += 20)
          await Promise.all(Array.from({ length: 20 }, (_, i) => once(i % 4 === 0 ? bad : good)))
      }
      await rounds(300)
      const before = await held()
      await rounds(1200)
      const after = await held()
      if (after.rss - before.rss > 20_000_000) say('rss grew by', after.rss - before.rss)
      if (after.descriptors > before.descriptors) say('descriptors', before.descriptors, after.descriptors)
      say(listener.stats().handshakesFailed, 'failed')
      await listener.close()
    `
    const flags = ['--expose-gc', '--max-semi-space-size=1']
    expect(await runProgram(mode, program, { flags })).toEqual(fine('375 failed'))
  })
})
