import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls'
import { createSelfSigned, engines } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import type { LoadResult } from '../../bench/load-process.js'
import type { Report } from '../../bench/results.js'
import { type LoadMode, type LoadOptions, runLoad } from '../../dist/bench/load-process.js'
import { preparePrograms } from '../../dist/bench/programs.js'
import { Program, root } from '../support/program.js'

const bench = (...args: string[]) => new Program([process.execPath, join(root, 'dist/cli/main.js'), 'bench', ...args])
const short = ['--rounds', '1', '--seconds', '0.05', '--warmup', '0']
const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const programs = await preparePrograms()
const generators: [name: string, program: string | undefined][] = [['JavaScript', undefined]]
if (programs.load.path !== undefined) generators.push(['C', programs.load.path])

describe('sluice bench', () => {
  it('lists cases and servers, and why some of them cannot run', async () => {
    const { code, stdout, stderr } = await bench('--list').ended
    expect([code, stderr]).toEqual([0, ''])
    for (const name of [
      '1x64',
      '64x64x16',
      '16x256KiB',
      'bulk-in',
      'connect',
      'idle',
      'delay',
      'node:net',
      'c-epoll',
      'tls-64x1KiB',
      'tls-storm',
      'tls-crowd',
      'node:tls',
      'c-openssl',
    ]) {
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'))
    }
    for (const { name, available, reason } of engines()) {
      if (name === 'sim') expect(stdout).not.toContain('sluice-sim')
      else expect(stdout).toMatch(new RegExp(`^ {2}sluice-${name} `, 'm'))
      if (!available) expect(stdout).toContain(reason)
    }
  })

  it('leaves out sluice on engines other than the one given', async () => {
    const { stdout } = await bench('--list', '--engine', 'poll').ended
    expect(stdout.match(/^ {2}sluice-\S+/gm)).toEqual(['  sluice-poll', '  sluice-poll-threads'])
  })

  it.each([
    [['--cases', '64x46'], 'option "--cases": unknown name "64x46"; did you mean "64x64"?'],
    [['--servers', 'node:net,c-epol'], 'option "--servers": unknown name "c-epol"; did you mean "c-epoll"?'],
    [['--seconds', '0'], 'option "--seconds" must be a number from 0.01 to 3600, not 0'],
    [['--rounds', '1.5'], `option "--rounds" must be an integer from 1 to 1000, not '1.5'`],
    [['--quik'], 'unknown option "--quik"; did you mean "--quick"?'],
  ])('refuses %j', async (args, why) => {
    const { code, stdout, stderr } = await bench(...args).ended
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(`sluice bench: ${why}\nTry "sluice bench --help".`)
  })

  it('measures and writes a report, a table and a page', async () => {
    const [json, html] = [join(folder, 'report.json'), join(folder, 'report.html')]
    const servers = ['node:net', 'sluice-poll']
    const chosen = ['--cases', '1x64,bulk-in,connect', '--servers', servers.join(',')]
    const { code, stdout, stderr } = await bench(...short, ...chosen, '--json', json, '--html', html).ended
    expect(code, stderr).toBe(0)
    expect(stderr).toContain('echo: 1 connection × 64 bytes')

    const report = JSON.parse(readFileSync(json, 'utf8')) as Report
    expect(report).toMatchObject({ format: 'sluice-bench/1', complete: true, problems: [], unavailable: [] })
    expect(report.machine).toMatchObject({ node: process.version, cores: expect.any(Number) })
    expect(report.method).toMatchObject({ rounds: 1, seconds: 0.05 })
    expect(report.cases.map(({ name }) => name)).toEqual(['1x64', 'bulk-in', 'connect'])
    for (const { kind, servers: results } of report.cases) {
      expect(results.map(({ server }) => server)).toEqual(servers)
      for (const { value, rounds, ofNode } of results) {
        expect(rounds).toHaveLength(1)
        expect(rounds[0]!.value).toBe(value.median)
        expect(value.median).toBeGreaterThan(0)
        expect(ofNode).toBeGreaterThan(0)
        expect(rounds[0]!.bytes).toBeGreaterThan(0)
        if (kind !== 'sink') expect(rounds[0]!.latencyUs!.p50).toBeGreaterThan(0)
      }
    }
    expect(stdout).toMatch(/^ {2}sluice, poll +\d/m)
    expect(stdout).toMatch(/^ {2}CPU of a message, 1x64 +\S+ µs/m)
    expect(readFileSync(html, 'utf8').match(/<svg/g)).toHaveLength(3)
  })

  it.each([
    '--json',
    '--html',
  ])('refuses a %s file that cannot be written, before it measures anything', async (option) => {
    const { code, stdout, stderr } = await bench('--quick', option, join(folder, 'missing/report')).ended
    expect(code).toBe(2)
    expect(stderr).toContain(
      `sluice bench: option "${option}": cannot write ${join(folder, 'missing/report')} (ENOENT)`,
    )
    expect(stdout).toBe('')
  })

  it('writes nothing but the report to stdout with --json -, and no file', async () => {
    const before = readdirSync(root)
    const { stdout } = await bench(...short, '--cases', '64x64', '--servers', 'sluice-poll', '--json', '-').ended
    expect((JSON.parse(stdout) as Report).cases[0]!.servers[0]!.server).toBe('sluice-poll')
    expect(readdirSync(root)).toEqual(before)
  })

  it('measures memory of idle connections and delay of the event loop', async () => {
    const cases = ['--cases', 'idle,delay', '--idle-connections', '300', '--servers', 'sluice-poll']
    const { code, stdout, stderr } = await bench(...short, ...cases, '--json', '-').ended
    expect(code, stderr).toBe(0)
    const [idle, delay] = (JSON.parse(stdout) as Report).cases
    expect(idle).toMatchObject({ name: 'idle', connections: 300, title: expect.stringContaining('300 connections') })
    expect(idle!.servers[0]!.rounds[0]!.messages).toBe(300)
    expect(delay!.servers[0]!.value.median).toBeGreaterThanOrEqual(0)
  })

  it.runIf(programs.load_tls.path)('measures handshakes, full and resumed, echo and bulk with TLS', async () => {
    const [names, servers] = ['tls-64x1KiB,tls-handshake-ec,tls-handshake-resumed,tls-bulk-in', 'node:tls,sluice-poll']
    const { code, stdout, stderr } = await bench(...short, '--cases', names, '--servers', servers, '--json', '-').ended
    expect(code, stderr).toBe(0)
    const report = JSON.parse(stdout) as Report
    expect(report.machine.openssl).toBe(process.versions.openssl)
    expect(report.cases.map(({ name }) => name).join()).toBe(names)
    for (const { servers: results } of report.cases) {
      expect(results.map(({ server }) => server).join()).toBe(servers)
      for (const { value, ofNode } of results) expect([value.median > 0, ofNode! > 0]).toEqual([true, true])
    }
  })

  it.runIf(programs.load_tls.path)(
    'measures how long handshakes hold up the event loop, idle memory, and what a silent crowd costs',
    async () => {
      const cases = ['--cases', 'tls-idle,tls-storm,tls-crowd', '--idle-connections', '40', '--servers', 'sluice-poll']
      const { code, stdout, stderr } = await bench(
        '--rounds',
        '1',
        '--seconds',
        '0.6',
        '--warmup',
        '0',
        ...cases,
        '--json',
        '-',
      ).ended
      expect(code, stderr).toBe(0)
      const [idle, storm, crowd] = (JSON.parse(stdout) as Report).cases
      expect(idle).toMatchObject({ name: 'tls-idle', connections: 40, servers: [{ rounds: [{ messages: 40 }] }] })
      expect(storm!.servers[0]!.messagesPerSecond).toBeGreaterThan(0)
      expect(crowd!.servers[0]!.value.median).toBeLessThan(100)
    },
  )

  it('leaves out cases with TLS where nothing can load them, and fails when they were asked for', async () => {
    const chosen = ['--cases', '1x64,tls-64x1KiB', '--servers', 'sluice-poll', '--load', 'javascript']
    const { code, stdout } = await bench(...short, ...chosen).ended
    expect(code).toBe(1)
    expect(stdout).toContain('tls-64x1KiB: left out: the load generator in JavaScript has no TLS')
    expect(stdout).toContain('note: the cases with TLS are left out: the load generator in JavaScript has no TLS')
    expect(stdout).toContain('echo: 1 connection × 64 bytes')
  })

  it('works without a compiler, and says that its load generator is then in JavaScript', async () => {
    const chosen = ['--cases', '64x64,bulk-out', '--servers', 'node:net,sluice-poll']
    const { code, stdout, stderr } = await bench(...short, ...chosen, '--load', 'javascript').ended
    expect(code, stderr).toBe(0)
    expect(stdout).toContain('load generator in JavaScript, every byte compared')
  })

  it('ends with a failure when a server that was asked for cannot run', async () => {
    const missing = engines().find(({ name, available }) => !available && name !== 'sim')
    if (missing === undefined) return
    const { code, stdout } = await bench(...short, '--cases', '1x64', '--servers', `sluice-${missing.name}`).ended
    expect(code).toBe(1)
    expect(stdout).toContain(`sluice-${missing.name}: ${missing.reason}`)
  })

  it('shows what it has when it is interrupted, and leaves no process behind', async () => {
    const program = bench('--rounds', '1', '--seconds', '0.05', '--cases', '1x64,64x64', '--servers', 'node:net')
    expect(await program.line('stderr')).toContain('1 connection')
    expect(await program.line('stderr')).toContain('64 connections') // the first case is measured
    const children = await childrenOf(program.process.pid!)
    program.kill('SIGINT')
    const { code, stdout } = await program.ended
    expect(code).toBe(130)
    expect(stdout).toMatch(/^ {2}node:net +\d/m)
    expect(stdout).toContain('Interrupted: only what was measured until then is shown.')
    for (const pid of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  })
})

/** Short runs of a load generator, all alike but for what a test is about. */
function loading(always: Partial<LoadOptions>) {
  return (port: number, mode: LoadMode, more: Partial<LoadOptions> = {}): Promise<LoadResult> =>
    runLoad({
      ...{ program: undefined, mode, port, server: process.pid, connections: 4, bytes: 1000, depth: 3 },
      ...{ warmupSeconds: 0, seconds: 0.05, files: 1000, signal: new AbortController().signal },
      ...always,
      ...more,
    })
}

describe.each(generators)('the load generator in %s', (_, program) => {
  const load = loading({ program })

  it('counts messages and bytes, and how long they took', async () => {
    await using server = await serving((socket) => socket.pipe(socket))
    const { messages, bytes, seconds, latencyUs } = await load(server.port, 'echo')
    // A timer of 50 ms may fire a little early by another clock.
    expect(seconds).toBeGreaterThan(0.045)
    expect(messages).toBeGreaterThan(0)
    expect(Math.abs(bytes - messages * 1000)).toBeLessThanOrEqual(4 * 3 * 1000)
    expect(latencyUs!.max).toBeGreaterThanOrEqual(latencyUs!.p50 * 0.98)
  })

  it.each([
    ['one bit', (bytes: Buffer) => bytes.fill(bytes[99]! ^ 1, 99, 100)],
    ['two bytes in each other’s place', (bytes: Buffer) => bytes.subarray(0, 200).reverse() && bytes],
  ])('fails at the first byte when %s of an echo changed', async (_, spoil) => {
    await using server = await serving((socket) => {
      let received = 0
      socket.on('data', (bytes) => {
        // The 5000th byte and those after it: the beginning of the stream is as it should be.
        socket.write(received > 5000 && bytes.length > 200 ? spoil(bytes) : bytes)
        received += bytes.length
      })
    })
    await expect(load(server.port, 'echo', { seconds: 5 })).rejects.toThrow(
      /connection \d: byte \d+ is 0x[0-9a-f]{2}, expected 0x[0-9a-f]{2}/,
    )
  })

  it('fails when more comes back than was sent', async () => {
    await using server = await serving((socket) =>
      socket.on('data', (bytes) => socket.write(Buffer.concat([bytes, bytes]))),
    )
    await expect(load(server.port, 'echo')).rejects.toThrow(/more bytes came back|expected 0x/)
  })

  it('fails when the server ends a connection', async () => {
    await using server = await serving((socket) => socket.on('data', () => socket.end()))
    await expect(load(server.port, 'echo')).rejects.toThrow(/closed by the server|ECONNRESET|reset by peer/i)
  })

  it('fails when an endless text is not the one of RFC 864', async () => {
    await using server = await serving((socket) => socket.write('!"#$%&()'.repeat(1000)))
    await expect(load(server.port, 'source')).rejects.toThrow('wrong text')
  })

  it('fails when a sink answers', async () => {
    await using server = await serving((socket) => socket.on('data', () => socket.write('thanks')))
    await expect(load(server.port, 'sink', { seconds: 0.3 })).rejects.toThrow('unexpected answer of a sink')
  })
})

describe.runIf(programs.load_tls.path)('the load generator with TLS', () => {
  const identity = createSelfSigned({ names: ['localhost'] })
  const ca = join(folder, 'ca.pem')
  writeFileSync(ca, identity.cert)
  const load = loading({ program: programs.load_tls.path, tls: { ca, resumes: false } })
  const securely = (serve: (socket: Socket) => unknown, options: TlsOptions = {}) =>
    serving(serve, (listener) => createTlsServer({ ...identity, ...options, noDelay: true }, listener))

  it.each(['echo', 'connect'] as const)('counts messages in mode %s', async (mode) => {
    await using server = await securely((socket) => socket.pipe(socket))
    const { messages, bytes } = await load(server.port, mode)
    expect(messages).toBeGreaterThan(0)
    expect(Math.abs(bytes - messages * 1000)).toBeLessThanOrEqual(4 * 3 * 1000)
  })

  it('offers TLS 1.3, one cipher suite and one group', async () => {
    const seen = new Set<string>()
    await using server = await securely((socket) => {
      const secured = socket as TLSSocket
      seen.add(`${secured.getProtocol()} ${secured.getCipher().standardName}`)
      socket.pipe(socket)
    })
    await load(server.port, 'echo')
    expect([...seen]).toEqual(['TLSv1.3 TLS_AES_128_GCM_SHA256'])
    await using other = await securely((socket) => socket.pipe(socket), { ecdhCurve: 'P-256' })
    await expect(load(other.port, 'echo')).rejects.toThrow('handshake')
  })

  it('resumes every session when it is to, and none when it is not', async () => {
    const resumed: boolean[] = []
    await using server = await securely((socket) => {
      resumed.push((socket as TLSSocket).isSessionReused())
      socket.pipe(socket)
    })
    await load(server.port, 'connect', { tls: { ca, resumes: true }, connections: 2 })
    expect(resumed.filter((isResumed) => !isResumed)).toHaveLength(2) // the first of each
    expect(resumed.filter((isResumed) => isResumed).length).toBeGreaterThan(0)
    resumed.length = 0
    await load(server.port, 'connect')
    expect(resumed).not.toContain(true)
  })

  it('fails when the server does not resume', async () => {
    await using server = await securely((socket) => {
      socket.pipe(socket)
      server.forgetTickets()
    })
    await expect(load(server.port, 'connect', { tls: { ca, resumes: true }, seconds: 5 })).rejects.toThrow(
      'the server did not resume the session',
    )
  })

  it('fails when the certificate is another one', async () => {
    await using server = await securely((socket) => socket.pipe(socket), createSelfSigned())
    await expect(load(server.port, 'echo')).rejects.toThrow('certificate verify failed')
  })

  it('fails at the first wrong byte', async () => {
    await using server = await securely((socket) => {
      let received = 0
      socket.on('data', (bytes) => {
        socket.write(received > 5000 ? bytes.fill(bytes[0]! ^ 1, 0, 1) : bytes)
        received += bytes.length
      })
    })
    await expect(load(server.port, 'echo', { seconds: 5 })).rejects.toThrow(/byte \d+ is 0x[0-9a-f]{2}, expected 0x/)
  })

  it('fails when a sink answers, or ends before it has read everything', async () => {
    await using answering = await securely((socket) => socket.on('data', () => socket.write('thanks')))
    await expect(load(answering.port, 'sink', { seconds: 0.3 })).rejects.toThrow('unexpected answer of a sink')
    await using leaving = await securely((socket) => socket.on('data', () => socket.destroy()))
    await expect(load(leaving.port, 'sink', { seconds: 5 })).rejects.toThrow(/connection \d/)
  })
})

/** A server with a mistake of its own, on a free port. */
async function serving(
  serve: (socket: Socket) => unknown,
  create: (listener: (socket: Socket) => void) => Server = (listener) => createServer({ noDelay: true }, listener),
): Promise<AsyncDisposable & { port: number; forgetTickets(): void }> {
  const sockets = new Set<Socket>()
  const server = create((socket) => {
    sockets.add(socket.on('error', () => {}))
    serve(socket)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    port: (server.address() as AddressInfo).port,
    forgetTickets: () => (server as TlsServer).setTicketKeys(randomBytes(48)),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** The children of a process, once it has one; none where the system does not tell. */
async function childrenOf(pid: number): Promise<number[]> {
  const file = `/proc/${pid}/task/${pid}/children`
  while (existsSync(file)) {
    const children = readFileSync(file, 'latin1').split(' ').filter(Boolean).map(Number)
    if (children.length > 0) return children
    await new Promise(setImmediate)
  }
  return []
}
