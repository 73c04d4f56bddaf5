#pragma once

#include "engine/engine.h"

namespace sluice {

/// The system calls on descriptors that all fd engines share. Descriptors made here are non-blocking and close-on-exec.
namespace kernel_socket {

/// Creates, binds and listens, or adopts spec.adoptFd (which must be a listening stream socket).
Result<int> openListener(const ListenSpec& spec);
/// Creates a stream socket for spec with its options and local address set, not yet connecting.
Result<int> openConnector(const ConnectSpec& spec);
/// Makes an adopted connected stream descriptor fit for an engine. Closes it on failure.
Result<int> prepareAdopted(int fd);

enum class ConnectStep : uint8_t { connected, waiting };
/// Calls connect(); to be repeated after each wake-up, because neither writability nor a zero SO_ERROR proves a
/// connection (HP-27). Errors: the reason of failure.
Result<ConnectStep> connectStep(int fd, const SocketAddress& address);

/// Next connection, or -1 when none waits. Retries EINTR; skips connections that were aborted while they waited.
Result<int> acceptNext(int listenerFd);

Result<void> setOption(int fd, const SocketOptionValue& value, bool listener = false);
Result<TcpInfo> tcpInfo(int fd);
Result<SocketAddress> localAddress(int fd);
Result<SocketAddress> peerAddress(int fd);
/// Sends FIN. Errors: not connected.
Result<void> shutdownSend(int fd);
/// Takes the pending error (SO_ERROR), 0 if there is none. To be asked before recv() == 0 is believed: after a FIN
/// the kernel says 0 although a reset came later (HP-26).
int takeError(int fd);
/// Makes the coming close(2) send RST.
void setResetOnClose(int fd);
/// Makes the coming close(2) send nothing, or where that is not allowed a RST that gets no farther than the next router.
void setSilentOnClose(int fd);
/// close(2); EINTR counts as closed.
void closeFd(int fd);

}  // namespace kernel_socket
}  // namespace sluice
