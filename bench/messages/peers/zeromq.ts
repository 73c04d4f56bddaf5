import { bodyOf, checkAnswer, checkCount, type Peer } from '../peer.js'

// A message is one frame: the number of the request, 0 for those without answer, and the body. A request without a body
// asks for the count.
const headBytes = 4

/** zeromq.js, DEALER and ROUTER. It has no TLS. */
export const peer: Peer = {
  async serve({ echoes }) {
    const { Router } = await import('zeromq')
    const router = new Router({ sendHighWaterMark: 0, receiveHighWaterMark: 0 })
    await router.bind('tcp://127.0.0.1:0')
    void (async () => {
      let told = 0
      for await (const [from, frame] of router) {
        if (frame!.readUInt32LE(0) === 0) {
          told++
        } else if (frame!.length === headBytes) {
          const answer = Buffer.alloc(2 * headBytes)
          frame!.copy(answer)
          answer.writeUInt32LE(told, headBytes)
          told = 0
          await router.send([from!, answer])
        } else {
          await router.send([from!, echoes ? frame! : frame!.subarray(0, headBytes)])
        }
      }
    })()
    return Number(router.lastEndpoint!.split(':').at(-1))
  },

  async connect(port, options) {
    const { Dealer } = await import('zeromq')
    const dealer = new Dealer({ sendHighWaterMark: 1000, receiveHighWaterMark: 0, linger: 0 })
    dealer.connect(`tcp://127.0.0.1:${port}`)
    const waiting = new Map<number, (answer: Buffer) => void>()
    void (async () => {
      for await (const [frame] of dealer) {
        const number = frame!.readUInt32LE(0)
        const resolve = waiting.get(number)
        waiting.delete(number)
        resolve?.(frame!.subarray(headBytes))
      }
    })()
    // It takes one send at a time.
    const queue: Buffer[] = []
    let isSending = false
    const send = async (frame: Buffer) => {
      queue.push(frame)
      if (isSending) return
      isSending = true
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) await dealer.send(next)
      isSending = false
    }
    const body = bodyOf(options.bytes)
    let last = 0
    const ask = (bytes: Buffer) =>
      new Promise<Buffer>((resolve) => {
        last = (last + 1) >>> 0 || 1
        const frame = Buffer.allocUnsafe(headBytes + bytes.length)
        frame.writeUInt32LE(last)
        bytes.copy(frame, headBytes)
        waiting.set(last, resolve)
        void send(frame)
      })
    const count = async () => (await ask(Buffer.alloc(0))).readUInt32LE(0)
    await count()
    const frameWithoutAnswer = Buffer.concat([Buffer.alloc(headBytes), body])
    return {
      async request() {
        checkAnswer(await ask(body), options)
      },
      async push(mayGoOn) {
        let sent = 0
        while (mayGoOn()) {
          for (let i = 0; i < 256; i++, sent++) await dealer.send(frameWithoutAnswer)
        }
        return checkCount(await count(), sent)
      },
    }
  },
}
