#include "loop/io_thread.h"

#include "base/thread_exit.h"

namespace sluice {

IoThread::IoThread(Loop& loop, const Hooks& hooks) : loop_(loop), hooks_(hooks) {
  for (Frame& frame : loop_.frames()) free_.push_back(&frame);
}

void IoThread::start() {
  thread_ = std::thread([this] { run(); });
  ThreadExit::add(this, [](void* self) { static_cast<IoThread*>(self)->stop(); });
}

void IoThread::stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  thread_.join();
  ThreadExit::remove(this);
}

std::unique_ptr<OpBatch> IoThread::newBatch() {
  std::lock_guard lock(mutex_);
  if (spare_.empty()) return std::make_unique<OpBatch>();
  auto batch = std::move(spare_.back());
  spare_.pop_back();
  return batch;
}

void IoThread::post(std::unique_ptr<OpBatch> batch) {
  {
    std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(batch));
  }
  wake();
}

void IoThread::call(const std::function<void()>& task) {
  std::unique_lock lock(mutex_);
  task_ = &task;
  lock.unlock();
  wake();
  lock.lock();
  taskDone_.wait(lock, [this] { return task_ == nullptr; });
}

void IoThread::wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  inboxFilled_.notify_one();
  if (sleeping_.exchange(false)) loop_.engine().wake();
}

Frame* IoThread::takeReady() {
  std::lock_guard lock(mutex_);
  if (ready_.empty()) return nullptr;
  Frame* frame = ready_.front();
  ready_.erase(ready_.begin());
  return frame;
}

void IoThread::serveInbox() {
  const std::function<void()>* task = nullptr;
  {
    std::lock_guard lock(mutex_);
    woken_ = false;
    serving_.swap(inbox_);
    task = task_;
  }
  if (!serving_.empty()) loop_.refreshNow();
  for (auto& batch : serving_) {
    hooks_.apply(hooks_.context, *batch);
    if (batch->finishedFrame != nullptr) {
      loop_.giveBack(batch->finishedFrame->lent);
      free_.push_back(batch->finishedFrame);
    }
    batch->ops.clear();
    batch->out.clear();
    batch->references.clear();
    batch->finishedFrame = nullptr;
  }
  if (task != nullptr) {
    loop_.refreshNow();
    (*task)();
  }
  if (serving_.empty() && task == nullptr) return;
  std::lock_guard lock(mutex_);
  for (auto& batch : serving_) {
    if (spare_.size() < 16) spare_.push_back(std::move(batch));
  }
  serving_.clear();
  if (task != nullptr) {
    task_ = nullptr;
    taskDone_.notify_all();
  }
}

void IoThread::publishFrame() {
  {
    std::lock_guard lock(mutex_);
    ready_.push_back(loop_.frame());
  }
  loop_.useFrame(nullptr);
  if (!ownerAwake_.exchange(true)) hooks_.wakeOwner(hooks_.context);
}

void IoThread::run() {
  for (;;) {
    serveInbox();
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (loop_.frame() == nullptr && !free_.empty()) {
      loop_.useFrame(free_.back());
      free_.pop_back();
    }
    if (loop_.frame() == nullptr) {
      // JavaScript is behind. Whatever has been asked for still goes out; receiving waits in the kernel.
      loop_.engine().submit();
      std::unique_lock lock(mutex_);
      inboxFilled_.wait(lock, [this] { return woken_; });
      continue;
    }
    sleeping_.store(true);
    bool asked;
    {
      std::lock_guard lock(mutex_);
      asked = woken_;
    }
    const bool busy = asked || loop_.work();
    const auto collected = loop_.collect(busy ? Deadline::now() : Deadline::never());
    sleeping_.store(false);
    SLUICE_ASSERT(collected);
    hooks_.afterTurn(hooks_.context);
    if (loop_.frame()->count > 0) publishFrame();
  }
}

}  // namespace sluice
