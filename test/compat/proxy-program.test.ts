// `sluice proxy` among programs of others: HAProxy in front of it and behind it, curl and openssl as its clients.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as tls from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { findProgram } from '../support/installed.js'
import { haproxy, hasHaproxy } from '../support/peers.js'
import { NamedServer, startProxy } from '../support/proxied.js'

const run = promisify(execFile)
const curl = findProgram('curl')
const openssl = findProgram('openssl')

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-proxy-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function fileOf(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

/** Sends text through TLS, and answers what comes back first. */
async function through(options: tls.ConnectionOptions, text: string): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', rejectUnauthorized: false, ...options })
  try {
    await once(socket, 'secureConnect')
    socket.write(text)
    const ended = once(socket, 'close').then(() => {
      throw new Error('ended without an answer')
    })
    return String((await Promise.race([once(socket, 'data'), ended]))[0])
  } finally {
    socket.destroy()
  }
}

describe.runIf(hasHaproxy)('HAProxy in front of sluice proxy', () => {
  it.each([
    'send-proxy',
    'send-proxy-v2',
  ])('%s: rules, routes, logs and servers go by the client it tells of', async (option) => {
    await using a = await NamedServer.listen('a')
    await using b = await NamedServer.listen('b')
    const config = {
      log: 'sessions',
      listeners: [
        {
          port: 0,
          acceptProxy: { from: ['127.0.0.1'] },
          rules: [{ stage: 'session', action: 'reject', when: { source: '127.0.0.9' } }],
          routes: [{ from: ['127.0.0.8'], to: 'b' }],
          to: 'a',
        },
      ],
      upstreams: { a: { servers: [a.address], sendProxy: 'v1' }, b: { servers: [b.address] } },
    }
    await using proxy = await startProxy(['--config', fileOf(`${option}.json`, JSON.stringify(config))])
    await using front = await haproxy(`listen l\n  bind fd@3\n  server s 127.0.0.1:${proxy.port} ${option}\n`)
    const from = async (localAddress: string) => {
      const socket = connect({ port: front.ports[0]!, host: '127.0.0.1', localAddress })
      socket.write('x')
      const [answer] = await Promise.race([
        once(socket, 'data'),
        once(
          socket.on('error', () => {}),
          'close',
        ),
      ])
      const { localPort } = socket
      socket.destroy()
      return { answer: String(answer), localPort }
    }
    const first = await from('127.0.0.7')
    await until(() => a.received.endsWith('x'))
    expect(a.received).toBe(`PROXY TCP4 127.0.0.7 127.0.0.1 ${first.localPort} ${front.ports[0]}\r\nx`)
    expect(JSON.parse(await proxy.line('stderr'))).toMatchObject({ client: `127.0.0.7:${first.localPort}`, server: a.address }) // biome-ignore format: one line
    expect((await from('127.0.0.8')).answer).toBe('b:x')
    expect((await from('127.0.0.9')).answer).not.toContain(':x')
  })

  it('tells of the client’s TLS and of the session’s name, and both go on to the server', async () => {
    await using a = await NamedServer.listen('a')
    const config = {
      log: 'sessions',
      listeners: [
        {
          port: 0,
          acceptProxy: true,
          rules: [{ stage: 'session', action: 'reject', when: { tlv: 2, is: 'no.example' } }],
        },
      ],
      upstreams: { a: { servers: [a.address], sendProxy: { version: 2, ssl: ['commonName', 'cipher'], authority: true, uniqueId: true } } }, // biome-ignore format: one line
    }
    await using proxy = await startProxy(['--config', fileOf('ssl.json', JSON.stringify(config))])
    const server = `server s 127.0.0.1:${proxy.port} send-proxy-v2-ssl-cn proxy-v2-options authority,unique-id,ssl-cipher,crc32c`
    const bind = 'bind fd@3 ssl crt DIR/server.pem ca-file DIR/ca.pem verify optional'
    await using front = await haproxy(`listen l\n  ${bind}\n  unique-id-format session-%pid-%rt\n  ${server}\n`, {
      'server.pem': id.server.cert + id.server.key,
      'ca.pem': id.authority.cert,
    })
    const client = { port: front.ports[0]!, servername: 'a.example', cert: id.client.cert, key: id.client.key }
    await through(client, 'x')
    await until(() => a.received.endsWith('x'))
    const line = JSON.parse(await proxy.line('stderr')) as { id: string }
    expect(line.id).toMatch(/^session-\d+-\d+$/)
    // What HAProxy said of the client is in our own header: its name, the cipher, the name asked for, the session's.
    for (const part of [line.id, 'a.example', 'TLSv1.3', 'TLS_AES_']) expect(a.received).toContain(part)
    await expect(through({ ...client, servername: 'no.example' }, 'x')).rejects.toThrow()
  })
})

describe.runIf(hasHaproxy)('HAProxy behind sluice proxy', () => {
  const told = '%[src] %[dst_port] [%[fc_pp_authority]] [%[fc_pp_unique_id]]'
  const answers = `  mode http\n  http-request return status 200 content-type text/plain lf-string "${told}"\n`

  it.each(['v1', 'v2'])('takes the header of --send-proxy %s', async (version) => {
    await using inner = await haproxy(`frontend f\n  bind fd@3 accept-proxy\n${answers}`)
    await using proxy = await startProxy(['--listen', '0', '--to', `127.0.0.1:${inner.ports[0]}`, '--send-proxy', version]) // biome-ignore format: one line
    const socket = connect({ port: proxy.port, host: '127.0.0.1', localAddress: '127.0.0.7' })
    socket.write('GET / HTTP/1.0\r\n\r\n')
    expect(String((await once(socket, 'data'))[0])).toContain(`\r\n\r\n127.0.0.7 ${proxy.port} `)
    socket.destroy()
  })

  it('takes name and session of one that ends TLS, before TLS of its own', async () => {
    const config = (port: number) => ({
      listeners: [{ port: 0, tls: { cert: id.server.cert, key: id.server.key } }],
      upstreams: {
        inner: {
          servers: [{ host: 'localhost', port }],
          tls: { ca: id.authority.cert },
          sendProxy: { authority: true, uniqueId: true, crc32c: true, ssl: true, alpn: true },
        },
      },
    })
    await using inner = await haproxy(`frontend f\n  bind fd@3 accept-proxy ssl crt DIR/server.pem\n${answers}`, {
      'server.pem': id.server.cert + id.server.key,
    })
    await using proxy = await startProxy(['--config', fileOf('tls.json', JSON.stringify(config(inner.ports[0]!)))])
    const answer = await through({ port: proxy.port, servername: 'b.example' }, 'GET / HTTP/1.0\r\n\r\n')
    expect(answer).toMatch(/\r\n\r\n127\.0\.0\.1 \d+ \[b\.example\] \[[0-9a-f-]{36}\]$/)
  })
})

describe.runIf(curl !== undefined)('curl and sluice proxy', () => {
  async function web(): Promise<{ server: Server; port: number }> {
    const server = createServer((request, response) => response.end(`for ${request.url}`))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return { server, port: (server.address() as AddressInfo).port }
  }

  it('--haproxy-protocol is taken where it is expected, and missed where it is not there', async () => {
    const { server, port } = await web()
    await using proxy = await startProxy(['--listen', '0', '--to', `127.0.0.1:${port}`, '--accept-proxy', '--log', 'sessions']) // biome-ignore format: one line
    const url = `http://127.0.0.1:${proxy.port}/page`
    const { stdout } = await run(curl!, ['-sS', '--max-time', '10', '--haproxy-protocol', url])
    expect(stdout).toBe('for /page')
    expect(JSON.parse(await proxy.line('stderr'))).toMatchObject({ outcome: 'ended', client: expect.stringMatching(/^127\.0\.0\.1:\d+$/) }) // biome-ignore format: one line
    await expect(run(curl!, ['-sS', '--max-time', '10', url])).rejects.toThrow(/\(56\)|\(52\)/)
    expect(JSON.parse(await proxy.line('stderr'))).toMatchObject({ handshake: 'ERR_SLUICE_PROXY_MISSING' })
    server.close()
  })

  it('speaks HTTP/1.1 through TLS that ends here, again and again over one connection', async () => {
    const { server, port } = await web()
    const pem = fileOf('curl.pem', id.server.cert + id.server.key)
    await using proxy = await startProxy(['--listen', '0', '--to', `127.0.0.1:${port}`, '--tls', '--cert', pem, '--stats', '0']) // biome-ignore format: one line
    const ca = fileOf('curl-ca.pem', id.authority.cert)
    const url = `https://localhost:${proxy.port}/`
    const resolve = ['--resolve', `localhost:${proxy.port}:127.0.0.1`]
    const { stdout } = await run(curl!, ['-sS', '--max-time', '10', '--http1.1', '--cacert', ca, ...resolve, `${url}a`, `${url}b`]) // biome-ignore format: one line
    expect(stdout).toBe('for /afor /b')
    const told = (await (await fetch(`${proxy.statsUrl}/stats.json`)).json()) as { listeners: { sessions: { total: number } }[] } // biome-ignore format: one line
    expect(told.listeners[0]!.sessions.total).toBe(1)
    server.close()
  })
})

describe.runIf(openssl !== undefined)('openssl s_client and sluice proxy', () => {
  it('gets the certificate of the name it asks for, and must show one of its own where that is required', async () => {
    await using a = await NamedServer.listen('a')
    const own = (which: { cert: string; key: string }) => ({ cert: which.cert, key: which.key })
    const listener = {
      port: 0,
      tls: {
        ...own(id.server),
        sni: { 'inside.example': { ...own(id.server), ca: id.authority.cert, clientCert: 'require' } },
      },
    }
    const config = { listeners: [listener], upstreams: { a: { servers: [a.address] } } }
    await using proxy = await startProxy(['--config', fileOf('openssl.json', JSON.stringify(config))])
    const certFile = fileOf('client.pem', id.client.cert)
    const keyFile = fileOf('client.key', id.client.key)
    const ask = async (...more: string[]) => {
      const child = run(openssl!, ['s_client', '-connect', `127.0.0.1:${proxy.port}`, '-quiet', '-ign_eof', ...more], { timeout: 10_000 }) // biome-ignore format: one line
      child.child.stdin!.write('x')
      let said = ''
      child.child.stdout!.on('data', (text) => {
        said += text
        child.child.kill()
      })
      await child.catch(() => {})
      return said
    }
    expect(await ask('-servername', 'localhost')).toBe('a:x')
    expect(await ask('-noservername')).toBe('a:x')
    expect(await ask('-servername', 'inside.example')).toBe('')
    expect(await ask('-servername', 'inside.example', '-cert', certFile, '-key', keyFile)).toBe('a:x')
  })
})
