import { Runtime, type SimulationOptions } from 'sluice'
import {
  bytes,
  defineProtocol,
  json,
  type MessageOptions,
  MessageService,
  type MessageStream,
  oneWay,
  parts,
  relayProtocol,
  request,
  stream,
} from 'sluice/messages'
import { pattern } from './record.js'

// Sends messages of all kinds through a network that resets, delays and stalls, to a server that is restarted, perhaps by a
// relay that is too, cancels some of them, and keeps a list of what happened to each.

const protocol = defineProtocol({
  name: 'model',
  messages: {
    ask: request(bytes(), bytes()),
    tell: oneWay(bytes()),
    list: parts(bytes(), bytes()),
    upload: request(stream(json<number>()), json<number>()),
    mirror: request(stream(json<number>()), stream()),
  },
})
const { ask, tell, list, upload, mirror } = protocol.messages
const { register } = relayProtocol.messages

type Kind = 'ask' | 'tell' | 'list' | 'upload' | 'mirror'
const kinds: Kind[] = ['ask', 'ask', 'tell', 'tell', 'list']
const kindsWithStreams: Kind[] = ['ask', 'tell', 'list', 'upload', 'mirror']

interface Sent {
  id: number
  kind: Kind
  options: MessageOptions
  body: Uint8Array
  /** It was canceled, or had a time limit. */
  mayFail: boolean
  canceled: boolean
  outcomes: string[]
  handled: number
}

/** What a run is about. */
export interface ModelOptions {
  /** Messages. Default 40. */
  count?: number
  /** Bodies that are streams, too. Default false. */
  streams?: boolean
  /** By a relay in between. Default false. */
  relayed?: boolean
  /** Other faults of the network. */
  sim?: Partial<SimulationOptions>
  /** Bound on all of it. Default 600 000. */
  limitMs?: number
}

/** What a run has done, and what was wrong with it. */
export interface ModelRun {
  violations: string[]
  messages: number
  completed: number
  /** Messages by how they came out. */
  outcomes: Map<string, number>
  handledTwice: number
  connections: number
  /** Virtual time, in milliseconds. */
  lastedMs: number
}

function chance(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** One run; the same seed gives the same one. */
export async function runModel(seed: number, options: ModelOptions = {}): Promise<ModelRun> {
  const { count = 40, streams = false, relayed = false, sim = {}, limitMs = 600_000 } = options
  const random = chance(seed)
  const between = (from: number, to: number) => Math.floor(from + random() * (to - from + 1))
  const often = (probability: number) => random() < probability
  const runtime = new Runtime({
    engine: 'sim',
    sim: {
      ...{ seed, latencyMinMs: 1, latencyMaxMs: between(1, 60), jitterMs: between(0, 20) },
      ...{ segmentMinBytes: 1, segmentMaxBytes: often(0.3) ? 50 : 20_000 },
      ...{ sendBufferBytes: between(2000, 60_000), receiveWindowBytes: between(2000, 60_000) },
      ...{ shortSendProbability: 0.2, deferredSendProbability: 0.2, spuriousSentProbability: 0.1 },
      ...{ resetProbability: often(0.7) ? 0.4 : 0, resetAfterMaxBytes: between(200, 300_000) },
      ...{ stallProbability: 0.01, stallMaxMs: 500, refuseProbability: 0.05 },
      ...sim,
    },
  })
  const later = (ms: number) => new Promise<void>((resolve) => runtime.after(ms, resolve))
  const messages = new Map<number, Sent>()
  const orderSeen: number[] = []
  const violations: string[] = []
  let isOver = false

  // ---- The server, and the next one

  const idOf = (body: Uint8Array) => new DataView(body.buffer, body.byteOffset).getUint32(0)
  const handle = (body: Uint8Array): Sent | undefined => {
    const message = messages.get(idOf(body))
    if (message === undefined) {
      violations.push('a message came that nobody sent')
      return undefined
    }
    message.handled++
    if (message.handled === 1 && message.options.synchronous) orderSeen.push(message.id)
    if (Buffer.compare(body, message.body) !== 0) violations.push(`message ${message.id} came in with another body`)
    return message
  }
  // Streams that are being read at the server, and made at the client: none may be left.
  let reading = 0
  let making = 0
  const isAsSent = (message: Sent, at: number, piece: Uint8Array) =>
    Buffer.compare(piece, message.body.subarray(at, at + piece.length)) === 0
  async function* readAll(body: MessageStream<number>, message: Sent | undefined): AsyncGenerator<Uint8Array, number> {
    reading++
    let at = 0
    try {
      for await (const piece of body) {
        if (message !== undefined && !isAsSent(message, at, piece))
          violations.push(`stream ${message.id} came in with other bytes at ${at}`)
        at += piece.length
        if (often(0.05)) await later(between(0, 200))
        yield piece
      }
    } finally {
      reading--
    }
    if (message !== undefined && at !== message.body.length)
      violations.push(`stream ${message.id} ended at ${at} of ${message.body.length} bytes`)
    return at
  }
  const handleStream = (body: MessageStream<number>): Sent | undefined => {
    const message = messages.get(body.head)
    if (message === undefined) violations.push('a stream came that nobody sent')
    else message.handled++
    return message
  }
  const common = {
    ...{ protocols: [protocol, relayProtocol], runtime, random },
    ...{ keepAliveMs: 4000, inactivityTimeoutMs: 20_000, windowBytes: 16_384 },
    compression: often(0.2) ? (['deflate'] as const) : [],
  }
  const reconnect = { baseMs: 500, steps: 5, jitterMinMs: 1, jitterMaxMs: 50 }
  const here = { host: '10.0.0.1', port: 7000 }
  const startRelay = async () => {
    const relay = new MessageService({ ...common, relay: true })
    await relay.listen(here)
    return relay
  }
  const startServer = async () => {
    const server = new MessageService({
      ...{ ...common, maxMessageBytes: 10_000_000 },
      events: { handlerError: (error) => void violations.push(`a handler failed: ${error}`) },
      ...(relayed && {
        start: 'inactive' as const,
        prepare: (connection) => connection.request(register, { group: 1, replica: 0 }),
      }),
    })
    server.handle(protocol, {
      async ask(body) {
        handle(body)
        if (often(0.3)) await later(between(0, 300))
        return body
      },
      tell: (body) => void handle(body),
      async *list(body) {
        handle(body)
        for (let i = 0; i < 100; i++) {
          if (often(0.02)) await later(between(0, 50))
          yield Uint8Array.of(i)
        }
      },
      async upload(body) {
        const all = readAll(body, handleStream(body))
        for (;;) {
          const { done, value } = await all.next()
          if (done) return value
        }
      },
      mirror: (body) => readAll(body, handleStream(body)),
    })
    if (relayed) server.pool(here, { persistentConnections: 1, reconnect })
    else await server.listen(here)
    return server
  }
  let relay = relayed ? await startRelay() : undefined
  let server = await startServer()
  const restarts = async () => {
    for (let i = between(0, 3); i > 0; i--) {
      await later(between(0, 2000))
      const old = relay !== undefined && often(0.5) ? relay : server
      if (often(0.5)) await old.destroy()
      else await old.close({ timeoutMs: 200 })
      if (often(0.5)) await later(between(0, 1500))
      if (old === relay) relay = await startRelay()
      else server = await startServer()
    }
  }

  // ---- The client

  const client = new MessageService(common)
  const pool = client.pool(here, {
    ...{ maxConnections: between(1, 3), maxRequestsPerConnection: often(0.5) ? 3 : 1000, reconnect },
  })
  // Pieces of a body as they are made; some end too early, with an error.
  async function* piecesOf(message: Sent): AsyncGenerator<Uint8Array> {
    const { body } = message
    const failsAt = often(0.1) ? between(0, body.length) : Number.POSITIVE_INFINITY
    if (failsAt < body.length) message.mayFail = true
    making++
    try {
      for (let at = 0; at < body.length; ) {
        const end = Math.min(body.length, at + between(1, 30_000))
        if (often(0.1)) await later(between(0, 100))
        if (at >= failsAt) throw new Error('no more')
        yield body.subarray(at, end)
        at = end
      }
    } finally {
      making--
    }
  }
  const sendStream = async (message: Sent, options: MessageOptions) => {
    const { id, kind, body } = message
    const source = { head: id, body: piecesOf(message) }
    if (kind === 'upload') {
      const length = await pool.request(upload, source, options)
      if (length !== body.length) violations.push(`stream ${id} was answered with ${length} of ${body.length} bytes`)
      return
    }
    const answer = await pool.request(mirror, source, options)
    const stopsAt = often(0.1) ? between(0, body.length) : Number.POSITIVE_INFINITY
    let at = 0
    for await (const piece of answer) {
      if (!isAsSent(message, at, piece)) violations.push(`stream ${id} came back with other bytes at ${at}`)
      at += piece.length
      if (at >= stopsAt) return
      if (often(0.05)) await later(between(0, 200))
    }
    if (at !== body.length) violations.push(`stream ${id} came back with ${at} of ${body.length} bytes`)
  }
  const sendOne = async (id: number) => {
    const kind = (streams ? kindsWithStreams : kinds)[between(0, 4)]!
    const size = often(0.2) ? between(20_000, 120_000) : between(4, 200)
    const body = pattern(size, id)
    body.writeUInt32BE(id)
    const synchronous = often(0.3)
    const options: MessageOptions = {
      idempotent: often(0.5),
      oneShot: often(0.15),
      synchronous,
      priority: synchronous ? undefined : (['high', 'normal', 'low'] as const)[between(0, 2)],
      ...(relayed && { relay: { group: 1 } }),
    }
    const controller = new AbortController()
    const message: Sent = { id, kind, options, body, mayFail: false, canceled: false, outcomes: [], handled: 0 }
    messages.set(id, message)
    if (often(0.2)) {
      message.mayFail = true
      options.signal = controller.signal
      void later(between(0, 800)).then(() => {
        message.canceled = true
        controller.abort()
      })
    }
    if (often(0.1)) {
      message.mayFail = true
      options.timeoutMs = between(10, 3000)
    }
    try {
      if (kind === 'ask') {
        const answer = await pool.request(ask, body, options)
        if (Buffer.compare(answer, body) !== 0) violations.push(`message ${id} was answered with another body`)
      } else if (kind === 'tell') {
        await pool.send(tell, body, options)
      } else if (kind === 'upload' || kind === 'mirror') {
        await sendStream(message, options)
      } else {
        let next = 0
        for await (const part of pool.parts(list, body, options)) {
          // Sent again it begins anew.
          if (part[0] === 0) next = 0
          if (part[0] !== next++) violations.push(`message ${id}: part ${part[0]} came in place of ${next - 1}`)
        }
        if (next !== 100) violations.push(`message ${id} has ${next} parts`)
      }
      message.outcomes.push('done')
    } catch (error) {
      message.outcomes.push((error as { code?: string }).code ?? String(error))
    }
  }
  const sending = (async () => {
    const all: Promise<void>[] = []
    for (let id = 1; id <= count; id++) {
      if (often(0.5)) await later(between(0, 150))
      all.push(sendOne(id))
    }
    await Promise.all(all)
  })()
  const limit = (async () => {
    await later(limitMs)
    if (!isOver) violations.push('not all messages have completed')
  })()
  await Promise.race([Promise.all([sending, restarts()]), limit])
  isOver = true
  const lastedMs = runtime.nowMs()
  const stats = pool.stats()
  await Promise.race([client.close(), later(60_000).then(() => violations.push('the client does not close'))])
  await Promise.race([server.close(), later(60_000).then(() => violations.push('the server does not close'))])
  if (relay !== undefined)
    await Promise.race([relay.close(), later(60_000).then(() => violations.push('the relay does not close'))])
  // Whoever still sleeps over a piece wakes up.
  await later(1000)
  if (reading + making > 0) violations.push(`${reading} streams are still being read, and ${making} made`)

  // ---- What must hold

  const outcomes = new Map<string, number>()
  for (const message of messages.values()) {
    const { id, kind, options, handled } = message
    const isStream = kind === 'upload' || kind === 'mirror'
    // What is over at the relay is told by the relay; streams are sent once.
    const isRepeated = options.idempotent && !relayed && !isStream
    const what = `${kind} ${id} ${JSON.stringify({ ...options, signal: undefined })}, ${message.body.length} bytes`
    const [outcome] = message.outcomes
    outcomes.set(outcome ?? 'none', (outcomes.get(outcome ?? 'none') ?? 0) + 1)
    if (message.outcomes.length !== 1) violations.push(`${what} completed ${message.outcomes.length} times`)
    if ((isStream || !options.idempotent) && handled > 1) violations.push(`${what} was handled ${handled} times`)
    if (outcome === 'done' && kind !== 'tell' && handled === 0)
      violations.push(`${what} was answered without being handled`)
    if (outcome === 'done' && options.idempotent && handled === 0)
      violations.push(`${what} is done and was not handled`)
    if (isRepeated && !options.oneShot && !message.mayFail && outcome !== 'done')
      violations.push(`${what} should have been done, and is ${outcome}`)
    if (outcome === 'ERR_SLUICE_MESSAGE_INVALID_COMMAND' || (outcome === 'ERR_SLUICE_MESSAGE_CODEC' && !isStream))
      violations.push(`${what} is said to be wrong: ${outcome}`)
    if (outcome === 'ERR_SLUICE_MESSAGE_CANCELED' && !message.canceled)
      violations.push(`${what} was not canceled by anybody`)
  }
  for (let i = 1; i < orderSeen.length && !relayed; i++) {
    if (orderSeen[i]! < orderSeen[i - 1]!) violations.push(`synchronous ${orderSeen[i]} came after ${orderSeen[i - 1]}`)
  }
  if (stats.sent !== stats.completed + stats.failed)
    violations.push(`${stats.sent} were sent, ${stats.completed} completed, ${stats.failed} failed`)
  if (stats.queued !== 0 || stats.queuedBytes !== 0) violations.push(`${stats.queuedBytes} bytes are said to wait`)
  await runtime.destroy()
  return {
    ...{ violations, messages: messages.size, outcomes, lastedMs, connections: stats.connected },
    completed: stats.completed,
    handledTwice: [...messages.values()].filter(({ handled }) => handled > 1).length,
  }
}
