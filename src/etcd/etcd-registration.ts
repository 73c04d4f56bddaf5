import { randomBytes } from 'node:crypto'
import type { Endpoint } from '../message/destination.js'
import { type EndpointLike, endpointOf } from '../message/resolver.js'
import { expected, integer, optional, parse, string } from '../options.js'
import { Backoff, base64, EtcdClient, pause } from './etcd-client.js'
import { type EtcdOptions, etcdOptions, etcdRules } from './etcd-options.js'

/** Options of {@link registerService}. */
export interface RegistrationOptions extends EtcdOptions {
  /** How long it stands when this process is gone, 2 to 86 400. Renewed three times within that. Default 10. */
  ttlSeconds?: number
  /** Which of the places of the service this is; one with the same id is replaced. Default: by chance. */
  id?: string
}

const registrationOptions = {
  ...etcdOptions,
  ttlSeconds: integer({ min: 2, max: 86_400, default: 10 }),
  id: optional(string({ maxLength: 255 })),
}
const serviceName = string({ maxLength: 255 })
const idSyntax = /^[^/]+$/

interface Lease {
  ID: string
  /** Absent or 0: it is over. */
  TTL?: string
}

/** One place of a service, as etcd shows it to others; comes from {@link registerService}. */
export class EtcdRegistration implements AsyncDisposable {
  private lease: string | undefined
  private readonly controller = new AbortController()
  private readonly loop: Promise<void>

  /** @internal */
  constructor(
    private readonly client: EtcdClient,
    /** Where it stands in etcd. */
    readonly key: string,
    private readonly endpoint: Endpoint,
    private readonly ttlSeconds: number,
    private readonly retryMs: number,
    lease: string,
  ) {
    this.lease = lease
    this.loop = this.keep()
  }

  /** Whether etcd has confirmed it within its time. */
  get isRegistered(): boolean {
    return this.lease !== undefined && !this.client.lost
  }

  // Renews the lease; if that is over, or etcd has forgotten it, makes another one.
  private async keep(): Promise<void> {
    const { signal } = this.controller
    const backoff = new Backoff(this.retryMs)
    let waitMs = (this.ttlSeconds * 1000) / 3
    while (!signal.aborted) {
      await pause(waitMs, signal)
      if (signal.aborted) return
      try {
        if (this.lease === undefined || !(await this.renew(this.lease, signal))) {
          this.lease = undefined
          this.lease = await enter(this.client, this.key, this.endpoint, this.ttlSeconds, signal)
        }
        backoff.reset()
        waitMs = (this.ttlSeconds * 1000) / 3
      } catch {
        // `events.lost` has told; there is nothing to do but to try again.
        waitMs = Math.min(backoff.next(), (this.ttlSeconds * 1000) / 3)
      }
    }
  }

  private async renew(lease: string, signal: AbortSignal): Promise<boolean> {
    const { result } = await this.client.ask<{ result?: Lease }>('/v3/lease/keepalive', { ID: lease }, signal)
    return Number(result?.TTL ?? 0) > 0
  }

  /** Takes it out of etcd at once; without that it is gone when `ttlSeconds` are over. Does not reject. */
  async close(): Promise<void> {
    if (this.controller.signal.aborted) return
    this.controller.abort(new Error('the registration is closed'))
    await this.loop
    const { lease } = this
    this.lease = undefined
    // If etcd does not answer, the lease comes to its end by itself.
    if (lease !== undefined) await this.client.ask('/v3/lease/revoke', { ID: lease }).catch(() => {})
    this.client.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

async function enter(
  client: EtcdClient,
  key: string,
  endpoint: Endpoint,
  ttlSeconds: number,
  signal?: AbortSignal,
): Promise<string> {
  const { ID } = await client.ask<Lease>('/v3/lease/grant', { TTL: String(ttlSeconds) }, signal)
  await client.ask('/v3/kv/put', { key: base64(key), value: base64(JSON.stringify(endpoint)), lease: ID }, signal)
  return ID
}

/**
 * Shows others where this process serves `name`: `{prefix}{name}/{id}` in etcd, with a lease that is kept alive until
 * `close()`, and made anew when etcd was away for too long. Resolves when it stands there.
 *
 * @param endpoint where others reach it: an address, not `0.0.0.0` or `::`.
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_ETCD_FAILED`.
 */
export async function registerService(
  name: string,
  endpoint: EndpointLike,
  options: RegistrationOptions = {},
): Promise<EtcdRegistration> {
  serviceName.parse(name, 'name')
  if (name.includes('/')) throw expected('a name without "/"', name, 'name')
  const place = endpointOf(endpoint, 'endpoint')
  if (place.address === '0.0.0.0' || place.address === '::')
    throw expected('an address that others can connect to', place.address, 'endpoint.address')
  const { ttlSeconds, id = randomBytes(8).toString('hex'), ...etcd } = parse(registrationOptions, options, etcdRules)
  if (!idSyntax.test(id)) throw expected('an id without "/"', id, 'id')
  const client = new EtcdClient(etcd)
  const key = `${etcd.prefix}${name}/${id}`
  try {
    const lease = await enter(client, key, place, ttlSeconds)
    return new EtcdRegistration(client, key, place, ttlSeconds, etcd.retryMs, lease)
  } catch (error) {
    client.close()
    throw error
  }
}
