import {
  type AcquisitionStep,
  type Connection,
  type ConnectionHandlers,
  type Listener,
  type ListenOptions,
  type Runtime,
  UpstreamPool,
  type UpstreamPoolOptions,
  type UpstreamServerChange,
  type UpstreamServerOptions,
} from 'sluice'
import { eventually, portOf } from './pair.js'
import { Record } from './record.js'

/** A server that answers each request with its name, and knows what it was sent. */
export interface Backend {
  readonly name: string
  readonly listener: Listener
  readonly connections: Set<Connection>
  accepted: number
  received: string
  options(more?: Partial<UpstreamServerOptions>): UpstreamServerOptions
}

export async function backend(
  runtime: Runtime,
  name: string,
  options: Partial<ListenOptions> = {},
  handlers: ConnectionHandlers = {},
): Promise<Backend> {
  const connections = new Set<Connection>()
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0, ...options } as ListenOptions, {
    open(connection) {
      self.accepted++
      connections.add(connection)
    },
    data(connection, bytes) {
      self.received += Buffer.from(bytes).toString()
      connection.write(`${name};`)
    },
    error() {},
    close: (connection) => void connections.delete(connection),
    ...handlers,
  })
  const self: Backend = {
    ...{ name, listener, connections, accepted: 0, received: '' },
    options: (more) => ({ name, host: '127.0.0.1', port: portOf(listener), ...more }),
  }
  return self
}

/** A port at which nobody listens. */
export async function deadPort(runtime: Runtime): Promise<number> {
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {})
  const port = portOf(listener)
  await listener.close()
  return port
}

export function poolOf(runtime: Runtime, servers: UpstreamServerOptions[], more: Partial<UpstreamPoolOptions> = {}) {
  const steps: AcquisitionStep[] = []
  const changes: UpstreamServerChange[] = []
  const pool = new UpstreamPool({
    ...{ runtime, servers },
    onStep: (step) => steps.push(step),
    onServerChange: (change) => changes.push(change),
    ...more,
  })
  const path = (id: number) => ['INI', ...steps.filter((step) => step.id === id).map(({ to }) => to)].join(' ')
  const turned = async (server: string, isUp: boolean) =>
    eventually(() => changes.some((change) => change.server === server && change.isUp === isUp))
  return Object.assign(pool, { steps, changes, path, turned, [Symbol.asyncDispose]: () => pool.destroy() })
}

/** Asks by a lease and answers with who answered. */
export async function ask(
  pool: UpstreamPool,
  options: { first?: boolean; key?: string; server?: string } = {},
): Promise<string> {
  const record = new Record()
  const lease = await pool.acquire({ ...options, handlers: record.handlers })
  lease.connection.write('?')
  await record.until(() => record.text.endsWith(';'))
  lease.release({ reusable: true })
  return record.text.slice(0, -1)
}
