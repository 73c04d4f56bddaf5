// Lists of rules: what they take, what they answer, and random ones compared with a plain reading of them.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { CidrSet, type RehearsedConnection, type Rule, type RuleCondition, RuleList, rules, StickTable } from 'sluice'
import { describe, expect, it } from 'vitest'

const table = () =>
  new StickTable({
    size: 100,
    store: { connCount: true, connCurrent: true, connRate: { periodMs: 1000 }, gpc: 2, gpt: 1 },
  })

/** What becomes of a connection under one rule of the session stage. */
const holds = (when: RuleCondition, connection: RehearsedConnection, stage: 'session' | 'content' = 'session') =>
  new RuleList([{ stage, action: 'reject', when }]).rehearse(connection).action

describe('a RuleList', () => {
  it('accepts whoever meets no rule, and obeys the first that ends it', () => {
    const list = new RuleList([
      { action: 'accept', when: { source: '10.1.0.0/16' } },
      { action: 'tag', tag: 'inside', when: { source: '10.0.0.0/8' } },
      { action: 'reject', when: { source: ['10.0.0.0/8', '::1'] } },
      { action: 'silentDrop', when: { localPort: [1, 1023] } },
    ])
    expect(list.rehearse({ peer: '10.1.2.3' })).toMatchObject({ action: 'accept', rule: undefined, tags: [] })
    expect(list.rehearse({ peer: '10.2.2.3' })).toMatchObject({ action: 'reject', rule: 2, tags: ['inside'] })
    expect(list.rehearse({ peer: '::1' })).toMatchObject({ action: 'reject', rule: 2 })
    expect(list.rehearse({ localPort: 80 })).toMatchObject({ action: 'silentDrop', rule: 3 })
    expect(list.rehearse({})).toEqual({
      action: 'accept',
      stage: 'content',
      rule: undefined,
      delayMs: 0,
      expectProxy: false,
      tags: [],
      variables: {},
      log: [],
    })
    expect(list.hits).toEqual([1, 1, 2, 1])
  })

  it.each<[RuleCondition, RehearsedConnection, boolean]>([
    [{ source: '203.0.113.0/24' }, { proxy: { source: { address: '203.0.113.9' } } }, true],
    [{ peer: '203.0.113.0/24' }, { proxy: { source: { address: '203.0.113.9' } } }, false],
    [{ sourcePort: 99 }, { proxy: { source: { address: '203.0.113.9', port: 99 } } }, true],
    [{ destinationPort: [1, 2] }, { localPort: 2 }, true],
    [{ proxied: true }, { proxy: {} }, true],
    [{ proxied: false }, { proxy: {} }, false],
    [{ proxied: false }, {}, true],
    [{ tlv: 5 }, { proxy: { tlvs: [{ type: 5, value: 'id' }] } }, true],
    [{ tlv: 5, is: ['x', 'id'] }, { proxy: { tlvs: [{ type: 5, value: 'id' }] } }, true],
    [{ tlv: 5, is: Buffer.from('i') }, { proxy: { tlvs: [{ type: 5, value: 'id' }] } }, false],
    [{ tls: true }, { tls: {} }, true],
    [{ tls: false }, { tls: {} }, false],
    [{ serverName: '*.example.org' }, { tls: { serverName: 'a.example.org' } }, true],
    [{ serverName: '*.example.org' }, { tls: { serverName: 'a.b.example.org' } }, false],
    [{ serverName: ['x', '.example.org'] }, { tls: { serverName: 'a.b.EXAMPLE.org' } }, true],
    [{ alpn: ['h2', 'http/1.1'] }, { tls: { alpn: 'h2' } }, true],
    [{ clientCertificate: 'absent' }, { tls: {} }, true],
    [{ clientCertificate: 'presented' }, { tls: { certificate: { verified: false } } }, true],
    [{ clientCertificate: 'verified' }, { tls: { certificate: { verified: false } } }, false],
    [{ commonName: 'jane' }, { tls: { certificate: { verified: true, commonName: 'jane' } } }, true],
    [
      { fingerprint: `${'AB:'.repeat(31)}AB` },
      { tls: { certificate: { verified: true, fingerprint: 'ab'.repeat(32) } } },
      true,
    ],
    [{ not: { tls: true } }, {}, true],
    [{ all: [] }, {}, true],
    [{ any: [] }, {}, false],
    [{ any: [{ tls: true }, { all: [{ proxied: false }, { peer: '127.0.0.1' }] }] }, {}, true],
  ])('finds that %j of %j is %j', (when, connection, expected) => {
    expect(holds(when, connection)).toBe(expected ? 'reject' : 'accept')
  })

  it.each<[RuleCondition, string, boolean, string]>([
    [{ contentStarts: 'GET ' }, 'GE', false, 'undecided'],
    [{ contentStarts: 'GET ' }, 'GE', true, 'accept'],
    [{ contentStarts: ['PUT ', 'GET '] }, 'GET /', false, 'reject'],
    [{ contentStarts: 'GET ' }, 'PUT', false, 'accept'],
    [{ contentContains: 'evil' }, 'so', false, 'undecided'],
    [{ contentContains: Buffer.from('evil') }, 'so evil', false, 'reject'],
    [{ contentBytes: 3 }, 'ab', false, 'undecided'],
    [{ contentBytes: 3 }, 'abc', false, 'reject'],
    [{ not: { contentBytes: 3 } }, 'ab', true, 'reject'],
  ])('finds that %j of %j, complete: %j, is %s', (when, content, contentComplete, expected) => {
    expect(holds(when, { content, contentComplete }, 'content')).toBe(expected)
  })

  it('tracks, counts and asks counters, of places and of other tables', () => {
    const clients = table()
    const names = new StickTable({ key: 'string', size: 10, store: { gpc: 1 } })
    names.set('bad.example', { gpc: [3] })
    const list = new RuleList([
      { action: 'track', table: clients },
      { action: 'count', counter: 'gpc', index: 1, amount: 5 },
      { action: 'assign', to: 77 },
      { action: 'reject', when: { counter: 'connCount', above: 2 } },
      {
        stage: 'session',
        action: 'silentDrop',
        when: { counter: 'gpc', in: names, by: 'serverName', atLeast: 3 },
      },
      { stage: 'session', action: 'count', counter: 'gpc', in: names, by: { text: 'bad.example' } },
    ])
    expect(list.rehearse({ peer: '10.0.0.1', tls: { serverName: 'bad.example' } })).toMatchObject({
      action: 'silentDrop',
      rule: 4,
    })
    expect(list.rehearse({ peer: '10.0.0.1' }).action).toBe('accept')
    expect(list.rehearse({ peer: '10.0.0.1' }).action).toBe('reject')
    expect(clients.get('10.0.0.1')?.counters).toMatchObject({ connCount: 3, connCurrent: 0, gpc: [0, 15], gpt: [77] })
    expect(names.get('bad.example')?.counters.gpc).toEqual([4])
  })

  it('holds, asks for PROXY headers, and leaves variables', () => {
    const list = new RuleList([
      { action: 'delay', delayMs: 250 },
      { action: 'expectProxy', when: { peer: '127.0.0.0/8' } },
      { action: 'set', variable: 'who', to: 'source' },
      { stage: 'session', action: 'set', variable: 'host', to: 'serverName' },
      { stage: 'session', action: 'reject', when: { variable: 'host', is: 'b' } },
    ])
    expect(list.rehearse({ tls: { serverName: 'a' } })).toMatchObject({
      action: 'accept',
      delayMs: 250,
      expectProxy: true,
      variables: { who: '127.0.0.1', host: 'a' },
    })
    expect(list.rehearse({ tls: { serverName: 'b' } }).action).toBe('reject')
  })

  it('says whom a connection comes from and goes to, above what socket and PROXY header say', () => {
    const clients = table()
    const list = new RuleList([
      { action: 'setSource', to: 'peer', ipv4Bits: 24, ipv6Bits: 48, when: { not: { peer: '10.9.0.0/16' } } },
      { action: 'track', table: clients },
      { action: 'setDestination', to: { text: '2001:db8::7' }, port: 443 },
      { stage: 'session', action: 'setSource', to: { tlv: 0xe1 }, when: { tlv: 0xe1 } },
      { stage: 'session', action: 'tag', tag: 'by header', when: { source: '203.0.113.9' } },
      { stage: 'session', action: 'tag', tag: 'set', when: { source: '192.0.2.0/32' } },
      {
        stage: 'session',
        action: 'tag',
        tag: 'goes',
        when: { all: [{ destination: '2001:db8::/32' }, { destinationPort: 443 }] },
      },
      { stage: 'session', action: 'tag', tag: 'port', when: { sourcePort: 77 } },
    ])
    expect(list.rehearse({ peer: '192.0.2.200', peerPort: 77 })).toMatchObject({
      ...{ tags: ['set', 'goes', 'port'], source: { address: '192.0.2.0', port: 77 } },
      destination: { address: '2001:db8::7', port: 443 },
    })
    expect(clients.get('192.0.2.0')?.counters.connCount).toBe(1)
    expect(list.rehearse({ peer: '2001:db8:1:2::3' }).source).toEqual({ address: '2001:db8:1::', port: 0 })
    const header = { source: { address: '203.0.113.9', port: 5 } }
    expect(list.rehearse({ peer: '192.0.2.200', proxy: header }).tags).toEqual(['set', 'goes'])
    expect(list.rehearse({ peer: '10.9.0.1', proxy: header })).toMatchObject({ tags: ['by header', 'goes'] })
    expect(list.rehearse({ peer: '10.9.0.1', proxy: header }).source).toBeUndefined()
    // What is no address changes nothing.
    for (const [value, source] of [
      ['198.51.100.4', { address: '198.51.100.4', port: 5 }],
      ['198.51.100', undefined],
    ] as const)
      expect(list.rehearse({ peer: '10.9.0.1', proxy: { ...header, tlvs: [{ type: 0xe1, value }] } }).source).toEqual(
        source,
      )
  })

  it('tells what it is asked to', () => {
    const list = new RuleList([
      { action: 'accept', when: { peer: '10.0.0.1' } },
      { action: 'log', text: 'who is this', value: 'localPort' },
      { stage: 'session', action: 'log', text: 'named', value: 'serverName', when: { tls: true } },
      { stage: 'session', action: 'reject' },
    ])
    expect(list.rehearse({ localPort: 8080 })).toMatchObject({
      action: 'reject',
      log: [{ rule: 1, stage: 'socket', text: 'who is this', value: '8080', source: '127.0.0.1' }],
    })
    expect(list.rehearse({ tls: {} }).log.slice(1)).toEqual([
      { rule: 2, stage: 'session', text: 'named', source: '127.0.0.1' },
    ])
    expect(list.rehearse({ peer: '10.0.0.1' }).log).toEqual([])
    expect(list.hits).toEqual([1, 2, 1, 3])
  })

  it('goes by what a set holds now, and by the value of its networks', () => {
    const set = new CidrSet([
      ['10.0.0.0/8', 'a'],
      ['10.1.0.0/16', 'b'],
    ])
    const list = new RuleList([{ action: 'reject', when: { source: set, value: ['b', 'c'] } }])
    expect(list.rehearse({ peer: '10.1.0.1' }).action).toBe('reject')
    expect(list.rehearse({ peer: '10.2.0.1' }).action).toBe('accept')
    set.replace([['10.2.0.0/16', 'c']])
    expect(list.rehearse({ peer: '10.1.0.1' }).action).toBe('accept')
    expect(list.rehearse({ peer: '10.2.0.1' }).action).toBe('reject')
  })

  it('is replaced as a whole, or not at all', () => {
    const list = new RuleList([{ action: 'reject' }])
    expect(list.rehearse({}).action).toBe('reject')
    expect(() => list.replace([{ action: 'accept' }, { action: 'what' } as never])).toThrow('rules[1].action')
    expect(list.rules).toEqual([{ action: 'reject' }])
    expect(list.hits).toEqual([1])
    list.replace([])
    expect(list.rehearse({}).action).toBe('accept')
    expect(list.hits).toEqual([])
  })

  it('is shared with worker threads by a number', async () => {
    const list = new RuleList([{ action: 'reject' }])
    const source = `
      const { parentPort, workerData } = require('node:worker_threads')
      const { RuleList } = require('sluice')
      const list = RuleList.from(workerData)
      parentPort.postMessage(list.rehearse({}).action)
      list.replace([{ action: 'silentDrop' }])`
    const worker = new Worker(source, { eval: true, workerData: list.share() })
    const exited = once(worker, 'exit')
    expect(await once(worker, 'message')).toEqual(['reject'])
    await exited
    expect(list.rehearse({}).action).toBe('silentDrop')
    expect(() => RuleList.from(4_000_000_000)).toThrow('share()')
  })

  const counted = table()
  it.each<[unknown, string, string]>([
    [{ action: 'rejct' }, 'rules[0].action', 'did you mean "reject"?'],
    [{}, 'rules[0].action', 'one of "accept"'],
    ['reject', 'rules[0]', 'a rule'],
    [{ action: 'reject', stage: 'l4' }, 'rules[0].stage', '"socket", "session", "content"'],
    [{ action: 'reject', whn: {} }, 'rules[0].whn', 'did you mean "when"?'],
    [{ action: 'reject', when: {} }, 'rules[0].when', 'one of all, any'],
    [{ action: 'reject', when: { sorce: '::1' } }, 'rules[0].when', 'did you mean "source"?'],
    [{ action: 'reject', when: { source: '::1', tag: 'x' } }, 'rules[0].when', 'combine them'],
    [{ action: 'reject', when: { all: [{ any: [{ source: 'x' }] }] } }, 'rules[0].when.all[0].any[0].source[0]', "'x'"],
    [{ action: 'reject', when: { source: '10.0.0.1/8' } }, 'rules[0].when.source[0]', 'did you mean "10.0.0.0/8"?'],
    [{ action: 'reject', when: { source: '::1', valu: 'x' } }, 'rules[0].when.valu', 'did you mean "value"?'],
    [{ action: 'reject', when: { localPort: [2, 1] } }, 'rules[0].when.localPort', 'no larger'],
    [{ action: 'reject', when: { localPort: 65_536 } }, 'rules[0].when.localPort', '65535'],
    [{ action: 'reject', when: { tls: true } }, 'rules[0].when.tls', 'before the stage "session"'],
    [{ action: 'reject', stage: 'session', when: { contentBytes: 1 } }, 'rules[0].when.contentBytes', '"content"'],
    [{ action: 'reject', stage: 'session', when: { serverName: '*' } }, 'rules[0].when.serverName', 'a name'],
    [{ action: 'reject', stage: 'session', when: { serverName: 'a.*.b' } }, 'rules[0].when.serverName', 'a name'],
    [{ action: 'reject', stage: 'session', when: { fingerprint: 'ab' } }, 'rules[0].when.fingerprint', '64 hex'],
    [{ action: 'reject', stage: 'content', when: { contentStarts: '' } }, 'rules[0].when.contentStarts', 'non-empty'],
    [{ action: 'reject', when: { counter: 'connCount', above: 1 } }, 'rules[0].when.place', 'nothing is tracked'],
    [{ action: 'reject', when: { counter: 'connCount', in: counted } }, 'rules[0].when', 'above, atLeast'],
    [
      { action: 'reject', when: { counter: 'connCount', in: counted, above: 1, below: 5 } },
      'rules[0].when',
      'above, atLeast',
    ],
    [{ action: 'reject', when: { counter: 'sessionCount', in: counted, above: 1 } }, 'rules[0].when.counter', 'stores'],
    [
      { action: 'reject', when: { counter: 'gpc', index: 2, in: counted, above: 1 } },
      'rules[0].when.counter',
      'gpc[2]',
    ],
    [{ action: 'reject', when: { counter: 'gpc', in: counted, by: 'alpn', above: 1 } }, 'rules[0].when.by', 'session'],
    [{ action: 'reject', when: { counter: 'gpc', in: counted, place: 1, above: 1 } }, 'rules[0].when.place', '"in"'],
    [{ action: 'track' }, 'rules[0].table', 'is missing'],
    [{ action: 'track', table: {} }, 'rules[0].table', 'a StickTable'],
    [{ action: 'track', table: counted, place: 3 }, 'rules[0].place', 'from 0 to 2'],
    [{ action: 'track', table: counted, by: 'localPort' }, 'rules[0].by', 'a key of that table'],
    [{ action: 'track', table: counted, by: { tlv: 1, text: 'x' } }, 'rules[0].by', '{ text }'],
    [{ action: 'count', counter: 'connCount' }, 'rules[0].counter', '"gpc"'],
    [{ action: 'expectProxy', stage: 'session' }, 'rules[0].stage', '"socket"'],
    [{ action: 'delay', delayMs: 0 }, 'rules[0].delayMs', 'from 1'],
    [{ action: 'tag' }, 'rules[0].tag', 'is missing'],
    [{ action: 'setSource' }, 'rules[0].to', 'is missing'],
    [{ action: 'setSource', to: { text: 'localhost' } }, 'rules[0].to.text', 'IP address'],
    [{ action: 'setSource', to: 'peer', ipv4Bits: 33 }, 'rules[0].ipv4Bits', 'to 32'],
    [{ action: 'setDestination', to: 'localPort' }, 'rules[0].to', 'can be an address'],
    [{ action: 'setDestination', to: 'commonName' }, 'rules[0].to', 'before the stage "session"'],
    [{ action: 'setSource', to: 'peer', port: 65_536 }, 'rules[0].port', '65535'],
    [{ action: 'log' }, 'rules[0].text', 'is missing'],
    [{ action: 'log', text: 'x', value: 'serverName' }, 'rules[0].value', 'before the stage "session"'],
    [{ action: 'set', variable: 'x', to: 'serverName' }, 'rules[0].to', 'before the stage "session"'],
  ])('refuses %j, naming %s', (rule, option, text) => {
    const make = () => new RuleList([rule as Rule])
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option }))
    expect(make).toThrow(text)
  })

  it('refuses what is no list, conditions without end, and a step of what is no list', () => {
    expect(() => new RuleList({} as never)).toThrow(expect.objectContaining({ option: 'rules' }))
    expect(() => new RuleList([], { inspectDelayMs: -1 })).toThrow(
      expect.objectContaining({ option: 'inspectDelayMs' }),
    )
    let when: RuleCondition = { tag: 'x' }
    for (let i = 0; i < 40; i++) when = { not: when }
    expect(() => new RuleList([{ action: 'reject', when }])).toThrow('nested at most 32 deep')
    expect(() => rules([] as never)).toThrow(expect.objectContaining({ option: 'rules' }))
  })

  it('decides as a plain reading of its rules does, whatever they are', () => {
    interface Facts {
      peer: number
      port: number
      tls: boolean
      name: string
    }
    type Plain = { when: RuleCondition; is(facts: Facts): boolean }
    const leaf: fc.Arbitrary<Plain> = fc.oneof(
      fc.nat(4).map((net) => ({ when: { source: `10.${net}.0.0/16` }, is: (facts: Facts) => facts.peer === net })),
      fc.nat(3).map((port) => ({
        when: { localPort: [port, port + 1] as const },
        is: (facts: Facts) => facts.port === port || facts.port === port + 1,
      })),
      fc.boolean().map((tls) => ({ when: { tls }, is: (facts: Facts) => facts.tls === tls })),
      fc
        .constantFrom('a', 'b')
        .map((name) => ({ when: { serverName: name }, is: (facts: Facts) => facts.tls && facts.name === name })),
    )
    const { tree } = fc.letrec<{ tree: Plain }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('tree'), { maxLength: 3 }).map((parts) => ({
          when: { all: parts.map((part) => part.when) },
          is: (facts: Facts) => parts.every((part) => part.is(facts)),
        })),
        fc.array(tie('tree'), { maxLength: 3 }).map((parts) => ({
          when: { any: parts.map((part) => part.when) },
          is: (facts: Facts) => parts.some((part) => part.is(facts)),
        })),
        tie('tree').map((part) => ({ when: { not: part.when }, is: (facts: Facts) => !part.is(facts) })),
      ),
    }))
    const rule = fc.record({ condition: tree, action: fc.constantFrom('accept', 'reject', 'silentDrop') })
    const facts = fc.record({ peer: fc.nat(4), port: fc.nat(5), tls: fc.boolean(), name: fc.constantFrom('a', 'b') })
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 8 }), fc.array(facts, { minLength: 1, maxLength: 8 }), (plain, all) => {
        const list = new RuleList(
          plain.map(({ condition, action }) => ({ stage: 'session', when: condition.when, action }) as Rule),
        )
        for (const each of all) {
          const { peer, port, tls, name } = each
          const first = plain.findIndex(({ condition }) => condition.is(each))
          const verdict = list.rehearse({
            peer: `10.${peer}.7.7`,
            localPort: port,
            ...(tls && { tls: { serverName: name } }),
          })
          expect(verdict.action).toBe(first < 0 ? 'accept' : plain[first]!.action)
          if (verdict.action !== 'accept') expect(verdict.rule).toBe(first)
        }
      }),
      { numRuns: 300 },
    )
  })
})
