// The programs in examples/, as one would run them.
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { Program, root } from '../support/program.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-examples-'))
afterAll(() => rmSync(folder, { recursive: true }))

const run = (name: string, ...args: string[]) =>
  new Program([process.execPath, join(root, 'examples', name), ...args], {}, 'pipe')

it('are each shorter than 100 lines', () => {
  for (const name of readdirSync(join(root, 'examples')))
    expect([name, readFileSync(join(root, 'examples', name), 'utf8').split('\n').length]).toEqual([
      name,
      expect.toSatisfy((lines: number) => lines < 100),
    ])
})

describe('the chat', () => {
  const addressIn = (line: string) => /listens on (\S+)$/.exec(line)![1]!

  it('connects everybody with everybody, through any of them', { timeout: 30_000 }, async () => {
    await using ann = run('chat.mjs', 'ann')
    const address = addressIn(await ann.line())
    await using bob = run('chat.mjs', 'bob', address)
    expect(await ann.line()).toBe('* bob is here')
    await bob.line()
    expect(await bob.line()).toBe('* ann is here')
    await using cyd = run('chat.mjs', 'cyd', address)
    await cyd.line()
    expect([await cyd.line(), await cyd.line()]).toEqual(['* ann is here', '* bob is here'])
    expect([await ann.line(), await bob.line()]).toEqual(['* cyd is here', '* cyd is here'])
    cyd.say('hello')
    expect([await ann.line(), await bob.line()]).toEqual(['cyd: hello', 'cyd: hello'])
    ann.say('welcome')
    expect([await bob.line(), await cyd.line()]).toEqual(['ann: welcome', 'ann: welcome'])
    bob.kill('SIGKILL')
    expect([await ann.line(), await cyd.line()]).toEqual(['* bob has left', '* bob has left'])
    cyd.end()
    expect(await ann.line()).toBe('* cyd has left')
    expect((await cyd.ended).code).toBe(0)
  })

  it('says so where nobody is', async () => {
    await using ann = run('chat.mjs', 'ann')
    const address = addressIn(await ann.line())
    ann.kill('SIGKILL')
    await ann.ended
    await using bob = run('chat.mjs', 'bob', address)
    await bob.line()
    expect(await bob.line()).toContain(`* nobody at ${address}: `)
  })
})

describe('the file server', () => {
  it('takes files of any size at once, lists them, and gives them back', { timeout: 30_000 }, async () => {
    const [served, own] = ['served', 'own'].map((name) => join(folder, name))
    for (const path of [served!, own!]) mkdirSync(path)
    const large = randomBytes(40_000_000)
    writeFileSync(join(own!, 'large'), large)
    writeFileSync(join(own!, 'empty'), '')
    await using server = run('file-server.mjs', 'serve', served!)
    const address = (await server.line()).split(' ').at(-1)!
    const put = await run('file-server.mjs', 'put', address, join(own!, 'large'), join(own!, 'empty')).ended
    expect([put.code, put.stderr, put.stdout.split('\n').sort()]).toEqual([0, '', ['empty\t0', 'large\t40000000']])
    const list = await run('file-server.mjs', 'list', address).ended
    expect(list.stdout.split('\n').sort()).toEqual(['empty\t0', 'large\t40000000'])
    const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
    expect(digest(readFileSync(join(served!, 'large')))).toBe(digest(large))
    const get = [join(root, 'examples/file-server.mjs'), 'get', address, 'large']
    const options = { encoding: 'buffer', maxBuffer: 50_000_000 } as const
    const { stdout } = await promisify(execFile)(process.execPath, get, options)
    expect(digest(stdout)).toBe(digest(large))
    for (const name of ['../own/large', '.hidden', 'missing']) {
      const refused = await run('file-server.mjs', 'get', address, name).ended
      expect([refused.code, refused.stdout]).toEqual([1, ''])
      expect(refused.stderr).toContain(name === 'missing' ? 'ENOENT: no file missing' : `not a name of a file: ${name}`)
    }
  })
})
