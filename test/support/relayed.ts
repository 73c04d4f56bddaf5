import type { Connection, ConnectionOptions, PairOptions, Runtime } from 'sluice'
import { frames, scramble } from './filters.js'
import * as id from './identities.js'
import { portOf } from './pair.js'
import { Record } from './record.js'

/** A kind of connection to be relayed. */
export const kinds = ['plain', 'TLS', 'pair', 'TLS over pair', 'filtered'] as const
export type Kind = (typeof kinds)[number]

/** A connection to be relayed, and whoever is at its other end. */
export interface Leg {
  /** The one that is relayed. */
  inner: Connection
  /** Its peer, which a test talks through. */
  outer: Connection
  atInner: Record
  atOuter: Record
}

const half = { allowHalfOpen: true }

/** One connection of that kind, both ends in `runtime`. */
export async function leg(runtime: Runtime, kind: Kind, options: ConnectionOptions = {}): Promise<Leg> {
  const [atInner, atOuter] = [new Record(), new Record()]
  if (kind === 'pair' || kind === 'TLS over pair') {
    const settings = { ...half, ...options, endOnDestroy: true } as PairOptions
    const [inner, outer] = runtime.pair(settings, atInner.handlers, atOuter.handlers)
    if (kind === 'TLS over pair') {
      await Promise.all([
        inner.startTls(id.serving),
        outer.startTls({ role: 'client', ...id.trusting, serverName: 'localhost' }),
      ])
    }
    return { inner, outer, atInner, atOuter }
  }
  const { listen, connect } = kind === 'TLS' ? id.secured() : { listen: {}, connect: {} }
  const filters = kind === 'filtered' ? { filters: () => [scramble(5), frames()] } : {}
  const listener = await runtime.listen(
    { host: '127.0.0.1', port: 0, ...half, ...listen, ...filters, ...options },
    atInner.handlers,
  )
  const outer = await runtime.connect(
    { host: '127.0.0.1', port: portOf(listener), ...half, ...connect, ...filters },
    atOuter.handlers,
  )
  await atInner.saw('open')
  return { inner: atInner.connection, outer, atInner, atOuter }
}
