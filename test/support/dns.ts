// A DNS server of the test's own: answers what it has been given, and that the others do not exist. Source: RFC 1035, RFC 2782.
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'

export type DnsRecord =
  | { name: string; ttl: number; type: 'A'; data: string }
  | { name: string; ttl: number; type: 'AAAA'; data: string }
  | { name: string; ttl: number; type: 'SRV'; data: { priority: number; weight: number; port: number; host: string } }

const numberOf = { A: 1, AAAA: 28, SRV: 33 }

export class TestDns implements AsyncDisposable {
  records: DnsRecord[] = []
  /** Questions so far. */
  asked = 0
  private readonly socket: Socket = createSocket('udp4')

  static async start(): Promise<TestDns> {
    const dns = new TestDns()
    dns.socket.on('message', (question, { port, address }) => dns.socket.send(dns.answer(question), port, address))
    dns.socket.bind(0, '127.0.0.1')
    await once(dns.socket, 'listening')
    return dns
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`
  }

  private answer(question: Buffer): Buffer {
    this.asked++
    const labels: string[] = []
    let at = 12
    for (; question[at]! > 0; at += question[at]! + 1)
      labels.push(question.toString('latin1', at + 1, at + 1 + question[at]!))
    const name = labels.join('.').toLowerCase()
    const type = question.readUInt16BE(at + 1)
    const end = at + 5
    const same = this.records.filter((record) => record.name === name)
    const found = same.filter((record) => numberOf[record.type] === type)
    const head = Buffer.from(question.subarray(0, 12))
    // An answer; of a name that does not exist, if there is none of any type.
    head.writeUInt16BE(same.length > 0 ? 0x8580 : 0x8583, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(found.length, 6)
    head.writeUInt32BE(0, 8)
    return Buffer.concat([head, question.subarray(12, end), ...found.map(encoded)])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close()
    await once(this.socket, 'close')
  }
}

function encoded(record: DnsRecord): Buffer {
  const data = dataOf(record)
  const head = Buffer.alloc(10)
  head.writeUInt16BE(numberOf[record.type], 0)
  head.writeUInt16BE(1, 2)
  head.writeUInt32BE(record.ttl, 4)
  head.writeUInt16BE(data.length, 8)
  return Buffer.concat([nameBytes(record.name), head, data])
}

function dataOf(record: DnsRecord): Buffer {
  if (record.type === 'A') return Buffer.from(record.data.split('.').map(Number))
  if (record.type === 'AAAA') {
    const [front, back = ''] = record.data.split('::')
    const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
    const [first, last] = [groups(front!), groups(back)]
    const all = [...first, ...new Array(8 - first.length - last.length).fill(0), ...last]
    return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]))
  }
  const { priority, weight, port, host } = record.data
  const head = Buffer.alloc(6)
  head.writeUInt16BE(priority, 0)
  head.writeUInt16BE(weight, 2)
  head.writeUInt16BE(port, 4)
  return Buffer.concat([head, nameBytes(host)])
}

function nameBytes(name: string): Buffer {
  return Buffer.concat([
    ...name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`)),
    Buffer.of(0),
  ])
}
