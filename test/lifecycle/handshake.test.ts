import { describe, expect, it } from 'vitest'
import { allModes, fine, runProgram } from '../support/program.js'

// Two I/O threads hold what one holds, twice.
const modes = allModes.filter(({ threads }) => threads < 2)

// Slowloris: who holds connections open by a byte a second is to be gone at the deadline, and to cost nothing before.
describe.runIf(process.platform === 'linux').each(modes)('5 000 slow connections on $title', (mode) => {
  const where = mode.engine === 'sim' ? `{ port: 9, host: '127.0.0.1' }` : `{ path: '\\0sluice-slow-' + process.pid }`

  it('die at the deadline of the handshake, and nobody hears of them before', async () => {
    const program = `
      import { acceptProxy } from 'sluice'
      import { readdirSync } from 'node:fs'
      const count = 5000, boundMs = 6000
      const runtime = start()
      const crowd = mode.engine === 'sim' ? runtime : start({ threads: 0 })
      const where = ${where}
      const told = {}
      const listener = await runtime.listen(
        { ...where, backlog: 4096, handshake: [acceptProxy()], handshakeTimeoutMs: boundMs },
        { open: () => say('opened'), handshakeError: ({ code }) => { told[code] = (told[code] ?? 0) + 1 } },
      )
      const descriptors = () => readdirSync('/proc/self/fd').length
      const before = descriptors()
      const lives = []
      let allGone
      const gone = new Promise((resolve) => { allGone = resolve })
      const clients = new Set()
      const handlers = {
        end: (client) => void clients.delete(client),
        close(client) {
          lives.push(crowd.nowMs() - client.data)
          clients.delete(client)
          if (lives.length === count) allGone()
        },
        error() {},
      }
      while (clients.size < count) {
        await Promise.all(Array.from({ length: 100 }, async () => {
          const client = await crowd.connect(where, handlers)
          client.data = crowd.nowMs()
          clients.add(client)
        }))
      }
      while (listener.stats().accepted < count) await new Promise(setImmediate)
      const header = 'PROXY TCP4 192.0.2.1 198.51.100.5 56324 443'
      let sent = 0
      const trickle = () => {
        for (const client of clients) if (client.state === 'open') client.write(header[sent])
        sent++
        if (clients.size > 0) crowd.after(1000, trickle)
      }
      // While they are silent nothing is asked of the system, and while they trickle JavaScript is not called.
      const whole = runtime.stats()
      if (mode.engine !== 'sim') {
        await new Promise((resolve) => crowd.after(500, resolve))
        const { waits, receives } = runtime.stats()
        if (waits - whole.waits > 10 || receives !== whole.receives) say('waits', waits - whole.waits, 'receives', receives - whole.receives)
      }
      trickle()
      await new Promise((resolve) => crowd.after(1500, resolve))
      const { events } = runtime.stats()
      if (mode.engine !== 'sim' && events > whole.events + 10) say('events', events - whole.events)
      await gone
      // Each loop tells in its own time.
      while (Object.values(told).reduce((sum, n) => sum + n, 0) < count) await new Promise(setImmediate)
      lives.sort((a, b) => a - b)
      if (lives[0] < boundMs - 50) say('died after', lives[0])
      if (lives[count - 1] > boundMs + 4000) say('lived', lives[count - 1])
      const { connections, turnedAway, accepted } = listener.stats()
      say(JSON.stringify({ told, connections, turnedAway, accepted }), descriptors() - before)
      await runtime.destroy()
      if (crowd !== runtime) await crowd.destroy()
    `
    const all = {
      told: { ERR_SLUICE_PROXY_TIMEOUT: 5000 },
      connections: 0,
      turnedAway: { PRX_TIMEOUT: 5000 },
      accepted: 5000,
    }
    expect(await runProgram(mode, program)).toEqual(fine(`${JSON.stringify(all)} 0`))
  })
})
