// A chat without a server in the middle: everybody listens, and talks to everybody they know.
//
//   node examples/chat.mjs ann 7001
//   node examples/chat.mjs bob 7002 localhost:7001
import { createInterface } from 'node:readline'
import { defineProtocol, json, MessageService, oneWay, request } from 'sluice/messages'

const [name, port = '0', ...known] = process.argv.slice(2)
if (!name) {
  console.error('usage: chat.mjs NAME [PORT [HOST:PORT …]]')
  process.exit(2)
}

const chat = defineProtocol({
  name: 'chat',
  messages: {
    join: request(json(), json()), // { name, address } to the list of who else is there
    say: oneWay(json()), // { from, text }
  },
})
const { join, say } = chat.messages

const service = new MessageService({
  protocols: [chat],
  events: { poolDisconnect: (pool) => leave(pool.name) },
})
const others = new Map() // address to name

service.handle(chat, {
  join({ name: newcomer, address }) {
    const list = [...others.keys()]
    if (!others.has(address)) console.log(`* ${newcomer} is here`)
    others.set(address, newcomer)
    return { name, addresses: list }
  },
  say({ from, text }) {
    console.log(`${from}: ${text}`)
  },
})

const listener = await service.listen({ host: '127.0.0.1', port: Number(port) })
const own = `localhost:${listener.address.port}`
console.log(`* you are ${name} at ${own}`)
for (const address of known) await meet(address)

async function meet(address) {
  if (address === own || others.has(address)) return
  try {
    const answer = await service.pool(address).request(join, { name, address: own }, { timeoutMs: 3000 })
    others.set(address, answer.name)
    console.log(`* met ${answer.name}`)
    for (const further of answer.addresses) await meet(further)
  } catch (error) {
    console.log(`* nobody at ${address}: ${error.message}`)
  }
}

function leave(address) {
  if (!others.has(address)) return
  console.log(`* ${others.get(address)} has left`)
  others.delete(address)
}

const input = createInterface({ input: process.stdin })
input.on('line', (text) => {
  for (const address of others.keys()) {
    service.pool(address).send(say, { from: name, text }, { oneShot: true }).catch(() => leave(address))
  }
})
input.on('close', () => service.close({ timeoutMs: 1000 }))
