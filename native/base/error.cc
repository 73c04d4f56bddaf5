#include "base/error.h"

#include <cerrno>

namespace sluice {

std::string_view errorCodeName(ErrorCode code) {
  switch (code) {
#define X(name, text) \
  case ErrorCode::name: return text;
    SLUICE_ERROR_CODES(X)
#undef X
  }
  return "SYSTEM";
}

namespace {

ErrorCode classify(int osError) {
  switch (osError) {
    case EADDRINUSE: return ErrorCode::addressInUse;
    case EADDRNOTAVAIL: return ErrorCode::addressNotAvailable;
    case EACCES:
    case EPERM: return ErrorCode::permissionDenied;
    case ECONNREFUSED: return ErrorCode::connectionRefused;
    case ECONNRESET: return ErrorCode::connectionReset;
    case ECONNABORTED: return ErrorCode::connectionAborted;
    case EPIPE: return ErrorCode::brokenPipe;
    case EHOSTUNREACH:
    case EHOSTDOWN: return ErrorCode::hostUnreachable;
    case ENETUNREACH:
    case ENETDOWN: return ErrorCode::networkUnreachable;
    case ETIMEDOUT: return ErrorCode::peerTimedOut;
    case EMFILE:
    case ENFILE: return ErrorCode::descriptorLimit;
    case ENOMEM:
    case ENOBUFS: return ErrorCode::memoryLimit;
    case ENOENT:
    case ENOTDIR: return ErrorCode::notFound;
    case EINVAL:
    case EBADF:
    case ENAMETOOLONG:
    case ENOTSOCK: return ErrorCode::invalidArgument;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case ENOPROTOOPT:
    case ENOSYS:
    case EOPNOTSUPP: return ErrorCode::notSupported;
    case ECANCELED: return ErrorCode::aborted;
    default: return ErrorCode::system;
  }
}

}  // namespace

Error systemError(int osError, const char* syscall) { return {classify(osError), osError, syscall}; }

}  // namespace sluice
