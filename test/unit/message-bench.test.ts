import { describe, expect, it } from 'vitest'
import {
  type MessageCase,
  type MessagePeer,
  messageCases,
  type PeerName,
  peers,
} from '../../dist/bench/messages/cases.js'
import { summariseMessages } from '../../dist/bench/messages/results.js'
import { renderMessages } from '../../dist/bench/messages/table.js'

const caseOf = (name: string): MessageCase => messageCases.find((one) => one.name === name)!
const taking = (bench: MessageCase): MessagePeer[] => peers.filter(({ name }) => bench.peers.includes(name))
const round = (messages: number, seconds = 1) => ({
  seconds,
  messages,
  clientCpuNs: messages * 2000,
  serverCpuNs: messages * 1000,
})
const roundsOf = (counts: Partial<Record<PeerName, number[]>>) =>
  new Map(Object.entries(counts).map(([name, all]) => [name as PeerName, all.map((messages) => round(messages))]))

describe('figures of sluice message-bench', () => {
  it('takes the median of the rounds, in the unit of the case', () => {
    const latency = caseOf('latency')
    const { peers: found } = summariseMessages(latency, taking(latency), roundsOf({ sluice: [10_000, 20_000, 12_500] }))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatchObject({
      peer: 'sluice',
      value: { median: 80, min: 50, max: 100 },
      clientUs: 2,
      serverUs: 1,
    })
    const bodies = caseOf('bodies')
    const [own] = summariseMessages(bodies, taking(bodies), roundsOf({ sluice: [1000] })).peers
    expect(own!.value.median).toBeCloseTo(1048.576)
  })

  it('compares with the named peer, and with the best of the other ones, which a raw connection is not', () => {
    const latency = caseOf('latency')
    const found = summariseMessages(
      latency,
      taking(latency),
      roundsOf({ sluice: [9000], raw: [20_000], zeromq: [5000], json: [6000] }),
    )
    expect(found.peers.find(({ peer }) => peer === 'sluice')!.targets).toEqual([
      { against: 'best', atMost: 0.8, reached: expect.closeTo(2 / 3), met: true },
    ])
    const requests = caseOf('requests')
    const [own] = summariseMessages(
      requests,
      taking(requests),
      roundsOf({ sluice: [290], zeromq: [100], grpc: [30] }),
    ).peers
    expect(own!.targets.map(({ reached, met }) => [reached, met])).toEqual([
      [2.9, false],
      [expect.closeTo(290 / 30), true],
    ])
  })

  it('says nothing about a target whose yardstick was not measured', () => {
    const requests = caseOf('requests')
    const [own] = summariseMessages(requests, taking(requests), roundsOf({ sluice: [290], grpc: [30] })).peers
    expect(own!.targets.map(({ against }) => against)).toEqual(['grpc'])
  })

  it('shows targets, peers that are missing and problems', () => {
    const requests = caseOf('requests')
    const text = renderMessages({
      ...{ format: 'sluice-message-bench/1', started: '2026-01-02T03:04:05Z', complete: false },
      machine: {
        cpu: 'Test',
        cores: 2,
        memoryGiB: 1,
        system: 'Linux',
        architecture: 'x64',
        node: 'v20',
        v8: '',
        sluice: '1',
      },
      method: { rounds: 1, seconds: 1, warmupSeconds: 0, engine: 'auto', busyPollMicros: 50 },
      cases: [summariseMessages(requests, taking(requests), roundsOf({ sluice: [290], zeromq: [100] }))],
      unavailable: [{ peer: 'grpc', reason: 'the package @grpc/grpc-js is not installed' }],
      problems: [{ case: 'requests', peer: 'json', message: 'said nothing' }],
    })
    expect(text).toContain('✗ ≥ 3× zeromq: 2.90')
    expect(text).toContain('grpc: the package @grpc/grpc-js is not installed')
    expect(text).toContain('requests, json: said nothing')
    expect(text).toContain('Interrupted')
    expect(text).toMatch(/zeromq\.js +100 .*0\.34×/)
  })
})
