// Files over messages: bodies are streams, so their size does not matter, and any number goes over one connection.
//
//   node examples/file-server.mjs serve FOLDER [PORT]
//   node examples/file-server.mjs list HOST:PORT
//   node examples/file-server.mjs get  HOST:PORT NAME > FILE
//   node examples/file-server.mjs put  HOST:PORT FILE…
import { randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import {
  defineProtocol,
  empty,
  json,
  MessageError,
  MessageService,
  parts,
  request,
  stream,
  utf8,
} from 'sluice/messages'

const files = defineProtocol({
  name: 'files',
  messages: {
    list: parts(empty(), json()), // { name, sizeBytes }, one by one
    get: request(utf8(), stream()),
    put: request(stream(utf8()), json()), // the name in front; answered with the size
  },
})
const { list, get, put } = files.messages

/** The folder is flat: names with a path in them, and those that begin with a dot, are nobody's business. */
function pathOf(folder, name) {
  if (name !== basename(name) || name.startsWith('.')) throw new MessageError('E_NAME', `not a name of a file: ${name}`)
  return join(folder, name)
}

async function serve(folder, port = 0) {
  const service = new MessageService({ protocols: [files] })
  service.handle(files, {
    async *list() {
      for (const entry of await readdir(folder, { withFileTypes: true })) {
        if (!entry.isFile() || entry.name.startsWith('.')) continue
        yield { name: entry.name, sizeBytes: (await stat(join(folder, entry.name))).size }
      }
    },
    async get(name) {
      const file = await open(pathOf(folder, name)).catch((error) => {
        throw new MessageError(error.code, `no file ${name}`)
      })
      return file.createReadStream()
    },
    async put(body) {
      const path = pathOf(folder, body.head)
      // Not there before it is complete: its sender may go away.
      const partial = join(folder, `.${randomBytes(6).toString('hex')}`)
      try {
        await pipeline(body, createWriteStream(partial))
        await rename(partial, path)
      } catch (error) {
        await rm(partial, { force: true })
        throw error
      }
      return (await stat(path)).size
    },
  })
  const listener = await service.listen({ host: '127.0.0.1', port: Number(port) })
  console.log(`${folder} on 127.0.0.1:${listener.address.port}`)
}

const commands = {
  async list(pool) {
    for await (const { name, sizeBytes } of pool.parts(list)) console.log(`${name}\t${sizeBytes}`)
  },
  async get(pool, name) {
    await pipeline(await pool.request(get, name), process.stdout)
  },
  // All at once.
  async put(pool, ...paths) {
    const send = async (path) => {
      const sizeBytes = await pool.request(put, { head: basename(path), body: createReadStream(path) })
      console.log(`${basename(path)}\t${sizeBytes}`)
    }
    await Promise.all(paths.map(send))
  },
}

const [command = '', ...args] = process.argv.slice(2)
if (command === 'serve') await serve(...args)
else if (Object.hasOwn(commands, command)) {
  const [address, ...names] = args
  const service = new MessageService({ protocols: [files] })
  await commands[command](service.pool(address), ...names)
  await service.close()
} else throw new Error('usage: file-server.mjs serve|list|get|put …')
