#include "net/descriptor_passing.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace sluice {

namespace {

constexpr int sendWaitMs = 1000;

#ifdef MSG_CMSG_CLOEXEC
constexpr int receiveFlags = MSG_CMSG_CLOEXEC;
#else
constexpr int receiveFlags = 0;
#endif
#ifdef MSG_NOSIGNAL
constexpr int sendFlags = MSG_NOSIGNAL;
#else
constexpr int sendFlags = 0;
#endif

// Aligned as a header of control data has to be.
union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(maxPassedDescriptors * sizeof(int))];
};

Result<void> waitFor(int socket, short events, TimeMs deadlineMs) {
  for (;;) {
    const TimeMs nowMs = monotonicMs();
    if (nowMs >= deadlineMs) return systemError(ETIMEDOUT, "poll");
    const TimeMs leftMs = deadlineMs - nowMs;
    pollfd waiting{socket, events, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::min<TimeMs>(leftMs, 60'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return systemError(errno, "poll");
  }
}

/// Closes what has come so far, unless it is handed on.
struct Received {
  PassedDescriptors parts;

  ~Received() {
    for (const int descriptor : parts.descriptors) ::close(descriptor);
    if (parts.socket >= 0) ::close(parts.socket);
  }
};

void collect(msghdr& message, std::vector<int>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(part) + i * sizeof descriptor, sizeof descriptor);
      if (receiveFlags == 0) ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
      into.push_back(descriptor);
    }
  }
}

}  // namespace

Result<void> passDescriptors(int socket, std::span<const int> descriptors, std::string_view text) {
  if (descriptors.size() > maxPassedDescriptors || text.size() > maxPassedText)
    return Error{ErrorCode::invalidArgument, EINVAL, "sendmsg"};
  std::string line(text);
  line.push_back('\n');
  const TimeMs deadlineMs = monotonicMs() + sendWaitMs;
  for (size_t sent = 0; sent < line.size();) {
    iovec piece{line.data() + sent, line.size() - sent};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    ControlBuffer control{};
    // They go with the first byte, all of them or none.
    if (sent == 0 && !descriptors.empty()) {
      message.msg_control = control.bytes;
      message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    const ssize_t count = ::sendmsg(socket, &message, sendFlags);
    if (count > 0) sent += static_cast<size_t>(count);
    else if (count < 0 && errno == EINTR) continue;
    else if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return systemError(errno, "sendmsg");
    else if (auto ready = waitFor(socket, POLLOUT, deadlineMs); !ready) return ready.error();
  }
  return {};
}

Result<PassedDescriptors> takeDescriptors(const SocketAddress& where, int timeoutMs) {
  const TimeMs deadlineMs = monotonicMs() + timeoutMs;
  Received received;
  auto& [socket, descriptors, text] = received.parts;
  socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return systemError(errno, "socket");
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
  if (::connect(socket, where.data(), where.length()) < 0) return systemError(errno, "connect");
  while (text.empty() || text.back() != '\n') {
    if (text.size() > maxPassedText) return systemError(EMSGSIZE, "recvmsg");
    if (auto ready = waitFor(socket, POLLIN, deadlineMs); !ready) return ready.error();
    char bytes[4096];
    iovec piece{bytes, sizeof bytes};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    ControlBuffer control{};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t count = ::recvmsg(socket, &message, receiveFlags);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return systemError(errno, "recvmsg");
    collect(message, descriptors);
    // The sender went away, or this process has no room for so many descriptors.
    if (count == 0) return systemError(ECONNRESET, "recvmsg");
    if (message.msg_flags & MSG_CTRUNC) return systemError(EMFILE, "recvmsg");
    text.append(bytes, static_cast<size_t>(count));
  }
  text.pop_back();
  PassedDescriptors handedOn = std::move(received.parts);
  received.parts = {};
  return handedOn;
}

}  // namespace sluice
