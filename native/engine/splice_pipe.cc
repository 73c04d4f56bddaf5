#include "engine/splice_pipe.h"

#include "base/assert.h"
#include "engine/sys.h"

namespace sluice {

SplicePipe::~SplicePipe() {
  for (const int end : ends_) {
    if (end >= 0) sys::close(end);
  }
}

bool SplicePipe::ready() {
  if (ends_[0] >= 0) return true;
  if (refused_ || !sys::hasSplice) return false;
  refused_ = true;  // unless this works
  if (sys::pipe(ends_) < 0) {
    ends_[0] = ends_[1] = -1;
    return false;
  }
  for (const int end : ends_) {
    sys::fcntl(end, F_SETFL, O_NONBLOCK);
    sys::fcntl(end, F_SETFD, FD_CLOEXEC);
  }
#ifdef F_SETPIPE_SZ
  // Where a user has many pipes the system says no, and the pipe is smaller.
  sys::fcntl(ends_[1], F_SETPIPE_SZ, static_cast<int>(sizeBytes));
#endif
  refused_ = false;
  return true;
}

ssize_t SplicePipe::fill(int socket, size_t most) {
  const ssize_t got = sys::splice(socket, ends_[1], most);
  if (got >= 0 || (errno != ENOSYS && errno != EBADF)) return got;
  const int error = errno;
  for (int& end : ends_) {
    sys::close(end);
    end = -1;
  }
  refused_ = true;
  errno = error;
  return -1;
}

size_t SplicePipe::empty(int socket, size_t held, int& error) {
  error = 0;
  while (held > 0) {
    const ssize_t moved = sys::splice(ends_[0], socket, held);
    if (moved <= 0) {
      if (moved < 0 && errno != EAGAIN) error = errno;
      break;
    }
    held -= static_cast<size_t>(moved);
  }
  return held;
}

void SplicePipe::read(std::span<uint8_t> into) {
  while (!into.empty()) {
    const ssize_t got = ::read(ends_[0], into.data(), into.size());
    if (got < 0 && errno == EINTR) continue;
    SLUICE_ASSERT(got > 0);  // it is our own memory
    into = into.subspan(static_cast<size_t>(got));
  }
}

}  // namespace sluice
