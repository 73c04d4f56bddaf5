// The competitor everyone has: node:net as its documentation says, with back-pressure.
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { chargenChunk } from '../chargen.js'
import { maskTransform } from './mask.js'
import { announce, serverOptions } from './service.js'

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

const serve = services[serverOptions().service]!
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {}) // a load generator that leaves may reset its connections
  serve(socket)
})
server.listen(0, '127.0.0.1', 4096, () => announce((server.address() as AddressInfo).port))
