import { describe, expect, it } from 'vitest'
import { allModes, fine, kernelModes, runProgram } from '../support/program.js'

// Linux tells by /proc what a process holds. Programs report nothing but what is more than it should be.
const measuring = `
  import { readdirSync } from 'node:fs'
  const turn = () => new Promise(setImmediate)
  async function collect() {
    for (let i = 0; i < 4; i++) { await turn(); gc() }
  }
  async function held() {
    await collect()
    const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
    const [descriptors, threads] = ['fd', 'task'].map((what) => readdirSync('/proc/self/' + what).length)
    return { rss, heapUsed, external, arrayBuffers, descriptors, threads }
  }
  function compare(before, after, bounds) {
    for (const [what, bound] of Object.entries(bounds)) {
      const grown = after[what] - before[what]
      if (grown > bound) say(what, 'grew by', grown, 'from', before[what])
    }
  }
  const alive = async (references) => {
    await collect()
    return references.filter((reference) => reference.deref() !== undefined).length
  }
`
// Two I/O threads hold what one holds, twice.
const modes = allModes.filter(({ threads }) => threads < 2)

// A young generation of fixed size: it would go on growing for a while, whatever it holds.
const flags = ['--expose-gc', '--max-semi-space-size=1']

describe.runIf(process.platform === 'linux').concurrent.each(modes)('memory on $title', (mode) => {
  // Unix sockets leave no ports behind that have to rest for a minute.
  const where = mode.engine === 'sim' ? `{ port: 9, host: '127.0.0.1' }` : `{ path: '\\0sluice-memory-' + process.pid }`

  it('is the same after 2 000 connections and after 10 000', async () => {
    const program = `${measuring}
      const runtime = start()
      const where = ${where}
      const listener = await runtime.listen(where, echo)
      const once = () => new Promise((resolve) => {
        const handlers = { data: (client) => client.end(), close: resolve, error() {} }
        runtime.connect(where, handlers).then((client) => { client.data = new Array(10); client.write('hello') })
      })
      async function rounds(count) {
        for (let i = 0; i < count; i += 50) await Promise.all(Array.from({ length: 50 }, once))
      }
      await rounds(2000)
      const before = await held()
      await rounds(8000)
      const after = await held()
      compare(before, after, { heapUsed: 400_000, external: 100_000, rss: 20_000_000, descriptors: 0, threads: 0 })
      say(runtime.stats().connections, 'open,', listener.stats().accepted, 'accepted')
      await listener.close()
    `
    expect(await runProgram(mode, program, { flags })).toEqual(fine('0 open, 10000 accepted'))
  })

  it('does not hold connections that are closed, nor what belongs to them', async () => {
    const program = `${measuring}
      const runtime = start()
      const references = []
      const remember = (object) => references.push(new WeakRef(object))
      const open = (connection) => { connection.data = { of: connection }; remember(connection); remember(connection.data) }
      const listener = await listen(runtime, { ...echo, open })
      async function rounds() {
        for (let i = 0; i < 20; i++) {
          await new Promise((resolve) => {
            const handlers = { open, data: (client) => { client.remoteAddress; client.end() }, close: () => resolve(), error() {} }
            runtime.connect({ host: '127.0.0.1', port: listener.address.port }, handlers).then((client) => client.write('hello'))
          })
        }
        for (let i = 0; i < 5; i++) {
          const stream = (await runtime.connect({ host: '127.0.0.1', port: listener.address.port })).toDuplex()
          remember(stream)
          stream.end('hello')
          for await (const _ of stream);
        }
      }
      await rounds()
      await roundTrip(runtime, listener)
      say(references.length, 'made,', await alive(references), 'kept')
      await listener.close()
    `
    // At the server 26 connections and their data, at the client 20 and 5 streams.
    expect(await runProgram(mode, program, { flags })).toEqual(fine('97 made, 0 kept'))
  })

  it('lets go of large writes once the kernel has them, though their connection stays open', async () => {
    const program = `${measuring}
      const runtime = start()
      const listener = await listen(runtime, { data() {}, error() {} })
      const client = await connect(runtime, listener)
      const references = []
      async function send() {
        for (let i = 0; i < 40; i++) {
          const bytes = Buffer.alloc(500_000, i)
          references.push(new WeakRef(bytes))
          client.write(bytes)
          if (i % 4 === 3) await client.drained()
        }
      }
      await send()
      // The events that release them may come after the one that told of the drain.
      for (let i = 0; i < 100 && await alive(references) > 0; i++);
      say(references.length, 'written,', await alive(references), 'kept,', client.state)
      await listener.destroy()
    `
    expect(await runProgram(mode, program, { flags })).toEqual(fine('40 written, 0 kept, open'))
  })

  it('lets go of large writes when their connection or runtime is destroyed first', async () => {
    const program = `${measuring}
      const references = []
      function write(client, bytes) {
        references.push(new WeakRef(bytes))
        client.write(bytes)
      }
      async function leave(ending) {
        const runtime = start()
        const listener = await listen(runtime, { open: (connection) => connection.pause(), error() {} })
        const client = await connect(runtime, listener)
        for (let i = 0; i < 10; i++) write(client, Buffer.alloc(4_000_000, i))
        await turn()
        if (ending === 'connection') {
          client.destroy()
          await client.close()
          for (let i = 0; i < 100 && await alive(references) > 0; i++);
          say(await alive(references), 'kept by the connection')
        }
        references.push(new WeakRef(runtime))
        await runtime.destroy()
      }
      await leave('connection')
      await leave('runtime')
      for (let i = 0; i < 100 && await alive(references) > 0; i++);
      say(references.length, 'made,', await alive(references), 'kept')
    `
    expect(await runProgram(mode, program, { flags })).toEqual(fine('0 kept by the connection\n22 made, 0 kept'))
  })
})

describe.runIf(process.platform === 'linux')('many runtimes', () => {
  it('on every engine and thread mode at once come and go 200 times and leave nothing behind', async () => {
    const program = `${measuring}
      import { Runtime } from 'sluice'
      const modes = JSON.parse(process.env.MODES).map(({ engine, threads }) => ({ engine, threads }))
      async function round() {
        const runtimes = modes.map((mode) => new Runtime(mode))
        const listeners = await Promise.all(runtimes.map((runtime) => listen(runtime)))
        // Each of a kernel asks its neighbour.
        const target = (i) => modes[i].engine === 'sim' ? i : (i + 1) % (modes.length - 1)
        const answers = await Promise.all(runtimes.map((runtime, i) => roundTrip(runtime, listeners[target(i)], 'x')))
        if (answers.join('') !== 'x'.repeat(modes.length)) say('answered', answers)
        await Promise.all(runtimes.map((runtime) => runtime.destroy()))
      }
      for (let i = 0; i < 40; i++) await round()
      const before = await held()
      for (let i = 0; i < 160; i++) await round()
      const after = await held()
      compare(before, after, { heapUsed: 600_000, arrayBuffers: 100_000, rss: 16_000_000, descriptors: 0, threads: 0 })
      say('done')
    `
    // Without the threshold glibc keeps some freed slabs for later, sometimes 50 MB of them.
    const options = { flags, env: { MODES: JSON.stringify(modes), MALLOC_MMAP_THRESHOLD_: '131072' } }
    expect(await runProgram(kernelModes[0]!, program, options)).toEqual(fine('done'))
  })

  it('are collected when destroyed, and keep the process alive no longer', async () => {
    const program = `${measuring}
      const references = []
      async function make() {
        for (let i = 0; i < 10; i++) {
          const runtime = start()
          references.push(new WeakRef(runtime))
          await runtime[i % 2 === 0 ? 'destroy' : 'close']()
        }
      }
      await make()
      say(await alive(references), 'kept')
    `
    for (const mode of allModes) expect(await runProgram(mode, program, { flags })).toEqual(fine('0 kept'))
  })
})
