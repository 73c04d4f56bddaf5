#pragma once

#include <cstdint>
#include <string_view>

namespace sluice {

/// What went wrong, as users see it: `ERR_SLUICE_` plus the upper-case name. Stable for ever; new codes go to the end.
/// The list stands once, here; src/errors.ts documents each and a test compares the two.
#define SLUICE_ERROR_CODES(X)                     \
  X(none, "NONE")                                 \
  X(system, "SYSTEM")                             \
  X(invalidArgument, "INVALID_ARGUMENT")          \
  X(addressInUse, "ADDRESS_IN_USE")               \
  X(addressNotAvailable, "ADDRESS_NOT_AVAILABLE") \
  X(permissionDenied, "PERMISSION_DENIED")        \
  X(connectionRefused, "CONNECTION_REFUSED")      \
  X(connectionReset, "CONNECTION_RESET")          \
  X(connectionAborted, "CONNECTION_ABORTED")      \
  X(brokenPipe, "BROKEN_PIPE")                    \
  X(hostUnreachable, "HOST_UNREACHABLE")          \
  X(networkUnreachable, "NETWORK_UNREACHABLE")    \
  X(peerTimedOut, "PEER_TIMED_OUT")               \
  X(connectTimeout, "CONNECT_TIMEOUT")            \
  X(readTimeout, "READ_TIMEOUT")                  \
  X(writeTimeout, "WRITE_TIMEOUT")                \
  X(halfClosedTimeout, "HALF_CLOSED_TIMEOUT")     \
  X(closeTimeout, "CLOSE_TIMEOUT")                \
  X(descriptorLimit, "DESCRIPTOR_LIMIT")          \
  X(memoryLimit, "MEMORY_LIMIT")                  \
  X(connectionLimit, "CONNECTION_LIMIT")          \
  X(notFound, "NOT_FOUND")                        \
  X(notSupported, "NOT_SUPPORTED")                \
  X(notPollable, "NOT_POLLABLE")                  \
  X(engineUnavailable, "ENGINE_UNAVAILABLE")      \
  X(nameNotResolved, "NAME_NOT_RESOLVED")         \
  X(aborted, "ABORTED")                           \
  X(closed, "CLOSED")                             \
  X(tls, "TLS_FATAL")                             \
  X(opening, "OPENING_FAILED")                    \
  X(relayFailed, "RELAY_FAILED")

enum class ErrorCode : uint8_t {
#define X(name, text) name,
  SLUICE_ERROR_CODES(X)
#undef X
};

/// The name behind `ERR_SLUICE_`, e.g. "ADDRESS_IN_USE".
std::string_view errorCodeName(ErrorCode code);

/// A failure as a value: what it means, and which call said so.
struct Error {
  ErrorCode code = ErrorCode::none;
  int osError = 0;           // errno, positive; 0 when no system call failed
  const char* syscall = "";  // static string, e.g. "bind"; "" when no system call failed

  explicit operator bool() const { return code != ErrorCode::none; }
};

/// Classifies an errno from `syscall`. Errors not in the table become ErrorCode::system and keep their number.
Error systemError(int osError, const char* syscall);

}  // namespace sluice
