import { describe, expect, it } from 'vitest'
import { allModes, fine, kernelModes, type Mode, type ProgramOptions, root, runProgram } from '../support/program.js'

// Runs `main` with a function that starts `body` in a worker thread; `body` finds prelude.mjs's names and parentPort.
function runWithWorkers(mode: Mode, main: string, body: string, options?: ProgramOptions) {
  const prelude = JSON.stringify(`${root}/test/lifecycle/prelude.mjs`)
  const source = `
    const { parentPort, workerData, threadId } = require('node:worker_threads')
    import(${prelude}).then(async ({ connect, echo, keepBusy, listen, mode, roundTrip, start }) => {
      ${body}
    })`
  const program = `
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    const startWorker = (workerData) => new Worker(${JSON.stringify(source)}, { eval: true, workerData, execArgv: [] })
    ${main}`
  return runProgram(mode, program, options)
}

describe.concurrent.each(allModes)('a worker thread with a runtime on $title', (mode) => {
  it('serves and connects, and ends by itself when all is closed', async () => {
    const main = `
      const worker = startWorker()
      worker.on('message', say)
      const [code] = await once(worker, 'exit')
      say('worker ended with', code)`
    const body = `
      const runtime = start()
      const listener = await listen(runtime)
      parentPort.postMessage(await roundTrip(runtime, listener))
      await listener.close()`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('there and back\nworker ended with 0'))
  })

  it('can be terminated while busy, and the process goes on', async () => {
    const main = `
      for (let i = 0; i < 3; i++) {
        const worker = startWorker()
        await once(worker, 'message')
        say(await worker.terminate())
      }
      const runtime = start()
      const listener = await listen(runtime)
      say(await roundTrip(runtime, listener))
      await listener.close()`
    const body = `await keepBusy(start()); parentPort.postMessage('busy')`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('1\n1\n1\nthere and back'))
  })

  it('can call process.exit() from a handler, and the process goes on', async () => {
    const main = `
      const [code] = await once(startWorker(), 'exit')
      say('worker ended with', code)`
    const body = `
      const runtime = start()
      await keepBusy(runtime, { listener: await listen(runtime, { data: () => process.exit(5) }) })`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('worker ended with 5'))
  })

  it('ends by what it leaves uncaught, told to its owner', async () => {
    const main = `
      const worker = startWorker()
      worker.on('error', (error) => say(error.message))
      say('worker ended with', await new Promise((resolve) => worker.on('exit', resolve)))`
    const body = `
      await keepBusy(start())
      setTimeout(() => { throw new Error('uncaught in the worker') })`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('uncaught in the worker\nworker ended with 1'))
  })

  it('ends with the process that exits while workers and itself are busy', async () => {
    const main = `
      const workers = [startWorker(), startWorker()]
      await Promise.all(workers.map((worker) => once(worker, 'message')))
      await keepBusy(start())
      process.exit(7)`
    const body = `await keepBusy(start()); parentPort.postMessage('busy')`
    expect(await runWithWorkers(mode, main, body)).toEqual({ ...fine(''), code: 7 })
  })
})

describe.concurrent.each(kernelModes)('several threads with runtimes on $title', (mode) => {
  it('talk to each other and to the main thread at the same time', async () => {
    const main = `
      const runtime = start()
      const listener = await listen(runtime)
      const workers = Array.from({ length: 3 }, () => startWorker(listener.address.port))
      const ports = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]))
      const ends = workers.map((worker) => once(worker, 'exit'))
      const answers = ports.map((port) => roundTrip(runtime, { address: { port } }, 'to ' + port))
      say((await Promise.all(answers)).every((answer, i) => answer === 'to ' + ports[i]))
      for (const worker of workers) worker.postMessage('done')
      say((await Promise.all(ends)).join())
      await listener.close()`
    const body = `
      const runtime = start()
      const listener = await listen(runtime)
      const text = 'x'.repeat(300_000)
      const answer = await roundTrip(runtime, { address: { port: workerData } }, text)
      if (answer !== text) throw new Error('not what was sent')
      parentPort.postMessage(listener.address.port)
      parentPort.once('message', () => listener.close())`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('true\n0,0,0'))
  })

  it('share a port by reusePort', async () => {
    const main = `
      const workers = [startWorker(0)]
      const [port] = await once(workers[0], 'message')
      workers.push(startWorker(port), startWorker(port))
      await Promise.all(workers.slice(1).map((worker) => once(worker, 'message')))
      const ends = workers.map((worker) => once(worker, 'exit'))
      const runtime = start()
      const served = new Set()
      // The kernel spreads by a hash of the ports: that all of many would meet the same listener cannot happen.
      for (let i = 0; i < 64; i++) served.add(await roundTrip(runtime, { address: { port } }))
      say(served.size > 1)
      for (const worker of workers) worker.postMessage('done')
      say((await Promise.all(ends)).join())`
    const body = `
      const runtime = start()
      const answer = String(threadId)
      const handlers = { end: (connection) => connection.end(answer), error() {} }
      const listener = await listen(runtime, handlers, { port: workerData, reusePort: true })
      parentPort.postMessage(listener.address.port)
      parentPort.once('message', () => listener.close())`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('true\n0,0,0'))
  })

  it('leave no descriptor and no thread behind when terminated while busy', async () => {
    const main = `
      import { readdirSync } from 'node:fs'
      const count = (what) => readdirSync('/proc/self/' + what).length
      const round = async () => {
        const worker = startWorker()
        await once(worker, 'message')
        await worker.terminate()
      }
      await round()
      const before = [count('fd'), count('task')]
      for (let i = 0; i < 5; i++) await round()
      const after = [count('fd'), count('task')]
      say(after.every((n, i) => n <= before[i]) ? 'none' : before + ' became ' + after)`
    const body = `await keepBusy(start()); parentPort.postMessage('busy')`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('none'))
  })
})

describe('the addon', () => {
  const mode = kernelModes[0]!

  it('can be loaded by a worker thread alone, again and again', async () => {
    const main = `
      import { Worker } from 'node:worker_threads'
      import { once } from 'node:events'
      const body = "import('sluice').then(({ engines }) => { if (engines().length !== 5) process.exit(9) })"
      for (let i = 0; i < 4; i++) say((await once(new Worker(body, { eval: true, execArgv: [] }), 'exit'))[0])`
    // A program without the prelude: the main thread must not load it.
    expect(
      await runProgram(mode, main.replaceAll('say(', 'console.log('), {
        flags: ['--input-type=module'],
        kind: 'script',
      }),
    ).toEqual(fine('0\n0\n0\n0'))
  })

  // Most calls into JavaScript fail from then on, wherever the addon is; a bad answer to that ends the whole process.
  it.each([
    ['starts runtimes', 'for (;;) start().destroy()'],
    ['connects', "for (;;) runtime.connect({ path: '/no/such/path' }).catch(() => {})"],
    ['listens', "for (;;) runtime.listen({ path: '/no/such/path', maxConnections: 5 }).catch(() => {})"],
    [
      'writes by reference',
      `const listener = await listen(runtime, { data() {}, error() {} }, {})
      const client = await connect(runtime, listener)
      const bytes = Buffer.alloc(100_000)
      for (;;) {
        while (client.write(bytes));
        await client.drained()
      }`,
    ],
  ])('can be terminated at any moment of a worker that %s', async (_, body) => {
    const main = `
      for (let i = 0; i < 3; i++) {
        const worker = startWorker()
        await once(worker, 'message')
        await new Promise((resolve) => setTimeout(resolve, i))
        await worker.terminate()
      }
      say('ended')`
    const source = `
      const runtime = start()
      parentPort.postMessage('begun')
      ${body}`
    for (const mode of kernelModes.filter(({ threads }) => threads < 2)) {
      expect(await runWithWorkers(mode, main, source)).toEqual(fine('ended'))
    }
  })

  it('can be terminated while a name is being resolved', async () => {
    const main = `
      for (let i = 0; i < 3; i++) {
        const worker = startWorker()
        await once(worker, 'message')
        await worker.terminate()
      }
      say('ended')`
    const body = `
      const runtime = start()
      const listener = await listen(runtime)
      for (let i = 0; i < 20; i++) connect(runtime, listener, {}, { host: 'localhost' }).catch(() => {})
      parentPort.postMessage('resolving')`
    expect(await runWithWorkers(mode, main, body)).toEqual(fine('ended'))
  })
})
