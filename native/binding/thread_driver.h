#pragma once

#include <uv.h>

#include <memory>

#include "binding/driver.h"
#include "loop/io_thread.h"

namespace sluice {

/// Lets an I/O thread take the loop's turns; Node's thread is woken when there are events and it sleeps.
class ThreadDriver final : public Driver {
 public:
  ThreadDriver(uv_loop_t* uv, std::unique_ptr<Loop> loop, BatchCaller& caller);
  ~ThreadDriver() override;

  void flush() override;
  void call(const std::function<void(Network&, Loop&)>& task) override;
  void reference(bool alive) override;
  void close(std::function<void()> done) override;

 private:
  void onFrames();
  void postStaged(Frame* finished);

  std::unique_ptr<Loop> loop_;
  Network network_;
  BatchCaller& caller_;
  IoThread thread_;
  uv_async_t async_{};
  bool closing_ = false;
  std::function<void()> done_;
};

}  // namespace sluice
