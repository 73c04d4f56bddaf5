// Life and death of connections through the addon, on every engine and thread mode, for the sanitizers to watch.
// Prints nothing when all is well.
import assert from 'node:assert/strict'
import { engines, Runtime } from 'sluice'

const small = Buffer.alloc(64, 'a')
const large = Buffer.alloc(3_000_000, 'b')

for (const { name, available } of engines()) {
  if (!available) continue
  for (const threads of name === 'sim' ? [0] : [0, 1]) {
    const runtime = new Runtime({ engine: name, threads })
    await echo(runtime, small, 20)
    await echo(runtime, large, 3)
    await destroyedInHandlers(runtime)
    await leftOpen(runtime)
    await runtime.destroy()
  }
}

/** Sends `bytes` over each of `count` connections at once, half-closes, and expects them back. */
async function echo(runtime, bytes, count) {
  const listener = await runtime.listen(
    { port: 0, host: '127.0.0.1', hardLimitBytes: 64_000_000 },
    {
      data: (connection, view) => connection.write(view),
      end: (connection) => connection.end(),
    },
  )
  const { port } = listener.address
  await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise((resolve, reject) => {
          let received = 0
          const handlers = {
            data: (_, view) => {
              received += view.length
            },
            close: (_, error) => (error ? reject(error) : resolve(assert.equal(received, bytes.length))),
          }
          runtime
            .connect({ port, host: '127.0.0.1', hardLimitBytes: 64_000_000 }, handlers)
            .then((client) => client.end(bytes), reject)
        }),
    ),
  )
  await listener.close({ timeoutMs: 1000 })
}

/** Servers that end their connection from inside each kind of handler; clients see an end or a reset. */
async function destroyedInHandlers(runtime) {
  for (const ending of ['destroy', 'reset', 'end']) {
    const listener = await runtime.listen(
      { port: 0, host: '127.0.0.1' },
      {
        data: (connection, view) => {
          connection.write(view)
          connection[ending]()
        },
      },
    )
    const closed = withResolvers()
    const client = await runtime.connect(
      { port: listener.address.port, host: '127.0.0.1' },
      {
        end: (connection) => connection.end(),
        close: () => closed.resolve(),
        error: () => {},
      },
    )
    client.write(small)
    await closed.promise
    listener.destroy()
  }
}

/** Connections and a listener that are still there when the runtime goes. */
async function leftOpen(runtime) {
  const listener = await runtime.listen(
    { port: 0, host: '127.0.0.1' },
    { data: (connection, view) => connection.write(view) },
  )
  const clients = await Promise.all(
    Array.from({ length: 5 }, () =>
      runtime.connect({ port: listener.address.port, host: '127.0.0.1' }, { data() {}, error() {} }),
    ),
  )
  for (const client of clients) client.write(small)
}

function withResolvers() {
  let resolve
  const promise = new Promise((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
