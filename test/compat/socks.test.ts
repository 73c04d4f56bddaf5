// SOCKS with others: `ssh -D` and microsocks as the servers that we go through, and curl as the client of a server that is
// made of a step of one's own and a relay. What curl asks for is what we ask for, byte for byte.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import * as net from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  acceptProxy,
  type Connection,
  type CustomStep,
  type OpeningConnection,
  type Runtime,
  relay,
  type StepAnswer,
  socks4,
  socks5,
} from 'sluice'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { findProgram } from '../support/installed.js'
import { inlineKernelModes, kernelModes } from '../support/modes.js'
import { portOf } from '../support/pair.js'

const run = promisify(execFile)

/** A port that nobody has at the moment. */
async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A program that listens on a port of its choosing ends with this. */
async function startListening(port: number, command: string, ...args: string[]): Promise<AsyncDisposable> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  const isThere = () =>
    new Promise<boolean>((resolve) => {
      const probe = net.connect(port, '127.0.0.1', () => probe.destroy())
      probe.on('error', () => resolve(false)).on('close', (hadError) => resolve(!hadError))
    })
  while (!(await isThere())) {
    if (child.exitCode !== null) throw new Error(`${command} has ended:\n${said}`)
  }
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** Answers each line, and says over which kind of connection it came. */
const answering = {
  data(connection: Connection) {
    const { tls, proxy } = connection
    connection.end(`answer ${tls?.protocol ?? 'plain'} ${proxy?.uniqueId?.toString() ?? 'direct'}`)
  },
  error() {},
}

async function ask(connection: Connection): Promise<string> {
  connection.write('question')
  let answer = ''
  for await (const batch of connection) answer += Buffer.concat(batch).toString()
  return answer
}

/** Names that lead to 127.0.0.1, and how each version goes there. */
async function goesThrough(runtime: Runtime, socks: { host: string; port: number }, versions: readonly (4 | 5)[]) {
  const plain = await runtime.listen({ host: '127.0.0.1', port: 0 }, answering)
  const secure = { tls: id.serving, handshake: [acceptProxy()] }
  const secured = await runtime.listen({ host: '127.0.0.1', port: 0, ...secure }, answering)
  for (const version of versions) {
    for (const host of ['127.0.0.1', 'localhost']) {
      const connection = await runtime.connect({ host, port: portOf(plain), socks: { ...socks, version } })
      expect(await ask(connection)).toBe('answer plain direct')
    }
    const tls = { tls: id.trusting, sendProxy: { uniqueId: 'me' } }
    const to = { host: 'localhost', port: portOf(secured), socks: { ...socks, version } }
    expect(await ask(await runtime.connect({ ...to, ...tls }))).toBe('answer TLSv1.3 me')
  }
}

const sshd = [findProgram('sshd'), '/usr/sbin/sshd'].find((path) => path !== undefined && existsSync(path))
describe.runIf(sshd !== undefined && findProgram('ssh') !== undefined)('ssh -D', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-ssh-'))
  const running: AsyncDisposable[] = []
  let port = 0

  beforeAll(async () => {
    const at = (name: string) => join(folder, name)
    for (const name of ['host', 'user']) spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
    const own = await freePort()
    // It wants this folder when it runs as root.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    const config = [
      ...['ListenAddress 127.0.0.1', `Port ${own}`, `HostKey ${at('host')}`, `AuthorizedKeysFile ${at('user.pub')}`],
      ...['PidFile none', 'StrictModes no', 'UsePAM no', 'PermitRootLogin yes', 'PasswordAuthentication no'],
    ]
    writeFileSync(at('sshd_config'), `${config.join('\n')}\n`)
    running.push(await startListening(own, sshd!, '-D', '-e', '-f', at('sshd_config')))
    port = await freePort()
    const options = ['ExitOnForwardFailure=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null']
    const to = ['-p', String(own), '-i', at('user'), `${userInfo().username}@127.0.0.1`]
    const quiet = ['-F', 'none', '-N', '-D', `127.0.0.1:${port}`, ...options.flatMap((option) => ['-o', option])]
    running.push(await startListening(port, 'ssh', ...quiet, ...to))
  }, 30_000)
  afterAll(async () => {
    for (const program of running.reverse()) await program[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })

  it.each(kernelModes())('leads us on by SOCKS 5, 4 and 4a, to TLS too, on $name', async (mode) => {
    await using runtime = mode.start()
    await goesThrough(runtime, { host: '127.0.0.1', port }, [5, 4])
  })

  it.each(kernelModes())('leads to another SOCKS server behind it, on $name', async (mode) => {
    await using runtime = mode.start()
    const target = await runtime.listen({ host: '127.0.0.1', port: 0 }, answering)
    const last = { host: 'localhost', port: portOf(target) }
    for (const step of [socks5(last), socks4(last)]) {
      const twice = { host: '127.0.0.1', port, socks: { host: '127.0.0.1', port }, handshake: [step] }
      expect(await ask(await runtime.connect(twice))).toBe('answer plain direct')
    }
  })
})

describe.runIf(findProgram('microsocks') !== undefined)('microsocks', () => {
  it.each(inlineKernelModes())('leads us on by SOCKS 5, on $name', async (mode) => {
    await using runtime = mode.start()
    const port = await freePort()
    await using _ = await startListening(port, 'microsocks', '-i', '127.0.0.1', '-p', String(port))
    await goesThrough(runtime, { host: '127.0.0.1', port }, [5])
  })

  it.runIf(findProgram('curl') !== undefined).each(inlineKernelModes())('leads curl to us, on $name', async (mode) => {
    await using runtime = mode.start()
    const port = await freePort()
    await using _ = await startListening(port, 'microsocks', '-i', '127.0.0.1', '-p', String(port))
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, handshake: [acceptProxy()] }, answeringHttp)
    for (const option of ['--socks5', '--socks5-hostname']) {
      const url = `http://localhost:${portOf(listener)}/`
      expect(await curl(option, `127.0.0.1:${port}`, '--haproxy-protocol', url)).toBe('127.0.0.1')
    }
  })
})

// ---- curl to a SOCKS server of ours

const curl = async (...args: string[]) =>
  (await run('curl', ['--silent', '--show-error', '--max-time', '10', '--noproxy', '', ...args])).stdout

const answeringHttp = {
  data(connection: Connection) {
    const body = connection.proxy?.source?.address ?? 'nobody'
    connection.end(`HTTP/1.0 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  },
  error() {},
}

interface Asked {
  host: string
  port: number
  user?: string
  password?: string
  /** The last request, as it came. */
  request: string
}

/** SOCKS 4, 4a and 5 as a server, with passwords if it is told of one; grants everything. */
class SocksServer implements CustomStep {
  readonly name = 'socksServer'
  readonly asked: Asked[] = []
  private readonly stages = new WeakMap<OpeningConnection, { at: number; user?: string; password?: string }>()
  constructor(private readonly password?: string) {}

  bytes(connection: OpeningConnection, bytes: Buffer): StepAnswer {
    return bytes[0] === 4 ? this.version4(connection, bytes) : this.version5(connection, bytes)
  }

  private version4(connection: OpeningConnection, bytes: Buffer): StepAnswer {
    const userEnd = bytes.indexOf(0, 8)
    if (bytes.length < 9 || userEnd < 0) return 'needMore'
    const isName = bytes.readUInt32BE(4) <= 255
    const end = isName ? bytes.indexOf(0, userEnd + 1) : userEnd
    if (end < 0) return 'needMore'
    const host = isName ? bytes.toString('latin1', userEnd + 1, end) : [...bytes.subarray(4, 8)].join('.')
    const asked = { host, port: bytes.readUInt16BE(2), user: bytes.toString('latin1', 8, userEnd) }
    this.asked.push({ ...asked, request: bytes.subarray(0, end + 1).toString('latin1') })
    connection.write(Uint8Array.of(0, 0x5a, 0, 0, 0, 0, 0, 0))
    connection.data = asked
    return { consumed: end + 1 }
  }

  // All that was said before comes again with more, so it notes how far it has got.
  private version5(connection: OpeningConnection, all: Buffer): StepAnswer {
    const stage = this.stages.get(connection) ?? { at: 0 }
    this.stages.set(connection, stage)
    if (stage.at === 0) {
      if (all.length < 2 || all.length < 2 + all[1]!) return 'needMore'
      const wanted = this.password === undefined ? 0 : 2
      if (!all.subarray(2, 2 + all[1]!).includes(wanted)) {
        connection.write(Uint8Array.of(5, 0xff))
        return { verdict: 'close' }
      }
      connection.write(Uint8Array.of(5, wanted))
      stage.at = 2 + all[1]!
    }
    if (this.password !== undefined && stage.user === undefined) {
      const bytes = all.subarray(stage.at)
      const userEnd = 2 + (bytes[1] ?? 255)
      if (bytes.length < userEnd + 1 || bytes.length < userEnd + 1 + bytes[userEnd]!) return 'needMore'
      stage.user = bytes.toString('latin1', 2, userEnd)
      stage.password = bytes.toString('latin1', userEnd + 1, userEnd + 1 + bytes[userEnd]!)
      const isRight = stage.password === this.password
      connection.write(Uint8Array.of(1, isRight ? 0 : 1))
      if (!isRight) return { verdict: 'close' }
      stage.at += userEnd + 1 + bytes[userEnd]!
    }
    const bytes = all.subarray(stage.at)
    const sizes: Record<number, number> = { 1: 4, 3: 1 + (bytes[4] ?? 0), 4: 16 }
    if (bytes.length < 5 || bytes.length < 4 + sizes[bytes[3]!]! + 2) return 'needMore'
    const end = 4 + sizes[bytes[3]!]!
    const host =
      bytes[3] === 3
        ? bytes.toString('latin1', 5, end)
        : bytes[3] === 1
          ? [...bytes.subarray(4, 8)].join('.')
          : (bytes.toString('hex', 4, 20).match(/.{4}/g)!.join(':') as string)
    const asked = { host, port: bytes.readUInt16BE(end), user: stage.user, password: stage.password }
    this.asked.push({ ...asked, request: bytes.subarray(0, end + 2).toString('latin1') } as Asked)
    connection.write(Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    connection.data = asked
    return { consumed: stage.at + end + 2 }
  }
}

describe.runIf(findProgram('curl') !== undefined).each(kernelModes())(
  'curl through a server of ours on $name',
  (mode) => {
    async function serve(runtime: Runtime, server: SocksServer) {
      const front = await runtime.listen(
        { host: '127.0.0.1', port: 0, allowHalfOpen: true, handshake: [server] },
        {
          async open(client: Connection<Asked>) {
            client.pause()
            const { host, port } = client.data!
            try {
              relay(client, await runtime.connect({ host, port, allowHalfOpen: true }))
            } catch {
              client.reset()
            }
          },
          error() {},
        },
      )
      const target = await runtime.listen({ host: '127.0.0.1', port: 0, handshake: [acceptProxy()] }, answeringHttp)
      return { front: portOf(front), target: portOf(target) }
    }

    it.each([
      ['--socks4', '127.0.0.1', 4, {}],
      ['--socks4a', 'localhost', 4, {}],
      ['--socks5', '127.0.0.1', 5, {}],
      ['--socks5-hostname', 'localhost', 5, {}],
      ['--socks5-hostname', 'localhost', 5, { user: 'me', password: 'secret' }],
    ] as const)('%s to %s asks as we do', async (option, host, version, login) => {
      await using runtime = mode.start()
      const server = new SocksServer('password' in login ? login.password : undefined)
      const { front, target } = await serve(runtime, server)
      const by = 'user' in login ? ['--socks5-basic', '--proxy-user', `${login.user}:${login.password}`] : []
      const url = `http://${host}:${target}/`
      expect(await curl(...by, option, `127.0.0.1:${front}`, '--haproxy-protocol', url)).toBe('127.0.0.1')
      const socks = { host: '127.0.0.1', port: front, version, ...login }
      const ours = await runtime.connect({ host, port: target, socks, sendProxy: true })
      expect(await ask(ours)).toMatch(/127\.0\.0\.1$/)
      const [theirs, own] = server.asked
      expect(own).toEqual(theirs)
      expect(own).toMatchObject({ host, port: target, ...login })
    })

    it('a wrong password is refused, to both', async () => {
      await using runtime = mode.start()
      const { front, target } = await serve(runtime, new SocksServer('secret'))
      const by = ['--socks5-basic', '--proxy-user', 'me:wrong', '--socks5', `127.0.0.1:${front}`]
      await expect(curl(...by, `http://127.0.0.1:${target}/`)).rejects.toMatchObject({ code: 97 })
      const socks = { host: '127.0.0.1', port: front, user: 'me', password: 'wrong' }
      const failed = runtime.connect({ host: '127.0.0.1', port: target, socks })
      await expect(failed).rejects.toMatchObject({ code: 'ERR_SLUICE_SOCKS_AUTH_DENIED' })
      const silent = runtime.connect({ host: '127.0.0.1', port: target, socks: { host: '127.0.0.1', port: front } })
      await expect(silent).rejects.toMatchObject({ code: 'ERR_SLUICE_SOCKS_NO_METHOD' })
    })
  },
)
