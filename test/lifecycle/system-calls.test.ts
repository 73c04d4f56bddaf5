import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { engines } from 'sluice'
import { beforeEach, describe, expect, it } from 'vitest'
import { fine, kernelModes, type Mode, Program, root } from '../support/program.js'

// What the kernel is asked for, as strace tells it. Programs mark the part that counts by `mark()`.
const marker = 'kill('

interface SystemCalls {
  /** Calls between the marks, by name. */
  counts: Map<string, number>
  total: number
}

async function trace({ engine, threads }: Mode, source: string): Promise<SystemCalls> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-strace-'))
  const file = join(folder, 'calls')
  const program = `
    import { connect, echo, listen, say, start } from ${JSON.stringify(join(root, 'test/lifecycle/prelude.mjs'))}
    const runtime = start()
    // Something that strace shows and nobody else calls.
    const mark = () => process.kill(process.pid, 0)
    async function open(count) {
      const accepted = []
      let allAccepted
      const opened = new Promise((resolve) => { allAccepted = resolve })
      const handlers = { ...echo, open: (connection) => accepted.push(connection) === count && allAccepted() }
      const listener = await listen(runtime, handlers)
      const clients = []
      for (let i = 0; i < count; i++) {
        clients.push(await connect(runtime, listener, { data: (client, bytes) => client.answer(Buffer.from(bytes).toString()) }))
      }
      await opened
      return clients
    }
    const ask = (client, text) => new Promise((resolve) => { client.answer = resolve; client.write(text) })
    ${source}
    await runtime.destroy()
  `
  const command = ['strace', '-f', '-qq', '-o', file, process.execPath, '--input-type=module', '-e', program]
  try {
    const ended = await new Program(command, { ENGINE: engine, THREADS: String(threads), LD_PRELOAD: '' }).ended
    expect(ended).toEqual(fine(''))
    return count(readFileSync(file, 'utf8').split('\n'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function count(lines: string[]): SystemCalls {
  const marks = lines.flatMap((line, i) => (line.includes(marker) ? [i] : []))
  expect(marks).toHaveLength(2)
  const counts = new Map<string, number>()
  for (const line of lines.slice(marks[0]! + 1, marks[1])) {
    // "1234  epoll_wait(…) = 1"; "<… resumed>" is the end of a call that began before.
    const name = /^\d+\s+(\w+)\(/.exec(line)?.[1]
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return { counts, total: [...counts.values()].reduce((sum, n) => sum + n, 0) }
}

describe.concurrent.each(kernelModes.filter(({ threads }) => threads < 2))('system calls on $title', (mode) => {
  beforeEach((context) => {
    if (spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0) context.skip('strace is absent or may not trace')
  })

  const rounds = 100
  const asking = (idle: number) => `
    const [client] = await open(${idle + 1})
    for (let i = 0; i < 10; i++) await ask(client, 'warm')
    mark()
    for (let i = 0; i < ${rounds}; i++) await ask(client, 'hello')
    mark()`

  it('are none for what the kernel is to watch, while interest does not change', async () => {
    const { counts } = await trace(mode, asking(20))
    expect(counts.get('epoll_ctl') ?? 0).toBe(0)
    expect(counts.get('io_uring_register') ?? 0).toBe(0)
    // Besides the messages themselves, none that asks or tells anything of a socket.
    for (const name of [
      'setsockopt',
      'getsockopt',
      'fcntl',
      'ioctl',
      'getpeername',
      'getsockname',
      'shutdown',
      'close',
    ]) {
      expect([name, counts.get(name) ?? 0]).toEqual([name, 0])
    }
  })

  it('are as many for a message among 300 idle connections as among 3', async () => {
    const few = await trace(mode, asking(3))
    const many = await trace(mode, asking(300))
    // Threads sleep and wake each other as it happens; a call per idle connection would be 300 more for each message.
    expect(many.total / rounds).toBeLessThan(few.total / rounds + 5)
  })

  it.runIf(engines().find(({ name }) => name === mode.engine)!.features.sendsFiles)(
    'send a file without reading it',
    async () => {
      const { counts } = await trace(
        mode,
        `import { FileSegment } from 'sluice'
        const file = await FileSegment.open(process.execPath, { lengthBytes: 5_000_000 })
        let received = 0
        let done
        const all = new Promise((resolve) => { done = resolve })
        const listener = await listen(runtime, { data(_, bytes) { if ((received += bytes.length) === 5_000_000) done() } })
        const client = await connect(runtime, listener, {})
        mark()
        client.writeFile(file)
        await all
        mark()
        file.close()`,
      )
      expect(counts.get('sendfile')).toBeGreaterThan(0)
      for (const name of ['pread64', 'sendto', 'sendmsg']) expect([name, counts.get(name) ?? 0]).toEqual([name, 0])
    },
  )

  it('are none for idle connections as time goes by', async () => {
    const { counts } = await trace(
      mode,
      `await open(300)
      await new Promise((resolve) => setTimeout(resolve, 50))
      mark()
      await new Promise((resolve) => setTimeout(resolve, 100))
      mark()`,
    )
    // Node's own threads collect and compile now and then, which is not asked about here.
    const askedFor = /^(epoll_|poll|ppoll|io_uring_|recv|send|accept|getsockopt|setsockopt|ioctl|fcntl|read|write)/
    const ours = [...counts].filter(([name]) => askedFor.test(name))
    expect(
      ours.reduce((sum, [, n]) => sum + n, 0),
      JSON.stringify(ours),
    ).toBeLessThan(60)
  })
})
