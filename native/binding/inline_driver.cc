#include "binding/inline_driver.h"

#include <poll.h>

namespace sluice {

namespace {
// A turn with this many events has kept the thread long enough that more have probably come in; asking again at once is
// cheaper than another round of the event loop. Below it the question would be wasted.
constexpr uint32_t busyEvents = 16;
constexpr int maxRounds = 2;
// After so few events the descriptor is made silent, so that the event loop's wait does not end for what was had already;
// and a peer that has answered meanwhile is served without going through that loop, which costs it three system calls.
constexpr uint32_t lonelyEvents = 2;
constexpr int maxReturns = 8;
// While waiting awake, how often to look whether the event loop has something else to do.
constexpr uint64_t othersNs = 5000;
// Answers within pairs, before the kernel and the rest of Node get their turn.
constexpr int maxHops = 64;
// Events that JavaScript's answers cause (drains, releases, closes) are delivered in the same turn, but not for ever.
constexpr int maxPasses = 8;
}  // namespace

InlineDriver::InlineDriver(std::unique_ptr<Loop> loop, BatchCaller& caller, uint64_t busyPollNs)
    : loop_(std::move(loop)),
      network_(
          *loop_, [](void* self) { uv_async_send(&static_cast<InlineDriver*>(self)->async_); }, this),
      caller_(caller),
      features_(loop_->engine().features()),
      frame_(&loop_->frames().front()),
      // Simulated time does not pass while somebody waits.
      busyWait_(features_.virtualClock ? 0 : busyPollNs) {
  loop_->useFrame(frame_);
}

InlineDriver::~InlineDriver() = default;

std::unique_ptr<InlineDriver> InlineDriver::create(uv_loop_t* uv, std::unique_ptr<Loop> loop, BatchCaller& caller,
                                                   uint64_t busyPollNs) {
  std::unique_ptr<InlineDriver> driver(new InlineDriver(std::move(loop), caller, busyPollNs));
  InlineDriver* self = driver.get();
  const auto own = [self](auto& handle) {
    handle.data = self;
    uv_unref(reinterpret_cast<uv_handle_t*>(&handle));
    self->openHandles_++;
  };
  uv_async_init(uv, &self->async_, [](uv_async_t* handle) { static_cast<InlineDriver*>(handle->data)->tick(); });
  own(self->async_);
  uv_timer_init(uv, &self->timer_);
  own(self->timer_);
  if (self->features_.wakeStyle == WakeStyle::descriptor) {
    if (uv_poll_init(uv, &self->poll_, self->loop_->engine().pollFd()) != 0) {
      InlineDriver* leaving = driver.release();
      leaving->close([leaving] { delete leaving; });
      return nullptr;
    }
    self->polls_ = true;
    uv_poll_start(&self->poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
      // What was left over has a turn of its own in this round of the event loop.
      auto* driver = static_cast<InlineDriver*>(handle->data);
      driver->tick(!driver->loop_->work());
    });
    own(self->poll_);
  }
  if (self->features_.wakeStyle == WakeStyle::thread) {
    self->watcher_ =
        std::make_unique<ReadyWatcher>(self->loop_->engine(), [self] { uv_async_send(&self->async_); });
  }
  self->schedule();
  return driver;
}

void InlineDriver::tick(bool withHandshakes) {
  if (closing_ || ticking_) return;
  ticking_ = true;
  caller_.setInTurn(true);
  if (busyWait_.enabled()) busyWait_.wakes(monotonicNs());
  const bool mayGoOn = features_.batchedSubmission || busyWait_.enabled();
  bool lonely = false, awake = false;
  for (int returns = 0; returns < maxReturns && !closing_; returns++) {
    const uint32_t events = collectAndDeliver(withHandshakes && returns == 0);
    // What was sent may have completed meanwhile, which is no event.
    lonely = events == 0 ? lonely : events <= lonelyEvents;
    if (closing_ || !lonely || !mayGoOn) break;
    loop_->engine().submit();
    if (loop_->work() || waitAwake(awake)) continue;
    if (!features_.batchedSubmission) break;
    loop_->engine().settle();
    if (!loop_->work()) break;
  }
  if (awake) loop_->engine().stayAwake(false);
  caller_.setInTurn(false);
  ticking_ = false;
  if (!closing_) {
    loop_->engine().submit();
    schedule();
    if (busyWait_.enabled()) busyWait_.sleeps(monotonicNs(), lonely);
  }
}

// Returns whether something came.
bool InlineDriver::waitAwake(bool& awake) {
  if (!busyWait_.enabled()) return false;
  uint64_t now = monotonicNs();
  const uint64_t until = busyWait_.waitUntil(now);
  // Not while somebody else waits for this thread: setImmediate(), a timer.
  if (until == 0 || uv_backend_timeout(async_.loop) == 0) return false;
  if (!awake) loop_->engine().stayAwake(true);
  awake = true;
  uint64_t lookAt = now + othersNs;
  bool found = false;
  while (!(found = loop_->engine().glance()) && now < until) {
    now = monotonicNs();
    if (now < lookAt) continue;
    if (othersWait()) return loop_->engine().glance();
    lookAt = now + othersNs;
  }
  busyWait_.waited(found);
  return found;
}

// Whether a descriptor of the event loop's is ready, which may be ours.
bool InlineDriver::othersWait() const {
  pollfd watched{uv_backend_fd(async_.loop), POLLIN, 0};
  return ::poll(&watched, 1, 0) > 0;
}

// Returns how many events there were.
uint32_t InlineDriver::collectAndDeliver(bool withHandshakes) {
  const Deadline deadline = features_.virtualClock ? Deadline::never() : Deadline::now();
  uint32_t handled = 0;
  for (int round = 0; round < maxRounds && !closing_; round++) {
    const auto collected = loop_->collect(deadline);
    SLUICE_ASSERT(collected);
    network_.serveWaiting(withHandshakes && round == 0);
    const uint32_t events = frame_->count;
    if (events == 0) break;
    handled += events;
    deliver();
    // Where operations leave together, the next collect() is what sends them, and sees what came of it.
    if (events < busyEvents && !features_.batchedSubmission) break;
  }
  // What ends of pairs answer each other needs no system call in between.
  for (int hop = 0; hop < maxHops && network_.workInMemory() && !closing_; hop++) {
    network_.onTurn();
    if (frame_->count == 0) break;
    handled += frame_->count;
    deliver();
  }
  return handled;
}

void InlineDriver::deliver() {
  for (int pass = 0; pass < maxPasses && frame_->count > 0 && !closing_; pass++) {
    const uint32_t count = frame_->count;
    lent_.swap(frame_->lent);
    loop_->useFrame(nullptr);  // what the handlers cause meanwhile goes into the next pass
    caller_.call(frame_->firstRecord, count);
    if (closing_) return;
    loop_->useFrame(frame_);
    applyStaged();
    loop_->giveBack(lent_);
  }
}

void InlineDriver::applyStaged() {
  if (!caller_.hasStaged()) return;
  caller_.resolveReferences(addresses_);
  network_.apply(caller_.stagedOps(), caller_.stagedOut().data(), addresses_);
  addresses_.clear();
  caller_.clearStaged();
}

void InlineDriver::flush() {
  if (closing_) return;
  loop_->refreshNow();
  applyStaged();
  if (ticking_) return;
  loop_->engine().submit();
  schedule();
}

void InlineDriver::call(const std::function<void(Network&, Loop&)>& task) {
  loop_->refreshNow();
  task(network_, *loop_);
  if (ticking_ || closing_) return;
  loop_->engine().submit();
  schedule();
}

// Arranges the next turn: at once if something is left, else when the descriptor or the next timer says so.
void InlineDriver::schedule() {
  const TimeMs next = loop_->nextTimerMs();
  if (frame_->count > 0 || loop_->work() || (features_.virtualClock && next != Deadline::never().atMs)) {
    uv_async_send(&async_);
    return;
  }
  if (watcher_) watcher_->arm();
  if (next == timerAtMs_ || features_.virtualClock) return;
  timerAtMs_ = next;
  if (next == Deadline::never().atMs) {
    uv_timer_stop(&timer_);
    return;
  }
  const TimeMs now = loop_->engine().nowMs();
  uv_update_time(timer_.loop);
  uv_timer_start(
      &timer_,
      [](uv_timer_t* handle) {
        auto* self = static_cast<InlineDriver*>(handle->data);
        self->timerAtMs_ = Deadline::never().atMs;
        self->tick();
      },
      next > now ? next - now : 0, 0);
}

void InlineDriver::reference(bool alive) {
  if (closing_) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&async_);
  if (alive) uv_ref(handle);
  else uv_unref(handle);
}

void InlineDriver::close(std::function<void()> done) {
  if (closing_) return;
  closing_ = true;
  done_ = std::move(done);
  network_.closeRateMail();
  watcher_.reset();
  if (polls_) uv_poll_stop(&poll_);
  uv_close(reinterpret_cast<uv_handle_t*>(&async_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), closed);
  if (polls_) uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
}

void InlineDriver::closed(uv_handle_t* handle) {
  auto* self = static_cast<InlineDriver*>(handle->data);
  if (--self->openHandles_ == 0) {
    const auto done = std::move(self->done_);
    done();
  }
}

}  // namespace sluice
