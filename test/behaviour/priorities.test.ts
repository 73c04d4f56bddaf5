// Within what a turn brings, events of connections with higher priority are handled first; each keeps its own order.
import { type Connection, Runtime } from 'sluice'
import { describe, expect, it } from 'vitest'
import { Priorities } from '../../src/priorities.js'
import { inlineKernelModes } from '../support/modes.js'
import { connectedPair, eventually, nextTurn, portOf } from '../support/pair.js'

const modesInline = [...inlineKernelModes()]

describe.each(modesInline)('priorities on $name', (mode) => {
  it('decide who is handled first, and may be changed', async () => {
    await using runtime = mode.start()
    const seen: number[] = []
    const servers: Connection<number>[] = []
    const listener = await runtime.listen<number>(
      { host: '127.0.0.1', port: 0, priority: -1 },
      {
        open(connection) {
          expect(connection.priority).toBe(-1)
          connection.data = servers.push(connection)
        },
        data: (connection) => void seen.push(connection.data),
      },
    )
    const clients: Connection[] = []
    for (let i = 0; i < 6; i++) {
      clients.push(await runtime.connect({ host: '127.0.0.1', port: portOf(listener) }, {}))
      await eventually(() => servers.length === i + 1)
    }
    const order = async () => {
      seen.length = 0
      for (const client of clients) client.write('x')
      for (const client of clients) void client.flush()
      await eventually(() => seen.length === 6)
      return [...seen]
    }
    await nextTurn()
    servers[2]!.priority = 5
    servers[4]!.priority = 100
    servers[0]!.priority = -100
    expect(await order()).toEqual([5, 3, 2, 4, 6, 1])
    servers[4]!.priority = -1
    servers[2]!.priority = -1
    servers[0]!.priority = 1
    expect((await order())[0]).toBe(1)
    expect(servers[0]!.priority).toBe(1)
  })
})

describe('a priority', () => {
  it('is an integer from −100 to 100, and that of the listener after the end', async () => {
    await using pair = await connectedPair({ start: () => new Runtime() } as never, { listen: { priority: 7 } })
    for (const wrong of [101, -101, 0.5, '1', Number.NaN, undefined]) {
      expect(() => {
        pair.server.priority = wrong as number
      }).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'priority' }))
    }
    pair.server.priority = 9
    expect(pair.client.priority).toBe(0)
    await pair.server.close()
    expect(pair.server.priority).toBe(7)
    pair.server.priority = 3
    expect(pair.server.priority).toBe(7)
  })
})

describe('the order of a batch', () => {
  const opened = 1
  const data = 2
  const released = 5
  const batch = (...records: [type: number, id: number, a?: number][]) =>
    Int32Array.from(records.flatMap(([type, id, a = 0]) => [type, id, a, 0]))

  it('is left as it is where all are alike', () => {
    const priorities = new Priorities()
    expect(priorities.order(batch([data, 1], [data, 2], [released, 3]), 0, 3, () => 0)).toBeUndefined()
  })

  it('keeps the events of one connection in their order, and begins with the highest', () => {
    const priorities = new Priorities()
    priorities.set(2, 1)
    priorities.set(3, -1)
    const words = batch([data, 3], [data, 1], [data, 2], [data, 3], [data, 2], [released, 3])
    expect(priorities.order(words, 0, 6, () => 0)).toEqual([8, 16, 4, 20, 0, 12])
    expect(priorities.order(words, 1, 2, () => 0)).toEqual([8, 4])
  })

  it('gives a connection that opens in it the priority of its listener', () => {
    const priorities = new Priorities()
    const words = batch([data, 1], [opened, 5, 77], [data, 5])
    expect(priorities.order(words, 0, 3, (key) => (key === 77 ? 4 : undefined))).toEqual([4, 8, 0])
    expect(priorities.of(5)).toBe(4)
  })
})
