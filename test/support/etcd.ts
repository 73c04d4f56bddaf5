import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { findProgram } from './installed.js'

/** Where etcd is, or undefined. */
export const etcdServer = findProgram('etcd')

/** Skips the test where there is no etcd, and says so. */
export function needsEtcd(context: TestContext): void {
  context.skip(etcdServer === undefined, 'needs: etcd')
}

/** An etcd of the test's own, on loopback, with its data in a folder of its own. */
export class TestEtcd implements AsyncDisposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-etcd-'))
  private ports: number[] = []
  private process: ChildProcess | undefined

  get url(): string {
    return `http://127.0.0.1:${this.ports[0]}`
  }

  /** Starts it: at first on ports that are free, later on the same ones, with the data it had. */
  async start(): Promise<this> {
    for (let attempt = 0; ; attempt++) {
      const isFirst = this.ports.length === 0
      if (isFirst) this.ports = await freePorts()
      if (await this.tryToStart()) return this
      // Somebody else was faster in taking a port.
      if (!isFirst || attempt === 5) throw new Error('etcd does not start')
      this.ports = []
    }
  }

  private async tryToStart(): Promise<boolean> {
    const [client, peer] = this.ports.map((port) => `http://127.0.0.1:${port}`)
    const options = {
      ...{ name: 'test', 'data-dir': join(this.folder, 'data'), logger: 'zap' },
      ...{ 'listen-client-urls': client, 'advertise-client-urls': client },
      ...{ 'listen-peer-urls': peer, 'initial-advertise-peer-urls': peer, 'initial-cluster': `test=${peer}` },
      // Leases cannot be shorter than one and a half elections.
      ...{ 'heartbeat-interval': 10, 'election-timeout': 100 },
    }
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
    const server = spawn(etcdServer!, args, { stdio: 'ignore' })
    this.process = server
    // Asking is the one thing that tells in all versions.
    while (server.exitCode === null) {
      const isHealthy = await fetch(`${this.url}/health`).then(
        async (response) => ((await response.json()) as { health: unknown }).health === 'true',
        () => false,
      )
      if (isHealthy) return true
    }
    return false
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    const server = this.process
    this.process = undefined
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill('SIGKILL')
    await exited
  }

  /** Forgets everything; while it is not running. */
  wipe(): void {
    rmSync(join(this.folder, 'data'), { recursive: true, force: true })
  }

  /** Asks it directly. */
  async ask(path: string, body: object): Promise<unknown> {
    const response = await fetch(`${this.url}${path}`, { method: 'POST', body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`)
    return response.json()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function freePorts(): Promise<number[]> {
  const servers = [createServer(), createServer()]
  for (const server of servers) await once(server.listen(0, '127.0.0.1'), 'listening')
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  for (const server of servers) await once(server.close(), 'close')
  return ports
}
