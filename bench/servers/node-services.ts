import type { Socket } from 'node:net'
import { chargenChunk } from '../chargen.js'

const chunk = chargenChunk()

const services: Record<string, (socket: Socket) => void> = {
  echo(socket) {
    socket.on('data', (bytes) => {
      if (!socket.write(bytes)) socket.pause()
    })
    socket.on('drain', () => socket.resume())
  },
  discard(socket) {
    socket.on('data', () => {})
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

/** What node:net and node:tls do with each connection, as their documentation says, with back-pressure. */
export function nodeService(service: string): (socket: Socket) => void {
  const serve = services[service]!
  return (socket) => {
    socket.on('error', () => {}) // a load generator that leaves may reset its connections
    serve(socket)
  }
}
