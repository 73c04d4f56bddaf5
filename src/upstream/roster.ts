import { isDeepStrictEqual } from 'node:util'
import type { SluiceError } from '../errors.js'
import { expected } from '../options.js'
import type { HealthChecker } from './health-checker.js'
import type { IdleRules } from './idle-connections.js'
import {
  checkServer,
  type PoolRules,
  poolRulesOf,
  type ServerRules,
  serverRulesOf,
  type UpstreamServerOptions,
} from './options.js'
import type { Places } from './places.js'
import { safely } from './safely.js'
import { type ServerOwner, UpstreamServer, unknownServer } from './server.js'

/** The pool of a roster. */
export interface RosterOwner extends ServerOwner {
  readonly isClosing: boolean
}

/** What of its pool a roster keeps informed. */
export interface RosterParts {
  readonly rules: PoolRules
  readonly idleRules: IdleRules
  readonly checker: HealthChecker
  readonly places: Places
}

/** The servers of a pool: how they come, change and go, and who has to know of it. */
export class Roster {
  /** In the order they were given. */
  present: readonly UpstreamServer[]
  private readonly leaving = new Set<UpstreamServer>()

  constructor(
    private readonly pool: RosterOwner,
    private readonly parts: RosterParts,
  ) {
    this.present = parts.rules.servers.map((rules) => this.serverOf(rules))
  }

  /** Those too that finish their last requests. */
  get all(): UpstreamServer[] {
    return [...this.present, ...this.leaving]
  }

  /** Those that may be chosen now. */
  get usable(): UpstreamServer[] {
    const usable = this.present.filter((server) => server.isUsable)
    const first = usable.filter(({ rules }) => !rules.backup)
    return first.length > 0 ? first : usable
  }

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when there is none of that name. */
  server(name: string): UpstreamServer {
    const found = this.present.find((server) => server.name === name)
    if (found === undefined) throw unknownServer(name, this.present.map((server) => server.name)) // biome-ignore format: one line
    return found
  }

  /** Begins to look how they are. */
  start(): void {
    for (const server of this.present) this.parts.checker.start(server)
  }

  /** As of {@link UpstreamPool.addServer}. */
  addServer(options: UpstreamServerOptions): UpstreamServer {
    const rules = serverRulesOf(options, 'server')
    checkServer(rules, this.parts.rules, 'server')
    if (this.present.some(({ name }) => name === rules.name))
      throw expected('different for each server', rules.name, 'server.name')
    return this.add(rules)
  }

  /** As of {@link UpstreamPool.setServers}. */
  setServers(servers: UpstreamServerOptions[], timeoutMs: number): void {
    const next = poolRulesOf({ servers }, '').servers
    for (const [i, rules] of next.entries()) checkServer(rules, this.parts.rules, `servers[${i}]`)
    const former = this.present
    const stays = new Map(next.map((rules) => [rules, former.find((server) => isSame(server.rules, rules))] as const))
    const staying = new Set(stays.values())
    for (const server of former) if (!staying.has(server)) void this.remove(server, timeoutMs)
    this.present = next.map((rules) => stays.get(rules) ?? this.serverOf(rules))
    for (const [rules, server] of stays) {
      if (server === undefined) continue
      if (server.weight !== rules.weight) server.weight = rules.weight
      server.setAdmin(rules.state, 'by request')
    }
    for (const server of this.present) {
      this.parts.checker.start(server)
      this.parts.places.admit(server)
    }
  }

  private serverOf(rules: ServerRules): UpstreamServer {
    const check = rules.check ?? this.parts.rules.check
    return new UpstreamServer(rules, check === false ? undefined : check, this.parts.idleRules, this.pool)
  }

  private add(rules: ServerRules): UpstreamServer {
    const server = this.serverOf(rules)
    this.present = [...this.present, server]
    this.parts.checker.start(server)
    this.parts.places.admit(server)
    return server
  }

  /** Resolves when nobody uses it any more. */
  async remove(server: UpstreamServer, timeoutMs: number): Promise<void> {
    this.present = this.present.filter((other) => other !== server)
    this.leaving.add(server)
    server.removed = true
    this.changed(server, 'removed')
    await server.emptyWithin(timeoutMs)
    this.leaving.delete(server)
  }

  /** Tells everybody whom it concerns that a server is another now. */
  changed(server: UpstreamServer, reason: string): void {
    if (reason !== 'weight') {
      const change = { server: server.name, isUp: server.isUp, admin: server.state, reason }
      safely(() => this.parts.rules.onServerChange?.(change))
    }
    if (!server.isUsable) {
      this.parts.places.dismiss(server)
      for (const connection of server.idle.clear()) void connection.close()
    }
    if (!server.isUp && this.parts.rules.onDown === 'close') this.pool.cut(server)
    if (server.isChecked && !this.pool.isClosing) this.parts.checker.start(server)
    else this.parts.checker.stop(server)
    // One of the others may be needed now, a backup for example.
    for (const other of this.present) this.parts.places.admit(other)
    if (server.startsForMs > 0) this.warmUp(server)
  }

  // Its limit grows by itself, and so does the number of those it can take.
  private warmUp(server: UpstreamServer): void {
    if (server.rules.maxConnections === 0 || this.pool.isClosing || server.removed) return
    this.pool.clock.inBackground(Math.min(server.startsForMs, Math.max(10, server.rules.slowStartMs / 20)), () => {
      this.parts.places.admit(server)
      if (server.startsForMs > 0) this.warmUp(server)
    })
  }

  /** A connection to it could not be made. */
  attemptFailed(server: UpstreamServer, error: SluiceError): void {
    server.counts.failed++
    server.failuresInRow++
    const { errorLimit } = this.parts.rules
    if (errorLimit > 0 && server.isChecked && server.failuresInRow >= errorLimit) {
      server.failuresInRow = 0
      this.parts.checker.count(server, false, `${errorLimit} failed attempts, the last: ${error.message}`)
      this.parts.checker.hurry(server)
    }
  }
}

function isSame(a: ServerRules, b: ServerRules): boolean {
  return isDeepStrictEqual({ ...a, weight: 0, state: '' }, { ...b, weight: 0, state: '' })
}
