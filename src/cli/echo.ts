import { type Service, serve } from './serve.js'

const echo: Service = {
  help: { name: 'sluice echo', summary: 'Sends back what it receives (RFC 862).' },
  handlers: {
    data(connection, bytes) {
      if (!connection.write(bytes)) connection.pause()
    },
    drain(connection) {
      connection.resume()
    },
  },
  overDuplex(stream) {
    stream.pipe(stream)
  },
}

export const run = (argv: string[]): Promise<number> => serve(echo, argv)
