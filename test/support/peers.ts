// Real programs that stand between: HAProxy, and a SOCKS server.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import * as net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const has = (command: string, ...args: string[]) => spawnSync(command, args).error === undefined

export const hasHaproxy = has('haproxy', '-v')
export const hasMicrosocks = has('microsocks', '-h')

/** A port of TCP that listens already; whoever gets the descriptor accepts. */
export async function listening(): Promise<{ port: number; fd: number; close: () => void }> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  return { port: (server.address() as net.AddressInfo).port, fd, close: () => server.close() }
}

/** HAProxy with this configuration, in which `fd@3`, `fd@4` … are the ports it tells, and `DIR` is a folder with these files. */
export async function haproxy(config: string, files: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  const all = `global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n${config}`
  writeFileSync(join(folder, 'haproxy.cfg'), all.replaceAll('DIR', folder))
  const count = new Set(config.match(/fd@\d+/g)).size
  const sockets = await Promise.all(Array.from({ length: count }, listening))
  const stdio = ['ignore', 'pipe', 'pipe', ...sockets.map(({ fd }) => fd)] as const
  const child = spawn('haproxy', ['-db', '-q', '-f', join(folder, 'haproxy.cfg')], { stdio: [...stdio] })
  for (const socket of sockets) socket.close()
  return { ports: sockets.map(({ port }) => port), ...until(child, () => rmSync(folder, { recursive: true })) }
}

/** A server of SOCKS 5 that has begun to listen. */
export async function microsocks(...args: string[]) {
  const socket = await listening()
  socket.close()
  const child = spawn('microsocks', ['-i', '127.0.0.1', '-p', String(socket.port), ...args], { stdio: 'pipe' })
  const isThere = () =>
    new Promise<boolean>((resolve) => {
      const probe = net.connect(socket.port, '127.0.0.1', () => probe.destroy())
      probe.on('error', () => resolve(false)).on('close', (hadError) => resolve(!hadError))
    })
  while (!(await isThere())) {
    if (child.exitCode !== null) throw new Error('microsocks has ended')
  }
  return { port: socket.port, ...until(child) }
}

/** A child as something to dispose of, and what it said. */
export function until(child: ChildProcess, clean: () => void = () => {}) {
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (said += text))
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  return {
    said: () => said,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
      clean()
    },
  }
}
