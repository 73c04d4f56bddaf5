// Opens as many connections as asked for, to one address per 20 000 of 127.0.0.x, has each echo, and reports.
import { once } from 'node:events'
import { Runtime } from 'sluice'

const [port, count] = process.argv.slice(2).map(Number)
const runtime = new Runtime({ engine: 'epoll' })
const report = { open: 0, echoed: 0, errors: {} }
const message = Buffer.from('sixteen bytes...')
const failed = (error) => {
  report.errors[error.code] = (report.errors[error.code] ?? 0) + 1
}
let allEchoed
const done = new Promise((resolve) => {
  allEchoed = resolve
})
const handlers = {
  data(connection, bytes) {
    connection.data += bytes.length
    if (connection.data === message.length && ++report.echoed === count) allEchoed()
  },
  error: (_, error) => failed(error),
}
const connections = []
const connectOne = async (i) => {
  try {
    const connection = await runtime.connect(
      { host: `127.0.0.${2 + (i % 8)}`, port, localAddress: `127.0.0.${20 + (i % 8)}` },
      handlers,
    )
    connection.data = 0
    connections.push(connection)
    report.open++
  } catch (error) {
    failed(error)
  }
}
let next = 0
await Promise.all(
  Array.from({ length: 200 }, async () => {
    while (next < count) await connectOne(next++)
  }),
)
// All are open at once; now each echoes.
for (const connection of connections) connection.write(message)
if (report.open === count) await done
console.log(JSON.stringify(report))
// Open until told to go.
process.stdin.resume()
await once(process.stdin, 'end')
await runtime.destroy()
