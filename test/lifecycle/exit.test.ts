import { connect as connectSocket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { allModes, fine, kernelModes, runProgram, startProgram } from '../support/program.js'

/** Says `text` to the program and resolves with its answer when it has ended the connection. */
function ask(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connectSocket(port, '127.0.0.1', () => socket.end(text))
    socket.setEncoding('utf8').on('data', (part: string) => {
      answer += part
    })
    socket.on('error', reject).on('close', () => resolve(answer))
  })
}

// Answers "close" by closing its listener, and anything else by an echo.
const listenerThatCloses = `
  const listener = await listen(runtime, {
    data: (connection, bytes) => {
      connection.write(bytes)
      if (Buffer.from(bytes).toString() === 'close') listener.close()
    },
  })
`

describe.concurrent.each(allModes)('a process with sluice on $title', (mode) => {
  it('ends by itself when the last connection and the last listener are gone, and not before', async () => {
    const program = `
      const runtime = start()
      const open = new Set(['listener', 'server', 'client'])
      process.on('beforeExit', () => say('idle with', [...open].join() || 'nothing', 'open'))
      const listener = await listen(runtime, { ...echo, close: () => open.delete('server') })
      const client = await connect(runtime, listener, {
        data: () => setImmediate(finish),
        close: () => open.delete('client'),
      })
      client.write('hello')
      async function finish() {
        await client.close()
        await listener.close()
        open.delete('listener')
      }
    `
    expect(await runProgram(mode, program)).toEqual(fine('idle with nothing open'))
  })

  it('ends although an unreferenced runtime has connections and a listener open', async () => {
    const program = `
      const runtime = start()
      const { connections, listener } = await keepBusy(runtime)
      runtime.unref()
      process.on('exit', () => say(connections.map(({ state }) => state).join(), listener.stats().state))
    `
    expect(await runProgram(mode, program)).toEqual(fine('open,open,open,open accepting'))
  })

  it('ends although unreferenced connections and listeners are open', async () => {
    const program = `
      const runtime = start()
      const accepted = []
      const listener = await listen(runtime, { open: (connection) => { accepted.push(connection); connection.unref() } })
      const client = await connect(runtime, listener)
      client.unref()
      listener.unref()
      process.on('exit', () => say(client.state, listener.stats().state))
    `
    expect(await runProgram(mode, program)).toEqual(fine('open accepting'))
  })

  it('lives on for what is referenced again', async () => {
    const program = `
      const runtime = start()
      let closed = false
      process.on('beforeExit', () => say(closed ? 'idle after closing' : 'idle too early'))
      const close = () => { closed = true }
      const listener = await listen(runtime, { data: () => listener.close({ timeoutMs: 0 }), error() {}, close })
      const client = await connect(runtime, listener)
      client.unref(); listener.unref(); runtime.unref()
      client.ref(); runtime.ref()
      await new Promise(setImmediate)
      listener.ref()
      client.unref()
      client.end('go')
    `
    expect(await runProgram(mode, program)).toEqual(fine('idle after closing'))
  })

  it('does not stay for a timer of an unreferenced runtime, but for one of a referenced one', async () => {
    const program = `
      const waiting = start()
      waiting.after(20, () => say('rang'))
      const ignored = start()
      ignored.after(3_600_000, () => say('never'))
      ignored.unref()
      start().after(3_600_000, () => say('never'))()
    `
    const result = await runProgram(mode, program)
    // Virtual hours take no time, and pass while the other runtime keeps the process alive.
    const said = mode.engine === 'sim' ? result.stdout.replace(/^never\n|\nnever$/, '') : result.stdout
    expect({ ...result, stdout: said }).toEqual(fine('rang'))
  })

  it('ends with runtimes that were closed or destroyed with everything open', async () => {
    const program = `
      for (const ending of ['close', 'destroy']) {
        const runtime = start()
        const { connections } = await keepBusy(runtime)
        await runtime[ending]({ timeoutMs: 20 })
        say(connections.map(({ state }) => state).join())
      }
    `
    expect(await runProgram(mode, program)).toEqual(fine('closed,closed,closed,closed\nclosed,closed,closed,closed'))
  })

  it('keeps its exit code and its other timers when runtimes were never used', async () => {
    const program = `
      start(); start()
      process.exitCode = 3
      setTimeout(() => say('timer'), 5)
    `
    expect(await runProgram(mode, program)).toEqual({ ...fine('timer'), code: 3 })
  })

  const leaving: Record<string, string> = {
    'a data handler': `await keepBusy(runtime, { listener: await listen(runtime, { data: () => process.exit(7) }) })`,
    'an open handler': `await keepBusy(runtime, { listener: await listen(runtime, { open: () => process.exit(7) }) })`,
    'a close handler': `
      const { listener } = await keepBusy(runtime)
      const client = await connect(runtime, listener, { close: () => process.exit(7) })
      client.destroy()`,
    'a timer': `await keepBusy(runtime); setTimeout(() => process.exit(7), 2)`,
    'a microtask of a handler': `
      await keepBusy(runtime, { listener: await listen(runtime, { data: () => queueMicrotask(() => process.exit(7)) }) })`,
    'the middle of its writes': `
      const { connections } = await keepBusy(runtime)
      const large = Buffer.alloc(3_000_000)
      for (const connection of connections) { connection.write(large); connection.write('small') }
      process.exit(7)`,
    'the turn that closes its runtime': `
      await keepBusy(runtime)
      runtime.destroy()
      process.exit(7)`,
  }
  it.each(Object.entries(leaving))('can call process.exit() while busy, from %s', async (_, body) => {
    expect(await runProgram(mode, `const runtime = start()\n${body}`)).toEqual({ ...fine(''), code: 7 })
  })
})

describe.concurrent.each(kernelModes)('a process with peers elsewhere on $title', (mode) => {
  it('stays for a listener without connections, and for a connection without a listener', async () => {
    const program = startProgram(
      mode,
      `const runtime = start()
      ${listenerThatCloses}
      say(listener.address.port)`,
    )
    const port = Number(await program.line())
    // Between these nothing but the listener is open; the last of them outlives it.
    expect(await ask(port, 'one')).toBe('one')
    expect(await ask(port, 'two')).toBe('two')
    expect(await ask(port, 'close')).toBe('close')
    expect(await program.ended).toEqual(fine(String(port)))
  })

  it('ends by SIGTERM as any program', async () => {
    const program = startProgram(mode, `await keepBusy(start()); say('busy')`)
    await program.line()
    program.kill('SIGTERM')
    expect(await program.ended).toEqual({ ...fine('busy'), code: null, signal: 'SIGTERM' })
  })

  it('can close in good order on SIGTERM', async () => {
    const program = startProgram(
      mode,
      `const runtime = start()
      const { listener, connections } = await keepBusy(runtime)
      process.once('SIGTERM', async () => {
        for (const connection of connections) connection.end()
        await runtime.close()
        say('closed')
      })
      say('busy')`,
    )
    await program.line()
    program.kill('SIGTERM')
    expect(await program.ended).toEqual(fine('busy\nclosed'))
  })

  it('dies of an uncaught exception while busy, with its stack on stderr', async () => {
    const program = `await keepBusy(start()); setTimeout(() => { throw new Error('thrown by a timer') })`
    const ended = await runProgram(mode, program)
    expect(ended).toMatchObject({ code: 1, signal: null })
    expect(ended.stderr).toContain('Error: thrown by a timer')
  })

  // A tick and a rejection that a handler leaves behind are not the handler's any more.
  it.each([
    ['process.nextTick(() => { throw new Error("left behind") })'],
    ['Promise.reject(new Error("left behind"))'],
  ])('dies of what a handler leaves behind: %s', async (statement) => {
    const program = `
      const runtime = start()
      await keepBusy(runtime, { listener: await listen(runtime, { data: () => { ${statement} } }) })
    `
    const ended = await runProgram(mode, program)
    expect(ended).toMatchObject({ code: 1, signal: null })
    expect(ended.stderr).toContain('Error: left behind')
  })

  it('goes on serving when uncaughtException is handled', async () => {
    const program = `
      const runtime = start()
      let caught = 0
      process.on('uncaughtException', () => { caught++ })
      const listener = await listen(runtime, {
        data: (connection, bytes) => {
          connection.write(bytes)
          process.nextTick(() => { throw new Error('left behind') })
        },
      })
      for (let i = 0; i < 3; i++) say(await roundTrip(runtime, listener, 'again'))
      await listener.close()
      say('caught', caught)
    `
    expect(await runProgram(mode, program)).toEqual(fine('again\nagain\nagain\ncaught 3'))
  })

  it('survives a handler that throws, which costs its own connection only', async () => {
    const program = `
      const runtime = start()
      const { echoed } = await keepBusy(runtime)
      const listener = await listen(runtime, {
        data: () => { throw new Error('thrown by a handler') },
        close: (_, error) => {
          say(error.code, error.cause.message)
          const before = echoed()
          setTimeout(() => { say(echoed() > before); process.exit() }, 20)
        },
      })
      const client = await connect(runtime, listener)
      client.write('hello')
    `
    expect(await runProgram(mode, program)).toEqual(fine('ERR_SLUICE_HANDLER_THREW thrown by a handler\ntrue'))
  })
})
