#include "engine/sim_engine.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <optional>

#include "engine/sim_network.h"

namespace sluice {

namespace {

// Completions made from what SimNetwork says. Whatever may have something to report stands in ready_, once, and each
// visit takes one completion from it and sends it to the back: so all get their turn, however much one has.
class SimEngine final : public Engine, private SimNetwork::Watcher {
 public:
  SimEngine(const EngineOptions& options, const SimOptions& sim)
      : options_(options), defersSends_(sim.deferredSendProbability > 0), network_(sim, *this) {}

  std::string_view name() const override { return "sim"; }
  EngineFeatures features() const override {
    // Callers have to know beforehand that a send may use its bytes later.
    return {.wakeStyle = WakeStyle::virtualTime, .virtualClock = true, .batchedSubmission = defersSends_};
  }
  TimeMs nowMs() const override { return network_.nowUs() / 1000; }

  Result<ListenerId> listen(const ListenSpec& spec) override;
  void setAcceptBudget(ListenerId listener, uint32_t count) override;
  Result<SocketAddress> listenerAddress(ListenerId id) const override { return network_.listenerAddress(id); }
  int listenerFd(ListenerId) const override { return -1; }
  void closeListener(ListenerId listener) override;

  Result<Slot> connect(const ConnectSpec& spec) override;
  Result<Slot> adopt(int fd) override;
  void receive(Slot slot, bool on) override;
  void limitReceive(Slot slot, bool on) override { sockets_[slot].limited = on; }
  SendResult send(Slot slot, const iovec* pieces, int count) override;
  Result<void> shutdownSend(Slot slot) override;
  void close(Slot slot, CloseMode mode) override;
  void release(Slot slot) override;
  Slot reserve() override { return sockets_.allocate(); }
  void unreserve(Slot slot) override { sockets_.release(slot); }
  uint32_t generation(Slot slot) const override { return sockets_.generation(slot); }

  Result<void> setOption(Slot slot, const SocketOptionValue& value) override;
  Result<TcpInfo> tcpInfo(Slot slot) const override;
  Result<SocketAddress> localAddress(Slot slot) const override;
  Result<SocketAddress> peerAddress(Slot slot) const override;
  int fd(Slot) const override { return -1; }

  Result<size_t> poll(PollBatch batch, Deadline deadline) override;
  bool work() const override;
  void wake() noexcept override { woken_.store(true, std::memory_order_release); }

 private:
  enum class Phase : uint8_t { connecting, open, failed, closing, closed };

  struct Socket {
    SimEnd end;
    Phase phase = Phase::connecting;
    bool queued = false;  // stands in ready_
    bool receiving = false;
    bool limited = false;      // the limiter says how much it may receive
    bool receiveOver = false;  // its end or failure is told
    bool sendWaiting = false;
    std::vector<iovec> deferred;  // of a waiting send whose bytes are fetched later
    uint64_t turn = 0;            // which poll turnBytes counts for
    uint32_t turnBytes = 0;
  };
  struct Listener {
    bool open = false;
    bool queued = false;
    uint32_t budget = 0;
    uint64_t turn = 0;
    uint32_t turnCount = 0;
  };
  struct Source {
    bool isListener;
    uint32_t id;  // Slot or ListenerId
  };
  enum class Visit : uint8_t { nothing, completion, notNow };

  void endChanged(Slot slot) override { enqueue(slot); }
  void listenerChanged(ListenerId id) override { enqueueListener(id); }
  void enqueue(Slot slot);
  void enqueueListener(ListenerId id);

  bool due(const Source& source) const;
  bool due(const Socket& socket) const;
  bool sendDue(const Socket& socket) const;
  bool receiveDue(const Socket& socket) const;

  size_t collect(const PollBatch& batch);
  Visit visit(const Source& source, PollBatch& left, Completion& out);
  Visit visitListener(ListenerId id, Completion& out);
  Visit visitSocket(Slot slot, PollBatch& left, Completion& out);
  Completion finishSend(Slot slot, Socket& socket);
  Visit receiveOne(Slot slot, Socket& socket, PollBatch& left, Completion& out);

  const EngineOptions options_;
  const bool defersSends_;
  SimNetwork network_;
  SlotTable<Socket> sockets_;
  std::vector<Listener> listeners_;  // by ListenerId
  std::deque<Source> ready_;
  std::deque<Source> notNow_;  // have something, but not for this poll
  uint64_t turn_ = 0;
  std::atomic<bool> woken_{false};
};

// ── listeners ──

Result<ListenerId> SimEngine::listen(const ListenSpec& spec) {
  if (spec.adoptFd >= 0) {
    ::close(spec.adoptFd);
    return systemError(EOPNOTSUPP, "listen");
  }
  auto id = network_.listen(spec);
  if (!id) return id.error();
  if (*id >= listeners_.size()) listeners_.resize(*id + 1);
  Listener& listener = listeners_[*id];
  // A former listener of this id may still stand in the queue.
  listener = {.open = true, .queued = listener.queued};
  return *id;
}

void SimEngine::setAcceptBudget(ListenerId id, uint32_t count) {
  listeners_[id].budget = count;
  enqueueListener(id);
}

void SimEngine::closeListener(ListenerId id) {
  listeners_[id].open = false;
  network_.closeListener(id);
}

// ── sockets ──

Result<Slot> SimEngine::connect(const ConnectSpec& spec) {
  const Slot slot = sockets_.allocate();
  if (slot == noSlot) return systemError(ENFILE, "socket");
  auto end = network_.connect(spec, slot);
  if (!end) {
    sockets_.release(slot);
    return end.error();
  }
  sockets_[slot].end = *end;
  return slot;
}

Result<Slot> SimEngine::adopt(int fd) {
  ::close(fd);
  return systemError(EOPNOTSUPP, "adopt");
}

void SimEngine::receive(Slot slot, bool on) {
  sockets_[slot].receiving = on;
  enqueue(slot);
}

SendResult SimEngine::send(Slot slot, const iovec* pieces, int count) {
  Socket& socket = sockets_[slot];
  SLUICE_ASSERT(!socket.sendWaiting && count <= maxSendPieces);
  if (socket.phase != Phase::open) return {.error = systemError(ENOTCONN, "send")};
  ++counters_.sends;
  if (network_.drawDeferredSend(socket.end) && !network_.broken(socket.end)) {
    socket.deferred.assign(pieces, pieces + count);
    socket.sendWaiting = true;
    enqueue(slot);
    return {.waiting = true};
  }
  SendResult result = network_.send(socket.end, pieces, count);
  if (result.error || network_.writable(socket.end)) return result;
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
  if (result.taken == size) return result;
  result.waiting = socket.sendWaiting = true;
  network_.clearSpuriousRoom(socket.end);
  network_.drawSpuriousRoom(socket.end);
  return result;
}

Result<void> SimEngine::shutdownSend(Slot slot) {
  if (sockets_[slot].phase != Phase::open) return systemError(ENOTCONN, "shutdown");
  return network_.shutdownSend(sockets_[slot].end);
}

void SimEngine::close(Slot slot, CloseMode mode) {
  Socket& socket = sockets_[slot];
  if (socket.phase == Phase::closing || socket.phase == Phase::closed) return;
  socket.phase = Phase::closing;
  socket.deferred.clear();
  network_.close(socket.end, mode);
  enqueue(slot);
}

void SimEngine::release(Slot slot) {
  SLUICE_ASSERT(sockets_[slot].phase == Phase::closed && !sockets_[slot].queued);
  sockets_.release(slot);
}

Result<void> SimEngine::setOption(Slot slot, const SocketOptionValue& value) {
  if (sockets_[slot].phase >= Phase::closing) return systemError(EBADF, "setsockopt");
  network_.setOption(sockets_[slot].end, value);
  return {};
}

Result<TcpInfo> SimEngine::tcpInfo(Slot slot) const {
  if (sockets_[slot].phase >= Phase::closing) return systemError(EBADF, "getsockopt");
  if (network_.localAddress(sockets_[slot].end).family() == AF_UNIX) return systemError(EOPNOTSUPP, "getsockopt");
  return network_.tcpInfo(sockets_[slot].end);
}

Result<SocketAddress> SimEngine::localAddress(Slot slot) const {
  if (sockets_[slot].phase >= Phase::closing) return systemError(EBADF, "getsockname");
  return network_.localAddress(sockets_[slot].end);
}

Result<SocketAddress> SimEngine::peerAddress(Slot slot) const {
  if (sockets_[slot].phase != Phase::open) return systemError(ENOTCONN, "getpeername");
  return network_.peerAddress(sockets_[slot].end);
}

// ── what is due ──

void SimEngine::enqueue(Slot slot) {
  Socket& socket = sockets_[slot];
  if (socket.queued || !due(socket)) return;
  socket.queued = true;
  ready_.push_back({false, slot});
}

void SimEngine::enqueueListener(ListenerId id) {
  Listener& listener = listeners_[id];
  if (listener.queued || !due(Source{true, id})) return;
  listener.queued = true;
  ready_.push_back({true, id});
}

bool SimEngine::due(const Source& source) const {
  if (!source.isListener) return due(sockets_[source.id]);
  const Listener& listener = listeners_[source.id];
  return listener.open && listener.budget > 0 && network_.acceptable(source.id);
}

bool SimEngine::due(const Socket& socket) const {
  switch (socket.phase) {
    case Phase::connecting: return !network_.connecting(socket.end);
    case Phase::open: return sendDue(socket) || receiveDue(socket);
    case Phase::closing: return true;
    case Phase::failed:
    case Phase::closed: return false;
  }
  return false;
}

bool SimEngine::sendDue(const Socket& socket) const {
  return socket.sendWaiting &&
         (network_.broken(socket.end) || network_.writable(socket.end) || network_.spuriousRoom(socket.end));
}

bool SimEngine::receiveDue(const Socket& socket) const {
  return socket.receiving && !socket.receiveOver && network_.readable(socket.end);
}

bool SimEngine::work() const {
  // What has no event left may still stand in the queue, e.g. for a receive() that was taken back.
  return std::any_of(ready_.begin(), ready_.end(), [&](const Source& source) { return due(source); }) ||
         network_.busy();
}

// ── collecting ──

Result<size_t> SimEngine::poll(PollBatch batch, Deadline deadline) {
  constexpr uint64_t neverUs = UINT64_MAX;
  const uint64_t untilUs = deadline.atMs > neverUs / 1000 ? neverUs : deadline.atMs * 1000;
  ++counters_.waits;
  counters_.kernelEvents += network_.runUntil(network_.nowUs());
  size_t count = collect(batch);
  // A source left over has no room in this batch; time must not pass for it.
  while (count == 0 && ready_.empty() && !woken_.load(std::memory_order_acquire)) {
    const uint64_t nextUs = std::min(network_.nextEventUs().value_or(neverUs), untilUs);
    if (nextUs == neverUs || untilUs <= network_.nowUs()) break;
    counters_.kernelEvents += network_.runUntil(nextUs);
    count = collect(batch);
  }
  woken_.store(false, std::memory_order_release);
  return count;
}

size_t SimEngine::collect(const PollBatch& batch) {
  ++turn_;
  PollBatch left = batch;
  size_t count = 0;
  while (count < batch.completions.size() && !ready_.empty()) {
    const Source source = ready_.front();
    ready_.pop_front();
    bool& queued = source.isListener ? listeners_[source.id].queued : sockets_[source.id].queued;
    const Visit result = visit(source, left, batch.completions[count]);
    if (result == Visit::completion) ++count;
    queued = result == Visit::notNow || (result == Visit::completion && due(source));
    if (queued) (result == Visit::notNow ? notNow_ : ready_).push_back(source);
  }
  ready_.insert(ready_.end(), notNow_.begin(), notNow_.end());
  notNow_.clear();
  return count;
}

SimEngine::Visit SimEngine::visit(const Source& source, PollBatch& left, Completion& out) {
  if (!due(source)) return Visit::nothing;
  return source.isListener ? visitListener(source.id, out) : visitSocket(source.id, left, out);
}

SimEngine::Visit SimEngine::visitListener(ListenerId id, Completion& out) {
  Listener& listener = listeners_[id];
  if (listener.turn != turn_) {
    listener.turn = turn_;
    listener.turnCount = 0;
  }
  if (listener.turnCount == options_.acceptTurnCount) return Visit::notNow;
  const Slot slot = sockets_.allocate();
  auto end = slot == noSlot ? Result<SimEnd>(systemError(ENFILE, "accept")) : network_.accept(id, slot);
  if (!end) {
    if (slot != noSlot) sockets_.release(slot);
    listener.budget = 0;
    out = {.kind = Completion::Kind::acceptFailed, .listener = id, .error = end.error()};
    return Visit::completion;
  }
  ++listener.turnCount;
  if (listener.budget != unlimitedAccepts) --listener.budget;
  sockets_[slot].end = *end;
  sockets_[slot].phase = Phase::open;
  out = {.kind = Completion::Kind::accepted, .socket = slot, .listener = id};
  return Visit::completion;
}

SimEngine::Visit SimEngine::visitSocket(Slot slot, PollBatch& left, Completion& out) {
  Socket& socket = sockets_[slot];
  if (socket.phase == Phase::closing) {
    socket.phase = Phase::closed;
    out = {.kind = Completion::Kind::closed, .socket = slot};
    return Visit::completion;
  }
  if (socket.phase == Phase::connecting) {
    const Error& error = network_.connectError(socket.end);
    socket.phase = error ? Phase::failed : Phase::open;
    out = {.kind = error ? Completion::Kind::connectFailed : Completion::Kind::connected,
           .socket = slot,
           .error = error};
    return Visit::completion;
  }
  if (sendDue(socket)) {
    out = finishSend(slot, socket);
    return Visit::completion;
  }
  return receiveOne(slot, socket, left, out);
}

Completion SimEngine::finishSend(Slot slot, Socket& socket) {
  socket.sendWaiting = false;
  network_.clearSpuriousRoom(socket.end);
  // A failed direction answers this with its reason, and takes nothing.
  const SendResult sent =
      network_.send(socket.end, socket.deferred.data(), static_cast<int>(socket.deferred.size()));
  socket.deferred.clear();
  if (sent.error) return {.kind = Completion::Kind::sendFailed, .socket = slot, .error = sent.error};
  return {.kind = Completion::Kind::sent, .socket = slot, .length = static_cast<uint32_t>(sent.taken)};
}

SimEngine::Visit SimEngine::receiveOne(Slot slot, Socket& socket, PollBatch& left, Completion& out) {
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.turnBytes = 0;
  }
  uint32_t room = std::min(
      {options_.receiveChunkBytes, options_.receiveTurnBytes - socket.turnBytes, left.spaceEnd - left.spaceBegin});
  if (room == 0 && network_.arrived(socket.end) > 0) return Visit::notNow;
  if (socket.limited && network_.arrived(socket.end) > 0) {
    const uint32_t allowed = limiter_->mayReceive(slot);
    if (allowed == 0) {
      socket.receiving = false;
      return Visit::nothing;
    }
    room = std::min(room, allowed);
  }
  ++counters_.receives;
  const SimReceived received = network_.read(socket.end, options_.slab.data() + left.spaceBegin, room);
  switch (received.kind) {
    case SimReceived::Kind::data:
      out = {
          .kind = Completion::Kind::received, .socket = slot, .offset = left.spaceBegin, .length = received.bytes};
      left.spaceBegin += received.bytes;
      socket.turnBytes += received.bytes;
      if (socket.limited) limiter_->received(slot, received.bytes, network_.arrived(socket.end) > 0);
      return Visit::completion;
    case SimReceived::Kind::end:
      socket.receiveOver = true;
      out = {.kind = Completion::Kind::ended, .socket = slot};
      return Visit::completion;
    case SimReceived::Kind::failed:
      socket.receiveOver = true;
      out = {.kind = Completion::Kind::receiveFailed, .socket = slot, .error = received.error};
      return Visit::completion;
    case SimReceived::Kind::nothing: break;
  }
  ++counters_.receivesWithoutData;
  return Visit::nothing;
}

}  // namespace

Result<std::unique_ptr<Engine>> makeSimEngine(const EngineOptions& options, const SimOptions* sim) {
  const SimOptions network = sim ? *sim : SimOptions{};
  if (const auto checked = checkSimOptions(network); !checked) return checked.error();
  return std::unique_ptr<Engine>(std::make_unique<SimEngine>(options, network));
}

}  // namespace sluice
