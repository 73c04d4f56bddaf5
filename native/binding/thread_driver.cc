#include "binding/thread_driver.h"

namespace sluice {

namespace {
// After so many frames the rest of Node's event loop gets its turn.
constexpr int maxFramesPerTick = 8;
}  // namespace

ThreadDriver::ThreadDriver(uv_loop_t* uv, std::unique_ptr<Loop> loop, BatchCaller& caller)
    : loop_(std::move(loop)),
      network_(
          *loop_, [](void* self) { static_cast<ThreadDriver*>(self)->thread_.wake(); }, this),
      caller_(caller),
      thread_(*loop_, {this,
                       [](void* self, const OpBatch& batch) {
                         static_cast<ThreadDriver*>(self)->network_.apply(batch.ops, batch.out.data(),
                                                                          batch.references);
                       },
                       [](void* self) { static_cast<ThreadDriver*>(self)->network_.serveWaiting(); },
                       [](void* self) { uv_async_send(&static_cast<ThreadDriver*>(self)->async_); }}) {
  uv_async_init(uv, &async_, [](uv_async_t* handle) { static_cast<ThreadDriver*>(handle->data)->onFrames(); });
  async_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&async_));
  thread_.start();
}

ThreadDriver::~ThreadDriver() = default;

void ThreadDriver::onFrames() {
  if (closing_) return;
  thread_.ownerAwake();
  caller_.setInTurn(true);
  int frames = 0;
  while (Frame* frame = closing_ ? nullptr : thread_.takeReady()) {
    caller_.call(frame->firstRecord, frame->count);
    if (closing_) break;
    postStaged(frame);
    if (++frames == maxFramesPerTick) {
      uv_async_send(&async_);
      break;
    }
  }
  caller_.setInTurn(false);
}

void ThreadDriver::postStaged(Frame* finished) {
  if (finished == nullptr && !caller_.hasStaged()) return;
  auto batch = thread_.newBatch();
  caller_.resolveReferences(batch->references);
  const auto ops = caller_.stagedOps();
  const auto out = caller_.stagedOut();
  batch->ops.assign(ops.begin(), ops.end());
  batch->out.assign(out.begin(), out.end());
  batch->finishedFrame = finished;
  caller_.clearStaged();
  thread_.post(std::move(batch));
}

void ThreadDriver::flush() {
  if (!closing_) postStaged(nullptr);
}

void ThreadDriver::call(const std::function<void(Network&, Loop&)>& task) {
  const std::function<void()> bound = [this, &task] { task(network_, *loop_); };
  thread_.call(bound);
}

void ThreadDriver::reference(bool alive) {
  if (closing_) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&async_);
  if (alive) uv_ref(handle);
  else uv_unref(handle);
}

void ThreadDriver::close(std::function<void()> done) {
  if (closing_) return;
  closing_ = true;
  done_ = std::move(done);
  thread_.stop();
  network_.closeRateMail();
  uv_close(reinterpret_cast<uv_handle_t*>(&async_), [](uv_handle_t* handle) {
    const auto finished = std::move(static_cast<ThreadDriver*>(handle->data)->done_);
    finished();
  });
}

}  // namespace sluice
