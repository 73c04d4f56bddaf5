#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

/// The options a connection or listener can be given. Times are milliseconds, sizes bytes; booleans are 0 and 1.
/// On Linux accepted connections inherit what is set on their listener (tcp(7)), so a listener sets them once.
enum class SocketOption : uint8_t {
  noDelay,               // TCP_NODELAY
  keepAlive,             // SO_KEEPALIVE
  keepAliveIdleMs,       // TCP_KEEPIDLE (TCP_KEEPALIVE on macOS), rounded up to seconds
  keepAliveIntervalMs,   // TCP_KEEPINTVL, rounded up to seconds
  keepAliveCount,        // TCP_KEEPCNT
  userTimeoutMs,         // TCP_USER_TIMEOUT, Linux
  quickAck,              // TCP_QUICKACK, Linux; not sticky: tcp(7)
  fastOpen,              // listener: TCP_FASTOPEN queue length; connect: TCP_FASTOPEN_CONNECT
  notSentLowWaterBytes,  // TCP_NOTSENT_LOWAT
  sendBufferBytes,       // SO_SNDBUF
  receiveBufferBytes,    // SO_RCVBUF
  typeOfService,         // IP_TOS and IPV6_TCLASS
  mark,                  // SO_MARK, Linux, needs CAP_NET_ADMIN
  congestionControl,     // TCP_CONGESTION, by name
  hopLimit,              // IP_TTL and IPV6_UNICAST_HOPS
  maxSegmentBytes,       // TCP_MAXSEG
  deferAcceptMs,         // listener: TCP_DEFER_ACCEPT, Linux, rounded up to seconds
  device,                // SO_BINDTODEVICE, Linux, by name
  transparent,           // IP_TRANSPARENT and IPV6_TRANSPARENT, Linux, needs CAP_NET_ADMIN
};

struct SocketOptionValue {
  SocketOption option;
  int32_t number = 0;
  std::string text;  // congestionControl and device only
};

using SocketOptions = std::vector<SocketOptionValue>;

/// A snapshot of TCP_INFO, what matters of it. Zero where the system does not tell.
struct TcpInfo {
  uint32_t rttUs = 0, rttVarianceUs = 0, minRttUs = 0;
  uint32_t sendWindowSegments = 0, slowStartThresholdSegments = 0;
  uint32_t sendSegmentBytes = 0, receiveSegmentBytes = 0;
  uint32_t unackedSegments = 0, lostSegments = 0, retransmits = 0, totalRetransmits = 0;
  uint32_t receiveSpaceBytes = 0, notSentBytes = 0;
  uint64_t bytesAcked = 0, bytesReceived = 0, deliveryRateBytesPerSecond = 0, pacingRateBytesPerSecond = 0;
  uint8_t state = 0;
};

}  // namespace sluice
