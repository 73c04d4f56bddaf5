#include "net/network.h"

#include <cstring>
#include <mutex>

namespace sluice {

namespace {

// Failed system calls have few names, all of them string literals; events carry an index into this list.
std::mutex syscallMutex;
std::vector<const char*>& syscallNames() {
  static auto* names = new std::vector<const char*>{""};
  return *names;
}

uint32_t syscallIndex(const char* name) {
  std::lock_guard lock(syscallMutex);
  auto& names = syscallNames();
  for (uint32_t i = 0; i < names.size(); i++) {
    if (std::strcmp(names[i], name) == 0) return i;
  }
  names.push_back(name);
  return static_cast<uint32_t>(names.size() - 1);
}

}  // namespace

const char* Network::syscallName(uint32_t index) {
  std::lock_guard lock(syscallMutex);
  return index < syscallNames().size() ? syscallNames()[index] : "";
}

Network::Network(Loop& loop, void (*wakeLoop)(void*), void* wakeContext)
    : loop_(loop),
      engine_(loop.engine()),
      defers_(engine_.features().batchedSubmission),
      lends_(engine_.features().lendsReceiveMemory),
      wakeLoop_(wakeLoop),
      wakeContext_(wakeContext),
      rateMail_(wakeLoop, wakeContext) {
  loop_.setClient(this);
  engine_.setReceiveLimiter(this);
}

Network::~Network() {
  for (auto& listener : listeners_) {
    if (listener->id == noListener) continue;
    returnGrants(*listener);
    for (auto& gate : listener->gates) gate->leave({this, listener->key});
  }
}

Connection& Network::at(Slot slot) {
  while (slot / blockSize >= blocks_.size()) blocks_.push_back(std::make_unique<Connection[]>(blockSize));
  return blocks_[slot / blockSize][slot % blockSize];
}

Connection* Network::find(Slot slot, uint32_t tag) {
  if (slot / blockSize >= blocks_.size()) return nullptr;
  Connection& connection = blocks_[slot / blockSize][slot % blockSize];
  return connection.state != ConnectionState::unused && connection.tag == tag ? &connection : nullptr;
}

void Network::emit(EventType type, Slot slot, const Connection& connection, int32_t a, int32_t b) {
  if (connection.hidden) return;  // nobody knows it
  loop_.emit(type, connection.tag, slot, a, b);
}

void Network::emitFailure(EventType type, uint32_t tag, uint32_t id, const Error& error) {
  const auto what = static_cast<int32_t>(static_cast<uint32_t>(error.code) | syscallIndex(error.syscall) << 8);
  loop_.emit(type, tag, id, what, error.osError);
}

Connection& Network::start(Slot slot, ConnectionState state, const ConnectionConfig& config) {
  Connection& connection = at(slot);
  SLUICE_ASSERT(connection.state == ConnectionState::unused);
  connection = Connection{};
  connection.tag = engine_.generation(slot) << 8;
  connection.lowWaterBytes = config.lowWaterBytes;
  connection.moveTo(state);
  if (config.startPaused) connection.pauses = pausedWithoutReader;
  if (config.hasTimeouts()) {
    setTimeouts(slot, connection, config.readTimeoutMs, config.writeTimeoutMs, config.halfClosedTimeoutMs);
  }
  openConnections_++;
  loop_.memory().taken[slot] = 0;
  return connection;
}

Result<Slot> Network::connect(const ConnectSpec& spec, const ConnectionConfig& config, uint32_t connectTimeoutMs) {
  auto slot = engine_.connect(spec);
  if (!slot) return slot.error();
  Connection& connection = start(*slot, ConnectionState::connecting, config);
  if (config.opening) connection.opening = std::make_unique<Opening>(*this, *slot, config.opening);
  bindRate(*slot, connection, config.rate, &spec.address);
  if (connectTimeoutMs != 0) {
    timersOf(*slot, connection).stateDeadlineMs = engine_.nowMs() + connectTimeoutMs;
    armTimers(*slot, connection);
  }
  return *slot;
}

Result<Slot> Network::adopt(int fd, const ConnectionConfig& config) {
  auto slot = engine_.adopt(fd);
  if (!slot) return slot.error();
  Connection& connection = start(*slot, ConnectionState::open, config);
  bindRate(*slot, connection, config.rate, nullptr);
  if (connection.reading()) receive(*slot, true);
  return *slot;
}

Result<PairSockets::Ends> Network::pair(const PairOptions& options, const ConnectionConfig& first,
                                        const ConnectionConfig& second) {
  auto ends = pairs_.open(options);
  if (!ends) return ends.error();
  const auto begin = [this](Slot slot, const ConnectionConfig& config) {
    Connection& connection = start(slot, ConnectionState::open, config);
    connection.local = true;
    bindRate(slot, connection, config.rate, nullptr);
    if (connection.reading()) receive(slot, true);
  };
  begin(ends->first, first);
  begin(ends->second, second);
  return ends;
}

void Network::onCompletion(const Completion& completion) {
  using enum Completion::Kind;
  if (completion.kind == received) [[likely]] {
    onReceived(completion.socket, at(completion.socket), completion);
    return;
  }
  if (completion.kind == accepted) return onAccepted(completion);
  if (completion.kind == acceptFailed) return onAcceptFailed(completion);
  const Slot slot = completion.socket;
  Connection& connection = at(slot);
  switch (completion.kind) {
    case connected: return onConnected(slot, connection);
    case connectFailed: return beginClosing(slot, connection, CloseMode::normal, completion.error);
    case ended: return onEnded(slot, connection);
    case receiveFailed:
      connection.readSide = ReadSide::failed;
      if (connection.layered && onLayerFailed(slot, connection, false)) return;
      return beginClosing(slot, connection, CloseMode::normal,
                          connection.error ? connection.error : completion.error);
    case sent: return onSent(slot, connection, completion.length);
    case sendFailed: return onSendFailed(slot, connection, completion.error);
    case closed: return onClosed(slot, connection);
    default: return;
  }
}

void Network::onConnected(Slot slot, Connection& connection) {
  if (connection.state != ConnectionState::connecting) return;
  connection.moveTo(ConnectionState::open);
  if (connection.timers) {
    connection.timers->stateDeadlineMs = 0;
    connection.timers->lastReadMs = connection.timers->lastWriteMs = loop_.nowMs();
    armTimers(slot, connection);
  }
  if (connection.opening) return beginOpening(slot, connection);
  emit(EventType::connected, slot, connection);
  // What was written or ended while connecting.
  if (connection.queue) sendQueued(slot, connection);
  else afterSending(slot, connection);
  if (connection.reading()) receive(slot, true);
}

void Network::onReceived(Slot slot, Connection& connection, const Completion& completion) {
  if (connection.layered) [[unlikely]] {
    if (!connection.tls) {
      return connection.relay ? onRelayed(slot, connection, completion)
                              : onOpeningData(slot, connection, completion);
    }
    return onWireData(slot, connection, {loop_.memory().slab.data() + completion.offset, completion.length});
  }
  if (connection.state != ConnectionState::open) return;  // draining: read and dropped (HP-21)
  emitData(slot, connection, completion.offset, completion.length);
}

void Network::emitData(Slot slot, Connection& connection, uint32_t offset, uint32_t length) {
  noteRead(slot, connection, length);
  emit(EventType::data, slot, connection, static_cast<int32_t>(offset), static_cast<int32_t>(length));
}

void Network::noteRead(Slot slot, Connection& connection, uint32_t length) {
  connection.bytesRead += length;
  if (connection.timers) {
    connection.timers->lastReadMs = loop_.nowMs();
    if (connection.timers->readTold) {
      connection.timers->readTold = false;
      armTimers(slot, connection);
    }
  }
}

void Network::onEnded(Slot slot, Connection& connection) {
  if (connection.tls) return onWireEnded(slot, connection);
  if (connection.layered && !connection.relay) return onOpeningEnded(slot, connection);
  onPlainEnded(slot, connection);
}

void Network::onPlainEnded(Slot slot, Connection& connection) {
  if (!connection.live() || connection.readSide != ReadSide::open) return;
  connection.readSide = ReadSide::ended;
  if (connection.state == ConnectionState::open) emit(EventType::end, slot, connection);
  if (connection.relay) endFlow(slot, connection);
  noteHalfClosed(slot, connection);
  closeIfOver(slot, connection);
}

void Network::closeIfOver(Slot slot, Connection& connection) {
  if (!connection.live() || connection.readSide == ReadSide::open) return;
  if (connection.writeSide == WriteSide::ended || connection.writeSide == WriteSide::failed) {
    beginClosing(slot, connection, CloseMode::normal, connection.error);
  }
}

// After FIN we wait for the peer's, and drop what it still sends: closing with unread data would answer with RST, which
// can destroy our last reply on its way (HP-21).
void Network::beginDraining(Slot slot, Connection& connection, uint32_t boundMs) {
  if (connection.state == ConnectionState::connecting) {
    return beginClosing(slot, connection, CloseMode::normal, {ErrorCode::aborted});
  }
  if (connection.state != ConnectionState::open) return;
  connection.moveTo(ConnectionState::draining);
  if (boundMs != 0) {
    timersOf(slot, connection).stateDeadlineMs = loop_.nowMs() + boundMs;
    armTimers(slot, connection);
  }
  if (connection.readSide == ReadSide::open) receive(slot, true);
  endWriting(slot, connection);
}

void Network::beginClosing(Slot slot, Connection& connection, CloseMode mode, const Error& error) {
  if (connection.state == ConnectionState::closing || connection.state == ConnectionState::closed) return;
  const bool drained = connection.state == ConnectionState::draining;
  connection.moveTo(ConnectionState::closing);
  connection.error = error;
  if (connection.relay) {
    const bool ended = connection.readSide == ReadSide::ended && connection.writeSide == WriteSide::ended;
    leaveRelay(slot, connection, !error && (ended || drained));
  }
  if (connection.timers) {
    loop_.cancel(connection.timers->timer);
    connection.timers.reset();
  }
  dropStaged(connection);
  if (connection.opening) {
    endMarks(connection);
    dropOpening(connection);
  }
  if (connection.tls) leaveHandshake(connection);
  dropLimit(connection);
  closeSocket(slot, mode);
}

void Network::onClosed(Slot slot, Connection& connection) {
  connection.moveTo(ConnectionState::closed);
  dropQueue(connection);
  openConnections_--;
  if (connection.gated) leaveGates(connection);
  if (connection.relay) onRelayEndClosed(slot, connection);
  if (connection.tls) dropLayers(connection);
  if (connection.hidden) {
    if (connection.scripted) {
      loop_.emit(EventType::openingFailed, connection.tag, slot, 0, static_cast<int32_t>(connection.listenerKey));
    }
    connection.opening.reset();
    connection.moveTo(ConnectionState::unused);
    return releaseSlot(slot);
  }
  emitFailure(EventType::closed, connection.tag, slot, connection.error);
}

void Network::setPauses(Slot slot, Connection& connection, uint16_t pauses) {
  const bool before = connection.reading();
  connection.pauses = pauses;
  const bool after = connection.reading();
  // What a layer holds is wanted as soon as nobody but the layer itself is in the way.
  const bool wanted = (pauses & ~pausedByLayer) == 0;
  if (wanted && connection.tls && (pauses != 0 || connection.tls->hasInput())) deliverLater(slot, connection);
  if (before == after) return;
  if (after && connection.timers) {
    // Time spent paused by ourselves does not count (LE-49).
    connection.timers->lastReadMs = loop_.nowMs();
    armTimers(slot, connection);
  }
  receive(slot, after);
}

void Network::destroyAll() {
  std::vector<uint32_t> keys;
  for (auto& listener : listeners_) keys.push_back(listener->key);
  for (const uint32_t key : keys) closeListener(key);
  for (Slot slot = 0; slot < blocks_.size() * blockSize; slot++) {
    Connection& connection = at(slot);
    if (connection.state == ConnectionState::unused) continue;
    beginClosing(slot, connection, CloseMode::normal, {ErrorCode::closed});
  }
}

}  // namespace sluice
