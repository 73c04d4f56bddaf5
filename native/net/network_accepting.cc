// The part of Network that accepts: grants of the gates before accept, back-off after failures.
#include <algorithm>

#include "net/network.h"

namespace sluice {

namespace {
constexpr uint32_t minBackOffMs = 100, maxBackOffMs = 1000;  // LE-123, HP-72
constexpr uint32_t grantBatch = 256;
}  // namespace

Result<ListenerId> Network::listen(const ListenSpec& spec, uint32_t key, const ConnectionConfig& connections,
                                   std::vector<std::shared_ptr<AcceptGate>> gates) {
  forgetRetired();
  auto id = engine_.listen(spec);
  if (!id) return id.error();
  auto listener = std::make_unique<Listener>();
  listener->id = *id;
  listener->key = key;
  listener->connections = connections;
  listener->gates = std::move(gates);
  listener->timer.tag = static_cast<uint64_t>(TimerKind::listener) << 32 | key;
  listener->handshakeTimer.tag = static_cast<uint64_t>(TimerKind::handshakes) << 32 | key;
  for (auto& gate : listener->gates) gate->join({this, key});
  refill(*listener);
  listeners_.push_back(std::move(listener));
  return *id;
}

void Network::closeListener(uint32_t key) { endListener(key, false); }

void Network::retireListener(uint32_t key) { endListener(key, true); }

void Network::endListener(uint32_t key, bool retire) {
  forgetRetired();
  auto found = std::find_if(listeners_.begin(), listeners_.end(),
                            [key](const auto& listener) { return listener->key == key; });
  if (found == listeners_.end() || (*found)->id == noListener || (*found)->retired) return;
  Listener& listener = **found;
  if (retire) engine_.retireListener(listener.id);
  else engine_.closeListener(listener.id);
  listener.retired = retire && engine_.isRetiring(listener.id);
  if (!listener.retired) listener.id = noListener;
  loop_.cancel(listener.timer);
  loop_.cancel(listener.handshakeTimer);
  returnGrants(listener);
  for (auto& gate : listener.gates) gate->leave({this, key});
  // While its connections hold places in the gates the entry stays; the last one takes it along.
  if (listener.occupied == 0 && !listener.retired) forgetListener(found);
}

// Before an id may be somebody else's.
void Network::forgetRetired() {
  std::erase_if(listeners_, [this](const auto& listener) {
    if (!listener->retired || engine_.isRetiring(listener->id)) return false;
    listener->retired = false;
    listener->id = noListener;
    return listener->occupied == 0;
  });
}

const Listener* Network::listener(uint32_t key) const {
  for (const auto& listener : listeners_) {
    if (listener->key == key) return listener.get();
  }
  return nullptr;
}

void Network::onAccepted(const Completion& completion) {
  auto found = std::find_if(listeners_.begin(), listeners_.end(),
                            [&](const auto& listener) { return listener->id == completion.listener; });
  if (found == listeners_.end()) return engine_.close(completion.socket, CloseMode::normal);
  Listener& listener = **found;
  const Slot slot = completion.socket;
  Connection& connection = start(slot, ConnectionState::open, listener.connections);
  connection.listenerKey = listener.key;
  bindRate(slot, connection, listener.connections.rate, nullptr);
  listener.accepted++;
  listener.backOffMs = 0;
  // One that has come after its listener's end was counted by nobody.
  if (!listener.gates.empty() && !listener.retired) {
    connection.gated = true;
    listener.granted--;
    listener.occupied++;
    for (auto& gate : listener.gates) gate->accepted(engine_.nowMs());
    if (listener.granted == 0) refill(listener);
  }
  if (listener.connections.opening) {
    connection.hidden = true;
    connection.opening = std::make_unique<Opening>(*this, slot, listener.connections.opening);
    connection.opening->tls = listener.connections.tls;
    return beginOpening(slot, connection);
  }
  if (listener.connections.tls) return secureAccepted(slot, connection, listener.connections.tls);
  emit(EventType::opened, slot, connection, static_cast<int32_t>(listener.key));
  if (connection.reading()) receive(slot, true);
}

void Network::onAcceptFailed(const Completion& completion) {
  for (auto& listener : listeners_) {
    if (listener->id != completion.listener) continue;
    listener->failures++;
    // One report per trouble, not one per attempt: a full disk of log lines is worse than the trouble (LE-123).
    if (listener->backOffMs == 0) emitFailure(EventType::listenerFailed, 0, listener->key, completion.error);
    listener->backOffMs = std::clamp(listener->backOffMs * 2, minBackOffMs, maxBackOffMs);
    listener->state = Listener::State::backingOff;
    returnGrants(*listener);
    armListener(*listener, listener->backOffMs);
    return;
  }
}

void Network::refill(Listener& listener, bool yielding) {
  if (listener.id == noListener || listener.retired) return;
  listener.state = Listener::State::accepting;
  if (listener.gates.empty()) return engine_.setAcceptBudget(listener.id, unlimitedAccepts);
  uint32_t count = grantBatch;
  for (size_t i = 0; i < listener.gates.size(); i++) {
    const auto grant = listener.gates[i]->reserve(engine_.nowMs(), count, {this, listener.key}, yielding);
    if (grant.count < count) {
      // The gates before this one granted more than can be used now.
      for (size_t k = 0; k < i; k++) listener.gates[k]->giveBack(count - grant.count);
    }
    count = grant.count;
    if (count == 0) {
      listener.state = Listener::State::waiting;
      engine_.setAcceptBudget(listener.id, 0);
      if (grant.retryInMs != 0) armListener(listener, grant.retryInMs);
      return;
    }
  }
  listener.granted = count;
  engine_.setAcceptBudget(listener.id, count);
}

void Network::returnGrants(Listener& listener) {
  if (listener.granted == 0) return;
  const uint32_t count = listener.granted;
  listener.granted = 0;
  for (auto& gate : listener.gates) gate->giveBack(count);
}

void Network::leaveGates(Connection& connection) {
  connection.gated = false;
  auto found = std::find_if(listeners_.begin(), listeners_.end(),
                            [&](const auto& listener) { return listener->key == connection.listenerKey; });
  if (found == listeners_.end()) return;
  Listener& listener = **found;
  for (auto& gate : listener.gates) gate->release();
  if (--listener.occupied == 0 && listener.id == noListener) forgetListener(found);
}

void Network::forgetListener(std::vector<std::unique_ptr<Listener>>::iterator listener) {
  listeners_.erase(listener);
}

void Network::armListener(Listener& listener, TimeMs inMs) { loop_.arm(listener.timer, engine_.nowMs() + inMs); }

void Network::gateOpened() {
  if (!gateOpened_.exchange(true)) wakeLoop_(wakeContext_);
}

void Network::gateWanted() {
  if (!gateWanted_.exchange(true)) wakeLoop_(wakeContext_);
}

void Network::serveWaiting(bool withHandshakes) {
  if (!relayedTo_.empty()) sendRelayed();
  if (pool_) takeBackHandshakes();
  if (!handshakes_.empty() && (withHandshakes || pool_)) serveHandshakes();
  if (!rateMail_.empty()) takeGrants();
  if (!sendingLater_.empty()) takeTurns();
  std::vector<Listener*> yielding;
  if (gateWanted_.load(std::memory_order_relaxed) && gateWanted_.exchange(false)) {
    for (auto& listener : listeners_) {
      if (listener->granted == 0) continue;
      engine_.setAcceptBudget(listener->id, 0);
      returnGrants(*listener);
      yielding.push_back(listener.get());
    }
  }
  if (gateOpened_.load(std::memory_order_relaxed) && gateOpened_.exchange(false)) {
    for (auto& listener : listeners_) {
      if (listener->state != Listener::State::waiting) continue;
      loop_.cancel(listener->timer);
      refill(*listener);
    }
  }
  for (Listener* listener : yielding) refill(*listener, true);
}

}  // namespace sluice
