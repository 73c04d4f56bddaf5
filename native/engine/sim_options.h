#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace sluice {

/// What a simulated network does to its connections. The defaults are a network without faults: 1 ms each way, large
/// buffers. The names are those of the TypeScript options in src/simulation.ts, which documents them for users, and
/// of docs/simulation.md. Times are virtual milliseconds (fractions count, down to 1 µs), probabilities 0 to 1.
/// Ranges include both ends and are drawn evenly.
struct SimOptions {
  /// Everything that is drawn comes from here; the same seed and the same calls give the same run. Up to 2^53 - 1.
  uint64_t seed = 1;

  /// One-way delay, drawn once per connection and direction. A maximum of 0 means: the minimum.
  double latencyMinMs = 1, latencyMaxMs = 0;
  /// Up to so much more, drawn per segment. Segments of one direction never overtake each other.
  double jitterMs = 0;
  /// Size of what travels, and of what one receive returns at most. A minimum of 0 means: the maximum.
  uint64_t segmentMinBytes = 0, segmentMaxBytes = 64 * 1024;
  /// Per connection and direction; 0: unlimited.
  uint64_t bytesPerSecond = 0;

  /// What a connection takes from its writer beyond what is under way. SocketOption::sendBufferBytes replaces it.
  uint64_t sendBufferBytes = 256 * 1024;
  /// What may be under way or unread: a reader that stops stalls its writer once this much and the writer's buffer
  /// are full. SocketOption::receiveBufferBytes replaces it.
  uint64_t receiveWindowBytes = 256 * 1024;

  /// Per send: only a random part is taken although there is room.
  double shortSendProbability = 0;
  /// Per send: nothing is taken at once, the bytes are fetched later, as io_uring does.
  double deferredSendProbability = 0;
  /// Per send that has to wait: a wake-up although there is no room yet.
  double spuriousSentProbability = 0;

  /// Per connection: both ends see a reset once so many bytes, counted both ways, have left.
  double resetProbability = 0;
  uint64_t resetAfterMinBytes = 0, resetAfterMaxBytes = 64 * 1024;
  /// Per segment: its connection stands still for a time, both ways.
  double stallProbability = 0;
  double stallMinMs = 100, stallMaxMs = 1000;

  /// Per connect: refused although somebody listens.
  double refuseProbability = 0;
  /// Per connect: no answer ever comes.
  double blackHoleProbability = 0;
  /// How long a connect without answer lasts before it fails with ETIMEDOUT. Linux: 127 s (tcp_syn_retries 6).
  double connectGiveUpMs = 127'000;

  /// Open sockets and listeners together; 0: unlimited. Beyond it connect, listen and accept fail with EMFILE.
  uint64_t descriptorLimit = 0;
  /// Per accept: it fails with ENFILE, and the connection stays in the backlog.
  double acceptFailProbability = 0;
};

/// Sets one option by name. False, and nothing changes, when there is no such option or `value` is outside its bounds
/// (those of src/simulation.ts), or not whole where only whole numbers make sense.
bool setSimOption(SimOptions& options, std::string_view name, double value);

/// Errors: invalidArgument when a range ends before it begins.
Result<void> checkSimOptions(const SimOptions& options);

}  // namespace sluice
