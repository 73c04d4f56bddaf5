// The page of statistics in a real browser, which draws it and prints what has become of it.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { accessSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { NamedServer, startProxy } from '../support/proxied.js'

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => {
  try {
    accessSync(path)
    return true
  } catch {
    return false
  }
})

/** The document after its script has run for so long, at a window of this width. */
async function drawn(url: string, width: number): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), 'sluice-browser-'))
  try {
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
    const more = [
      `--user-data-dir=${profile}`,
      `--window-size=${width},900`,
      '--virtual-time-budget=5000',
      '--dump-dom',
    ]
    const { stdout } = await promisify(execFile)(browser!, [...flags, ...more, url], { timeout: 50_000 })
    return stdout
  } finally {
    await rm(profile, { recursive: true, force: true })
  }
}

describe.runIf(browser !== undefined)('the page of statistics', () => {
  it('shows what there is: listeners, servers, certificates, and rates after two looks', async () => {
    await using a = await NamedServer.listen('<b>a</b>')
    await using proxy = await startProxy(['--listen', '0', '--to', a.address, '--check', '--max-connections', '500', '--stats', '0', '--tls', '--plain']) // biome-ignore format: one line
    const socket = connect({ port: proxy.port, host: '127.0.0.1' })
    socket.write('<script>')
    await once(socket, 'data')
    const page = await drawn(`${proxy.statsUrl}/`, 1200)
    socket.destroy()
    expect(page).toContain('data-ready="yes"')
    const text = page.replace(/<script>[\s\S]*<\/script>/, '').replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ') // biome-ignore format: one line
    for (const part of ['running', 'Listeners', `127.0.0.1:${proxy.port} (TLS)`, 'accepting', '1 / 500', 'Upstream servers', a.address, 'CN=localhost', 'good, 0 bad; connected']) // biome-ignore format: one line
      expect(text).toContain(part)
    // Twice or more: the lines of the tiles have points, and the processor's part is known.
    expect(page).toMatch(/points="[\d.]+,[\d.]+ [\d.]+,[\d.]+/)
    expect(text).toMatch(/Processor [\d.]+ %/)
    expect(text).not.toMatch(/undefined|NaN|\[object/)
  }, 60_000)

  it('shows tables, lists of networks and rules by their names, and who stands between', async () => {
    await using a = await NamedServer.listen('a')
    const config = {
      stats: { port: 0 },
      networks: { office: ['10.0.0.0/8', '127.0.0.9'] },
      tables: { clients: { size: 100, store: { connCount: true }, exchange: true } },
      redis: 'redis://127.0.0.1:1',
      listeners: [
        {
          port: 0,
          rules: [
            { action: 'track', table: 'clients' },
            { action: 'reject', when: { source: 'office' } },
          ],
        },
      ],
      upstreams: { a: { servers: [a.address], socks: 'socks5://me:secret@127.0.0.1:1' } },
    }
    const folder = await mkdtemp(join(tmpdir(), 'sluice-page-'))
    const file = join(folder, 'proxy.json')
    await writeFile(file, JSON.stringify(config))
    await using proxy = await startProxy(['--config', file])
    const page = await drawn(`${proxy.statsUrl}/`, 500)
    await rm(folder, { recursive: true })
    const text = page.replace(/<script>[\s\S]*<\/script>/, '').replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ') // biome-ignore format: one line
    for (const part of ['Lists of networks', 'office 2', 'Tables', 'clients 0 / 100', 'unreachable', 'track {&quot;table&quot;:&quot;clients&quot;}', 'through SOCKS at 127.0.0.1:1']) // biome-ignore format: one line
      expect(text.replaceAll('"', '&quot;')).toContain(part)
    expect(text).not.toMatch(/undefined|NaN|\[object|secret/)
  }, 60_000)
})
