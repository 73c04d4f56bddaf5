// The competitor everyone has.
import { type AddressInfo, createServer } from 'node:net'
import { nodeService } from './node-services.js'
import { announce, serverOptions } from './service.js'

const server = createServer({ noDelay: true }, nodeService(serverOptions()))
server.listen(0, '127.0.0.1', 4096, () => announce((server.address() as AddressInfo).port))
