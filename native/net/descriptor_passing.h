#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace sluice {

/// Most descriptors in one message: what Linux takes (SCM_MAX_FD).
inline constexpr size_t maxPassedDescriptors = 253;
/// Most bytes of text with them.
inline constexpr size_t maxPassedText = 65'536;

/// Sends copies of `descriptors`, and `text` with a newline behind it, over a connected Unix socket. They stay open here.
/// `text` has no newline. Waits where the socket is full, up to a second. Source: unix(7), SCM_RIGHTS; HP-130.
Result<void> passDescriptors(int socket, std::span<const int> descriptors, std::string_view text);

/// What was passed. The receiver owns all descriptors.
struct PassedDescriptors {
  /// The connection by which they came; it blocks.
  int socket = -1;
  std::vector<int> descriptors;
  std::string text;
};

/// Connects to whom offers descriptors at a Unix socket, and waits for them, up to `timeoutMs` altogether. Nothing stays
/// open when this fails.
Result<PassedDescriptors> takeDescriptors(const SocketAddress& where, int timeoutMs);

}  // namespace sluice
