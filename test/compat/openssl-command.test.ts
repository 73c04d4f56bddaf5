// The openssl command as the peer: s_client, s_server and s_time.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CertificateAndKey,
  createCertificate,
  type Runtime,
  SniPolicy,
  type TlsClientOptions,
  TlsContext,
  type TlsServerOptions,
} from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes, type Mode } from '../support/modes.js'
import { echo, eventually, portOf } from '../support/pair.js'
import { Record } from '../support/record.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-openssl-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const ca = file('ca.pem', id.authority.cert)
const pairFiles = (name: string, { cert, key }: CertificateAndKey) => [
  ...['-cert', file(`${name}.pem`, cert), '-key', file(`${name}.key`, key)],
]
const serverFiles = pairFiles('server', id.server)
const rsaFiles = pairFiles('rsa', id.rsaServer)
const clientFiles = pairFiles('client', id.client)

/** The openssl command while it runs. */
class Command implements AsyncDisposable {
  output = ''
  readonly process: ChildProcess
  readonly ended: Promise<number | null>
  private readonly waiting: {
    for: RegExp
    resolve: (match: RegExpExecArray) => void
    reject: (error: Error) => void
  }[] = []

  constructor(...args: string[]) {
    this.process = spawn('openssl', args, { stdio: 'pipe', timeout: 18_000, killSignal: 'SIGKILL' })
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
        this.look()
      })
    }
    this.process.stdin!.on('error', () => {})
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code) => {
        for (const { reject } of this.waiting.splice(0)) reject(new Error(`openssl ended (${code}):\n${this.output}`))
        resolve(code)
      })
    })
  }

  says(text: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ for: text, resolve, reject })
      this.look()
    })
  }

  private look(): void {
    for (const waiter of this.waiting.splice(0)) {
      const match = waiter.for.exec(this.output)
      if (match === null) this.waiting.push(waiter)
      else waiter.resolve(match)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill('SIGKILL')
    await this.ended
  }
}

/** Lets s_client talk to sluice; it sends a line, waits for it to come back, and ends. */
async function client(mode: Mode, tls: TlsServerOptions, ...args: string[]) {
  await using runtime = mode.start()
  const record = new Record(echo)
  const failures: string[] = []
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, tls: { ...id.serving, ...tls } },
    { ...record.handlers, handshakeError: ({ code }) => void failures.push(code) },
  )
  const to = ['-connect', `127.0.0.1:${portOf(listener)}`, '-servername', 'localhost', '-CAfile', ca]
  await using command = new Command('s_client', ...to, '-verify_return_error', ...args)
  command.process.stdin!.write('there and back\n')
  // Where it is refused, it ends before.
  await command.says(/there and back/).catch(() => {})
  const { output } = command
  command.process.stdin!.end()
  const code = await command.ended
  return { output, code, record, failures }
}

/** A server that sends each line back in reverse. */
async function server(...args: string[]): Promise<{ command: Command; port: number }> {
  const command = new Command('s_server', '-accept', '127.0.0.1:0', '-rev', ...args)
  const match = await command.says(/ACCEPT \S*:(\d+)/)
  return { command, port: Number(match[1]) }
}

async function talk(runtime: Runtime, port: number, tls: TlsClientOptions | TlsContext) {
  const record = new Record()
  const connection = await runtime.connect({ host: '127.0.0.1', port, tls }, record.handlers)
  connection.write('there\n')
  await record.until(() => record.sizeBytes >= 6 || record.count('close') > 0)
  if (record.error !== undefined) throw record.error
  expect(record.text).toBe('ereht\n')
  const { protocol, cipher, resumed, alpn, authorized, group } = connection.tls!
  await connection.close()
  return { protocol, cipher, resumed, alpn, authorized, group }
}

const some = kernelModes().filter(({ engine }) => engine === 'epoll' || engine === 'io_uring')

describe.each(some)('openssl s_client to sluice on $name', (mode) => {
  it.each([
    ['TLS 1.3', {}, ['-tls1_3'], /TLSv1.3, Cipher is TLS_/],
    ['TLS 1.2', {}, ['-tls1_2'], /TLSv1.2, Cipher is ECDHE-/],
    ['a cipher', {}, ['-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256'], /Cipher is TLS_CHACHA20_POLY1305_SHA256/],
    [
      'an old cipher',
      id.rsaServer,
      ['-tls1_2', '-cipher', 'DHE-RSA-AES256-GCM-SHA384'],
      /Cipher is DHE-RSA-AES256-GCM-SHA384/,
    ],
    [
      'a group',
      {},
      ['-groups', 'P-384'],
      /Server Temp Key: ECDH, (P-384|secp384r1)|Negotiated TLS1.3 group: secp384r1/,
    ],
    ['RSA', id.rsaServer, [], /RSA-PSS/],
    ['a protocol', { alpn: ['h2', 'x'] }, ['-alpn', 'x'], /ALPN protocol: x/],
    ['a certificate of its own', { clientCert: 'require' }, clientFiles, /Verify return code: 0/],
    ['an OCSP response', { ocsp: Buffer.from('30030a0103', 'hex') }, ['-status'], /OCSP Response Status: trylater/],
    ['keys exported', {}, ['-keymatexport', 'EXPORTER-x', '-keymatexportlen', '20'], /Keying material: [0-9A-F]{40}/],
  ] as [string, TlsServerOptions, string[], RegExp][])('agrees on %s', async (_, tls, args, expected) => {
    const { output, record } = await client(mode, tls, ...args)
    expect(output).toMatch(expected)
    expect(output).toMatch(/Verification: OK|Verify return code: 0 \(ok\)/)
    await record.saw('close')
    expect(record.text).toBe('there and back\n')
  })

  it('resumes, by ticket and by id', async () => {
    for (const [args, tls] of [
      [['-tls1_3'], {}],
      [['-tls1_2'], {}],
      [['-tls1_2', '-no_ticket'], {}],
    ] as const) {
      const session = join(folder, `session-${args.join('')}`)
      await using runtime = mode.start()
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls: { ...id.serving, ...tls } }, echo)
      for (const [flag, expected] of [
        ['-sess_out', /\nNew, /],
        ['-sess_in', /\nReused, /],
      ] as const) {
        const to = ['-connect', `127.0.0.1:${portOf(listener)}`, '-CAfile', ca, flag, session]
        await using command = new Command('s_client', ...to, ...args)
        command.process.stdin!.write('x\n')
        await command.says(expected)
        await command.says(/\nx\n/)
        command.process.stdin!.end()
        await command.ended
      }
    }
  })

  it('is refused without the certificate that is required', async () => {
    for (const version of ['-tls1_2', '-tls1_3']) {
      const { failures, output } = await client(mode, { clientCert: 'require' }, version)
      expect(failures).toEqual(['ERR_SLUICE_TLS_CERTIFICATE_MISSING'])
      expect(output).toMatch(version === '-tls1_2' ? /handshake failure/ : /certificate required/)
    }
  })

  it('is refused by a version that nobody wants', async () => {
    const { failures } = await client(mode, { minVersion: 'TLSv1.3' }, '-tls1_2')
    expect(failures).toEqual(['ERR_SLUICE_TLS_UNSUPPORTED_VERSION'])
  })

  it('updates its keys, and asks for ours', async () => {
    await using runtime = mode.start()
    const record = new Record(echo)
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls: id.serving }, record.handlers)
    await using command = new Command('s_client', '-connect', `127.0.0.1:${portOf(listener)}`, '-CAfile', ca, '-tls1_3')
    for (const [line, answer] of [
      ['one', /\none\n/],
      ['K', /KEYUPDATE/], // and the peer's
      ['two', /\ntwo\n/],
      ['k', /KEYUPDATE[\s\S]*KEYUPDATE/],
      ['three', /\nthree\n/],
    ] as const) {
      command.process.stdin!.write(`${line}\n`)
      await command.says(answer)
    }
    expect(record.text).toBe('one\ntwo\nthree\n')
  })
})

/** The same session, for who believes that its server takes early data: in place [15] of OpenSSL's form of it, INTEGER. */
function withEarlyData(pem: string): string {
  const [, body] = /SESSION PARAMETERS-----([^-]+)-----END/.exec(pem)!
  const der = Buffer.from(body!, 'base64')
  const partAt = (at: number) => {
    const long = der[at + 1]! & 0x80 ? der[at + 1]! & 0x7f : 0
    const head = at + 2 + long
    return { head, end: head + (long === 0 ? der[at + 1]! : der.readUIntBE(at + 2, long)) }
  }
  const all = partAt(0)
  const parts: Buffer[] = []
  const place = 0xaf
  const isBehind = (part: Buffer) => part[0]! > place && part[0]! < 0xc0
  for (let at = all.head; at < all.end; at = partAt(at).end) {
    if (der[at] !== place) parts.push(der.subarray(at, partAt(at).end))
  }
  const behind = parts.findIndex(isBehind)
  parts.splice(behind < 0 ? parts.length : behind, 0, Buffer.from([place, 4, 2, 2, 0x40, 0]))
  const inner = Buffer.concat(parts)
  const head = Buffer.from([0x30, 0x82, inner.length >> 8, inner.length & 255])
  const text = Buffer.concat([head, inner])
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')
  return `-----BEGIN SSL SESSION PARAMETERS-----\n${text.trimEnd()}\n-----END SSL SESSION PARAMETERS-----\n`
}

describe.each(some)('openssl s_client to a policy by name on $name', (mode) => {
  const entry = (name: string, tls: Partial<TlsServerOptions> = {}) => ({
    names: name,
    tls: { ...createCertificate({ names: [name], issuer: id.authority }), ca: id.authority.cert, ...tls },
  })

  async function ask(port: number, name: string, ...args: string[]) {
    const to = ['-connect', `127.0.0.1:${port}`, '-servername', name, '-CAfile', ca]
    await using command = new Command('s_client', ...to, ...args)
    command.process.stdin!.write('x\n')
    await command.says(/\nx\n/)
    command.process.stdin!.end()
    await command.ended
    return command.output
  }

  it('gives each name the lifetime of its sessions, and tickets or none', async () => {
    await using runtime = mode.start()
    const policy = new SniPolicy({
      entries: [
        entry('own.example', { sessionTimeoutS: 77 }),
        entry('a.example'),
        entry('b.example', { tickets: false }),
      ],
      sessionTimeoutS: 55,
    })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls: policy }, echo)
    const port = portOf(listener)
    for (const version of ['-tls1_2', '-tls1_3']) {
      expect(await ask(port, 'own.example', version)).toMatch(/lifetime hint: 77 /)
      expect(await ask(port, 'a.example', version)).toMatch(/lifetime hint: 55 /)
    }
    expect(await ask(port, 'b.example', '-tls1_2')).not.toMatch(/lifetime hint/)
    policy.contextOf('own.example')!.reload({ sessionTimeoutS: 33 })
    expect(await ask(port, 'own.example', '-tls1_3')).toMatch(/lifetime hint: 33 /)
    // What was given to one name is forgotten at its own time, although the other one remembers for longer.
    policy.contextOf('own.example')!.reload({ sessionTimeoutS: 1 })
    const short = (version: string) => join(folder, `short${version}`)
    for (const version of ['-tls1_2', '-tls1_3'])
      expect(await ask(port, 'own.example', version, '-sess_out', short(version))).toMatch(/\nNew, /)
    await new Promise((resolve) => runtime.after(2_100, () => resolve(undefined)))
    for (const version of ['-tls1_2', '-tls1_3'])
      expect(await ask(port, 'own.example', version, '-sess_in', short(version))).toMatch(/\nNew, /)
  })

  it('tells clients the names of authorities, or keeps them to itself', async () => {
    await using runtime = mode.start()
    const wants = { clientCert: 'request' } as const
    const policy = new SniPolicy({
      entries: [entry('open.example', wants), entry('quiet.example', { ...wants, caNames: false })],
    })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls: policy }, echo)
    for (const version of ['-tls1_2', '-tls1_3']) {
      const told = await ask(portOf(listener), 'open.example', version)
      expect(told).toMatch(/Acceptable client certificate CA names\n.*CN ?= ?Authority/)
      const quiet = await ask(portOf(listener), 'quiet.example', version)
      expect(quiet).toContain('No client certificate CA names sent')
    }
  })

  it('takes no early data: what a client sends before the handshake is done can be sent again by anybody', async () => {
    await using runtime = mode.start()
    const record = new Record(echo)
    const policy = new SniPolicy({ entries: [entry('a.example')] })
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, tls: policy }, record.handlers)
    const session = join(folder, 'early')
    const first = await ask(portOf(listener), 'a.example', '-tls1_3', '-sess_out', session)
    expect(first).toMatch(/Max Early Data: 0/)
    writeFileSync(session, withEarlyData(readFileSync(session, 'latin1')))
    const early = ['-sess_in', session, '-early_data', file('early.txt', 'replayed')]
    const second = await ask(portOf(listener), 'a.example', '-tls1_3', ...early)
    expect(second).toContain('Early data was rejected')
    expect(second).toMatch(/\nReused, /)
    expect(record.text).toBe('x\nx\n')
  })
})

describe.each(some)('openssl s_time to sluice on $name', (mode) => {
  it.each(['-new', '-reuse'])('connects again and again, %s', async (kind) => {
    await using runtime = mode.start()
    // It hangs up with RST as soon as it has what it wants, which may overtake the end of the handshake.
    let seen = 0
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0, tls: id.serving },
      { open: () => void seen++, handshakeError: () => void seen++, data() {}, error() {} },
    )
    const to = ['-connect', `127.0.0.1:${portOf(listener)}`, '-CAfile', ca, '-verify', '5', '-time', '1']
    await using command = new Command('s_time', ...to, kind, '-tls1_2')
    await command.ended
    const [, count] = /(\d+) connections in \d+ real seconds/.exec(command.output)!
    expect(Number(count)).toBeGreaterThan(20)
    await eventually(() => seen >= Number(count))
    expect(command.output).not.toMatch(/ERROR/)
  })
})

describe.each(some)('sluice on $name to openssl s_server', (mode) => {
  it.each([
    ['TLS 1.3', ['-tls1_3'], {}, { protocol: 'TLSv1.3', authorized: true }],
    ['TLS 1.2', ['-tls1_2'], {}, { protocol: 'TLSv1.2', authorized: true }],
    ['a suite', [], { cipherSuites: 'TLS_AES_128_GCM_SHA256' }, { cipher: 'TLS_AES_128_GCM_SHA256' }],
    [
      'a cipher',
      ['-tls1_2'],
      { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' },
      { cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256' },
    ],
    ['a group', ['-groups', 'P-521'], { groups: 'P-521' }, { group: expect.stringMatching(/521/) }],
    ['a protocol', ['-alpn', 'x,y'], { alpn: ['y'] }, { alpn: 'y' }],
    [
      'a certificate of its own',
      ['-Verify', '5', '-verify_return_error', '-CAfile', ca],
      id.client,
      { authorized: true },
    ],
  ] as [string, string[], TlsClientOptions, object][])('agrees on %s', async (_, args, tls, expected) => {
    const { command, port } = await server(...serverFiles, ...args)
    await using _command = command
    await using runtime = mode.start()
    expect(await talk(runtime, port, { ...id.trusting, ...tls })).toMatchObject(expected)
  })

  it('agrees on RSA', async () => {
    const { command, port } = await server(...rsaFiles)
    await using _command = command
    await using runtime = mode.start()
    expect(await talk(runtime, port, id.trusting)).toMatchObject({ authorized: true })
  })

  it('agrees on a pre-shared key', async () => {
    const key = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
    for (const version of ['-tls1_2', '-tls1_3']) {
      const { command, port } = await server('-nocert', '-psk', key.toString('hex'), '-psk_identity', 'me', version)
      await using _command = command
      await using runtime = mode.start()
      expect((await talk(runtime, port, { psk: { identity: 'me', key } })).protocol).toMatch(/^TLSv1/)
    }
  })

  it('resumes, by ticket and by id', async () => {
    for (const args of [['-tls1_3'], ['-tls1_2'], ['-tls1_2', '-no_ticket']]) {
      const { command, port } = await server(...serverFiles, ...args)
      await using _command = command
      await using runtime = mode.start()
      const tls = TlsContext.client(id.trusting)
      expect((await talk(runtime, port, tls)).resumed).toBe(false)
      expect((await talk(runtime, port, tls)).resumed).toBe(true)
    }
  })

  it('is told what is wrong with it', async () => {
    const { command, port } = await server(
      ...serverFiles,
      '-Verify',
      '5',
      '-verify_return_error',
      '-CAfile',
      ca,
      '-tls1_2',
    )
    await using _command = command
    await using runtime = mode.start()
    await expect(talk(runtime, port, id.trusting)).rejects.toMatchObject({
      code: 'ERR_SLUICE_TLS_PEER_ALERT',
      alert: 40,
    })
    const foreign = createCertificate({ names: ['x'], issuer: id.stranger })
    await expect(talk(runtime, port, { ...id.trusting, ...foreign })).rejects.toMatchObject({ alert: 48 })
  })
})
