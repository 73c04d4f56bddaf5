// The part of Network that secures: handshakes under their bounds, and what comes in through layers of TLS.
//
//   wire ─▶ lowest session ─▶ … ─▶ topmost session ─▶ plaintext in the slab ─▶ data
//
// A handshake step costs up to a millisecond of cryptography, so steps are queued, and a turn takes only some of them, or
// hands them to the pool.
#include <algorithm>
#include <chrono>

#include "net/network.h"
#include "net/tls_failures.h"

namespace sluice {

namespace {
// What a turn may spend on handshakes before others get theirs. The last one may take a millisecond more.
constexpr auto handshakeTimePerTurn = std::chrono::microseconds(1000);
// A smaller rest of the slab is left alone: records are up to 16 KiB, and reading them in crumbs costs more.
constexpr size_t minPlainBytes = 2048;
constexpr size_t maxPlainBytes = 64 * 1024;
// After a failed handshake the peer is read and dropped for so long, so that our alert survives (HP-21).
constexpr uint32_t alertMs = 1000;
constexpr size_t layerBytes = 16 * 1024;
}  // namespace

Listener* Network::listenerOf(const Connection& connection) {
  for (auto& listener : listeners_) {
    if (listener->key == connection.listenerKey) return listener.get();
  }
  return nullptr;
}

void Network::useHandshakeThreads(uint32_t threads) {
  pool_ = std::make_unique<HandshakePool>(
      threads,
      [](void* self) {
        auto& network = *static_cast<Network*>(self);
        network.wakeLoop_(network.wakeContext_);
      },
      this);
}

// ---- Beginning

void Network::secureAccepted(Slot slot, Connection& connection, std::shared_ptr<const TlsConfig> config) {
  connection.tls = std::make_unique<TlsLayer>(std::move(config), nullptr, &wireOut_);
  connection.securing = connection.layered = connection.hidden = true;
  if (const uint32_t boundMs = connection.tls->config().handshakeTimeoutMs; boundMs != 0) {
    boundHandshake(slot, connection, boundMs);
  }
  receive(slot, true);
}

TlsResult<void> Network::startTls(Slot slot, Connection& connection, std::shared_ptr<const TlsConfig> config) {
  const bool opens = connection.layered && !connection.tls;
  const bool ready = connection.state == ConnectionState::open && connection.readSide == ReadSide::open &&
                     connection.writeSide == WriteSide::open && !connection.securing && !opens;
  if (!ready) {
    return TlsError{.failure = TlsFailure::closed,
                    .stage = TlsStage::options,
                    .text = "the connection is not open in both directions"};
  }
  auto session = TlsSession::create(config->context, config->peer);
  if (!session) return session.error();
  const bool wasReading = connection.reading();
  // What was written before goes out before, and is counted as it goes.
  size_t unsent = unsentBytes(connection);
  auto layer = std::make_unique<TlsLayer>(std::move(config), std::move(connection.tls), &wireOut_);
  connection.tls = std::move(layer);
  connection.tls->unsentBytes = unsent;
  connection.securing = connection.layered = true;
  connection.tls->begin(std::move(*session));
  emit(EventType::securing, slot, connection);
  if (const uint32_t boundMs = connection.tls->config().handshakeTimeoutMs; boundMs != 0) {
    boundHandshake(slot, connection, boundMs);
  }
  if (!wasReading) receive(slot, true);
  queueHandshake(slot, connection);
  return {};
}

// The first byte has come; whoever sends none never gets here. Making a session takes its time too, so this is queued as
// the steps are.
void Network::beginHandshake(Slot slot, Connection& connection) {
  TlsLayer& layer = *connection.tls;
  const TlsConfig& config = layer.config();
  Listener* listener = listenerOf(connection);
  if (listener != nullptr && !layer.counted) {
    const bool full = config.maxHandshakes != 0 && listener->handshakes >= config.maxHandshakes;
    const TimeMs delayMs = config.maxHandshakesPerSecond != 0
                               ? listener->handshakeRate.delayMs(loop_.nowMs(), config.maxHandshakesPerSecond)
                               : 0;
    if (full || delayMs != 0) {
      if (config.maxHandshakesWaiting != 0 && listener->waiting.size() >= config.maxHandshakesWaiting) {
        return failSecure(slot, connection,
                          {.failure = TlsFailure::tooMany, .stage = TlsStage::handshake, .reason = "SSL_TOO_MANY"});
      }
      listener->waiting.emplace_back(slot, connection.tag);
      setPauses(slot, connection, connection.pauses | pausedByLayer);
      connection.securing = false;
      receive(slot, false);
      if (delayMs != 0 && !listener->handshakeTimer.armed()) {
        loop_.arm(listener->handshakeTimer, loop_.nowMs() + delayMs);
      }
      return;
    }
    listener->handshakes++;
    if (config.maxHandshakesPerSecond != 0) listener->handshakeRate.add(loop_.nowMs());
    layer.counted = true;
  }
  auto session = TlsSession::create(config.context, config.peer);
  if (!session) return failSecure(slot, connection, session.error());
  layer.begin(std::move(*session));
  layer.session().lend(layer.heldIn);
  layer.session().keepRest();
  layer.heldIn = {};
  if (layer.heldEnd) layer.session().wireEnded();
  queueHandshake(slot, connection);
}

void Network::serveWaitingHandshakes(Listener& listener) {
  while (!listener.waiting.empty()) {
    const auto [slot, tag] = listener.waiting.front();
    Connection* connection = find(slot, tag);
    const bool waits = connection != nullptr && connection->state == ConnectionState::open && connection->tls &&
                       connection->tls->phase() == TlsLayer::Phase::waiting;
    if (waits) {
      const TlsConfig& config = connection->tls->config();
      if (config.maxHandshakes != 0 && listener.handshakes >= config.maxHandshakes) return;
      if (config.maxHandshakesPerSecond != 0) {
        const TimeMs delayMs = listener.handshakeRate.delayMs(loop_.nowMs(), config.maxHandshakesPerSecond);
        if (delayMs != 0) {
          if (!listener.handshakeTimer.armed()) loop_.arm(listener.handshakeTimer, loop_.nowMs() + delayMs);
          return;
        }
      }
    }
    listener.waiting.pop_front();
    if (!waits) continue;
    connection->securing = true;
    connection->pauses &= static_cast<uint16_t>(~pausedByLayer);
    receive(slot, true);
    beginHandshake(slot, *connection);
  }
}

// ---- Steps

void Network::queueHandshake(Slot slot, Connection& connection) {
  const TlsLayer::Phase phase = connection.tls->phase();
  const bool canGoOn = phase == TlsLayer::Phase::waiting || phase == TlsLayer::Phase::handshaking;
  if (connection.tls->queued || !canGoOn) return;
  connection.tls->queued = true;
  handshakes_.emplace_back(slot, connection.tag);
}

void Network::serveHandshakes() {
  const auto began = std::chrono::steady_clock::now();
  for (int count = 0; !handshakes_.empty(); count++) {
    if (!pool_ && count > 0 && std::chrono::steady_clock::now() - began >= handshakeTimePerTurn) return;
    const auto [slot, tag] = handshakes_.front();
    handshakes_.pop_front();
    Connection* connection = find(slot, tag);
    if (connection == nullptr || !connection->tls || !connection->tls->queued) continue;
    connection->tls->queued = false;
    if (connection->state != ConnectionState::open) continue;
    switch (connection->tls->phase()) {
      case TlsLayer::Phase::waiting: beginHandshake(slot, *connection); break;
      case TlsLayer::Phase::handshaking: stepHandshake(slot, *connection); break;
      default: break;
    }
  }
}

void Network::stepHandshake(Slot slot, Connection& connection) {
  TlsLayer& layer = *connection.tls;
  enterLayers(connection);
  // A layer below is called by the session, and belongs to this thread.
  if (pool_ && layer.below() == nullptr) {
    layer.moveTo(TlsLayer::Phase::offloaded);
    return pool_->submit(slot, connection.tag, layer.session());
  }
  const TlsStatus status = layer.session().handshake();
  afterHandshakeStep(slot, connection, status);
}

void Network::afterHandshakeStep(Slot slot, Connection& connection, TlsStatus status) {
  if (status == TlsStatus::failed) return failSecure(slot, connection, connection.tls->session().takeError());
  if (!sendWire(slot, connection)) return;
  if (status == TlsStatus::ok) onSecured(slot, connection);
}

void Network::takeBackHandshakes() {
  std::vector<HandshakePool::Job> done;
  pool_->results(done);
  for (const HandshakePool::Job& job : done) {
    Connection* connection = find(job.slot, job.tag);
    if (connection == nullptr || !connection->tls || !connection->tls->hasSession() ||
        &connection->tls->session() != job.session) {
      std::erase_if(orphans_, [&job](const auto& orphan) { return &orphan->session() == job.session; });
      continue;
    }
    TlsLayer& layer = *connection->tls;
    layer.moveTo(TlsLayer::Phase::handshaking);
    if (connection->state != ConnectionState::open) continue;
    enterLayers(*connection);
    layer.take(layer.heldOut);
    layer.heldOut = {};
    if (!layer.heldIn.empty()) {
      layer.session().lend(layer.heldIn);
      layer.session().keepRest();
      layer.heldIn = {};
      if ((connection->pauses & pausedByLayer) != 0) {
        connection->pauses &= static_cast<uint16_t>(~pausedByLayer);
        receive(job.slot, connection->reading());
      }
    }
    if (layer.heldEnd) layer.session().wireEnded();
    const bool more = layer.session().unreadWireBytes() > 0 || layer.heldEnd;
    afterHandshakeStep(job.slot, *connection, job.status);
    if (job.status == TlsStatus::wantInput && more) queueHandshake(job.slot, *connection);
  }
}

void Network::onSecured(Slot slot, Connection& connection) {
  TlsLayer& layer = *connection.tls;
  layer.moveTo(TlsLayer::Phase::open);
  if (connection.opening && connection.opening->stage() == Opening::Stage::securing) {
    if (Listener* listener = listenerOf(connection)) listener->handshakesDone++;
    leaveHandshake(connection);
    connection.opening->moveTo(Opening::Stage::session);
    return runOpening(slot, connection, {});
  }
  connection.securing = false;
  // Before its timers, which do not count while nobody knows it.
  const bool unknown = connection.hidden;
  connection.hidden = false;
  if (connection.timers) {
    connection.timers->stateDeadlineMs = 0;
    connection.timers->lastReadMs = connection.timers->lastWriteMs = loop_.nowMs();
    armTimers(slot, connection);
  }
  if (Listener* listener = unknown ? listenerOf(connection) : nullptr) listener->handshakesDone++;
  leaveHandshake(connection);
  if (unknown) {
    emit(EventType::opened, slot, connection, static_cast<int32_t>(connection.listenerKey));
  } else {
    emit(EventType::secured, slot, connection);
  }
  afterSecured(slot, connection);
}

void Network::afterSecured(Slot slot, Connection& connection) {
  if (!connection.reading()) receive(slot, false);
  if (connection.tls->session().hasPlaintext()) deliverLater(slot, connection);
  encryptQueued(slot, connection);
  if (connection.live()) afterSending(slot, connection);
}

// Its place is somebody else's now.
void Network::leaveHandshake(Connection& connection) {
  if (!connection.tls->counted) return;
  connection.tls->counted = false;
  Listener* listener = listenerOf(connection);
  if (listener == nullptr) return;
  listener->handshakes--;
  // Not from in here: what begins now may end another one.
  if (!listener->waiting.empty()) loop_.arm(listener->handshakeTimer, loop_.nowMs());
}

// ---- Bytes from the wire

void Network::enterLayers(Connection& connection) {
  wireOut_.connection = &connection;
  connection.tls->setNow(loop_.nowMs());
}

void Network::onWireData(Slot slot, Connection& connection, std::span<const uint8_t> bytes) {
  TlsLayer& lowest = connection.tls->lowest();
  switch (lowest.phase()) {
    case TlsLayer::Phase::over: return;
    case TlsLayer::Phase::waiting:
    case TlsLayer::Phase::offloaded: {
      const bool first = lowest.heldIn.empty() && lowest.phase() == TlsLayer::Phase::waiting;
      lowest.heldIn.insert(lowest.heldIn.end(), bytes.begin(), bytes.end());
      if (lowest.heldIn.size() > maxHeldBytes && (connection.pauses & pausedByLayer) == 0) {
        connection.pauses |= pausedByLayer;
        receive(slot, false);
      }
      if (first && connection.state == ConnectionState::open) queueHandshake(slot, connection);
      return;
    }
    default: break;
  }
  enterLayers(connection);
  lowest.session().lend(bytes);
  rise(slot, connection, lowest);
  lowest.session().keepRest();
}

void Network::onWireEnded(Slot slot, Connection& connection) {
  TlsLayer& lowest = connection.tls->lowest();
  const TlsLayer::Phase phase = lowest.phase();
  if (phase == TlsLayer::Phase::over || connection.readSide != ReadSide::open) {
    return onPlainEnded(slot, connection);
  }
  if (phase == TlsLayer::Phase::waiting && lowest.heldIn.empty()) {
    return failSecure(slot, connection,
                      {.failure = TlsFailure::empty, .stage = TlsStage::handshake, .reason = "SSL_EMPTY"});
  }
  lowest.heldEnd = true;
  if (phase == TlsLayer::Phase::waiting || phase == TlsLayer::Phase::offloaded) return;
  enterLayers(connection);
  lowest.session().wireEnded();
  rise(slot, connection, lowest);
}

// During an opening or a handshake a failure of the socket is one of that. Returns whether it was.
bool Network::onLayerFailed(Slot slot, Connection& connection, bool sending) {
  if (isOpening(connection)) {
    onOpeningFailed(slot, connection, sending);
    return true;
  }
  if (!connection.tls || (sending && !connection.securing)) return false;
  return onWireFailed(slot, connection);
}

bool Network::onWireFailed(Slot slot, Connection& connection) {
  if (!connection.securing && connection.tls->phase() != TlsLayer::Phase::waiting) return false;
  if (!connection.live()) return true;
  failSecure(slot, connection,
             {.failure = TlsFailure::aborted, .stage = TlsStage::handshake, .reason = "SSL_ABORT"});
  return true;
}

// Takes what a layer has as far up as it goes.
void Network::rise(Slot slot, Connection& connection, TlsLayer& layer) {
  if (&layer == connection.tls.get()) {
    if (layer.phase() == TlsLayer::Phase::handshaking) return queueHandshake(slot, connection);
    return deliverPlain(slot, connection);
  }
  TlsLayer& above = *layer.above();
  // First what the upper one kept back.
  const bool paused = (connection.pauses & pausedByLayer) != 0;
  if (above.phase() == TlsLayer::Phase::open && (paused || above.session().hasPlaintext())) {
    rise(slot, connection, above);
  }
  if (!connection.live()) return;
  std::vector<uint8_t> buffer(layerBytes);
  for (;;) {
    size_t got = 0;
    const TlsStatus status = layer.session().read(buffer, got);
    if (got > 0 && above.phase() != TlsLayer::Phase::over) {
      above.session().lend(std::span(buffer).first(got));
      rise(slot, connection, above);
      above.session().keepRest();
    }
    if (!connection.live()) return;
    if (status == TlsStatus::ok) continue;
    if (status == TlsStatus::failed) return failSecure(slot, connection, layer.session().takeError());
    if (status == TlsStatus::ended || status == TlsStatus::truncated) {
      above.session().wireEnded();
      rise(slot, connection, above);
    }
    return;
  }
}

void Network::deliverPlain(Slot slot, Connection& connection) {
  TlsLayer& layer = *connection.tls;
  if (layer.phase() != TlsLayer::Phase::open || !connection.live() || connection.readSide != ReadSide::open) return;
  if (connection.opening && connection.opening->stage() != Opening::Stage::over) {
    if (isOpening(connection)) readForSteps(slot, connection);
    return;  // what came before has not been told
  }
  const bool drops = connection.state == ConnectionState::draining;  // read and dropped (HP-21)
  for (;;) {
    if (!drops && !connection.reading() && (connection.pauses & ~pausedByLayer) != 0) break;  // resuming goes on
    const bool relayed = connection.relay != nullptr && !drops;
    const std::span<uint8_t> room = relayed ? relayRoom() : loop_.plainRoom();
    std::array<uint8_t, minPlainBytes> dropped;
    if (!drops && room.size() < minPlainBytes) {
      if ((connection.pauses & pausedByLayer) == 0) setPauses(slot, connection, connection.pauses | pausedByLayer);
      deliverLater(slot, connection);
      break;
    }
    size_t got = 0;
    const TlsStatus status = layer.session().read(
        drops ? std::span<uint8_t>(dropped) : room.first(std::min(room.size(), maxPlainBytes)), got);
    if (relayed) {
      relayRoomUsed_ += got;
      if (status == TlsStatus::ok && relayRoom().size() >= minPlainBytes) continue;
      if (!passOnPlain(slot, connection)) return;
    } else if (got > 0 && !drops) {
      emitData(slot, connection, loop_.takePlain(static_cast<uint32_t>(got)), static_cast<uint32_t>(got));
    }
    if (status == TlsStatus::ok) continue;
    if (status == TlsStatus::failed) return failSecure(slot, connection, layer.session().takeError());
    if (status == TlsStatus::truncated && !layer.config().allowTruncation) {
      layer.session().takeError();
      return failSecure(slot, connection,
                        {.failure = TlsFailure::truncated, .stage = TlsStage::read, .reason = ""});
    }
    if (status == TlsStatus::ended || status == TlsStatus::truncated) {
      onPlainEnded(slot, connection);
      break;
    }
    if ((connection.pauses & pausedByLayer) != 0) {
      setPauses(slot, connection, static_cast<uint16_t>(connection.pauses & ~pausedByLayer));
    }
    break;
  }
  // Reading can cause sending: answers to key updates, alerts.
  if (connection.live() && sendWire(slot, connection) && connection.live()) afterSending(slot, connection);
}

void Network::deliverLater(Slot slot, Connection& connection) {
  if (connection.tls->listed || connection.tls->phase() != TlsLayer::Phase::open) return;
  connection.tls->listed = true;
  readable_.emplace_back(slot, connection.tag);
}

void Network::onTurn() {
  if (pairs_.work()) pairs_.collect();
  if (!relayedTo_.empty()) sendRelayed();
  if (readable_.empty()) return;
  std::vector<std::pair<Slot, uint32_t>> listed;
  listed.swap(readable_);
  for (const auto& [slot, tag] : listed) {
    Connection* connection = find(slot, tag);
    if (connection == nullptr) continue;
    if (connection->opening && connection->opening->listed) {
      serveOpening(slot, *connection);
      continue;
    }
    if (!connection->tls || !connection->tls->listed) continue;
    connection->tls->listed = false;
    enterLayers(*connection);
    rise(slot, *connection, connection->tls->lowest());
  }
}

// ---- Ending

void Network::failSecure(Slot slot, Connection& connection, TlsError error) {
  TlsLayer& layer = *connection.tls;
  if (layer.phase() == TlsLayer::Phase::over || !connection.live()) return;
  const bool offloaded = layer.phase() == TlsLayer::Phase::offloaded;
  const bool handshake = connection.securing || layer.phase() == TlsLayer::Phase::waiting;
  TlsFailureReport report{std::move(error), "", 0};
  if (auto remote = peerAddress(slot)) {
    report.remoteAddress = remote->host();
    report.remotePort = remote->port();
  }
  const int32_t number = TlsFailures::shared().put(std::move(report));
  connection.error = {ErrorCode::tls, number, ""};
  if (connection.hidden) {
    if (Listener* listener = listenerOf(connection)) listener->handshakesFailed++;
    loop_.emit(EventType::handshakeFailed, 0, connection.listenerKey, number);
  }
  // The alert, if the session has made one.
  if (!offloaded) {
    enterLayers(connection);
    if (!sendWire(slot, connection) || !connection.live()) return;
    for (TlsLayer* each = &layer; each != nullptr; each = each->below()) {
      if (each->phase() != TlsLayer::Phase::over) each->moveTo(TlsLayer::Phase::over);
    }
  }
  connection.securing = false;
  leaveHandshake(connection);
  if (handshake && connection.opening && connection.opening->marks) {
    connection.opening->marks->countGlitches(1, loop_.nowMs());
  }
  const bool server = layer.config().context->role() == TlsRole::server;
  if (!handshake || !server || offloaded || connection.readSide != ReadSide::open) {
    return beginClosing(slot, connection, CloseMode::normal, connection.error);
  }
  layer.plain.clear([this](ByteQueue::Owner owner, uint32_t id) { releasePiece(owner, id); });
  layer.unsentBytes = 0;
  beginDraining(slot, connection, alertMs);
}

void Network::dropLayers(Connection& connection) {
  // A session in the pool comes back, and goes then.
  if (connection.tls->phase() == TlsLayer::Phase::offloaded) orphans_.push_back(std::move(connection.tls));
  connection.tls.reset();
}

}  // namespace sluice
