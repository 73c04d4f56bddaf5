import { connect, type Socket } from 'node:net'
import { chargenChunk } from '../chargen.js'
import { maskTransform } from './mask.js'
import { answerShares, type ServerOptions, serverOptions, sharedRate } from './service.js'
import { throttle } from './throttle.js'

const chunk = chargenChunk()

const services: Record<string, (socket: Socket) => void> = {
  echo(socket) {
    socket.on('data', (bytes) => {
      if (!socket.write(bytes)) socket.pause()
    })
    socket.on('drain', () => socket.resume())
  },
  mask(socket) {
    socket.pipe(maskTransform()).pipe(maskTransform()).pipe(socket)
  },
  throttled(socket) {
    socket.pipe(throttle()).pipe(throttle()).pipe(socket)
  },
  discard(socket) {
    socket.on('data', () => {})
  },
  relay(socket) {
    const upstream = connect({ host: '127.0.0.1', port: serverOptions().upstream, noDelay: true })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
    socket.pipe(upstream)
    upstream.pipe(socket)
  },
  chargen(socket) {
    const fill = () => {
      while (socket.write(chunk));
    }
    socket.on('drain', fill)
    socket.resume()
    fill()
  },
}

// What a program does by itself, or with a package for it: a bucket that a timer fills, and a queue of those who wait.
function shared(): (socket: Socket) => void {
  const { bytesPerSecond, minShareBytes, tickMs } = sharedRate
  const sharing: { bytes: number }[] = []
  const waiting: (() => void)[] = []
  let level = 0
  let filled = performance.now()
  answerShares(sharing, ({ bytes }) => bytes)
  setInterval(() => {
    const now = performance.now()
    level = Math.min(level + (bytesPerSecond * (now - filled)) / 1000, bytesPerSecond / 10)
    filled = now
    while (level >= minShareBytes && waiting.length > 0) {
      level -= minShareBytes
      waiting.shift()!()
    }
  }, tickMs)
  return (socket) => {
    const me = { bytes: 0 }
    sharing.push(me)
    let position = 0
    const send = () => {
      const piece = chunk.subarray(position, Math.min(position + minShareBytes, chunk.length))
      position = (position + piece.length) % chunk.length
      me.bytes += piece.length
      if (socket.write(piece)) waiting.push(send)
      else socket.once('drain', () => waiting.push(send))
    }
    socket.on('data', () => {})
    waiting.push(send)
  }
}

/** What node:net and node:tls do with each connection, as their documentation says, with back-pressure. */
export function nodeService({
  service,
  limited,
}: Pick<ServerOptions, 'service' | 'limited'>): (socket: Socket) => void {
  const serve = service === 'shared' ? shared() : services[limited ? 'throttled' : service]!
  return (socket) => {
    socket.on('error', () => {}) // a load generator that leaves may reset its connections
    serve(socket)
  }
}
