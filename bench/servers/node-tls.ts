// The competitor everyone has, with TLS.
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { nodeService } from './node-services.js'
import { announce, serverOptions } from './service.js'

const options = serverOptions()
const server = createServer({ ...options.identity, noDelay: true }, nodeService(options))
server.on('tlsClientError', () => {}) // clients that leave in mid-handshake, when the measured time is over
server.listen(0, '127.0.0.1', 4096, () => announce((server.address() as AddressInfo).port))
