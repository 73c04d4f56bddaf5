import { type FSWatcher, watch } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { SluiceError } from '../errors.js'
import { loadConfig } from '../proxy/load-config.js'
import type { ProxyPlan } from '../proxy/plan.js'
import { ProxyServer } from '../proxy/proxy-server.js'
import { type CommandHelp, count, helpPage, parseArguments, UsageError } from './arguments.js'
import { type ProxyValues, planOfFlags, proxyFlags } from './proxy-flags.js'
import { sessionLine, sessionNotice } from './proxy-log.js'

const help: CommandHelp = {
  name: 'sluice proxy',
  summary: 'Relays connections to servers.',
  details: `
  sluice proxy --listen 8080 --to 127.0.0.1:9000 --to 127.0.0.1:9001 --check --stats 9002
  sluice proxy --listen '*:443' --tls --cert site.pem --to 127.0.0.1:8080 --send-proxy v2
  sluice proxy --config proxy.config.mjs

The first line on stdout tells, as JSON, where it listens. SIGHUP reloads the configuration and all files it names, without
dropping a connection; one that is wrong is told on stderr and changes nothing. SIGTERM or Ctrl-C lets connections finish, a
second one ends everything at once. A proxy that is started with the same --hand-over takes over from the one that runs.`,
}

export async function run(argv: string[]): Promise<number> {
  const values = parseArguments(proxyFlags, argv)
  if (!values) {
    process.stdout.write(helpPage(help, proxyFlags))
    return 0
  }
  const load = loader(values)
  const plan = await load()
  if (values.test) {
    process.stdout.write('The configuration is fine.\n')
    return 0
  }
  // It serves before start() has answered, when a predecessor hands over.
  const now = { log: plan.log }
  const proxy: ProxyServer = await ProxyServer.start(plan, {
    session: (front, end) => {
      const line = now.log === 'sessions' ? sessionLine(front, end) : sessionNotice(front, end)
      if (now.log !== 'none' && line !== undefined) say(line)
    },
    handshakeFailed: (front, error) => {
      if (now.log === 'sessions') say(JSON.stringify({ listener: front.name, handshake: error.code }))
    },
    server: (upstream, { server, isUp, admin, reason }) => {
      if (now.log !== 'none' && reason !== 'removed')
        say(
          `upstream ${upstream}: server ${server} is ${isUp ? 'up' : 'down'}${admin === 'ready' ? '' : `, ${admin}`}: ${reason}`,
        )
    },
    handedOver: () => say(`a successor has taken over; ${waiting(proxy)}`),
  })
  const stop = watchSignals(proxy, load, values, () => {
    now.log = proxy.plan.log
  })
  // Whoever reads the line may send a signal at once.
  process.stdout.write(`${JSON.stringify(firstLine(proxy))}\n`)
  await proxy.ended
  stop()
  return 0
}

type Load = (former?: ProxyPlan) => Promise<ProxyPlan>

function loader(values: ProxyValues): Load {
  const { config } = values
  if (config === undefined) {
    if (values.watch) throw new UsageError('option "--watch" needs "--config" as well')
    return async () => planOfFlags(values)
  }
  const others = Object.entries(values).filter(([, value]) =>
    Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false,
  )
  const stray = others.find(([name]) => !['config', 'test', 'watch'].includes(name))
  if (stray !== undefined) throw new UsageError(`option "--${stray[0]}" cannot be given together with "--config"`)
  return (former) => loadConfig(config, former)
}

function firstLine(proxy: ProxyServer): Record<string, unknown> {
  const shown = (address: { path?: string }) =>
    address.path === undefined ? address : { path: address.path.replace(/^\0/, '@') }
  return {
    listening: proxy.listeners.map((front) => ({ name: front.name, ...shown(front.address) })),
    stats: proxy.statsAddress && shown(proxy.statsAddress),
    engine: proxy.runtime.engine,
    threads: proxy.runtime.threads,
    pid: process.pid,
  }
}

function watchSignals(proxy: ProxyServer, load: Load, values: ProxyValues, reloaded: () => void): () => void {
  let asked = false
  const end = () => {
    if (asked) {
      void proxy.destroy()
      return
    }
    asked = true
    void proxy.close()
    if (proxy.sessionCount > 0) say(`${waiting(proxy)}; a second signal ends everything at once`)
  }
  const reload = () => void reloadBy(proxy, load).then(reloaded)
  process.on('SIGINT', end).on('SIGTERM', end).on('SIGHUP', reload)
  const watcher = values.watch ? watchFile(values.config!, reload) : undefined
  return () => {
    process.off('SIGINT', end).off('SIGTERM', end).off('SIGHUP', reload)
    watcher?.close()
  }
}

async function reloadBy(proxy: ProxyServer, load: Load): Promise<void> {
  try {
    let plan: ProxyPlan
    try {
      plan = await load(proxy.plan)
    } catch (error) {
      proxy.reloadFailed(error as Error)
      throw error
    }
    await proxy.reload(plan)
    say('reloaded')
  } catch (error) {
    if (!(error instanceof SluiceError || error instanceof UsageError)) throw error
    say(`not reloaded: ${error.message}`)
  }
}

// The folder: editors put another file in place of the old one.
function watchFile(file: string, changed: () => void): FSWatcher {
  const path = resolve(file)
  let timer: NodeJS.Timeout | undefined
  return watch(dirname(path), (_, name) => {
    if (name !== basename(path)) return
    clearTimeout(timer)
    // It is being written; several events are one change.
    timer = setTimeout(changed, 100)
  })
}

function waiting(proxy: ProxyServer): string {
  const { drainTimeoutMs } = proxy.plan
  const bound = drainTimeoutMs === 0 ? '' : ` ${drainTimeoutMs / 1000} s`
  return `waiting${bound} for ${count(proxy.sessionCount, 'connection')} to finish`
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
