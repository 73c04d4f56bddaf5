import type { Socket } from 'node:net'
import { finished, pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { StreamLog } from '../support/stream-log.js'
import { net, sluiceTransports, type Transport } from '../support/transports.js'

interface Ends {
  client: Socket
  server: Socket
  /** What the two streams told. */
  atClient: StreamLog
  atServer: StreamLog
}

interface Script {
  /** Goes on with: …, as node:net does. */
  name: string
  allowHalfOpen?: boolean
  reads?: boolean
  /** Whether `drain` is compared; how often a busy stream drains is a matter of time. */
  drains?: boolean
  /** Drives both ends; what it returns is compared too. */
  run(ends: Ends): Promise<unknown>
}

const closed = ({ atClient, atServer }: Ends) => Promise.all([atClient.closed(), atServer.closed()])
const large = pattern(3_000_000)
// More than the system takes for a peer that does not read.
const huge = Buffer.alloc(50_000_000)
const failure = new Error('on purpose')

const scripts: Script[] = [
  {
    name: 'a question, an answer and the end of both',
    async run(ends) {
      ends.server.on('data', (bytes) => ends.server.end(`answer to ${bytes}`))
      ends.client.write('question')
      await closed(ends)
      return [ends.atClient.text, ends.atServer.text]
    },
  },
  {
    name: 'end with last words',
    async run(ends) {
      ends.client.end('last words', () => ends.atClient.note('end() called back'))
      await closed(ends)
      return ends.atServer.text
    },
  },
  {
    name: 'end before anything was read',
    async run(ends) {
      ends.client.end()
      ends.server.end()
      await closed(ends)
    },
  },
  {
    name: 'half-open: the answer after the end of the question',
    allowHalfOpen: true,
    async run(ends) {
      ends.client.end('question')
      await ends.atServer.saw('end')
      const states = [ends.client.readyState, ends.server.readyState]
      ends.server.write('answer')
      await ends.atClient.received(6)
      ends.server.end()
      await closed(ends)
      return [...states, ends.client.readyState, ends.server.readyState]
    },
  },
  {
    name: 'destroy',
    async run(ends) {
      ends.client.destroy()
      const states = [ends.client.destroyed, ends.client.readyState, ends.client.writable]
      ends.client.destroy()
      await closed(ends)
      return states
    },
  },
  {
    name: 'destroy with an error',
    async run(ends) {
      ends.client.destroy(failure)
      await closed(ends)
      return ends.atClient.errors.map(({ message }) => message)
    },
  },
  {
    name: 'last words, then destroy at once',
    async run(ends) {
      ends.server.write('400 Bad Request')
      ends.server.destroy()
      await closed(ends)
      return ends.atClient.text
    },
  },
  {
    name: 'destroySoon after much',
    async run(ends) {
      ends.client.write(large)
      ends.client.destroySoon()
      await closed(ends)
      return hashOf(ends.atServer.bytes)
    },
  },
  {
    name: 'destroySoon within a response',
    async run(ends) {
      ends.server.on('data', () => {
        ends.server.write('answer')
        ends.server.destroySoon()
      })
      ends.client.write('question')
      await closed(ends)
      return ends.atClient.text
    },
  },
  {
    name: 'reset on purpose',
    async run(ends) {
      ends.client.resetAndDestroy()
      await closed(ends)
    },
  },
  {
    name: 'a peer that resets in the middle of a write',
    async run(ends) {
      ends.server.pause()
      ends.client.write(huge)
      setImmediate(() => ends.server.resetAndDestroy())
      await ends.atClient.closed()
    },
  },
  {
    name: 'write after end',
    async run(ends) {
      ends.client.end()
      ends.client.write('too late', (error) => ends.atClient.note(`write failed: ${error instanceof Error}`))
      await closed(ends)
      return ends.atClient.errors.map(({ code }) => code)
    },
  },
  {
    name: 'write after destroy',
    async run(ends) {
      ends.client.destroy()
      ends.client.write('too late', (error) => ends.atClient.note(`write failed: ${error instanceof Error}`))
      await closed(ends)
    },
  },
  {
    name: 'a write under way when it is destroyed',
    async run(ends) {
      ends.server.pause()
      // That the first one calls back without an error, as in node:net, is nothing to follow.
      ends.client.write(huge, () => ends.atClient.note('write called back'))
      ends.client.write('one more', (error) => ends.atClient.note(`second write failed: ${error instanceof Error}`))
      setImmediate(() => ends.client.destroy())
      await ends.atClient.closed()
    },
  },
  {
    name: 'callbacks in order, and the end after them',
    async run(ends) {
      for (let i = 0; i < 5; i++) ends.client.write(pattern(20_000, i), () => ends.atClient.note(`written ${i}`))
      ends.client.end(() => ends.atClient.note('ended'))
      await closed(ends)
      return hashOf(ends.atServer.bytes)
    },
  },
  {
    name: 'drain once after a write that went past the mark',
    drains: true,
    async run(ends) {
      ends.server.pause()
      const went = ends.client.write(huge)
      const needsDrain = ends.client.writableNeedDrain
      ends.server.resume()
      await ends.atClient.saw('drain')
      const { writableLength, writableNeedDrain } = ends.client
      ends.client.end()
      await closed(ends)
      return { went, needsDrain, writableLength, writableNeedDrain, hash: hashOf(ends.atServer.bytes) }
    },
  },
  {
    name: 'corked writes',
    async run(ends) {
      ends.client.cork()
      ends.client.write('one ')
      ends.client.write('two ')
      ends.client.write('three')
      const held = ends.client.writableLength
      ends.client.uncork()
      ends.client.end()
      await closed(ends)
      return [held, ends.atServer.text]
    },
  },
  {
    name: 'strings in several encodings',
    async run(ends) {
      ends.client.setDefaultEncoding('latin1')
      ends.client.write('\u00e9', 'utf8')
      ends.client.write('e9', 'hex')
      ends.client.write('6Q==', 'base64')
      ends.client.write('\u00e9')
      ends.client.end(new Uint8Array([1, 2]))
      await closed(ends)
      return ends.atServer.bytes.toString('hex')
    },
  },
  {
    name: 'setEncoding with a character in two pieces',
    async run(ends) {
      ends.server.setEncoding('utf8')
      const [first, second] = [Buffer.from('aé').subarray(0, 2), Buffer.from('aé').subarray(2)]
      ends.client.write(first)
      await ends.atServer.received(1)
      ends.client.end(second)
      await closed(ends)
      return ends.atServer.text
    },
  },
  {
    name: 'a pause before the data and the end',
    async run(ends) {
      ends.server.pause()
      ends.client.end('for later')
      await ends.atClient.saw('finish')
      await eventually(() => ends.server.bytesRead > 0)
      ends.atServer.note('resumed')
      ends.server.resume()
      await closed(ends)
      return ends.atServer.text
    },
  },
  {
    name: 'data left unread by a destroyed stream',
    async run(ends) {
      ends.server.pause()
      ends.client.write('never read')
      await eventually(() => ends.server.bytesRead > 0)
      ends.server.destroy()
      await closed(ends)
      return ends.atServer.text
    },
  },
  {
    name: 'read() in readable mode',
    reads: false,
    async run(ends) {
      ends.client.end(pattern(200_000))
      const pieces: Buffer[] = []
      ends.server.on('readable', () => {
        for (let piece = ends.server.read(1000); piece !== null; piece = ends.server.read(1000)) pieces.push(piece)
      })
      ends.client.resume()
      await closed(ends)
      return [pieces.length, hashOf(...pieces)]
    },
  },
  {
    name: 'unshift of what was read too much',
    reads: false,
    async run(ends) {
      let text = ''
      ends.server.once('data', (head) => {
        ends.server.pause()
        ends.server.unshift(head.subarray(4))
        text = `${head.subarray(0, 4)}|`
        ends.server.on('data', (rest) => {
          text += rest
        })
        ends.server.resume()
      })
      ends.client.resume()
      ends.client.end('headbody')
      await closed(ends)
      return text
    },
  },
  {
    name: 'async iteration',
    reads: false,
    async run(ends) {
      ends.client.resume()
      ends.client.end(large)
      const chunks: Buffer[] = []
      for await (const chunk of ends.server) chunks.push(chunk)
      await closed(ends)
      return hashOf(...chunks)
    },
  },
  {
    name: 'async iteration that is left early',
    reads: false,
    async run(ends) {
      ends.client.resume()
      ends.client.write(large)
      for await (const _ of ends.server) break
      const { destroyed } = ends.server
      await ends.atServer.closed()
      return destroyed
    },
  },
  {
    name: 'an echo by pipe',
    async run(ends) {
      ends.server.pipe(ends.server)
      ends.client.end(large)
      await closed(ends)
      return hashOf(ends.atClient.bytes)
    },
  },
  {
    name: 'an echo by pipeline',
    reads: false,
    async run(ends) {
      const chunks: Buffer[] = []
      ends.client.on('data', (chunk) => chunks.push(chunk))
      const done = pipeline(ends.server, ends.server)
      ends.client.end(large)
      await done
      await closed(ends)
      return hashOf(...chunks)
    },
  },
  {
    name: 'finished() in good order',
    async run(ends) {
      const ended = finished(ends.server)
      ends.client.end('bye')
      await ended
      await closed(ends)
    },
  },
  {
    name: 'finished() of a stream that is cut off',
    async run(ends) {
      const ended = finished(ends.client).catch((error) => error.code)
      ends.client.destroy()
      const code = await ended
      await closed(ends)
      return code
    },
  },
  {
    name: 'finished() of a stream whose peer resets',
    async run(ends) {
      const ended = finished(ends.client).then(
        () => 'resolved',
        () => 'rejected',
      )
      ends.server.resetAndDestroy()
      await closed(ends)
      return ended
    },
  },
  {
    name: 'a timeout, and destroy in answer',
    async run(ends) {
      ends.client.setTimeout(30, () => ends.client.destroy())
      await closed(ends)
      return ends.client.timeout
    },
  },
  {
    name: 'a timeout that is called off',
    async run(ends) {
      const callback = () => ends.atClient.note('called back')
      ends.client.setTimeout(5, callback)
      ends.client.setTimeout(0, callback)
      ends.server.setTimeout(30)
      await ends.atServer.saw('timeout')
      ends.client.destroy()
      await closed(ends)
      return ends.client.listenerCount('timeout')
    },
  },
  {
    name: 'the facts of a socket',
    async run(ends) {
      const { client, server } = ends
      const same = client.setNoDelay() === client && client.setNoDelay(false) === client
      const alike = client.setKeepAlive(true, 5000) === client && client.setKeepAlive(false) === client
      const held = client.ref() === client && client.unref() === client && client.ref() === client
      const address = client.address() as { address: string; family: string; port: number }
      const facts = [
        ...[same, alike, held, client.connecting, client.pending, client.readyState, client.timeout],
        ...[client.remoteAddress, client.remoteFamily, client.localAddress, client.localFamily],
        ...[address.address, address.family, address.port === client.localPort],
        ...[server.remotePort === client.localPort, server.localPort === client.remotePort],
        ...[client.allowHalfOpen, client.bytesRead, client.bytesWritten],
      ]
      server.write('12345')
      client.write('123')
      client.cork()
      client.write('456')
      facts.push(client.bytesWritten)
      client.uncork()
      await ends.atClient.received(5)
      await ends.atServer.received(6)
      client.end()
      await closed(ends)
      facts.push(client.bytesRead, client.bytesWritten, server.bytesRead, server.bytesWritten, client.pending)
      return facts
    },
  },
  {
    name: 'calls that come too late',
    async run(ends) {
      ends.client.destroy()
      await closed(ends)
      const { client } = ends
      const calls = [client.setNoDelay(), client.setKeepAlive(true, 1000), client.ref(), client.unref()]
      const late = [client.setTimeout(10), client.destroy(), client.pause(), client.resume()]
      client.destroySoon()
      client.resetAndDestroy()
      await nextTurn()
      return [...calls, ...late].every((answer) => answer === client)
    },
  },
]

// Each direction by itself: how they interleave is a matter of time.
function directions({ events }: StreamLog, drains: boolean) {
  const isReading = (event: string) => event === 'data' || event === 'end' || event === 'resumed'
  const isEnding = (event: string) => event === 'error' || event.startsWith('close')
  const shown = events.filter((event) => drains || event !== 'drain')
  const reading = shown.filter((event) => isReading(event) || isEnding(event))
  return {
    reading: reading.filter((event, i) => event !== 'data' || reading[i - 1] !== 'data'),
    writing: shown.filter((event) => !isReading(event)),
  }
}

async function play(transport: Transport, { allowHalfOpen, reads, drains = false, run }: Script) {
  let accept!: (log: StreamLog) => void
  const accepted = new Promise<StreamLog>((resolve) => {
    accept = resolve
  })
  const serve = (socket: Socket) => accept(new StreamLog(socket, { reads }))
  await using service = await transport.listen(serve, { allowHalfOpen })
  const client = await service.connect()
  const atClient = new StreamLog(client, { reads })
  const atServer = await accepted
  const answer = await run({ client, server: atServer.stream as Socket, atClient, atServer })
  return { answer, atClient: directions(atClient, drains), atServer: directions(atServer, drains) }
}

describe.each(sluiceTransports())('a stream on $name tells the same as node:net of', (transport) => {
  it.each(scripts)('$name', async (script) => {
    expect(await play(transport, script)).toEqual(await play(net, script))
  })
})
