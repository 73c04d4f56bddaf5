#include "engine/poller.h"

#include <sys/stat.h>

#include <cerrno>

#include "engine/sys.h"

namespace sluice {

Result<void> requirePollable(int fd) {
  struct stat status{};
  if (sys::retried("fstat", [&] { return ::fstat(fd, &status); }) < 0) return systemError(errno, "fstat");
  // EPERM is what epoll_ctl(2) says of them.
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) return Error{ErrorCode::notPollable, EPERM, "fstat"};
  return {};
}

}  // namespace sluice
