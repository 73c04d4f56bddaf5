import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as netConnect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll } from 'vitest'

/** Files of a test file's own; they go when its tests are over. */
export function ownFiles() {
  let folder: string
  let nextFile = 0
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-proxy-'))
  })
  afterAll(() => rmSync(folder, { recursive: true }))
  const pathOf = (ending: string) => join(folder, `${nextFile++}${ending}`)
  return {
    /** A path where nothing is yet. */
    pathOf,
    /** Writes a file, and answers its path. */
    fileOf(content: string, ending = '.pem'): string {
      const path = pathOf(ending)
      writeFileSync(path, content)
      return path
    },
  }
}

export async function dial(port: number): Promise<Socket> {
  const socket = netConnect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  return socket.setEncoding('latin1') as Socket
}

/** Sends a line, and answers what comes back. */
export async function say(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [answer] = (await once(socket, 'data')) as [string]
  return answer
}

/** One exchange over a connection of its own. */
export async function ask(port: number, text = 'x'): Promise<string> {
  const socket = await dial(port)
  try {
    return await say(socket, text)
  } finally {
    socket.destroy()
  }
}

export async function secure(port: number, servername: string | undefined, more: object = {}): Promise<TLSSocket> {
  const socket = tlsConnect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ...more })
  await once(socket, 'secureConnect')
  return socket.setEncoding('latin1') as TLSSocket
}

/** What the tests look at of the statistics. */
export interface Told {
  reloads: object
  listeners: {
    sessions: { current: number }
    certificates: object[]
    rules: { text: string; hits: number }[]
    failures: object
    turnedAway: object
  }[]
  upstreams: object[]
  tables: object[]
}

export async function stats(url: string): Promise<Told> {
  return (await (await fetch(`${url}/stats.json`)).json()) as Told
}

export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve))
}
