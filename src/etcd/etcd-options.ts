import {
  expected,
  milliseconds,
  optional,
  type Parsed,
  type Parser,
  requires,
  string,
  withDefault,
} from '../options.js'

/** How to reach etcd. */
export interface EtcdOptions {
  /** Members of the cluster; when one does not answer, the next one is asked. Default `'http://127.0.0.1:2379'`. */
  urls?: string | readonly string[]
  /** What keys begin with. Default `'sluice/services/'`. */
  prefix?: string
  /** For clusters with authentication. */
  user?: string
  /** Likewise. */
  password?: string
  /** Certificates to trust, PEM, for `https:`. Default: those of Node. */
  ca?: string | Buffer
  /** Certificate of this client, PEM. */
  cert?: string | Buffer
  /** Its key, PEM. */
  key?: string | Buffer
  /** Bound on each question. Default 5 000. */
  timeoutMs?: number
  /** Shortest wait before it tries again; doubles up to 20 times that, with a part of chance. Default 250. */
  retryMs?: number
  /** What is told of the connection to etcd. */
  events?: EtcdEvents
}

/** What is told of the connection to etcd; each is optional, and must not throw. */
export interface EtcdEvents {
  /** It does not answer. What is known stays in use. Told once, until `found`. */
  lost?(error: Error): void
  /** It answers again. */
  found?(): void
  /** A key below a name was left out, because its value is no endpoint. */
  ignored?(key: string, error: Error): void
}

const urlsParser: Parser<readonly string[]> = {
  allowed: "'http://host:port' or 'https://host:port', or a list of them",
  parse(value, option) {
    const urls = typeof value === 'string' ? [value] : value
    const isUrl = (url: unknown) => typeof url === 'string' && URL.canParse(url) && /^https?:/.test(url)
    if (!Array.isArray(urls) || urls.length === 0 || !urls.every(isUrl)) throw expected(this.allowed, value, option)
    return urls.map((url: string) => url.replace(/\/+$/, ''))
  },
}

const pemParser: Parser<string | Buffer> = {
  allowed: 'PEM, as a string or Buffer',
  parse(value, option) {
    if (typeof value !== 'string' && !Buffer.isBuffer(value)) throw expected(this.allowed, value, option)
    return value
  },
}

const eventsParser: Parser<EtcdEvents> = {
  allowed: 'an object of functions: lost, found, ignored',
  parse(value, option) {
    if (typeof value !== 'object' || value === null) throw expected(this.allowed, value, option)
    for (const [name, listener] of Object.entries(value)) {
      if (!['lost', 'found', 'ignored'].includes(name)) throw expected(this.allowed, name, option)
      if (listener !== undefined && typeof listener !== 'function')
        throw expected('a function', listener, `${option}.${name}`)
    }
    return value as EtcdEvents
  },
}

export const etcdOptions = {
  urls: withDefault(urlsParser, ['http://127.0.0.1:2379']),
  prefix: string({ maxLength: 200, default: 'sluice/services/' }),
  user: optional(string()),
  password: optional(string()),
  ca: optional(pemParser),
  cert: optional(pemParser),
  key: optional(pemParser),
  timeoutMs: milliseconds({ min: 1, default: 5000 }),
  retryMs: milliseconds({ min: 1, default: 250 }),
  events: optional(eventsParser),
} satisfies Record<keyof EtcdOptions, unknown>

export const etcdRules = [
  requires('user', 'password'),
  requires('password', 'user'),
  requires('cert', 'key'),
  requires('key', 'cert'),
]

/** Checked options. */
export type ParsedEtcdOptions = Parsed<typeof etcdOptions>
