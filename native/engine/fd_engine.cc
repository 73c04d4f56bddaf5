#include "engine/fd_engine.h"

#include "engine/kernel_socket.h"

namespace sluice {

Result<void> FdEngine::setOption(Slot socket, const SocketOptionValue& value) {
  return kernel_socket::setOption(fd(socket), value);
}

Result<TcpInfo> FdEngine::tcpInfo(Slot socket) const { return kernel_socket::tcpInfo(fd(socket)); }

Result<SocketAddress> FdEngine::localAddress(Slot socket) const { return kernel_socket::localAddress(fd(socket)); }

Result<SocketAddress> FdEngine::peerAddress(Slot socket) const { return kernel_socket::peerAddress(fd(socket)); }

Result<SocketAddress> FdEngine::listenerAddress(ListenerId listener) const {
  return kernel_socket::localAddress(listenerFd(listener));
}

Result<void> FdEngine::shutdownSend(Slot socket) { return kernel_socket::shutdownSend(fd(socket)); }

}  // namespace sluice
