import { spawnSync } from 'node:child_process'
import { descriptorOf } from './descriptors.js'

// The descriptor comes as number 3; Node has no getsockopt().
const program = `
import json, socket, sys
s = socket.socket(fileno=3)
def number(level, name):
    return s.getsockopt(level, name)
tcp = socket.IPPROTO_TCP
print(json.dumps({
    'noDelay': number(tcp, socket.TCP_NODELAY),
    'keepAlive': number(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    'keepAliveIdle': number(tcp, socket.TCP_KEEPIDLE),
    'keepAliveInterval': number(tcp, socket.TCP_KEEPINTVL),
    'keepAliveCount': number(tcp, socket.TCP_KEEPCNT),
    'userTimeoutMs': number(tcp, 18),
    'quickAck': number(tcp, socket.TCP_QUICKACK),
    'fastOpen': number(tcp, 23),
    'fastOpenConnect': number(tcp, 30),
    'notSentLowWaterBytes': number(tcp, 25),
    'sendBufferBytes': number(socket.SOL_SOCKET, socket.SO_SNDBUF),
    'receiveBufferBytes': number(socket.SOL_SOCKET, socket.SO_RCVBUF),
    'maxSegmentBytes': number(tcp, 2),
    'deferAcceptSeconds': number(tcp, 9),
    'device': s.getsockopt(socket.SOL_SOCKET, 25, 16).split(b'\\0')[0].decode(),
    'transparent': number(socket.IPPROTO_IP, 19),
    'hopLimit': number(socket.IPPROTO_IP, socket.IP_TTL),
    'typeOfService': number(socket.IPPROTO_IP, socket.IP_TOS),
    'mark': number(socket.SOL_SOCKET, 36),
    'congestionControl': s.getsockopt(tcp, 13, 16).split(b'\\0')[0].decode(),
    'reusePort': number(socket.SOL_SOCKET, socket.SO_REUSEPORT),
}))
`

/** What the system says of this process's socket between two ports; `remotePort` 0 means the one that listens. */
export function socketOptionsOf(localPort: number, remotePort = 0): Record<string, number | string> {
  const fd = descriptorOf(localPort, remotePort)
  const { stdout, stderr } = spawnSync('python3', ['-c', program], { stdio: ['ignore', 'pipe', 'pipe', fd] })
  if (stderr.length > 0) throw new Error(String(stderr))
  return JSON.parse(String(stdout))
}
