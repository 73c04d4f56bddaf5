// Run with few descriptors: takes them all, lets clients connect, gives them back, and reports as JSON what became of it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { Runtime } from 'sluice'

const [engine, threads] = process.argv.slice(2)
const clients = 5
const warnings = []
process.on('warning', (warning) => warnings.push(warning))

const runtime = new Runtime({ engine, threads: Number(threads) })
const listener = await runtime.listen(
  { host: '127.0.0.1', port: 0 },
  { data: (connection, bytes) => connection.end(bytes) },
)
// The clients have a process, and so descriptors, of their own.
const client = spawn(
  process.execPath,
  [
    '-e',
    `const net = require('node:net'); let served = 0
   process.stdin.once('data', () => { for (let i = 0; i < ${clients}; i++) {
     const socket = net.connect(${listener.address.port}, '127.0.0.1', () => socket.write('x'))
     socket.on('data', () => { if (++served === ${clients}) { console.log(served); process.exit() } })
   } })`,
  ],
  { stdio: ['pipe', 'pipe', 'inherit'] },
)

const hoard = []
try {
  for (;;) hoard.push(openSync('/dev/null', 'r'))
} catch {}
const served = once(client.stdout, 'data')
client.stdin.write('go\n')
while (warnings.length === 0) await new Promise((resolve) => setImmediate(resolve))
const { state } = listener.stats()
// A second of shortage by the runtime's clock: the back-off grows meanwhile.
const calm = process.cpuUsage()
const calmStarted = performance.now()
await new Promise((resolve) => runtime.after(1000, resolve))
const { user, system } = process.cpuUsage(calm)
const cpuShare = (user + system) / 1000 / (performance.now() - calmStarted)
const { acceptFailures } = listener.stats()
for (const fd of hoard) closeSync(fd)
const [line] = await served
console.log(
  JSON.stringify({
    ...{ clients, served: Number(String(line)), state, cpuShare, acceptFailures },
    warnings: warnings.map(({ code }) => code),
    phase: warnings[0].phase,
    syscall: warnings[0].syscall,
  }),
)
await runtime.destroy()
