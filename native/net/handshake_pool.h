#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "tls/session.h"

namespace sluice {

/// Threads that carry handshakes on, so that their cryptography does not hold up a loop. A session belongs to the pool
/// from submit() until it is among the results.
///
/// Threads: submit() and results() on the loop's thread.
class HandshakePool {
 public:
  struct Job {
    Slot slot;
    uint32_t tag;
    TlsSession* session;
    TlsStatus status;
  };

  /// `done` is called on a thread of the pool when results() has something that it had not before.
  HandshakePool(uint32_t threads, void (*done)(void*), void* context);
  HandshakePool(const HandshakePool&) = delete;
  HandshakePool& operator=(const HandshakePool&) = delete;
  /// Waits for the handshakes under way; those not begun are dropped.
  ~HandshakePool();

  void submit(Slot slot, uint32_t tag, TlsSession& session);
  /// Moves what is finished into `out`.
  void results(std::vector<Job>& out);
  /// results() has something. The call that woke the loop may have come while it was busy with other things.
  bool hasResults() const { return ready_.load(); }

 private:
  void run();
  void stop();

  void (*const done_)(void*);
  void* const context_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Job> jobs_;
  std::vector<Job> finished_;
  std::atomic<bool> ready_{false};
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice
