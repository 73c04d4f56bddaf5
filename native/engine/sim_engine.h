#pragma once

#include "engine/engine.h"
#include "engine/sim_options.h"

namespace sluice {

/// Starts the simulated engine: a network in memory that ends at this engine, with a virtual clock and a seed. See
/// docs/simulation.md. Null `sim` means the defaults of SimOptions.
///
/// Time    nowMs() begins at 1 000 000 and moves only in poll(), by waiting: with nothing to report, poll() goes on to
///         the next event of the network, but not beyond its deadline. With the deadline past (Deadline::now()) time
///         stands still; with no deadline and no event poll() returns 0, since nothing could ever happen.
/// Work    work() is true while there is a completion to fetch or an event planned.
/// Repeat  The same seed and the same calls give the same completions at the same virtual times.
/// Limits  No descriptors: fd() is -1, adopting is notSupported (and closes the descriptor, as promised).
///
/// Errors: invalidArgument when checkSimOptions() says so.
Result<std::unique_ptr<Engine>> makeSimEngine(const EngineOptions& options, const SimOptions* sim);

}  // namespace sluice
