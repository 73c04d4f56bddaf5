// Delivery of messages, checked against what is promised, through a network with every fault and peers that come and go.
import { describe, expect, it } from 'vitest'
import { type ModelOptions, runModel } from '../support/message-model.js'

const first = Number(process.env.SLUICE_FIRST_SEED ?? 1)
const runs = Number(process.env.SLUICE_SEEDS ?? 150)

const networks: { what: string; options: ModelOptions; resends: boolean }[] = [
  { what: 'to a server', options: {}, resends: true },
  { what: 'with streams', options: { streams: true }, resends: true },
  { what: 'by a relay', options: { streams: true, relayed: true }, resends: false },
  {
    what: 'over lines that take 200 bytes at a time',
    options: { count: 15, sim: { sendBufferBytes: 200, receiveWindowBytes: 200 }, limitMs: 6_000_000 },
    resends: true,
  },
]

describe.each(networks)('messages, whatever happens to connections and peers, $what', ({ options, resends }) => {
  it('complete once, are not handled twice unless they may be, arrive if they must, and stay in order', async () => {
    const failed: string[] = []
    const outcomes = new Map<string, number>()
    let resets = 0
    let twice = 0
    for (let seed = first; seed < first + runs; seed++) {
      const run = await runModel(seed, options)
      if (run.violations.length > 0) failed.push(`seed ${seed}: ${run.violations.slice(0, 3).join('; ')}`)
      for (const [outcome, count] of run.outcomes) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count)
      resets += run.connections - 1
      twice += run.handledTwice
    }
    expect(failed).toEqual([])
    // The runs are about something: each of these happened.
    for (const outcome of [
      'done',
      ...['CONNECTION', 'CANCELED', 'TIMEOUT', 'NOT_CONNECTED'].map((name) => `ERR_SLUICE_MESSAGE_${name}`),
    ]) {
      expect(outcomes.get(outcome), outcome).toBeGreaterThan(0)
    }
    expect(resets).toBeGreaterThan(0)
    if (resends) expect(twice).toBeGreaterThan(0)
  }, 600_000)
})
