// Bun's own sockets, run by Bun. What its write() does not take is ours to keep; meanwhile nothing more is read.
import { chargenChunk } from '../chargen.js'
import { announce, serverOptions } from './service.js'

interface BunSocket {
  data: { kept?: Buffer; generated: number }
  write(bytes: Uint8Array): number
  pause(): void
  resume(): void
  end(): void
}

interface BunHandlers {
  open(socket: BunSocket): void
  data(socket: BunSocket, bytes: Buffer): void
  drain(socket: BunSocket): void
  end?(socket: BunSocket): void
  error?(socket: BunSocket, error: Error): void
}

declare const Bun: {
  listen(options: { hostname: string; port: number; socket: BunHandlers }): { port: number }
}

const { service } = serverOptions()
const chunk = chargenChunk()

function generate(socket: BunSocket): void {
  const state = socket.data
  for (;;) {
    const offset = state.generated % chunk.length
    const taken = socket.write(offset === 0 ? chunk : chunk.subarray(offset))
    if (taken <= 0) return
    state.generated += taken
    if (offset + taken < chunk.length) return
  }
}

const services: Record<string, Pick<BunHandlers, 'data' | 'drain'>> = {
  echo: {
    data(socket, bytes) {
      const taken = Math.max(0, socket.write(bytes))
      if (taken === bytes.length) return
      socket.data.kept = Buffer.from(bytes.subarray(taken))
      socket.pause()
    },
    drain(socket) {
      const { kept } = socket.data
      if (kept === undefined) return
      const taken = Math.max(0, socket.write(kept))
      socket.data.kept = taken < kept.length ? kept.subarray(taken) : undefined
      if (socket.data.kept === undefined) socket.resume()
    },
  },
  discard: { data() {}, drain() {} },
  chargen: { data() {}, drain: generate },
}

const { port } = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    ...services[service]!,
    open(socket) {
      socket.data = { generated: 0 }
      if (service === 'chargen') generate(socket)
    },
    end: (socket) => socket.end(),
    error() {},
  },
})
announce(port)
