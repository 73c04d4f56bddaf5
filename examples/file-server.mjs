// Files of a folder over messages, in constant memory whatever their size.
//
//   node examples/file-server.mjs serve FOLDER 7000
//   node examples/file-server.mjs list localhost:7000
//   node examples/file-server.mjs get localhost:7000 NAME > copy
//   node examples/file-server.mjs put localhost:7000 NAME < file
import { createReadStream, createWriteStream } from 'node:fs'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { defineProtocol, empty, json, MessageError, MessageService, request, stream, utf8 } from 'sluice/messages'

const files = defineProtocol({
  name: 'files',
  messages: {
    list: request(empty(), json()),
    get: request(utf8(), stream(json())),
    put: request(stream(utf8()), json()),
  },
})
const { list, get, put } = files.messages
const service = new MessageService({ protocols: [files] })

async function serve(folder, port) {
  const pathOf = (name) => {
    if (name === '' || name !== basename(name) || name.startsWith('.')) throw new MessageError('E_NAME', `no name: ${name}`)
    return join(folder, name)
  }
  service.handle(files, {
    list: async () => {
      const entries = await readdir(folder, { withFileTypes: true })
      return entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map(({ name }) => name)
    },
    async get(name) {
      const path = pathOf(name)
      const found = await stat(path).catch(() => undefined)
      if (!found?.isFile()) throw new MessageError('E_MISSING', `there is no ${name}`)
      return { head: { sizeBytes: found.size }, body: createReadStream(path) }
    },
    async put(body) {
      const path = pathOf(body.head)
      const unfinished = join(folder, `.${body.head}.${process.hrtime.bigint()}`)
      try {
        const target = createWriteStream(unfinished)
        await pipeline(body, target)
        await rename(unfinished, path)
        return { sizeBytes: target.bytesWritten }
      } catch (error) {
        await rm(unfinished, { force: true })
        throw error
      }
    },
  })
  const listener = await service.listen({ host: '127.0.0.1', port: Number(port ?? 0) })
  console.log(`serving ${folder} at localhost:${listener.address.port}`)
}

const [command, where, name] = process.argv.slice(2)
const once = { oneShot: true }
try {
  if (command === 'serve') await serve(where, name)
  else if (command === 'list') {
    for (const file of await service.pool(where).request(list, undefined, once)) console.log(file)
    await service.close()
  } else if (command === 'get') {
    const file = await service.pool(where).request(get, name, once)
    await pipeline(file, process.stdout)
    await service.close()
  } else if (command === 'put') {
    const { sizeBytes } = await service.pool(where).request(put, { head: name, body: process.stdin }, once)
    console.log(`${sizeBytes} bytes`)
    await service.close()
  } else {
    console.error('usage: file-server.mjs serve FOLDER [PORT] | list HOST:PORT | get HOST:PORT NAME | put HOST:PORT NAME')
    process.exitCode = 2
  }
} catch (error) {
  console.error(error.cause instanceof MessageError ? error.cause.message : error.message)
  process.exitCode = 1
  await service.destroy()
}
