#include "loop/loop.h"

#include <algorithm>

namespace sluice {

Loop::Loop(std::unique_ptr<Engine> engine, const LoopMemory& memory, uint32_t frameCount)
    : engine_(std::move(engine)),
      memory_(memory),
      timers_(engine_->nowMs()),
      nowMs_(engine_->nowMs()),
      lends_(engine_->features().lendsReceiveMemory),
      frames_(frameCount),
      completions_(batchSize) {
  const auto recordsPerFrame = static_cast<uint32_t>(memory.events.size() / frameCount);
  const auto bytesPerFrame = static_cast<uint32_t>(memory.slab.size() / frameCount);
  for (uint32_t i = 0; i < frameCount; i++) {
    Frame& frame = frames_[i];
    frame.firstRecord = i * recordsPerFrame;
    frame.records = memory.events.data() + frame.firstRecord;
    frame.capacity = recordsPerFrame;
    frame.spaceBegin = frame.position = i * bytesPerFrame;
    frame.spaceEnd = frame.spaceBegin + bytesPerFrame;
    const auto plainPerFrame = static_cast<uint32_t>(memory.plain.size() / frameCount) & ~7u;
    frame.plainBegin = frame.plainPosition = static_cast<uint32_t>(memory.slab.size()) + i * plainPerFrame;
    frame.plainEnd = frame.plainBegin + plainPerFrame;
  }
}

Result<void> Loop::collect(Deadline deadline) {
  if (frame_ == nullptr) return {};
  if (frame_->count == 0) {
    // Nothing refers to what was received and dropped, e.g. while draining: its space serves again.
    giveBack(frame_->lent);
    frame_->reset();
  }
  fillFromOverflow();
  client_->onTurn();
  // A completion causes at most two events at once, e.g. the last data's release and an end.
  const size_t room = std::min<size_t>(completions_.size(), frame_->room() / 2);
  if (room == 0) return {};
  turns_++;
  if (frame_->count > 0 || client_->work()) deadline = Deadline::now();
  deadline.atMs = std::min(deadline.atMs, timers_.nextMs());
  const PollBatch batch{std::span(completions_).first(room), frame_->position, frame_->spaceEnd};
  auto count = engine_->poll(batch, deadline);
  if (!count) return count.error();
  nowMs_ = engine_->nowMs();
  completionCount_ += *count;
  for (size_t i = 0; i < *count; i++) {
    const Completion& completion = completions_[i];
    if (completion.kind == Completion::Kind::received) {
      if (lends_) frame_->lent.push_back(completion.offset);
      else frame_->position = std::max(frame_->position, (completion.offset + completion.length + 7) & ~7u);
    }
    client_->onCompletion(completion);
  }
  if (timers_.nextMs() <= nowMs_) {
    ExpiredTimers expired;
    timers_.advance(nowMs_, expired);
    while (Timer* timer = expired.pop()) client_->onTimer(*timer);
  }
  // A layer may have taken all of it and told nothing. The engine may wait for these buffers, and nobody wake us before.
  if (frame_->count == 0) giveBack(frame_->lent);
  return {};
}

void Loop::useFrame(Frame* frame) {
  frame_ = frame;
  if (frame_ != nullptr) {
    frame_->reset();
    fillFromOverflow();
  }
}

void Loop::fillFromOverflow() {
  if (overflow_.empty() || frame_ == nullptr) return;
  const size_t count = std::min<size_t>(overflow_.size(), frame_->room());
  std::copy_n(overflow_.begin(), count, frame_->records + frame_->count);
  frame_->count += static_cast<uint32_t>(count);
  overflow_.erase(overflow_.begin(), overflow_.begin() + static_cast<std::ptrdiff_t>(count));
}

void Loop::giveBack(std::vector<uint32_t>& lent) {
  for (const uint32_t offset : lent) engine_->giveBack(offset);
  lent.clear();
}

}  // namespace sluice
