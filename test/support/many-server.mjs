// Echoes to as many connections at once as come; answers each line on stdin with its numbers.
import { createInterface } from 'node:readline'
import { Runtime } from 'sluice'

const runtime = new Runtime({ engine: process.argv[2] })
const errors = {}
const listener = await runtime.listen(
  { host: '0.0.0.0', port: 0, backlog: 4096 },
  {
    data: (connection, bytes) => void connection.write(bytes),
    error: (_, { code }) => {
      errors[code] = (errors[code] ?? 0) + 1
    },
  },
)
console.log(listener.address.port)
for await (const _ of createInterface(process.stdin)) {
  console.log(JSON.stringify({ ...listener.stats(), errors }))
}
await runtime.destroy()
