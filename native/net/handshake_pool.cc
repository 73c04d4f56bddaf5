#include "net/handshake_pool.h"

#include "base/thread_exit.h"

namespace sluice {

HandshakePool::HandshakePool(uint32_t threads, void (*done)(void*), void* context)
    : done_(done), context_(context) {
  for (uint32_t i = 0; i < threads; i++) threads_.emplace_back([this] { run(); });
  ThreadExit::add(this, [](void* self) { static_cast<HandshakePool*>(self)->stop(); });
}

HandshakePool::~HandshakePool() {
  ThreadExit::remove(this);
  stop();
}

void HandshakePool::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  filled_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void HandshakePool::submit(Slot slot, uint32_t tag, TlsSession& session) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back({slot, tag, &session, TlsStatus::ok});
  }
  filled_.notify_one();
}

void HandshakePool::results(std::vector<Job>& out) {
  out.clear();
  std::lock_guard lock(mutex_);
  out.swap(finished_);
  ready_.store(false);
}

void HandshakePool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    filled_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    job.status = job.session->handshake();
    // Where cores are short, the event loop has waited for a millisecond by now.
    std::this_thread::yield();
    lock.lock();
    finished_.push_back(job);
    ready_.store(true);
    if (finished_.size() > 1) continue;
    lock.unlock();
    done_(context_);
    lock.lock();
  }
}

}  // namespace sluice
