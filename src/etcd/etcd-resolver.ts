import { createHash, randomBytes } from 'node:crypto'
import { SluiceError } from '../errors.js'
import type { Endpoint } from '../message/destination.js'
import { areSame, endpointOf, type NameResolver } from '../message/resolver.js'
import { parse } from '../options.js'
import { Backoff, base64, EtcdClient, endOf, fromBase64, pause } from './etcd-client.js'
import { type EtcdOptions, etcdOptions, etcdRules, type ParsedEtcdOptions } from './etcd-options.js'

interface KeyValue {
  key: string
  value?: string
}

interface RangeAnswer {
  header: { revision: string }
  kvs?: KeyValue[]
}

interface WatchLine {
  result?: {
    canceled?: boolean
    cancel_reason?: string
    events?: { type?: 'PUT' | 'DELETE'; kv: KeyValue }[]
  }
  error?: { message?: string }
}

type Listener = (endpoints: readonly Endpoint[]) => void

/**
 * Finds the services that have registered in etcd (see `registerService()`), and follows their comings and goings. While
 * etcd does not answer, what is known stays in use.
 */
export class EtcdResolver implements NameResolver, Disposable {
  private readonly options: ParsedEtcdOptions
  private readonly client: EtcdClient
  private readonly followed = new Map<string, FollowedName>()
  /** Decides about the order of a list: another one in each process, so that not all begin with the same place. */
  private readonly salt = randomBytes(8).toString('hex')

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
  constructor(options: EtcdOptions = {}) {
    this.options = parse(etcdOptions, options, etcdRules)
    this.client = new EtcdClient(this.options)
  }

  /** The places of a service. Rejects with `ERR_SLUICE_NAME_NOT_RESOLVED` if etcd does not answer and nothing is known. */
  async resolve(name: string, signal: AbortSignal): Promise<readonly Endpoint[]> {
    try {
      const followed = this.followed.get(name)
      if (followed !== undefined) return await followed.known(signal)
      const { kvs = [] } = await this.range(this.prefixOf(name), signal)
      return this.listOf(new Map(kvs.map(({ key, value }) => [fromBase64(key), value ?? ''])))
    } catch (cause) {
      const detail = cause instanceof Error ? cause.message : String(cause)
      throw new SluiceError('NAME_NOT_RESOLVED', { phase: 'resolve', address: name, detail, cause })
    }
  }

  /** Follows a service until the function that it returns is called. */
  watch(name: string, changed: Listener): () => void {
    let followed = this.followed.get(name)
    if (followed === undefined) {
      followed = new FollowedName(this, this.client, this.prefixOf(name), this.options.retryMs)
      this.followed.set(name, followed)
    }
    const { listeners } = followed
    const own: Listener = (endpoints) => changed(endpoints)
    listeners.add(own)
    return () => {
      listeners.delete(own)
      if (listeners.size > 0 || this.followed.get(name) !== followed) return
      this.followed.delete(name)
      followed.stop()
    }
  }

  /** Follows nothing more, and closes its connections to etcd. */
  close(): void {
    for (const followed of this.followed.values()) followed.stop()
    this.followed.clear()
    this.client.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private prefixOf(name: string): string {
    return `${this.options.prefix}${name}/`
  }

  /** @internal */
  range(prefix: string, signal: AbortSignal): Promise<RangeAnswer> {
    return this.client.ask('/v3/kv/range', { key: base64(prefix), range_end: endOf(prefix) }, signal)
  }

  /** @internal The endpoints in what keys hold. */
  listOf(values: ReadonlyMap<string, string>): readonly Endpoint[] {
    const found: { rank: string; endpoint: Endpoint }[] = []
    for (const [key, value] of values) {
      try {
        const endpoint = endpointOf(JSON.parse(fromBase64(value)), key)
        found.push({ rank: createHash('sha256').update(`${this.salt} ${key}`).digest('hex'), endpoint })
      } catch (error) {
        this.options.events?.ignored?.(key, error as Error)
      }
    }
    return found.sort((a, b) => (a.rank < b.rank ? -1 : 1)).map(({ endpoint }) => endpoint)
  }
}

/** One name that somebody follows: asks for all of it, then watches from there on; and again whenever that breaks off. */
class FollowedName {
  readonly listeners = new Set<Listener>()
  private readonly controller = new AbortController()
  private readonly values = new Map<string, string>()
  private list: readonly Endpoint[] | undefined
  private waiting: { resolve: (list: readonly Endpoint[]) => void; reject: (error: unknown) => void }[] = []

  constructor(
    private readonly resolver: EtcdResolver,
    private readonly client: EtcdClient,
    private readonly prefix: string,
    private readonly retryMs: number,
  ) {
    void this.run()
  }

  /** The list, as soon as there is one; rejects if the attempt to get it fails. */
  known(signal: AbortSignal): Promise<readonly Endpoint[]> {
    if (this.list !== undefined) return Promise.resolve(this.list)
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const stop = () => reject(signal.reason)
      signal.addEventListener('abort', stop, { once: true })
      const settled = () => signal.removeEventListener('abort', stop)
      this.waiting.push({
        resolve: (list) => {
          settled()
          resolve(list)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      })
    })
  }

  stop(): void {
    this.controller.abort(new Error('nobody follows it any more'))
  }

  private async run(): Promise<void> {
    const { signal } = this.controller
    const backoff = new Backoff(this.retryMs)
    while (!signal.aborted) {
      try {
        const { header, kvs = [] } = await this.resolver.range(this.prefix, signal)
        if (signal.aborted) break
        this.values.clear()
        for (const { key, value } of kvs) this.values.set(fromBase64(key), value ?? '')
        this.changed()
        backoff.reset()
        await this.watch(String(BigInt(header.revision) + 1n), signal)
      } catch (error) {
        for (const { reject } of this.waiting.splice(0)) reject(error)
      }
      await pause(backoff.next(), signal)
    }
    for (const { reject } of this.waiting.splice(0)) reject(signal.reason)
  }

  private watch(revision: string, signal: AbortSignal): Promise<void> {
    const question = { key: base64(this.prefix), range_end: endOf(this.prefix), start_revision: revision }
    return this.client.follow<WatchLine>(
      '/v3/watch',
      { create_request: question },
      ({ result, error }) => {
        // E.g. what was asked for has been compacted; then all is asked for anew.
        if (error !== undefined || result?.canceled)
          throw new Error(error?.message ?? result?.cancel_reason ?? 'canceled')
        const events = result?.events ?? []
        for (const { type, kv } of events) {
          if (type === 'DELETE') this.values.delete(fromBase64(kv.key))
          else this.values.set(fromBase64(kv.key), kv.value ?? '')
        }
        if (events.length > 0 && !signal.aborted) this.changed()
      },
      signal,
    )
  }

  private changed(): void {
    const before = this.list
    const list = this.resolver.listOf(this.values)
    this.list = list
    for (const { resolve } of this.waiting.splice(0)) resolve(list)
    if (before !== undefined && areSame(before, list)) return
    for (const listener of [...this.listeners]) listener(list)
  }
}

/**
 * Finds services that have registered in etcd: the `resolver` of a service.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function etcdResolver(options?: EtcdOptions): EtcdResolver {
  return new EtcdResolver(options)
}
