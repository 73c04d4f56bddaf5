#pragma once

#include "engine/engine.h"

namespace sluice {

/// What every engine over real descriptors shares: options, addresses and TCP_INFO by fd().
class FdEngine : public Engine {
 public:
  Result<void> setOption(Slot socket, const SocketOptionValue& value) override;
  Result<TcpInfo> tcpInfo(Slot socket) const override;
  Result<SocketAddress> localAddress(Slot socket) const override;
  Result<SocketAddress> peerAddress(Slot socket) const override;
  Result<SocketAddress> listenerAddress(ListenerId listener) const override;
  Result<void> shutdownSend(Slot socket) override;
};

}  // namespace sluice
