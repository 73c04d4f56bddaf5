import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { type Connection, connect as connectBySluice, engines, type TlsClientOptions } from 'sluice'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as identities from '../support/identities.js'
import { kernelModes } from '../support/modes.js'
import { fine, Program, root } from '../support/program.js'

const sluice = (args: string[], env: Record<string, string> = {}) =>
  new Program([process.execPath, join(root, 'dist/cli/main.js'), ...args], { SLUICE_ENGINE: '', ...env })

interface Listening {
  listening: { address: string; port: number; family: string; path?: string }
  engine: string
  threads: number
  pid: number
  tls?: { selfSigned: boolean; fingerprint256: string }
}

/** Starts a service and resolves when it listens. */
async function serving(args: string[], env?: Record<string, string>): Promise<Program & { line1: Listening }> {
  const program = sluice(args, env)
  return Object.assign(program, { line1: JSON.parse(await program.line()) as Listening })
}

const dial = (where: { port: number } | { path: string }): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: '127.0.0.1', ...where }, () => resolve(socket)).on('error', reject)
  })

/** Sends `bytes`, ends, and resolves with all that comes back. */
async function exchange(where: { port: number } | { path: string }, bytes: Uint8Array): Promise<Buffer> {
  const socket = await dial(where)
  const parts: Buffer[] = []
  socket.end(bytes)
  for await (const part of socket) parts.push(part)
  return Buffer.concat(parts)
}

// RFC 864: line n holds characters n to n + 71 of the 95 printable ones, counted around.
function chargenLines(count: number): string {
  const ring = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join('')
  const twice = ring + ring
  return Array.from({ length: count }, (_, n) => `${twice.slice(n % 95, (n % 95) + 72)}\r\n`).join('')
}

describe.concurrent('sluice engines', () => {
  it('shows a table with features, or the reason why there are none', async () => {
    const { code, stdout, stderr } = await sluice(['engines']).ended
    expect([code, stderr]).toEqual([0, ''])
    const lines = stdout.split('\n')
    expect(lines[0]).toMatch(/^ {2}ENGINE +AVAILABLE +FEATURES OR REASON$/)
    expect(lines.length).toBe(1 + engines().length)
    engines().forEach(({ name, available, reason, features }, i) => {
      const flags = Object.entries(features).filter(([, value]) => value === true)
      const words = available ? flags.map(([flag]) => flag).join(', ') : reason
      expect(lines[i + 1]!.trim().split(/ {2,}/)).toEqual([name, available ? 'yes' : 'no', words].filter(Boolean))
    })
  })

  it('prints what engines() returns as JSON', async () => {
    const { code, stdout } = await sluice(['engines', '--json']).ended
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(engines())
  })

  it.each([
    ['engines'],
    ['engines', '--json'],
    ['help'],
    ['echo', '--help'],
  ])('says nothing about a reader that has gone: %s %s', async (...args) => {
    const program = sluice(args.filter(Boolean))
    program.process.stdout!.destroy()
    expect(await program.ended).toEqual(fine(''))
  })
})

describe.concurrent.each(kernelModes())('the services on $name', ({ engine, threads }) => {
  describe.each(['handlers', 'duplex'])('via %s', (via) => {
    const options = ['--port', '0', '--engine', engine, '--threads', String(threads), '--via', via]
    const bytes = randomBytes(1_000_000)

    it('echo sends everything back, then ends', async () => {
      await using program = await serving(['echo', ...options])
      const { listening, ...rest } = program.line1
      expect(rest).toEqual({ engine, threads, pid: program.process.pid })
      expect(listening).toEqual({ address: '127.0.0.1', port: expect.any(Number), family: 'IPv4' })
      const answers = await Promise.all(Array.from({ length: 3 }, () => exchange(listening, bytes)))
      expect(answers.map((answer) => answer.equals(bytes))).toEqual([true, true, true])
      program.kill('SIGINT')
      expect(await program.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    })

    it('discard swallows everything, and tells how much it was', async () => {
      await using program = await serving(['discard', ...options])
      expect(await exchange(program.line1.listening, bytes)).toHaveLength(0)
      expect(await exchange(program.line1.listening, bytes)).toHaveLength(0)
      program.kill('SIGTERM')
      const { code, stderr } = await program.ended
      expect([code, stderr]).toEqual([0, 'discarded 2000000 bytes of 2 connections'])
    })

    it('chargen sends the text of RFC 864 for as long as somebody reads', async () => {
      await using program = await serving(['chargen', ...options])
      const expected = chargenLines(30_000)
      for (const sayingNothing of [false, true]) {
        const socket = await dial(program.line1.listening)
        // Over plain connections a peer that ends its own direction goes on reading.
        if (sayingNothing && via === 'handlers') socket.end('ignored')
        let text = ''
        for await (const part of socket.setEncoding('latin1')) {
          text += part
          if (text.length >= expected.length) break
        }
        expect(text.slice(0, expected.length) === expected).toBe(true)
      }
      program.kill('SIGINT')
      expect(await program.ended).toMatchObject({ code: 0, signal: null })
    })
  })
})

describe.concurrent('where a service listens', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-cli-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('is a Unix socket with --path, removed in the end', async () => {
    const path = join(folder, 'echo.sock')
    await using program = await serving(['echo', '--path', path])
    expect(program.line1.listening).toEqual({ path })
    expect((await exchange({ path }, Buffer.from('hello'))).toString()).toBe('hello')
    program.kill('SIGINT')
    expect((await program.ended).code).toBe(0)
    expect(existsSync(path)).toBe(false)
  })

  it.runIf(process.platform === 'linux')("is a name in Linux's abstract namespace with --path @name", async () => {
    const name = `sluice-cli-${process.pid}`
    await using program = await serving(['echo', `--path=@${name}`])
    expect(program.line1.listening).toEqual({ path: `@${name}` })
    // Not by node:net, which cannot connect to such names in Node 20.
    const answer = await new Promise<string>((resolve, reject) => {
      const data = (connection: Connection, bytes: Uint8Array) => {
        connection.end()
        resolve(Buffer.from(bytes).toString())
      }
      connectBySluice({ path: `\0${name}` }, { data }).then((client) => client.write('hello'), reject)
    })
    expect(answer).toBe('hello')
  })

  it('is an address of IPv6, or one found by name', async () => {
    for (const host of ['::1', 'localhost']) {
      await using program = await serving(['echo', '--host', host])
      const { address, port } = program.line1.listening
      expect(['::1', '127.0.0.1']).toContain(address)
      expect((await exchange({ host: address, port } as { port: number }, Buffer.from('hello'))).toString()).toBe(
        'hello',
      )
    }
  })

  it('is a port that no other service may have, said with code 1', async () => {
    await using program = await serving(['echo'])
    const { port } = program.line1.listening
    const { code, stdout, stderr } = await sluice(['discard', '--port', String(port)]).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      new RegExp(`^sluice discard: listen 127.0.0.1:${port}: address already in use \\(EADDRINUSE in`),
    )
  })

  it.each([
    ['a path in no folder', ['--path', '/no/such/folder/s'], 'listen /no/such/folder/s: no such path (ENOENT in bind)'],
    ['a path below a file', ['--path', '/dev/null/s'], 'listen /dev/null/s: '],
    ['an address of others', ['--host', '192.0.2.1'], 'listen 192.0.2.1: address not available on this machine'],
    [
      'a name that does not exist',
      ['--host', 'nobody.invalid'],
      'resolve nobody.invalid: the name could not be resolved',
    ],
  ])('cannot be %s, said with code 1', async (_, args, message) => {
    const { code, stdout, stderr } = await sluice(['echo', ...args]).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr.startsWith(`sluice echo: ${message}`), stderr).toBe(true)
    expect(stderr.split('\n')).toHaveLength(1)
  })
})

describe.concurrent('how a service ends', () => {
  it('at once on a signal while nobody is connected', async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const program = await serving(['echo'])
      program.kill(signal)
      expect(await program.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    }
  })

  it.each(['handlers', 'duplex'])('after its connections have finished, on a first signal, via %s', async (via) => {
    await using program = await serving(['echo', '--via', via])
    const socket = await dial(program.line1.listening)
    socket.write('before')
    await new Promise((resolve) => socket.once('data', resolve))
    program.kill('SIGINT')
    expect(await program.line('stderr')).toBe(
      'waiting 2 s for 1 connection to finish; a second signal ends everything at once',
    )
    await expect(dial(program.line1.listening)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    socket.end('and after')
    expect(await textOf(socket)).toBe('and after')
    expect(await program.ended).toMatchObject({ code: 0, signal: null })
  })

  it('at once on a second signal, whatever is connected', async () => {
    await using program = await serving(['chargen'])
    const socket = await dial(program.line1.listening)
    socket.on('error', () => {})
    program.kill('SIGINT')
    await program.line('stderr')
    const asked = performance.now()
    program.kill('SIGINT')
    expect(await program.ended).toMatchObject({ code: 0, signal: null })
    expect(performance.now() - asked).toBeLessThan(1500)
    socket.destroy()
  })

  it('after two seconds on one signal, when connections do not finish', async () => {
    await using program = await serving(['echo'])
    const socket = await dial(program.line1.listening)
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, signal: null })
    socket.destroy()
  })
})

describe.concurrent('which engine a service runs on', () => {
  it('is the one of --engine, before that of SLUICE_ENGINE', async () => {
    await using chosen = await serving(['echo', '--engine', 'poll'], { SLUICE_ENGINE: 'epoll' })
    await using inherited = await serving(['echo'], { SLUICE_ENGINE: 'poll' })
    expect([chosen.line1.engine, inherited.line1.engine]).toEqual(['poll', 'poll'])
  })

  const missing = engines().find(({ available }) => !available)
  it.runIf(missing)('is never another than the named one: a missing one is refused with its reason', async () => {
    const { name, reason } = missing!
    const { code, stdout, stderr } = await sluice(['echo', '--engine', name]).ended
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(`engine '${name}' is not available: ${reason}`)
  })
})

describe.concurrent('a service with --tls', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-cli-tls-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const cert = file('cert.pem', identities.server.cert)
  const key = file('key.pem', identities.server.key)
  const both = file('both.pem', identities.server.cert + identities.server.key)
  const ca = file('ca.pem', identities.authority.cert)

  async function echoed(port: number, tls: TlsClientOptions): Promise<{ text: string; fingerprint256?: string }> {
    const connection = await connectBySluice({ host: '127.0.0.1', port, tls })
    connection.write('there and back')
    connection.end()
    const { fingerprint256 } = connection.tls!
    let text = ''
    for await (const chunks of connection) text += Buffer.concat(chunks)
    return { text, fingerprint256 }
  }

  it('makes a certificate of its own, and tells its fingerprint', async () => {
    await using program = await serving(['echo', '--tls'])
    const { listening, tls } = program.line1
    expect(tls).toMatchObject({
      selfSigned: true,
      fingerprint256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
    })
    const { text, fingerprint256 } = await echoed(listening.port, { rejectUnauthorized: false })
    expect([text, fingerprint256]).toEqual(['there and back', tls!.fingerprint256])
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
  })

  it.each([
    ['--cert and --key', ['--cert', cert, '--key', key]],
    ['one file', ['--cert', both]],
    ['streams, and handshakes on a thread', ['--cert', both, '--via', 'duplex', '--handshake-threads', '1']],
    ['I/O threads', ['--cert', both, '--threads', '2']],
  ])('serves by %s', async (_, args) => {
    await using program = await serving(['echo', '--tls', ...args])
    expect(program.line1.tls!.selfSigned).toBe(false)
    expect((await echoed(program.line1.listening.port, { ca: identities.authority.cert })).text).toBe('there and back')
  })

  it('wants a certificate of clients with --client-cert require, and tells on stderr who had none', async () => {
    await using program = await serving(['echo', '--tls', '--cert', both, '--ca', ca, '--client-cert', 'require'])
    const { port } = program.line1.listening
    const tls = { ca: identities.authority.cert }
    expect((await echoed(port, { ...tls, ...identities.client })).text).toBe('there and back')
    await expect(echoed(port, tls)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_SLUICE_(TLS_|CONNECTION_)/),
    })
    expect(await program.line('stderr')).toMatch(/^handshake 127.0.0.1:\d+: the peer shows no certificate/)
  })

  const text = file('text', 'hello')
  const otherKey = file('other.pem', identities.client.key)
  const missing = join(folder, 'missing')
  it.each([
    [['--cert', cert], 'option "--cert" needs "--tls" as well'],
    [['--client-cert', 'none'], 'option "--client-cert" needs "--tls" as well'],
    [['--handshake-threads', '1'], 'option "--handshake-threads" needs "--tls" as well'],
    [['--tls', '--key', key], 'option "--key" needs "--cert" as well'],
    [['--tls', '--client-cert', 'require'], 'option "--client-cert" needs "--ca" as well'],
    [['--tls', '--client-cert', 'always'], 'option "--client-cert" must be one of "none", "request", "require"'],
    [['--tls', '--cert', missing], `option "--cert": cannot read ${missing} (ENOENT)`],
    [['--tls', '--cert', folder], `option "--cert": cannot read ${folder} (EISDIR)`],
    [['--tls', '--cert', text, '--key', key], `option "--cert", ${text}: this is no certificate`],
    [['--tls', '--cert', cert, '--key', text], `option "--key", ${text}: this is no private key`],
    [
      ['--tls', '--cert', cert, '--key', otherKey],
      `option "--key", ${otherKey}: the key is not that of the certificate`,
    ],
    [['--tls', '--cert', cert], 'option "--key" is missing; "cert" needs its key'],
    [['--tls', '--cert', both, '--ca', text], `option "--ca", ${text}: these are no certificates to trust`],
  ])('refuses %j', async (args, message) => {
    const { code, stdout, stderr } = await sluice(['echo', ...args]).ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })
})

describe.concurrent('what the command line refuses', () => {
  const engineNames = '"auto", "io_uring", "epoll", "kqueue", "poll"'
  it.each([
    [['engine'], 'sluice: unknown command "engine"; did you mean "engines"?'],
    [
      ['qqq'],
      'sluice: unknown command "qqq"; known are engines, echo, discard, chargen, bench, message-bench, version',
    ],
    [['help', 'chargem'], 'sluice: unknown command "chargem"; did you mean "chargen"?'],
    [['--port', '7'], 'sluice: unknown option "--port"; options follow the command'],
    [['engines', '--jsn'], 'sluice engines: unknown option "--jsn"; did you mean "--json"?'],
    [['engines', '--json=yes'], 'sluice engines: option "--json" takes no value'],
    [['echo', '--prot', '7'], 'sluice echo: unknown option "--prot"; did you mean "--port"?'],
    [['discard', '--thread=2'], 'sluice discard: unknown option "--thread"; did you mean "--threads"?'],
    [['chargen', '-x'], 'sluice chargen: unknown option "-x"; see --help'],
    [['echo', '7'], 'sluice echo: unexpected argument "7"'],
    [['echo', '--port', '65536'], 'sluice echo: option "--port" must be an integer from 0 to 65535, not 65536'],
    [['echo', '--port', 'seven'], `sluice echo: option "--port" must be an integer from 0 to 65535, not 'seven'`],
    [['echo', '--port', '--via'], 'sluice echo: option "--port" needs a value: an integer from 0 to 65535'],
    [['echo', '--threads=-1'], 'sluice echo: option "--threads" must be an integer from 0 to 64, not -1'],
    [
      ['echo', '--via', 'duplx'],
      `sluice echo: option "--via" must be one of "handlers", "duplex", not 'duplx'; did you mean "duplex"?`,
    ],
    [
      ['echo', '--engine', 'epol'],
      `sluice echo: option "--engine" must be one of ${engineNames}, not 'epol'; did you mean "epoll"?`,
    ],
    [['echo', '--path', 'x', '--port', '7'], 'sluice echo: option "--port" cannot be given together with "--path"'],
    [['echo', '--path', 'x', '--host', 'y'], 'sluice echo: option "--host" cannot be given together with "--path"'],
  ] satisfies [string[], string][])('%j, with the reason, where to look, and code 2', async (args, message) => {
    const command = message.slice(0, message.indexOf(':'))
    const stderr = `${message}\nTry "${command} --help".`
    expect(await sluice(args).ended).toEqual({ code: 2, signal: null, stdout: '', stderr })
  })

  it.each([
    ['epol', /"epol'?|'epol'.*did you mean "epoll"\?/],
    ['sim', /SLUICE_ENGINE is 'sim', a network that no other process can reach/],
  ])('SLUICE_ENGINE=%s for a service, with code 2', async (value, message) => {
    const { code, stdout, stderr } = await sluice(['echo'], { SLUICE_ENGINE: value }).ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain('SLUICE_ENGINE')
    expect(stderr).toMatch(message)
  })
})

describe.concurrent('the help', () => {
  it('of sluice names every command and the exit codes', async () => {
    const { code, stdout, stderr } = await sluice(['--help']).ended
    expect([code, stderr]).toEqual([0, ''])
    for (const command of ['engines', 'echo', 'discard', 'chargen', 'bench', 'message-bench', 'version', 'help']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'))
    }
    expect(stdout).toContain('Exit codes: 0 done, 1 failed, 2 wrong usage.')
    expect((await sluice(['help']).ended).stdout).toBe(stdout)
    expect((await sluice(['-h']).ended).stdout).toBe(stdout)
    // Without a command it is an answer to a mistake.
    expect(await sluice([]).ended).toEqual({ code: 2, signal: null, stdout: '', stderr: stdout })
  })

  const serviceOptions = ['--port', '--host', '--path', '--engine', '--threads', '--via', '--help']
  it.each([
    ['engines', ['--json', '--help']],
    ['echo', serviceOptions],
    ['discard', serviceOptions],
    ['chargen', serviceOptions],
    ['bench', ['--help']],
    ['message-bench', ['--cases', '--peers', '--rounds', '--seconds', '--body-bytes', '--json', '--list', '--help']],
    ['version', ['--help']],
  ])('of %s names each of its options, and fits a terminal', async (command, options) => {
    const { code, stdout, stderr } = await sluice([command, '--help']).ended
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout.split('\n')[0]).toMatch(new RegExp(`^Usage: sluice ${command} `))
    for (const option of options) expect(stdout).toContain(option)
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120)
    expect((await sluice(['help', command]).ended).stdout).toBe(stdout)
    expect((await sluice([command, '-h']).ended).stdout).toBe(stdout)
  })

  it('comes with a version, told as -v, --version and version', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const line = `sluice ${version}, node ${process.version}, ${process.platform}-${process.arch}`
    for (const word of ['-v', '--version', 'version']) expect(await sluice([word]).ended).toEqual(fine(line))
  })
})
