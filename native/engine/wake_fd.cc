#include "engine/wake_fd.h"

#include "engine/sys.h"

namespace sluice {

Result<WakeFd> WakeFd::make() {
#ifdef __linux__
  const int fd = sys::eventfd();
  if (fd < 0) return systemError(errno, "eventfd");
  return WakeFd(fd, fd);
#else
  int ends[2];
  if (sys::pipe(ends) < 0) return systemError(errno, "pipe");
  WakeFd made(ends[0], ends[1]);
  for (const int end : ends) {
    if (sys::fcntl(end, F_SETFL, O_NONBLOCK) < 0 || sys::fcntl(end, F_SETFD, FD_CLOEXEC) < 0) {
      return systemError(errno, "fcntl");
    }
  }
  return made;
#endif
}

WakeFd::~WakeFd() {
  if (readEnd_ < 0) return;
  if (writeEnd_ != readEnd_) sys::close(writeEnd_);
  sys::close(readEnd_);
}

void WakeFd::signal() noexcept {
  if (signalled_.exchange(true)) return;
  const uint64_t one = 1;  // eventfd wants eight bytes, and a pipe takes them
  (void)!sys::write(writeEnd_, &one, sizeof one);
}

// The flag goes down last. A signal() that still finds it up is answered by this very clear(); the other way round one
// could leave the flag up with nothing to read, and all later ones would be lost.
void WakeFd::clear() noexcept {
  uint64_t count = 0;
  (void)!sys::read(readEnd_, &count, sizeof count);
  signalled_.exchange(false);
}

}  // namespace sluice
