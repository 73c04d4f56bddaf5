#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/sim_options.h"

namespace sluice::test {

/// What one socket was told so far.
struct Story {
  std::vector<Completion::Kind> kinds;  // in order
  std::string received;
  Error error;  // of the last failure

  int count(Completion::Kind kind) const;
  bool has(Completion::Kind kind) const { return count(kind) > 0; }
};

/// An engine, a slab, a listener on loopback, and all that poll() reported. Both ends of a connection live in it, so
/// that the same test runs on kernels and in simulation.
class World {
 public:
  struct Options {
    uint32_t slabBytes = 1 << 20;
    uint32_t receiveChunkBytes = 64 * 1024;
    uint32_t receiveTurnBytes = 256 * 1024;
    uint32_t acceptTurnCount = 64;
    size_t batchCompletions = 256;  // what one poll may fill
    uint32_t spaceBytes = 0;        // 0: the whole slab
    SimOptions sim{};
  };
  struct Pair {
    Slot client;
    Slot server;
  };

  explicit World(std::string_view engineName) : World(engineName, Options{}) {}
  World(std::string_view engineName, const Options& options);

  Engine& engine() { return *engine_; }
  bool usable() const { return engine_ != nullptr; }
  bool simulated() const { return engine_->name() == "sim"; }
  /// Where the listener is; budget unlimited.
  const SocketAddress& address() const { return address_; }
  ListenerId listener() const { return listener_; }
  ListenerId listenOn(const SocketAddress& address, uint32_t budget = unlimitedAccepts);

  /// One poll. Returns how many completions came.
  size_t step(Deadline deadline = Deadline::now());
  /// Polls until `done`, for ten seconds at most; false and a failed test when they pass.
  bool until(const std::function<bool()>& done);
  /// Polls until all that was sent before on any connection has arrived: a message on a connection of its own goes
  /// there and back.
  void fence();

  /// Starts to connect to address() or elsewhere, with an empty story.
  Slot connect() { return connectTo(address_); }
  Slot connectTo(const SocketAddress& address);
  /// Both ends of a connection, receiving.
  Pair pair();
  /// Sends everything, polling while the engine waits. False and `sendError` on failure.
  bool sendAll(Slot socket, std::string_view bytes);
  Error sendError;
  /// Closes, waits for `closed`, gives the slot back.
  void finish(Slot socket, CloseMode mode = CloseMode::normal);

  Story& of(Slot socket);
  std::vector<Slot> accepted;       // in order
  std::vector<Error> acceptErrors;  // in order
  std::vector<Completion> last;     // those of the last step
  bool keepReceived = false;        // lending engines: leave giveBack() to the test
  const uint8_t* slab(uint32_t offset) const { return slab_.data() + offset; }

 private:
  void note(const Completion& completion);

  std::vector<uint8_t> slab_;
  Options options_;
  std::unique_ptr<Engine> engine_;
  std::vector<Completion> batch_;
  std::deque<Story> stories_;  // by slot
  SocketAddress address_;
  ListenerId listener_ = noListener;
  Pair fence_{noSlot, noSlot};
};

/// Names of the engines that this build knows.
std::vector<std::string> engineNames();
/// How many descriptors are open now, but for a constant; for proofs that none leaks.
size_t openDescriptors();
/// `length` bytes that look different at every place.
std::string pattern(size_t length, uint32_t seed = 1);

}  // namespace sluice::test
