#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "loop/loop.h"

namespace sluice {

/// Operations on their way from JavaScript to an I/O thread, with the bytes they need.
struct OpBatch {
  std::vector<OpRecord> ops;
  std::vector<uint8_t> out;
  std::vector<const uint8_t*> references;
  Frame* finishedFrame = nullptr;  // JavaScript is done with it; it is free once `ops` are applied
};

/// Drives a loop on a thread of its own. Frames with events go to the owner's thread, batches of operations come
/// back; each side is woken only when it sleeps.
///
/// Threads: the owner's thread makes all calls; the callbacks of Hooks run on the I/O thread.
class IoThread {
 public:
  struct Hooks {
    void* context;
    /// Applies a batch.
    void (*apply)(void* context, const OpBatch& batch);
    /// After each turn.
    void (*afterTurn)(void* context);
    /// A frame is ready and the owner's thread may be asleep. Any call may be answered by one takeReady() loop.
    void (*wakeOwner)(void* context);
  };

  IoThread(Loop& loop, const Hooks& hooks);
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  /// Stops the thread if it runs, and waits for it.
  ~IoThread() { stop(); }

  void start();
  void stop();

  /// An empty batch to fill; used ones are recycled.
  std::unique_ptr<OpBatch> newBatch();
  void post(std::unique_ptr<OpBatch> batch);
  /// Runs `task` on the I/O thread, between turns and after all batches posted before, and waits for it.
  void call(const std::function<void()>& task);
  /// Makes the thread take a turn soon. Any thread.
  void wake();

  /// To be called when wakeOwner was, before takeReady(): from here on a new frame wakes again.
  void ownerAwake() { ownerAwake_.store(false); }
  /// The oldest frame that is ready, or null. Give it back by OpBatch::finishedFrame.
  Frame* takeReady();

 private:
  void run();
  void serveInbox();
  void publishFrame();

  Loop& loop_;
  const Hooks hooks_;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable inboxFilled_, taskDone_;
  std::vector<std::unique_ptr<OpBatch>> inbox_, spare_;
  const std::function<void()>* task_ = nullptr;
  bool stopping_ = false;
  bool woken_ = false;
  std::vector<Frame*> ready_;

  std::atomic<bool> sleeping_{false};
  std::atomic<bool> ownerAwake_{false};
  std::vector<Frame*> free_;  // I/O thread only
  std::vector<std::unique_ptr<OpBatch>> serving_;
};

}  // namespace sluice
