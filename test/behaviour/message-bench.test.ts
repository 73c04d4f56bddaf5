import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { MessageReport } from '../../bench/messages/results.js'
import { Program, root } from '../support/program.js'

const bench = (...args: string[]) =>
  new Program([process.execPath, join(root, 'dist/cli/main.js'), 'message-bench', ...args], {}, 'ignore', 58_000)
const short = ['--rounds', '2', '--seconds', '0.05', '--warmup', '0']
const folder = mkdtempSync(join(tmpdir(), 'sluice-message-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const peersOf = (report: MessageReport, name: string) =>
  report.cases.find((one) => one.name === name)!.peers.map(({ peer }) => peer)

describe('sluice message-bench', () => {
  it('lists cases and peers', async () => {
    const { code, stdout } = await bench('--list').ended
    expect(code).toBe(0)
    for (const name of ['latency', 'requests', 'tls-requests', 'bodies', 'one-way', 'sluice', 'zeromq', 'grpc', 'json'])
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'))
  })

  it.each([
    [['--cases', 'latancy'], 'option "--cases": unknown name "latancy"; did you mean "latency"?'],
    [['--peers', 'zermq'], 'option "--peers": unknown name "zermq"; did you mean "zeromq"?'],
    [['--body-bytes', '0'], 'option "--body-bytes" must be an integer from 1000000 to'],
    [['--json', '/nowhere/at/all.json'], 'option "--json": cannot write /nowhere/at/all.json (ENOENT)'],
  ])('refuses %s before it measures anything', async (args, message) => {
    const { code, stdout, stderr } = await bench(...args).ended
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })

  it('measures every peer that is installed, in processes of their own', { timeout: 60_000 }, async () => {
    const file = join(folder, 'report.json')
    const { code, stdout, stderr } = await bench('--cases', 'requests,one-way', ...short, '--json', file).ended
    expect([code, stderr]).toEqual([0, expect.stringContaining(`Written: ${file}`)])
    const report: MessageReport = JSON.parse(readFileSync(file, 'utf8'))
    expect(report.format).toBe('sluice-message-bench/1')
    expect([report.complete, report.problems, report.unavailable]).toEqual([true, [], []])
    for (const name of ['requests', 'one-way'])
      expect(peersOf(report, name)).toEqual(['sluice', 'zeromq', 'grpc', 'json'])
    for (const { peers, title } of report.cases) {
      expect(stdout).toContain(title)
      for (const { rounds, value } of peers) {
        expect(rounds).toHaveLength(2)
        for (const { messages, seconds } of rounds) {
          expect(messages).toBeGreaterThan(0)
          expect(seconds).toBeGreaterThanOrEqual(0.05)
        }
        expect(value.min).toBeLessThanOrEqual(value.median)
      }
    }
    const [requests] = report.cases
    expect(requests!.peers[0]!.targets.map(({ against }) => against)).toEqual(['zeromq', 'grpc'])
  })

  it('streams a large body beside small requests, and tells what memory that took', { timeout: 60_000 }, async () => {
    const args = ['--cases', 'large,streams,lent', '--body-bytes', '50000001', ...short]
    const { code, stdout, stderr } = await bench(...args, '--json', join(folder, 'large.json')).ended
    expect([code, stderr]).toEqual([0, expect.stringContaining('Written')])
    const report: MessageReport = JSON.parse(readFileSync(join(folder, 'large.json'), 'utf8'))
    const { large } = report
    expect(large).toMatchObject({ bodyBytes: 50_000_001 })
    expect(large!.requests).toBeGreaterThan(0)
    expect(Math.max(large!.clientGrowthBytes, large!.serverGrowthBytes)).toBeLessThan(large!.bodyBytes)
    for (const name of ['streams', 'lent']) expect(peersOf(report, name)).toEqual(['sluice', 'raw'])
    expect(stdout).toMatch(/memory grew from .* to .* MiB at the client, from .* to .* MiB at the server/)
  })

  it('measures over TLS what has it, and bodies against a raw connection', { timeout: 60_000 }, async () => {
    const { code, stdout } = await bench('--cases', 'tls-requests,bodies', ...short, '--json', '-').ended
    expect(code).toBe(0)
    const report: MessageReport = JSON.parse(stdout)
    expect(peersOf(report, 'tls-requests')).toEqual(['sluice', 'grpc', 'json'])
    expect(peersOf(report, 'bodies')).toEqual(['sluice', 'raw', 'zeromq', 'grpc', 'json'])
  })
})
