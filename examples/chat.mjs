// A chat without a server: everybody listens, and is connected with everybody else.
//
//   node examples/chat.mjs ann                          prints where it listens
//   node examples/chat.mjs bob 127.0.0.1:PORT           joins ann, and through her all others
//
// Lines typed go to all. Who has connected and who has accepted makes no difference: messages go both ways.
import { createInterface } from 'node:readline'
import { defineProtocol, json, MessageService, oneWay, request } from 'sluice/messages'

const chat = defineProtocol({
  name: 'chat',
  messages: {
    // Says who one is; the answer says the same, and who else is there: their names by address.
    join: request(json(), json()),
    say: oneWay(json()),
  },
})
const { join, say } = chat.messages

const [name = 'somebody', ...addresses] = process.argv.slice(2)
/** By address: name, and the pool or connection that leads there. */
const members = new Map()

const service = new MessageService({
  protocols: [chat],
  events: {
    // Of one that had joined us, or one that we had joined.
    connectionStop: (connection) => left((sender) => sender === connection),
    poolDisconnect: (pool) => left((sender) => sender === pool),
  },
})

service.handle(chat, {
  join(who, { connection }) {
    const others = Object.fromEntries([...members].map(([address, member]) => [address, member.name]))
    joined(who.address, who.name, connection)
    return { name, others }
  },
  say: ({ from, text }) => console.log(`${from}: ${text}`),
})

const listener = await service.listen({ host: '127.0.0.1', port: 0 })
const own = `127.0.0.1:${listener.address.port}`
console.log(`* ${name} listens on ${own}`)
for (const address of addresses) await meet(address)

async function meet(address) {
  if (address === own || members.has(address)) return
  const pool = service.pool(address)
  try {
    const { name: theirs, others } = await pool.request(join, { name, address: own }, { oneShot: true })
    joined(address, theirs, pool)
    for (const other of Object.keys(others)) await meet(other)
  } catch (error) {
    console.log(`* nobody at ${address}: ${error.message}`)
    pool.destroy()
  }
}

function joined(address, theirs, sender) {
  // Two that meet each other at the same time have two ways; one is enough.
  if (members.has(address)) return
  members.set(address, { name: theirs, sender })
  console.log(`* ${theirs} is here`)
}

function left(isTheirs) {
  for (const [address, member] of members) {
    if (!isTheirs(member.sender)) continue
    members.delete(address)
    console.log(`* ${member.name} has left`)
    // A pool would connect again.
    if ('stats' in member.sender) member.sender.destroy()
  }
}

for await (const text of createInterface({ input: process.stdin })) {
  for (const { sender } of members.values()) sender.post(say, { from: name, text })
}
await service.close({ timeoutMs: 1000 })
