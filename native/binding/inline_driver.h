#pragma once

#include <uv.h>

#include <memory>

#include "binding/driver.h"
#include "binding/ready_watcher.h"
#include "loop/busy_wait.h"

namespace sluice {

/// Takes the loop's turns on Node's own event loop, whenever its engine's descriptor is readable.
class InlineDriver final : public Driver {
 public:
  /// Null when libuv refuses the engine's descriptor.
  /// `busyPollNs`: how long a turn may wait awake for what comes next, see BusyWait; 0 for not at all.
  static std::unique_ptr<InlineDriver> create(uv_loop_t* uv, std::unique_ptr<Loop> loop, BatchCaller& caller,
                                              uint64_t busyPollNs);
  ~InlineDriver() override;

  void flush() override;
  void call(const std::function<void(Network&, Loop&)>& task) override;
  void reference(bool alive) override;
  void close(std::function<void()> done) override;

 private:
  InlineDriver(std::unique_ptr<Loop> loop, BatchCaller& caller, uint64_t busyPollNs);

  bool waitAwake(bool& awake);
  bool othersWait() const;
  void tick(bool withHandshakes = true);
  uint32_t collectAndDeliver(bool withHandshakes);
  void deliver();
  void applyStaged();
  void schedule();
  static void closed(uv_handle_t* handle);

  std::unique_ptr<Loop> loop_;
  Network network_;
  BatchCaller& caller_;
  const EngineFeatures features_;
  Frame* const frame_;
  std::vector<const uint8_t*> addresses_;
  std::vector<uint32_t> lent_;
  BusyWait busyWait_;
  uv_poll_t poll_{};
  uv_timer_t timer_{};
  uv_async_t
      async_{};  // "take a turn": left-overs, wake-ups of other threads; also what keeps the event loop alive
  std::unique_ptr<ReadyWatcher> watcher_;
  TimeMs timerAtMs_ = Deadline::never().atMs;
  bool polls_ = false;
  bool ticking_ = false;
  bool closing_ = false;
  int openHandles_ = 0;
  std::function<void()> done_;
};

}  // namespace sluice
