import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import { bodyOf, checkAnswer, checkCount, type Peer } from '../peer.js'

// Bytes as they are: what Protocol Buffers would cost on top is left out.
const asTheyAre = { serialize: (bytes: Buffer) => bytes, deserialize: (bytes: Buffer) => bytes }
const method = (path: string, requestStream: boolean) => ({
  ...{ path, requestStream, responseStream: false },
  ...{ requestSerialize: asTheyAre.serialize, requestDeserialize: asTheyAre.deserialize },
  ...{ responseSerialize: asTheyAre.serialize, responseDeserialize: asTheyAre.deserialize },
})
const service = {
  ask: method('/bench/ask', false),
  tell: method('/bench/tell', true),
} satisfies ServiceDefinition
const limits = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 }

/** @grpc/grpc-js: unary calls, and for messages without answer a stream of the client. */
export const peer: Peer = {
  async serve({ echoes, identity }) {
    const { Server, ServerCredentials } = await import('@grpc/grpc-js')
    const server = new Server(limits)
    const nothing = Buffer.alloc(0)
    const handlers: UntypedServiceImplementation = {
      ask(call: { request: Buffer }, done: (error: null, answer: Buffer) => void) {
        done(null, echoes ? call.request : nothing)
      },
      tell(call: NodeJS.ReadableStream, done: (error: null, answer: Buffer) => void) {
        let told = 0
        call.on('data', () => told++)
        call.on('end', () => done(null, Buffer.from(String(told))))
      },
    }
    server.addService(service, handlers)
    const credentials =
      identity === undefined
        ? ServerCredentials.createInsecure()
        : ServerCredentials.createSsl(null, [{ cert_chain: identity.cert, private_key: identity.key }])
    return new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port)))
    })
  },

  async connect(port, options) {
    const { Client, credentials } = await import('@grpc/grpc-js')
    const secured = options.identity && credentials.createSsl(options.identity.cert)
    const client = new Client(`127.0.0.1:${port}`, secured ?? credentials.createInsecure(), {
      ...limits,
      ...(secured && { 'grpc.ssl_target_name_override': 'localhost' }),
    })
    const body = bodyOf(options.bytes)
    const { serialize, deserialize } = asTheyAre
    return {
      request: () =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(service.ask.path, serialize, deserialize, body, (error, answer) => {
            if (error) return reject(error)
            try {
              checkAnswer(answer!, options)
              resolve()
            } catch (wrong) {
              reject(wrong)
            }
          })
        }),
      push: (mayGoOn) =>
        new Promise((resolve, reject) => {
          let sent = 0
          const call = client.makeClientStreamRequest(service.tell.path, serialize, deserialize, (error, answer) => {
            if (error) return reject(error)
            try {
              resolve(checkCount(Number(String(answer)), sent))
            } catch (wrong) {
              reject(wrong)
            }
          })
          const write = () => {
            for (let hasRoom = true; hasRoom; sent++) {
              if (!mayGoOn()) {
                call.end()
                return
              }
              hasRoom = call.write(body)
            }
            call.once('drain', write)
          }
          write()
        }),
    }
  },
}
