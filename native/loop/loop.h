#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "base/timer_wheel.h"
#include "engine/engine.h"
#include "loop/frame.h"

namespace sluice {

/// What a loop tells the layer above.
class LoopClient {
 public:
  virtual ~LoopClient() = default;
  virtual void onCompletion(const Completion& completion) = 0;
  virtual void onTimer(Timer& timer) = 0;
  /// Before the engine is asked: what the client kept back for want of room.
  virtual void onTurn() {}
  /// True when onTurn() has something to do.
  virtual bool work() const { return false; }
};

/// The plain memory that a loop and JavaScript share. Outlives the loop.
struct LoopMemory {
  std::span<uint8_t> slab;        // received bytes; the engine's
  std::span<EventRecord> events;  // divided among the frames
  std::span<int32_t> taken;       // per slot: bytes that the kernel has taken, modulo 2^32
  std::span<uint8_t> plain{};     // follows the slab: what layers make of received bytes, e.g. by decrypting
};

/// One thread's turn of events: asks the engine for completions, advances the timers, and gathers what the layer above
/// emits into frames for JavaScript. It neither waits for JavaScript nor calls it: a driver (inline on Node's loop, or
/// an I/O thread) does.
///
/// Every call is made on the thread that drives the loop.
class Loop {
 public:
  /// `frameCount` frames share the memory evenly.
  Loop(std::unique_ptr<Engine> engine, const LoopMemory& memory, uint32_t frameCount);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void setClient(LoopClient* client) { client_ = client; }
  Engine& engine() { return *engine_; }
  const LoopMemory& memory() const { return memory_; }
  /// The engine's clock as of the last collect().
  TimeMs nowMs() const { return nowMs_; }
  /// To be called before work that no collect() preceded, so that times are counted from now.
  void refreshNow() { nowMs_ = engine_->nowMs(); }

  void arm(Timer& timer, TimeMs atMs) { timers_.arm(timer, atMs); }
  void cancel(Timer& timer) { timers_.cancel(timer); }
  /// When collect() must be called at the latest.
  TimeMs nextTimerMs() { return timers_.nextMs(); }

  /// Waits for completions or timers until `deadline` and lets the client handle them. Does nothing without a current
  /// frame. Errors: the engine has become unusable.
  Result<void> collect(Deadline deadline);
  /// True when collect(now) has something to do although the engine's descriptor is silent.
  bool work() const { return engine_->work() || !overflow_.empty() || client_->work(); }

  /// Appends an event to the current frame, or keeps it for the next one.
  void emit(EventType type, uint32_t tag, uint32_t id, int32_t a = 0, int32_t b = 0) {
    const EventRecord record{static_cast<int32_t>(static_cast<uint32_t>(type) | tag), static_cast<int32_t>(id), a,
                             b};
    if (frame_ != nullptr && frame_->room() > 0 && overflow_.empty()) {
      frame_->records[frame_->count++] = record;
    } else {
      overflow_.push_back(record);
    }
  }

  /// Whether so many events would go into the current frame, as those must whose bytes lie there.
  bool hasRoom(uint32_t events) const { return frame_ != nullptr && overflow_.empty() && frame_->room() >= events; }

  /// Room in the current frame for bytes that a layer makes; empty without one. They are told as `data` at the offset
  /// that takePlain() gives.
  std::span<uint8_t> plainRoom() const {
    if (frame_ == nullptr) return {};
    return {memory_.slab.data() + frame_->plainPosition, frame_->plainEnd - frame_->plainPosition};
  }
  /// Keeps the first `bytes` of plainRoom().
  uint32_t takePlain(uint32_t bytes) {
    const uint32_t offset = frame_->plainPosition;
    frame_->plainPosition = std::min((offset + bytes + 7) & ~7u, frame_->plainEnd);
    return offset;
  }

  /// The frame being filled, or null.
  Frame* frame() { return frame_; }
  std::vector<Frame>& frames() { return frames_; }
  /// Makes `frame` the one being filled; null when none is free.
  void useFrame(Frame* frame);
  /// Moves events that found no room into the current frame.
  void fillFromOverflow();
  /// Gives the engine back what it lent for a frame.
  void giveBack(std::vector<uint32_t>& lent);

  uint64_t turns() const { return turns_; }
  uint64_t completions() const { return completionCount_; }

 private:
  static constexpr size_t batchSize = 512;

  std::unique_ptr<Engine> engine_;
  LoopMemory memory_;
  LoopClient* client_ = nullptr;
  TimerWheel timers_;
  TimeMs nowMs_;
  bool lends_;
  std::vector<Frame> frames_;
  Frame* frame_ = nullptr;
  std::vector<EventRecord> overflow_;
  std::vector<Completion> completions_;
  uint64_t turns_ = 0, completionCount_ = 0;
};

}  // namespace sluice
