import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Listener } from '../listener.js'
import { statsPage } from './page.js'
import type { Where } from './plan.js'
import { prometheusText, prometheusType } from './prometheus.js'
import type { ProxyServer } from './proxy-server.js'
import { recently } from './recently.js'
import type { ProxyStats } from './stats-types.js'

/** Serves the statistics of a proxy: `/` a page, `/stats.json`, `/metrics` for Prometheus, `/health`. */
export class StatsServer {
  private constructor(
    private readonly server: Server,
    readonly listener: Listener,
  ) {}

  /** @param fd a socket that listens there already. @throws {SluiceError} of `listen()`. */
  static async open(proxy: ProxyServer, where: Where, fd?: number): Promise<StatsServer> {
    const told = recently(() => proxy.stats())
    const server = createServer({ requestTimeout: 10_000, keepAliveTimeout: 15_000 }, (request, response) =>
      answer(proxy, told, request, response),
    )
    const options = { allowHalfOpen: true, readTimeoutMs: 60_000 }
    const listener = await proxy.runtime.listen(fd === undefined ? { ...options, ...where } : { ...options, fd }, {
      open: (connection) => void server.emit('connection', connection.toDuplex()),
    })
    if (fd !== undefined && 'path' in where && !where.path.startsWith('\0')) listener.unlinkPath = where.path
    server.emit('listening') // begins the bounds on requests
    return new StatsServer(server, listener)
  }

  /** The socket is a successor's now: the path stays, and nobody else is let in here. */
  handOver(): void {
    this.listener.unlinkPath = undefined
    void this.listener.close({ timeoutMs: 0 })
  }

  close(): void {
    this.server.close()
    void this.listener.destroy()
  }
}

// The page runs its own script and asks for its own numbers; nothing else can happen in it.
const policy =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
const common = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' }

function answer(proxy: ProxyServer, told: () => ProxyStats, request: IncomingMessage, response: ServerResponse): void {
  const send = (status: number, type: string, body: string, more: Record<string, string> = {}) => {
    response.writeHead(status, {
      ...{ ...common, ...more, 'content-type': type, 'content-length': Buffer.byteLength(body) },
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(405, 'text/plain; charset=utf-8', 'Only GET is served here.\n', { allow: 'GET, HEAD' })
    return
  }
  switch ((request.url ?? '/').replace(/[?#].*$/s, '')) {
    case '/':
      send(200, 'text/html; charset=utf-8', statsPage, { 'content-security-policy': policy, 'x-frame-options': 'DENY' })
      return
    case '/stats.json':
      send(200, 'application/json', `${JSON.stringify(told())}\n`)
      return
    case '/metrics':
      send(200, prometheusType, prometheusText(told()))
      return
    case '/health':
      if (proxy.isRunning) send(200, 'text/plain; charset=utf-8', 'running\n')
      else send(503, 'text/plain; charset=utf-8', 'draining\n')
      return
    default:
      send(404, 'text/plain; charset=utf-8', 'Here are /, /stats.json, /metrics and /health.\n')
  }
}
