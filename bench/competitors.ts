import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type BenchCase, type CaseKind, isProxy, type Via } from './cases.js'
import { haproxyVersion } from './haproxy.js'
import type { Program, Programs } from './programs.js'

/** A server to be measured. All do the same work, back-pressure included. */
export interface Competitor {
  /** As in `--servers`. */
  readonly id: string
  readonly title: string
  /** Command and arguments; undefined when it cannot run here. */
  readonly command?: readonly string[]
  /** Why it cannot, for people. */
  readonly reason?: string
  /** The server that it is without limits, or without steps before its sessions. */
  readonly unlimited?: string
  /** What its connections begin with: a PROXY header of version 2. */
  readonly preface?: 'proxy'
  /** Which targets are meant for it. */
  readonly targets?: Via
  /** One of the servers of `--quick`. */
  readonly quick: boolean
  /** Cases it cannot take part in: a C program has no event loop whose delay could be measured. */
  readonly without: readonly CaseKind[]
  /** Set where it is no server: the one kind of case it is for. */
  readonly only?: CaseKind
  /** Set where it is a whole program between clients and a server: in which words its task is put to it. `'options'` for
   *  those of all other servers. */
  readonly proxies?: 'options' | 'sluice' | 'haproxy'
  /** Which connections it serves. */
  readonly over: readonly Transport[]
}

export type Transport = 'tcp' | 'tls'

const nothing: readonly CaseKind[] = []
const sharing: readonly CaseKind[] = ['total', 'shares']
const onlyEcho: readonly CaseKind[] = ['connect', 'sink', 'source', 'idle', 'delay', 'relay', ...sharing]
// Without Node's meter of delay, without streams, and with no rate of their own.
const simpler: readonly CaseKind[] = ['delay', 'storm', 'crowd', 'filter', 'relay', ...sharing]
const both: readonly Transport[] = ['tcp', 'tls']

/** Whether it can take part in a case, leaving aside whether it runs here. */
export function takesPart({ only, without, over, proxies }: Competitor, { kind, tls }: BenchCase): boolean {
  const isOver = over.length === 0 || over.includes(tls === undefined ? 'tcp' : 'tls')
  if (kind === 'queue' || kind === 'pair' || kind === 'lookup') return only === kind
  if (isProxy(kind)) return proxies !== undefined && isOver
  if (only !== undefined && only !== kind) return false
  return !without.includes(kind) && isOver
}

/** All servers, in the order they are shown. `engine` leaves out sluice on any other engine. */
export function findCompetitors(programs: Programs, engine?: string): Competitor[] {
  return [
    { id: 'node:net', title: 'node:net', command: script('node-net'), quick: true, without: nothing, proxies: 'options', over: ['tcp'] }, // biome-ignore format: one line
    {
      id: 'node:net-limits',
      title: 'node:net, limits not reached',
      command: script('node-net', '--limits', 'unreached'),
      unlimited: 'node:net',
      quick: false,
      without: [...onlyEcho, 'filter'],
      over: ['tcp'],
    },
    { id: 'node:tls', title: 'node:tls', command: script('node-tls'), quick: true, without: nothing, proxies: 'options', over: ['tls'] }, // biome-ignore format: one line
    bun(),
    ...sluice(engine),
    native('c-epoll', 'C, epoll', programs.echo_epoll, true, 'tcp'),
    native('c-io_uring', 'C, io_uring', programs.echo_uring, false, 'tcp'),
    native('c-openssl', `C, epoll, OpenSSL ${versionOf(programs.echo_tls)}`.trimEnd(), programs.echo_tls, true, 'tls'),
    relays('c-relay', 'C, epoll, receive and send', programs.relay_epoll),
    relays('c-relay-splice', 'C, epoll, splice', programs.relay_epoll, '--via', 'splice'),
    haproxy(),
    queue('byte-queue', 'sluice ByteQueue'),
    queue('Buffer.concat', 'Buffer.concat'),
    queue('bl', 'bl', findPackage('bl') ? undefined : 'the package `bl` is not installed here'),
    ends('pair', 'sluice pair()'),
    ends('unix-pair', 'node:net, Unix socket'),
    ends('duplex-pair', 'two Duplex streams joined'),
    {
      ...{ id: 'cidr-set', title: 'sluice CidrSet', command: script('lookup'), targets: 'lookup' },
      ...{ quick: true, without: nothing, only: 'lookup', over: [] },
    },
  ]
}

function haproxy(): Competitor {
  const version = haproxyVersion()
  const command = version === undefined ? undefined : ['haproxy']
  return {
    ...{ id: 'haproxy', title: `HAProxy ${version ?? ''}`.trimEnd(), command, quick: true },
    reason: command === undefined ? 'no `haproxy` on the PATH' : undefined,
    ...{ without: nothing, only: 'proxy', proxies: 'haproxy', over: both },
  }
}

function queue(id: string, title: string, reason?: string): Competitor {
  const command = reason === undefined ? script('queue', '--with', id) : undefined
  const targets = id === 'byte-queue' ? ('queue' as const) : undefined
  return { id, title, command, reason, targets, quick: true, without: nothing, only: 'queue', over: [] }
}

function ends(id: string, title: string): Competitor {
  const targets = id === 'pair' ? ('pair' as const) : undefined
  const command = script('pair', '--with', id)
  return { id, title, command, targets, quick: true, without: nothing, only: 'pair', over: [] }
}

function findPackage(name: string): boolean {
  try {
    require.resolve(name)
    return true
  } catch {
    return false
  }
}

function script(name: string, ...args: string[]): string[] {
  return [process.execPath, '--expose-gc', join(__dirname, 'servers', `${name}.js`), ...args]
}

function native(id: string, title: string, program: Program, quick: boolean, over: Transport): Competitor {
  const command = program.path === undefined ? undefined : [program.path]
  return { id, title, command, reason: program.reason, quick, without: simpler, over: [over] }
}

function relays(id: string, title: string, program: Program, ...args: string[]): Competitor {
  const command = program.path === undefined ? undefined : [program.path, ...args]
  return { id, title, command, reason: program.reason, quick: true, without: nothing, only: 'relay', proxies: 'options', over: ['tcp'] } // biome-ignore format: one line
}

// The system's OpenSSL, and Node's may be another one.
function versionOf({ path }: Program): string {
  return path === undefined ? '' : spawnSync(path, ['--version'], { encoding: 'latin1', timeout: 5000 }).stdout.trim()
}

// Once secured, a connection is as on the event loop.
const handshakesApart: readonly CaseKind[] = ['echo', 'sink', 'source', 'idle', 'delay', 'relay']

function sluice(only: string | undefined): Competitor[] {
  let engines: readonly { name: string; available: boolean; reason?: string }[]
  let preferred: string
  try {
    const { engines: list, Runtime } = require('sluice') as typeof import('sluice')
    engines = list().filter(({ name }) => name !== 'sim' && (only === undefined || only === name))
    const runtime = new Runtime({ engine: only ?? 'auto' } as ConstructorParameters<typeof Runtime>[0])
    preferred = runtime.engine
    runtime.destroy()
  } catch (error) {
    const reason = `sluice does not load: ${(error as Error).message}`
    return [{ id: 'sluice', title: 'sluice', reason, quick: true, targets: 'handlers', without: nothing, over: both }]
  }
  return engines.flatMap(({ name, available, reason }) => {
    const targets = name === 'poll' ? undefined : ('handlers' as const)
    const common = { reason, quick: false, without: nothing, over: both }
    const command = (...args: string[]) => (available ? script('sluice', '--engine', name, ...args) : undefined)
    const inline = {
      ...common,
      id: `sluice-${name}`,
      title: `sluice, ${name}`,
      command: command(),
      targets,
      quick: targets !== undefined,
    }
    if (!available) return [inline]
    const threads = {
      ...common,
      id: `sluice-${name}-threads`,
      title: `sluice, ${name}, I/O thread`,
      command: command('--threads', '1'),
      targets: targets && ('threads' as const),
      without: sharing,
    }
    const handshakeThreads = {
      ...common,
      id: `sluice-${name}-handshake-threads`,
      title: `sluice, ${name}, handshake thread`,
      command: command('--handshake-threads', '1'),
      targets: targets && ('threads' as const),
      without: handshakesApart,
      over: ['tls'] as const,
    }
    const duplex = {
      ...common,
      id: `sluice-${name}-duplex`,
      title: `sluice, ${name}, toDuplex()`,
      command: command('--via', 'duplex'),
      targets: 'duplex' as const,
      quick: name === preferred,
      without: ['relay', ...sharing] as const,
    }
    const limited = {
      ...common,
      id: `sluice-${name}-limits`,
      title: `sluice, ${name}, limits not reached`,
      command: command('--limits', 'unreached'),
      targets: 'limits' as const,
      unlimited: inline.id,
      without: onlyEcho,
      over: ['tcp'] as const,
    }
    const opening = {
      ...common,
      id: `sluice-${name}-handshake`,
      title: `sluice, ${name}, PROXY header and rules`,
      command: command('--handshake', 'proxy'),
      targets: 'handshake' as const,
      unlimited: inline.id,
      preface: 'proxy' as const,
      only: 'connect' as const,
      over: ['tcp'] as const,
    }
    const proxy = {
      ...common,
      id: `sluice-${name}-proxy`,
      title: `sluice proxy, ${name}`,
      command: [process.execPath, join(__dirname, '../cli/main.js'), 'proxy', '--engine', name],
      targets: 'proxy' as const,
      quick: name === preferred,
      only: 'proxy' as const,
      proxies: 'sluice' as const,
    }
    return name === 'poll' ? [inline, threads] : [inline, threads, handshakeThreads, duplex, limited, opening, proxy]
  })
}

function bun(): Competitor {
  const path = findBun()
  const reason = path === undefined ? 'no `bun` in the working directory’s packages or on the PATH' : undefined
  const command = path === undefined ? undefined : [path, join(__dirname, 'servers/bun.js')]
  return { id: 'bun', title: 'Bun.listen', command, reason, quick: false, without: simpler, over: ['tcp'] }
}

function findBun(): string | undefined {
  const require = createRequire(join(process.cwd(), 'package.json'))
  const platform = `${process.platform}-${process.arch === 'arm64' ? 'aarch64' : process.arch}`
  const candidates = [
    () => join(dirname(require.resolve('bun/package.json')), 'bin/bun.exe'),
    // Where install scripts are refused, bun's own package stays a stub beside the real one.
    () => join(dirname(require.resolve(`@oven/bun-${platform}/package.json`)), 'bin/bun'),
    () => 'bun',
  ]
  for (const candidate of candidates) {
    try {
      const path = candidate()
      if (path !== 'bun' && !existsSync(path)) continue
      if (spawnSync(path, ['--version'], { timeout: 5000 }).status === 0) return path
    } catch {
      // Not installed there: the next place.
    }
  }
  return undefined
}
