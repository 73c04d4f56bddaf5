import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { findProgram } from './installed.js'

/** Where redis-server is, or undefined. */
export const redisServer = findProgram('redis-server')

/** Skips the test where there is no Redis, and says so. */
export function needsRedis(context: TestContext): void {
  context.skip(redisServer === undefined, 'needs: redis-server')
}

/** A Redis of the test's own, on a Unix socket in a folder of its own, without files; on a port of 127.0.0.1 too if one is given. */
export class TestRedis implements AsyncDisposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-redis-'))
  private process: ChildProcess | undefined

  constructor(private readonly port = 0) {}

  /** Path of its socket, the same after each start. */
  get path(): string {
    return join(this.folder, 'redis.sock')
  }

  async start(): Promise<this> {
    const listen = ['--port', String(this.port), '--bind', '127.0.0.1']
    const options = [...listen, '--unixsocket', this.path, '--save', '', '--appendonly', 'no', '--dir', this.folder]
    const server = spawn(redisServer!, options, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.process = server
    for await (const line of server.stdout!) if (String(line).includes('eady to accept')) break
    server.stdout!.resume()
    return this
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}
