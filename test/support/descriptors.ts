import { openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type RawPeer, RawServer, rawConnect } from './raw.js'

// The addon's own dup(): Node has none.
const { duplicateFd } = createRequire(import.meta.url)('node-gyp-build')(join(import.meta.dirname, '../..')) as {
  duplicateFd(fd: number): number
}

/** A further descriptor of this process's TCP socket with that local port, and that remote one. */
export function duplicateOf(localPort: number, remotePort = 0): number {
  return duplicateFd(descriptorOf(localPort, remotePort))
}

/** This process's descriptor of the TCP socket with that local port, and that remote one; 0 when it listens. */
export function descriptorOf(localPort: number, remotePort = 0): number {
  const inode = inodeOf(localPort, remotePort)
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) === `socket:[${inode}]`) return Number(fd)
    } catch {
      // The descriptor that read the folder is gone.
    }
  }
  throw new Error(`no descriptor of the socket between ports ${localPort} and ${remotePort}`)
}

function inodeOf(localPort: number, remotePort: number): string {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0')
  for (const table of ['tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/net/${table}`, 'utf8').split('\n')) {
      const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/)
      if (local?.endsWith(`:${hex(localPort)}`) && remote?.endsWith(`:${hex(remotePort)}`)) return inode!
    }
  }
  throw new Error(`no socket between ports ${localPort} and ${remotePort}`)
}

/** A descriptor of something that is no socket. */
export function openFile(): number {
  return openSync('/dev/null', 'r')
}

/** A descriptor of a connected socket, and its peer. */
export async function connectedDescriptor(): Promise<AsyncDisposable & { fd: number; peer: RawPeer }> {
  const server = await RawServer.listen()
  const accepted = server.accepted()
  const near = await rawConnect({ port: server.port })
  const peer = await accepted
  const fd = duplicateOf(near.socket.localPort!, server.port)
  near.socket.pause()
  near.destroy()
  return {
    ...{ fd, peer },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
    },
  }
}
