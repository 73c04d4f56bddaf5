#include "binding/ready_watcher.h"

namespace sluice {

ReadyWatcher::ReadyWatcher(Engine& engine, std::function<void()> report)
    : engine_(engine), report_(std::move(report)), thread_([this] { run(); }) {}

ReadyWatcher::~ReadyWatcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  engine_.wake();
  thread_.join();
}

void ReadyWatcher::arm() {
  {
    std::lock_guard lock(mutex_);
    if (armed_) return;
    armed_ = true;
  }
  changed_.notify_one();
}

void ReadyWatcher::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return armed_ || stopping_; });
    if (stopping_) return;
    lock.unlock();
    engine_.waitReady();
    lock.lock();
    if (stopping_) return;
    armed_ = false;
    report_();
  }
}

}  // namespace sluice
