// The server of a peer, in a process of its own.
import { peerArguments } from './peer.js'
import { peerModules } from './peers/index.js'

async function main(): Promise<void> {
  const options = peerArguments()
  const { peer } = await peerModules[options.peer]!()
  const port = await peer.serve(options)
  process.stdout.write(`${JSON.stringify({ port })}\n`)
  process.stdin.on('end', () => process.exit(0)).resume()
}

main()
