#include <array>
#include <cstring>

#include "engine/engine.h"
#include "engine/poller.h"
#include "engine/readiness_engine.h"
#include "engine/sim_engine.h"
#include "engine/uring_engine.h"

namespace sluice {

namespace {

using MakePoller = Result<std::unique_ptr<Poller>> (*)();

struct PollerRow {
  std::string_view name;
  MakePoller make;
};
constexpr std::array pollers = {PollerRow{"epoll", makeEpollPoller}, PollerRow{"kqueue", makeKqueuePoller},
                                PollerRow{"poll", makePollPoller}};

std::string reasonOf(const Error& error) {
  return std::string(error.syscall) + ": " + (error.osError != 0 ? std::strerror(error.osError) : "failed");
}

EngineInfo describe(std::string_view name, const Result<std::unique_ptr<Engine>>& engine) {
  if (!engine) return {.name = name, .available = false, .reason = reasonOf(engine.error()), .features = {}};
  return {.name = name, .available = true, .reason = "", .features = (*engine)->features()};
}

Result<std::unique_ptr<Engine>> makeOverPoller(const PollerRow& row, const EngineOptions& options) {
  auto poller = row.make();
  if (!poller) return poller.error();
  return makeReadinessEngine(std::move(*poller), options);
}

}  // namespace

std::vector<EngineInfo> listEngines() {
  const EngineOptions options;
  std::vector<EngineInfo> engines;
  engines.push_back(describe("epoll", makeOverPoller(pollers[0], options)));
  // Measured, io_uring is about 9 % cheaper for many connections and new ones, and dearer only for a lone connection and
  // very large messages. It comes first where the kernel keeps its receives to a turn's share, so that turns stay fair.
  const EngineInfo uring = probeUring();
  const bool isFirst = uring.available && uring.features.limitedReceives;
  engines.insert(isFirst ? engines.begin() : engines.end(), uring);
  engines.push_back(describe("kqueue", makeOverPoller(pollers[1], options)));
  engines.push_back(describe("poll", makeOverPoller(pollers[2], options)));
  engines.push_back(describe("sim", makeSimEngine(options, nullptr)));
  return engines;
}

Result<std::unique_ptr<Engine>> makeEngine(std::string_view name, const EngineOptions& options,
                                           const SimOptions* sim) {
  if (name == "auto") {
    for (const EngineInfo& engine : listEngines()) {
      if (engine.available && engine.name != "sim") return makeEngine(engine.name, options);
    }
    return Error{ErrorCode::engineUnavailable, ENOSYS, ""};
  }
  if (name == "io_uring") return makeUringEngine(options);
  if (name == "sim") return makeSimEngine(options, sim);
  for (const PollerRow& row : pollers) {
    if (row.name == name) return makeOverPoller(row, options);
  }
  return Error{ErrorCode::invalidArgument, EINVAL, ""};
}

}  // namespace sluice
