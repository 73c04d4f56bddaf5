#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/engine.h"

namespace sluice {

/// Sits in Engine::waitReady() on a thread of its own, for engines without a descriptor that libuv could watch
/// (poll). Once armed it reports readiness once.
class ReadyWatcher {
 public:
  /// `report` runs on the watcher's thread.
  ReadyWatcher(Engine& engine, std::function<void()> report);
  ~ReadyWatcher();
  ReadyWatcher(const ReadyWatcher&) = delete;
  ReadyWatcher& operator=(const ReadyWatcher&) = delete;

  /// To be called after the engine was polled and submit() was called. No effect while armed.
  void arm();

 private:
  void run();

  Engine& engine_;
  const std::function<void()> report_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool armed_ = false, stopping_ = false;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace sluice
