#include "engine/sim_options.h"

#include <cerrno>
#include <cmath>

namespace sluice {

namespace {

struct Row {
  std::string_view name;
  double SimOptions::* real;
  uint64_t SimOptions::* whole;
  double minimum, maximum;

  constexpr Row(std::string_view n, double SimOptions::* field, double low, double high)
      : name(n), real(field), whole(nullptr), minimum(low), maximum(high) {}
  constexpr Row(std::string_view n, uint64_t SimOptions::* field, double low, double high)
      : name(n), real(nullptr), whole(field), minimum(low), maximum(high) {}
};

constexpr double dayMs = 86'400'000;
constexpr double maxSegment = 1 << 20;
constexpr double maxBuffer = 1 << 30;
constexpr double maxWhole = 9'007'199'254'740'991;  // Number.MAX_SAFE_INTEGER

// The bounds stand a second time in src/simulation.ts, where users read them.
constexpr Row rows[] = {
    {"seed", &SimOptions::seed, 0, maxWhole},
    {"latencyMinMs", &SimOptions::latencyMinMs, 0, dayMs},
    {"latencyMaxMs", &SimOptions::latencyMaxMs, 0, dayMs},
    {"jitterMs", &SimOptions::jitterMs, 0, dayMs},
    {"segmentMinBytes", &SimOptions::segmentMinBytes, 0, maxSegment},
    {"segmentMaxBytes", &SimOptions::segmentMaxBytes, 1, maxSegment},
    {"bytesPerSecond", &SimOptions::bytesPerSecond, 0, maxWhole},
    {"sendBufferBytes", &SimOptions::sendBufferBytes, 1, maxBuffer},
    {"receiveWindowBytes", &SimOptions::receiveWindowBytes, 1, maxBuffer},
    {"shortSendProbability", &SimOptions::shortSendProbability, 0, 1},
    {"deferredSendProbability", &SimOptions::deferredSendProbability, 0, 1},
    {"spuriousSentProbability", &SimOptions::spuriousSentProbability, 0, 1},
    {"resetProbability", &SimOptions::resetProbability, 0, 1},
    {"resetAfterMinBytes", &SimOptions::resetAfterMinBytes, 0, maxWhole},
    {"resetAfterMaxBytes", &SimOptions::resetAfterMaxBytes, 0, maxWhole},
    {"stallProbability", &SimOptions::stallProbability, 0, 1},
    {"stallMinMs", &SimOptions::stallMinMs, 0, dayMs},
    {"stallMaxMs", &SimOptions::stallMaxMs, 0, dayMs},
    {"refuseProbability", &SimOptions::refuseProbability, 0, 1},
    {"blackHoleProbability", &SimOptions::blackHoleProbability, 0, 1},
    {"connectGiveUpMs", &SimOptions::connectGiveUpMs, 1, dayMs},
    {"descriptorLimit", &SimOptions::descriptorLimit, 0, maxSegment},
    {"acceptFailProbability", &SimOptions::acceptFailProbability, 0, 1},
};

}  // namespace

bool setSimOption(SimOptions& options, std::string_view name, double value) {
  for (const Row& row : rows) {
    if (row.name != name) continue;
    if (!(value >= row.minimum && value <= row.maximum)) return false;  // NaN fails too
    if (row.real) {
      options.*row.real = value;
      return true;
    }
    if (value != std::floor(value)) return false;
    options.*row.whole = static_cast<uint64_t>(value);
    return true;
  }
  return false;
}

Result<void> checkSimOptions(const SimOptions& options) {
  const bool ordered = (options.latencyMaxMs == 0 || options.latencyMinMs <= options.latencyMaxMs) &&
                       options.segmentMinBytes <= options.segmentMaxBytes &&
                       options.resetAfterMinBytes <= options.resetAfterMaxBytes &&
                       options.stallMinMs <= options.stallMaxMs;
  if (!ordered) return Error{ErrorCode::invalidArgument, EINVAL, "sim"};
  return {};
}

}  // namespace sluice
