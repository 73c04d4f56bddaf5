import { describe, expect, it } from 'vitest'

import { inlineKernelModes } from '../support/modes.js'
import { portOf } from '../support/pair.js'

// How long round trips take belongs to the bench; here, that a loop which stays awake does all else as others do.
describe.each(inlineKernelModes())('a loop that stays awake, on $name', (mode) => {
  it('answers each message once, and lets timers, immediates and other sockets have their turn', async () => {
    await using runtime = mode.start({ busyPollMicros: 1000 })
    const listener = await runtime.listen(
      { host: '127.0.0.1', port: 0 },
      { data: (connection, bytes) => void connection.write(bytes) },
    )
    const rounds = 3000
    let echoed = 0
    let timers = 0
    let immediates = 0
    const timer = setInterval(() => timers++, 1)
    const immediate = () => {
      immediates++
      if (echoed < rounds) setTimeout(() => setImmediate(immediate), 1)
    }
    setImmediate(immediate)
    await new Promise<void>((done, fail) => {
      const fetched = fetch(`http://127.0.0.1:${portOf(listener)}/`).catch(() => undefined)
      void runtime.connect(
        { host: '127.0.0.1', port: portOf(listener) },
        {
          open: (connection) => void connection.write(Buffer.from([0])),
          data(connection, bytes) {
            if (bytes.length !== 1 || bytes[0] !== echoed % 256) fail(new Error(`${bytes.length} bytes: ${bytes[0]}`))
            if (++echoed < rounds) connection.write(Buffer.from([echoed % 256]))
            else void fetched.then(() => done())
          },
        },
      )
    })
    clearInterval(timer)
    expect(echoed).toBe(rounds)
    expect(timers).toBeGreaterThan(5)
    expect(immediates).toBeGreaterThan(5)
  })
})
