// curl as the proxy in front of us: what it sends before HTTP, and before TLS.
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { acceptProxy, type Connection, type ListenOptions, monitor, sniff } from 'sluice'
import { describe, expect, it } from 'vitest'
import * as id from '../support/identities.js'
import { kernelModes } from '../support/modes.js'
import { portOf } from '../support/pair.js'

const run = promisify(execFile)
const hasCurl = spawnSync('curl', ['--version']).status === 0

/** Answers each request with who asks, as the PROXY header has it. */
const answering = {
  data(connection: Connection) {
    const { proxy, tls, remotePort } = connection
    const body = JSON.stringify({ version: proxy?.version, source: proxy?.source, tls: tls?.protocol, remotePort })
    connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
    connection.end()
  },
  error() {},
}

describe.runIf(hasCurl).each(kernelModes())('curl, against $name', (mode) => {
  const served = async (options: Partial<ListenOptions>, ...args: (string | ((port: number) => string))[]) => {
    await using runtime = mode.start()
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0, ...options }, answering)
    const filled = args.map((arg) => (typeof arg === 'string' ? arg : arg(portOf(listener))))
    const { stdout } = await run('curl', ['--silent', '--show-error', '--max-time', '10', ...filled])
    return stdout
  }
  const http = (port: number) => `http://127.0.0.1:${port}/`
  const https = (port: number) => `https://127.0.0.1:${port}/`

  it('--haproxy-protocol is understood', async () => {
    const seen = JSON.parse(
      await served({ handshake: [acceptProxy({ from: ['127.0.0.1'] })] }, '--haproxy-protocol', http),
    )
    expect(seen).toMatchObject({ version: 1, source: { address: '127.0.0.1', port: seen.remotePort } })
  })

  it('--haproxy-protocol before TLS is, too', async () => {
    const options = { handshake: [acceptProxy()], tls: id.serving }
    const seen = JSON.parse(await served(options, '--haproxy-protocol', '--insecure', https))
    expect(seen).toMatchObject({ version: 1, source: { address: '127.0.0.1', port: seen.remotePort }, tls: 'TLSv1.3' })
  })

  it('finds plaintext and TLS on one port', async () => {
    const options = { handshake: [sniff({ plain: 'allow' })], tls: id.serving }
    expect(JSON.parse(await served(options, http))).not.toHaveProperty('tls')
    expect(JSON.parse(await served(options, '--insecure', https))).toHaveProperty('tls', 'TLSv1.3')
  })

  it('is answered as a monitor by HTTP', async () => {
    const options = { handshake: [monitor({ answer: 'http' })] }
    expect(await served(options, '--write-out', '%{http_code}', http)).toBe('200')
  })
})
