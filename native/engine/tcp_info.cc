#include <netinet/in.h>
#include <netinet/tcp.h>

#include "engine/kernel_socket.h"
#include "engine/sys.h"

namespace sluice::kernel_socket {

namespace {

#ifdef __linux__

// The kernel's struct tcp_info as it has stood since 4.9. C libraries stop at older versions of it, and including
// the kernel's header beside theirs does not compile. The kernel copies as much as both sides know.
struct KernelTcpInfo {
  uint8_t state, congestionState, retransmits, probes, backoff, options, windowScales, flags;
  uint32_t rto, ato, sendMss, receiveMss;
  uint32_t unacked, sacked, lost, retransmitted, forwardAcks;
  uint32_t lastDataSent, lastAckSent, lastDataReceived, lastAckReceived;
  uint32_t pathMtu, receiveThreshold, rtt, rttVariance, sendThreshold, sendWindow, advertisedMss, reordering;
  uint32_t receiveRtt, receiveSpace, totalRetransmits;
  uint64_t pacingRate, maxPacingRate, bytesAcked, bytesReceived;
  uint32_t segmentsOut, segmentsIn, notSentBytes, minRtt, dataSegmentsIn, dataSegmentsOut;
  uint64_t deliveryRate;
};
static_assert(sizeof(KernelTcpInfo) == 168);

using SystemInfo = KernelTcpInfo;
constexpr int infoOption = TCP_INFO;
constexpr const char* infoCall = "getsockopt TCP_INFO";

TcpInfo translate(const KernelTcpInfo& from) {
  TcpInfo info;
  info.rttUs = from.rtt;
  info.rttVarianceUs = from.rttVariance;
  info.minRttUs = from.minRtt == UINT32_MAX ? 0 : from.minRtt;  // all ones: none measured yet
  info.sendWindowSegments = from.sendWindow;
  info.slowStartThresholdSegments = from.sendThreshold;
  info.sendSegmentBytes = from.sendMss;
  info.receiveSegmentBytes = from.receiveMss;
  info.unackedSegments = from.unacked;
  info.lostSegments = from.lost;
  info.retransmits = from.retransmits;
  info.totalRetransmits = from.totalRetransmits;
  info.receiveSpaceBytes = from.receiveSpace;
  info.notSentBytes = from.notSentBytes;
  info.bytesAcked = from.bytesAcked;
  info.bytesReceived = from.bytesReceived;
  info.deliveryRateBytesPerSecond = from.deliveryRate;
  info.pacingRateBytesPerSecond = from.pacingRate;
  info.state = from.state;
  return info;
}

#else

using SystemInfo = tcp_connection_info;
constexpr int infoOption = TCP_CONNECTION_INFO;
constexpr const char* infoCall = "getsockopt TCP_CONNECTION_INFO";

TcpInfo translate(const tcp_connection_info& from) {
  TcpInfo info;
  info.rttUs = from.tcpi_srtt * 1000;
  info.rttVarianceUs = from.tcpi_rttvar * 1000;
  info.sendSegmentBytes = from.tcpi_maxseg;
  if (from.tcpi_maxseg != 0) {
    info.sendWindowSegments = from.tcpi_snd_cwnd / from.tcpi_maxseg;
    info.slowStartThresholdSegments = from.tcpi_snd_ssthresh / from.tcpi_maxseg;
  }
  info.totalRetransmits = static_cast<uint32_t>(from.tcpi_txretransmitpackets);
  // The system tells the bytes of its send buffer, sent or not.
  if (from.tcpi_maxseg != 0) {
    info.unackedSegments = (from.tcpi_snd_sbbytes + from.tcpi_maxseg - 1) / from.tcpi_maxseg;
  }
  info.receiveSpaceBytes = from.tcpi_rcv_wnd;
  info.bytesReceived = from.tcpi_rxbytes;
  info.state = from.tcpi_state;
  return info;
}

#endif

}  // namespace

Result<TcpInfo> tcpInfo(int fd) {
  SystemInfo info{};
  socklen_t length = sizeof info;
  if (sys::getsockopt(fd, IPPROTO_TCP, infoOption, &info, &length) < 0) return systemError(errno, infoCall);
  return translate(info);
}

}  // namespace sluice::kernel_socket
