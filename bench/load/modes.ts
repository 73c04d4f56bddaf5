import { once } from 'node:events'
import type { Socket } from 'node:net'
import { chargenChunk } from '../chargen.js'
import type { LoadMode, LoadResult } from '../load-process.js'
import { EchoClient, openSocket } from './client.js'
import { type Meter, tell } from './meter.js'
import type { Settings } from './settings.js'

type Mode = (settings: Settings, meter: Meter, fail: (error: Error) => void) => Promise<LoadResult>

const openAtOnce = 128

/** The five kinds of load, as in bench/native/load_modes.h. */
export const modes: Readonly<Record<LoadMode, Mode>> = { echo, connect, sink, source, idle }

async function echo(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<LoadResult> {
  const clients = await openAll(settings, meter, fail)
  let more = true
  for (const client of clients) {
    client.onMessage = () => {
      if (more) client.send(1)
    }
    client.send(settings.depth)
  }
  const result = await meter.run(settings)
  more = false
  await Promise.all(clients.map((client) => client.echoed())) // nothing may be missing at the end
  return result
}

async function connect(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<LoadResult> {
  let begun = 0
  const beginNext = () => {
    const client = new EchoClient(begun++, settings, meter, fail)
    client.onMessage = () => {
      client.close()
      beginNext()
    }
    client.send(1)
  }
  for (let i = 0; i < settings.connections; i++) beginNext()
  return meter.run(settings)
}

async function sink(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<LoadResult> {
  const chunk = chargenChunk()
  let more = true
  const sockets = openSockets(settings, fail)
  for (const socket of sockets) {
    const fill = () => {
      while (more && socket.write(chunk, () => meter.bytes(chunk.length)));
    }
    socket.on('drain', fill)
    socket.on('data', () => fail(new Error('unexpected answer of a sink')))
    fill()
  }
  const result = await meter.run(settings)
  more = false
  // A server that closed with bytes unread would send a reset, and that fails.
  await Promise.all(sockets.map((socket) => once(socket.end(), 'end')))
  return result
}

async function source(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<LoadResult> {
  const text = Buffer.concat([chargenChunk(), chargenChunk()])
  const half = text.length / 2
  for (const socket of openSockets(settings, fail)) {
    let received = 0
    socket.on('end', () => fail(new Error('closed by the server')))
    socket.on('data', (bytes) => {
      for (let done = 0; done < bytes.length; done += half) {
        const part = bytes.subarray(done, done + half)
        const from = (received + done) % half
        if (!part.equals(text.subarray(from, from + part.length))) fail(new Error(`wrong text after ${received} bytes`))
      }
      received += bytes.length
      meter.bytes(bytes.length)
    })
  }
  return meter.run(settings)
}

async function idle(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<LoadResult> {
  const clients = await openAll(settings, meter, fail)
  tell({ event: 'open', connections: clients.length })
  await once(process.stdin, 'data')
  const began = process.hrtime.bigint()
  for (let i = 0; i < clients.length; i += openAtOnce) {
    const some = clients.slice(i, i + openAtOnce)
    for (const client of some) client.send(1)
    await Promise.all(some.map((client) => client.echoed()))
  }
  return { seconds: Number(process.hrtime.bigint() - began) / 1e9, messages: clients.length, bytes: 0 }
}

/** Opens all connections, a few at a time; each has sent a message and got it back when this resolves. */
async function openAll(settings: Settings, meter: Meter, fail: (error: Error) => void): Promise<EchoClient[]> {
  const clients: EchoClient[] = []
  while (clients.length < settings.connections) {
    const some = Array.from(
      { length: Math.min(openAtOnce, settings.connections - clients.length) },
      (_, index) => new EchoClient(clients.length + index, settings, meter, fail),
    )
    for (const client of some) client.send(1)
    await Promise.all(some.map((client) => client.echoed()))
    clients.push(...some)
  }
  return clients
}

function openSockets({ connections, port }: Settings, fail: (error: Error) => void): Socket[] {
  return Array.from({ length: connections }, (_, number) => {
    const socket = openSocket(port, number)
    socket.on('error', (error) => fail(new Error(`connection ${number}: ${error.message}`)))
    return socket
  })
}
