import { describe, expect, it } from 'vitest'
import { modes } from '../support/modes.js'
import { connectedPair, echo, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { standstill } from '../support/standstill.js'

function sourceOf(bytes: Uint8Array, pieceBytes = 50_000): ReadableStream<Uint8Array> {
  let offset = 0
  return new ReadableStream({
    pull(controller) {
      if (offset >= bytes.length) return controller.close()
      controller.enqueue(bytes.subarray(offset, offset + pieceBytes))
      offset += pieceBytes
    },
  })
}

async function readAll(readable: ReadableStream<Uint8Array>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for await (const chunk of readable) chunks.push(chunk)
  return chunks
}

describe.each(modes())('web streams of a connection on $name', (mode) => {
  it('carry megabytes both ways by pipeTo, byte for byte', async () => {
    await using pair = await connectedPair(mode)
    const [client, server] = [pair.client.toWeb(), pair.server.toWeb()]
    const bytes = pattern(3_000_000)
    const echoing = server.readable.pipeTo(server.writable)
    const [chunks] = await Promise.all([readAll(client.readable), sourceOf(bytes).pipeTo(client.writable), echoing])
    expect(hashOf(...chunks)).toBe(hashOf(bytes))
  })

  it('go through a transform', async () => {
    await using pair = await connectedPair(mode, { server: echo })
    const { readable, writable } = pair.client.toWeb()
    const text = readable.pipeThrough(new TextDecoderStream() as never) as ReadableStream<string>
    const writer = writable.getWriter()
    const sent = Buffer.from('two halves of é')
    await writer.write(sent.subarray(0, sent.length - 1))
    await pair.atServer.received(sent.length - 1)
    await writer.write(sent.subarray(sent.length - 1))
    await writer.close()
    let all = ''
    for await (const piece of text) all += piece
    expect(all).toBe('two halves of é')
  })

  it('take views of all kinds and ArrayBuffers, and nothing else', async () => {
    await using pair = await connectedPair(mode)
    const writer = pair.client.toWeb().writable.getWriter() as WritableStreamDefaultWriter<unknown>
    await writer.write(new Uint16Array([0x4241]))
    await writer.write(new DataView(new Uint8Array([1, 67, 2]).buffer, 1, 1))
    await writer.write(new Uint8Array([68]).buffer)
    await pair.atServer.received(4)
    expect(pair.atServer.text).toBe('ABCD')
    await expect(writer.write('text')).rejects.toMatchObject({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })
  })

  it('are done with a write when the system has it, however large, so that its buffer may be used again', async () => {
    const limits = { highWaterBytes: 100_000, hardLimitBytes: 150_000 }
    await using pair = await connectedPair(mode, { connect: limits })
    const writer = pair.client.toWeb().writable.getWriter()
    const bytes = pattern(1_000_000)
    const hash = hashOf(bytes)
    await writer.write(bytes)
    bytes.fill(0)
    expect(pair.client.queuedBytes).toBe(0)
    await writer.close()
    await pair.atServer.saw('end')
    expect(pair.atServer.hash).toBe(hash)
  })

  it('let go of a buffer once written when the queue drains above zero', async () => {
    const small = { receiveBufferBytes: 65_536, highWaterBytes: 65_536 }
    const limits = { highWaterBytes: 400_000, lowWaterBytes: 300_000, hardLimitBytes: 500_000, sendBufferBytes: 65_536 }
    await using pair = await connectedPair(mode, { listen: small, connect: limits })
    pair.server.pause()
    const writer = pair.client.toWeb().writable.getWriter()
    const expected: string[] = []
    let written = 0
    for (let i = 0; i < 40; i++) {
      const bytes = pattern(250_000, i)
      expected.push(hashOf(bytes))
      void writer.write(bytes).then(() => {
        written++
        bytes.fill(0)
      })
    }
    await standstill(() => written)
    expect(written).toBeLessThan(40)
    pair.server.resume()
    await writer.close()
    await pair.atServer.received(40 * 250_000)
    const { bytes } = pair.atServer
    const got = expected.map((_, i) => hashOf(bytes.subarray(i * 250_000, (i + 1) * 250_000)))
    expect(got).toEqual(expected)
  })

  it('make a writer wait for a peer that does not read', async () => {
    const small = { receiveBufferBytes: 65_536 }
    await using pair = await connectedPair(mode, { listen: small, connect: { sendBufferBytes: 65_536 } })
    pair.server.pause()
    const writer = pair.client.toWeb().writable.getWriter()
    let doneBytes = 0
    const writing = (async () => {
      for (let i = 0; i < 100; i++) {
        await writer.ready
        await writer.write(pattern(200_000))
        doneBytes += 200_000
      }
    })()
    await standstill(() => doneBytes)
    expect(doneBytes).toBeLessThan(15_000_000)
    pair.server.resume()
    await writing
    expect(doneBytes).toBe(20_000_000)
  })

  it('stop the peer when nobody reads them', async () => {
    const small = { receiveBufferBytes: 65_536, highWaterBytes: 100_000 }
    await using pair = await connectedPair(mode, { listen: small, connect: { sendBufferBytes: 65_536 } })
    const { readable } = pair.server.toWeb()
    const bytes = pattern(20_000_000)
    pair.client.end(bytes)
    await standstill(() => pair.server.stats().bytesRead)
    expect(pair.server.stats().bytesRead).toBeLessThan(2_000_000)
    expect(hashOf(...(await readAll(readable)))).toBe(hashOf(bytes))
  })

  it('destroy the connection when reading is cancelled', async () => {
    await using pair = await connectedPair(mode)
    const { readable, writable } = pair.client.toWeb()
    await readable.cancel('no more')
    await pair.atServer.closed()
    await expect(writable.getWriter().closed).rejects.toMatchObject({ code: 'ERR_SLUICE_CLOSED' })
  })

  it('reset the connection when writing is aborted, at once, and fail for the reader too', async () => {
    await using pair = await connectedPair(mode)
    pair.server.pause()
    const { readable, writable } = pair.client.toWeb()
    const writer = writable.getWriter()
    const reading = readable.getReader().read()
    const write = writer.write(new Uint8Array(60_000_000))
    const reason = new Error('changed my mind')
    await nextTurn()
    const settled = Promise.allSettled([write, writer.abort(reason), reading])
    pair.server.resume()
    expect(await pair.atServer.closed()).toMatchObject({ code: 'ERR_SLUICE_CONNECTION_RESET' })
    const [written, aborted, read] = await settled
    expect([written.status, aborted.status]).toEqual(['rejected', 'fulfilled'])
    expect(read).toMatchObject({ status: 'rejected', reason: { code: 'ERR_SLUICE_ABORTED', cause: reason } })
  })

  it('fail on both sides when the peer resets', async () => {
    await using pair = await connectedPair(mode)
    const { readable, writable } = pair.client.toWeb()
    const reset = { code: 'ERR_SLUICE_CONNECTION_RESET' }
    const writer = writable.getWriter()
    const failed = Promise.all([
      expect(readable.getReader().read()).rejects.toMatchObject(reset),
      expect(writer.closed).rejects.toMatchObject(reset),
    ])
    pair.server.reset()
    await failed
  })

  it('close in good order, one direction after the other, with allowHalfOpen', async () => {
    await using pair = await connectedPair(mode, { connect: { allowHalfOpen: true } })
    const { readable, writable } = pair.client.toWeb()
    pair.server.end('their last words')
    expect(Buffer.concat(await readAll(readable)).toString()).toBe('their last words')
    const writer = writable.getWriter()
    await writer.write(Buffer.from('and ours'))
    await writer.close()
    await writer.closed
    await pair.atServer.closed()
    expect(pair.atServer.text).toBe('and ours')
  })
})
