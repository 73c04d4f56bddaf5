#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

/// The pipe through which an engine moves bytes from one socket to another without copying them (splice(2), HP-127). It is
/// empty between two calls, so one serves all sockets of a loop, and nothing waits in it.
class SplicePipe {
 public:
  static constexpr size_t sizeBytes = 256 * 1024;

  SplicePipe() = default;
  SplicePipe(const SplicePipe&) = delete;
  SplicePipe& operator=(const SplicePipe&) = delete;
  ~SplicePipe();

  /// Whether there is a pipe; makes it when first asked. Once the system has said that it knows no such thing, for good.
  bool ready();
  /// Takes up to `most` bytes from a socket: how many, 0 at its end, -1 with errno. EINVAL: not from this socket.
  ssize_t fill(int socket, size_t most);
  /// Gives the socket as much as it takes of what is in the pipe; returns what is left. `error` says why, 0 for want of room.
  size_t empty(int socket, size_t held, int& error);
  /// Takes out what is left, all of it.
  void read(std::span<uint8_t> into);

 private:
  int ends_[2] = {-1, -1};
  bool refused_ = false;
};

}  // namespace sluice
