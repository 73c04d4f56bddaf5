// The part of Network that opens connections: the steps between accept and session, or between connect and session.
//
//   wire ─▶ step ─▶ step ─▶ … ─▶ TLS, if there is any ─▶ step ─▶ … ─▶ session: what is left of the bytes is its first data
//
// Bytes are shown to the step whose turn it is from where they came, and kept only when it wants more of them. Nobody is
// told of the connection before the last step is done.
#include <algorithm>
#include <cstring>
#include <utility>

#include "net/network.h"

namespace sluice {

namespace {
// What is read of a session of TLS at once, for steps behind it.
constexpr size_t sessionBytes = 16 * 1024;
// After an answer the peer is read and dropped for so long, so that the answer survives (HP-18, HP-21).
constexpr uint32_t goodbyeMs = 1000;
// How often rules' counters are told of bytes; quiet connections are looked at less and less often.
constexpr uint32_t countEveryMs = 1000, maxCountEveryMs = 8000;
}  // namespace

Opening::Opening(Network& network, Slot slot, std::shared_ptr<const OpeningPlan> plan)
    : timer(Network::openingTimerTag(slot)),
      deadline(Network::openingDeadlineTag(slot)),
      network_(network),
      slot_(slot),
      plan_(std::move(plan)) {}

const SocketAddress& Opening::source() {
  if (!sourceKnown_) {
    sourceKnown_ = true;
    if (auto address = network_.peerAddress(slot_)) source_ = *address;
  }
  return source_;
}

const SocketAddress& Opening::destination() {
  if (!destination_) {
    auto address = network_.localAddress(slot_);
    destination_ = std::make_unique<SocketAddress>(address ? *address : SocketAddress());
  }
  return *destination_;
}

TimeMs Opening::nowMs() const { return network_.loop_.nowMs(); }

const TlsSession* Opening::session() const {
  const Connection& connection = network_.at(slot_);
  const bool isDone = connection.tls && connection.tls->phase() == TlsLayer::Phase::open;
  return isDone ? &connection.tls->session() : nullptr;
}

// Whether the system takes them is its affair: marks need privileges, and ends of pairs have no options.
void Opening::applyMarks() {
  if (!marks || !(marks->typeOfService || marks->mark) || network_.at(slot_).local) return;
  const auto set = [this](SocketOption option, std::optional<uint32_t>& value) {
    if (value) (void)network_.engine_.setOption(slot_, {option, static_cast<int32_t>(*value), ""});
    value.reset();
  };
  set(SocketOption::typeOfService, marks->typeOfService);
  set(SocketOption::mark, marks->mark);
}

bool Opening::countBytes(uint64_t bytesRead, uint64_t bytesWritten) {
  const uint64_t in = bytesRead - bytesReadTold_, out = bytesWritten - bytesWrittenTold_;
  if (in == 0 && out == 0) return false;
  bytesReadTold_ = bytesRead;
  bytesWrittenTold_ = bytesWritten;
  marks->addBytes(in, out, network_.engine_.nowMs());
  return true;
}

bool Opening::askScript(uint32_t script, bool first, std::span<const uint8_t> bytes) {
  roomless = !network_.askScript(slot_, script, first, bytes);
  return !roomless;
}

// Their tags and variables may still be asked for; what they count does not go on.
void Opening::endMarks() {
  for (int place = 0; place < ConnectionMarks::maxTracked; place++) marks->tracked(place) = TrackedEntry();
}

void Opening::forget() {
  step.reset();
  held = {};
  output = {};
  destination_.reset();
  plan_.reset();
  tls.reset();
}

// ---- Beginning and going on

void Network::beginOpening(Slot slot, Connection& connection) {
  connection.layered = true;
  connection.securing = true;
  runOpening(slot, connection, {});
  // Steps that ask for no bytes are done by now, and need no deadline.
  if (!isOpening(connection)) return;
  Opening& opening = *connection.opening;
  if (const uint32_t boundMs = opening.plan().timeoutMs; boundMs != 0) {
    opening.deadlineMs = loop_.nowMs() + boundMs;
    loop_.arm(opening.deadline, opening.deadlineMs);
  }
  receive(slot, connection.reading());
}

// One deadline for all: whatever is to follow under a bound of its own can only make it earlier (HP-16).
void Network::boundHandshake(Slot slot, Connection& connection, uint32_t boundMs) {
  ConnectionTimers& timers = timersOf(slot, connection);
  const TimeMs atMs = loop_.nowMs() + boundMs;
  timers.stateDeadlineMs = timers.stateDeadlineMs == 0 ? atMs : std::min(timers.stateDeadlineMs, atMs);
  armTimers(slot, connection);
}

void Network::onOpeningData(Slot slot, Connection& connection, const Completion& completion) {
  if (connection.state != ConnectionState::open) return;  // draining: read and dropped (HP-21)
  Opening& opening = *connection.opening;
  const std::span<const uint8_t> bytes(loop_.memory().slab.data() + completion.offset, completion.length);
  const bool waits = opening.suspended || opening.pending || !opening.runsSteps();
  if (!waits && opening.held.empty()) return runOpening(slot, connection, bytes, completion.offset);
  opening.held.insert(opening.held.end(), bytes.begin(), bytes.end());
  if (!waits) return runOpening(slot, connection, {});
  boundHeld(slot, connection);
}

void Network::boundHeld(Slot slot, Connection& connection) {
  const Opening& opening = *connection.opening;
  if (opening.held.size() >= maxHeldBytes) stopReading(slot, connection);
}

void Network::stopReading(Slot slot, Connection& connection) {
  Opening& opening = *connection.opening;
  if (opening.full) return;
  opening.full = true;
  connection.pauses |= pausedByLayer;
  connection.securing = false;
  receive(slot, false);
}

// The time of a step's verdict is over, or JavaScript has answered, or there is room for it to be asked.
void Network::resumeOpening(Slot slot, Connection& connection) {
  if (!connection.opening || !connection.live()) return;
  Opening& opening = *connection.opening;
  if (opening.stage() == Opening::Stage::over) return countForRules(connection);
  if (!isOpening(connection) || connection.state != ConnectionState::open) return;
  if (opening.pending || !opening.step) return;
  opening.suspended = false;
  runOpening(slot, connection, {}, 0, true);
}

// Once all that a step sent has left, its verdict counts.
void Network::waitForSent(Slot slot, Connection& connection, size_t left) {
  if (!connection.opening->pending) return;
  if (left > 0 || connection.sending) connection.wantDrain = true;
  else runOpening(slot, connection, {});
}

void Network::serveOpening(Slot slot, Connection& connection) {
  connection.opening->listed = false;
  if (connection.opening->stage() == Opening::Stage::delivering) deliverHeld(slot, connection);
  else if (connection.opening->roomless) resumeOpening(slot, connection);
}

// Lets the steps go on as far as they can with what is held, or with `fresh` bytes where nothing is.
void Network::runOpening(Slot slot, Connection& connection, std::span<const uint8_t> fresh, uint32_t slabOffset,
                         bool resumes) {
  Opening& opening = *connection.opening;
  const bool inSlab = !fresh.empty();
  std::span<const uint8_t> rest = inSlab ? fresh : std::span<const uint8_t>(opening.held);
  loop_.cancel(opening.timer);
  if (opening.full) {
    opening.full = false;
    connection.pauses &= static_cast<uint16_t>(~pausedByLayer);
    connection.securing = true;
    receive(slot, connection.reading());
  }
  for (;;) {
    if (!opening.step) {
      if (opening.index == opening.steps().size()) {
        const auto used = static_cast<uint32_t>(fresh.size() - (inSlab ? rest.size() : 0));
        if (!leaveStage(slot, connection, rest, inSlab ? slabOffset + used : noOffset)) return;
        continue;
      }
      const OpeningStepKind& kind = *opening.steps()[opening.index];
      if (!kind.wanted(opening)) {
        opening.index++;
        continue;
      }
      opening.operation = {};
      opening.operation.moveTo(OpState::wanted);
    }
    const StepVerdict verdict = askStep(opening, rest, resumes);
    resumes = false;
    if (!opening.output.empty() && !sendOpening(slot, connection)) return;
    using enum StepVerdict::Kind;
    if (verdict.kind == failed) return failOpening(slot, connection, verdict);
    if (verdict.kind == over) return finishMonitor(slot, connection, verdict);
    if (verdict.kind == done && (connection.queue || connection.sending)) {
      opening.pending = verdict;
      connection.wantDrain = true;
      break;
    }
    SLUICE_ASSERT(verdict.consumed <= rest.size());
    rest = rest.subspan(verdict.consumed);
    if (verdict.kind == done) {
      opening.operation.moveTo(OpState::done);
      opening.step.reset();
      opening.index++;
      continue;
    }
    opening.suspended = verdict.kind == suspended;
    if (verdict.delayMs != 0) loop_.arm(opening.timer, loop_.nowMs() + verdict.delayMs);
    // A tarpit: the peer's window fills.
    if (opening.suspended && verdict.delayMs != 0) stopReading(slot, connection);
    if (opening.roomless) listOpening(slot, connection);
    break;
  }
  if (inSlab) opening.held.assign(rest.begin(), rest.end());
  else opening.held.erase(opening.held.begin(), opening.held.end() - static_cast<std::ptrdiff_t>(rest.size()));
  boundHeld(slot, connection);
  // What came with the last message of the handshake, or was too much before.
  if (connection.tls && !opening.suspended && connection.tls->session().hasPlaintext())
    deliverLater(slot, connection);
}

// Calls the step whose turn it is, and says for it what it need not say itself.
StepVerdict Network::askStep(Opening& opening, std::span<const uint8_t> bytes, bool resumes) {
  if (opening.pending) return *std::exchange(opening.pending, std::nullopt);
  const bool begins = opening.operation.state() == OpState::wanted;
  StepVerdict verdict;
  if (begins) {
    opening.step = opening.steps()[opening.index]->start();
    opening.operation.moveTo(OpState::started);
    verdict = opening.step->begin(opening);
  } else if (resumes) {
    verdict = opening.step->resumed(opening, bytes);
  }
  const auto wantsMore = [&verdict] { return verdict.kind == StepVerdict::Kind::needMore; };
  if (wantsMore() && !resumes && !bytes.empty()) {
    const uint32_t delayMs = verdict.delayMs;
    verdict = opening.step->bytes(opening, bytes);
    if (begins && wantsMore() && verdict.delayMs == 0) verdict.delayMs = delayMs;
  }
  if (!wantsMore()) return verdict;
  const auto left = bytes.subspan(verdict.consumed);
  if (left.size() >= opening.step->maxBytes()) return opening.step->full(opening, left);
  if (opening.peerEnded) return opening.step->ended(opening, left);
  return verdict;
}

// All steps of a stage are done. Returns whether those of the next one are to run at once.
bool Network::leaveStage(Slot slot, Connection& connection, std::span<const uint8_t> rest, uint32_t slabOffset) {
  Opening& opening = *connection.opening;
  opening.index = 0;
  if (opening.stage() == Opening::Stage::before && opening.tls && !opening.plaintext()) {
    opening.moveTo(Opening::Stage::securing);
    const std::vector<uint8_t> held = std::move(opening.held);
    opening.held = {};
    const bool ended = opening.peerEnded;
    if (const uint32_t boundMs = opening.plan().timeoutMs; boundMs != 0) {
      loop_.cancel(opening.deadline);
      timersOf(slot, connection).stateDeadlineMs =
          opening.deadlineMs != 0 ? opening.deadlineMs : loop_.nowMs() + boundMs;
      armTimers(slot, connection);
    }
    secureAccepted(slot, connection, opening.tls);
    if (!rest.empty()) onWireData(slot, connection, rest);
    if (ended && connection.live()) onWireEnded(slot, connection);
    return false;
  }
  if (opening.stage() == Opening::Stage::before) {
    opening.moveTo(Opening::Stage::session);
    return true;
  }
  finishOpening(slot, connection, rest, slabOffset);
  return false;
}

// ---- Bytes of steps

// False when the connection is no more for that.
bool Network::sendOpening(Slot slot, Connection& connection) {
  std::vector<uint8_t>& output = connection.opening->output;
  SLUICE_ASSERT(!connection.tls);
  queueOf(connection).append(output.data(), static_cast<uint32_t>(output.size()));
  output.clear();
  if (!connection.sending) sendQueued(slot, connection);
  return connection.live() && isOpening(connection);
}

bool Network::askScript(Slot slot, uint32_t script, bool first, std::span<const uint8_t> bytes) {
  if (!loop_.hasRoom(2)) return false;
  const std::span<uint8_t> room = loop_.plainRoom();
  if (room.size() < bytes.size()) return false;
  Connection& connection = at(slot);
  connection.scripted = true;
  if (first) {
    loop_.emit(EventType::stepBegins, connection.tag, slot, static_cast<int32_t>(connection.listenerKey),
               static_cast<int32_t>(script));
  }
  if (bytes.empty()) return true;
  std::memcpy(room.data(), bytes.data(), bytes.size());
  const uint32_t offset = loop_.takePlain(static_cast<uint32_t>(bytes.size()));
  loop_.emit(EventType::stepBytes, connection.tag, slot, static_cast<int32_t>(offset),
             static_cast<int32_t>(bytes.size()));
  return true;
}

void Network::onStepAnswer(Slot slot, Connection& connection, const OpRecord& op) {
  if (!isOpening(connection) || !connection.opening->suspended) return;
  connection.opening->answer =
      ScriptAnswer{static_cast<ScriptAnswer::Kind>(op.a & 0xff), static_cast<uint32_t>(op.b)};
  resumeOpening(slot, connection);
}

// Behind TLS: what it decrypts is for the steps.
void Network::readForSteps(Slot slot, Connection& connection) {
  Opening& opening = *connection.opening;
  TlsSession& session = connection.tls->session();
  while (opening.held.size() < maxHeldBytes) {
    const size_t before = opening.held.size();
    opening.held.resize(before + sessionBytes);
    size_t got = 0;
    const TlsStatus status = session.read(std::span(opening.held).subspan(before), got);
    opening.held.resize(before + got);
    if (status == TlsStatus::ok) continue;
    if (status == TlsStatus::failed) return failSecure(slot, connection, session.takeError());
    if (status == TlsStatus::ended || status == TlsStatus::truncated) opening.peerEnded = true;
    break;
  }
  if (!sendWire(slot, connection) || opening.suspended) return;
  runOpening(slot, connection, {});
}

// ---- The session

void Network::finishOpening(Slot slot, Connection& connection, std::span<const uint8_t> rest, uint32_t slabOffset) {
  Opening& opening = *connection.opening;
  if (slabOffset == noOffset) {
    opening.held.erase(opening.held.begin(), opening.held.end() - static_cast<std::ptrdiff_t>(rest.size()));
  }
  connection.securing = false;
  loop_.cancel(opening.deadline);
  loop_.memory().taken[slot] = 0;  // what steps have sent is not the session's
  opening.moveTo(Opening::Stage::delivering);
  const bool unknown = connection.hidden;
  connection.hidden = false;
  if (connection.timers) settleTimers(slot, connection);
  if (opening.marks) opening.marks->countSession(loop_.nowMs());
  if (unknown) {
    emit(EventType::opened, slot, connection, static_cast<int32_t>(connection.listenerKey));
  } else {
    emit(EventType::connected, slot, connection);
  }
  if (slabOffset != noOffset && !rest.empty()) {
    emitData(slot, connection, slabOffset, static_cast<uint32_t>(rest.size()));
  }
  deliverHeld(slot, connection);
}

// What came early is told as far as there is room for it, and reading waits for that.
void Network::deliverHeld(Slot slot, Connection& connection) {
  Opening& opening = *connection.opening;
  size_t told = 0;
  while (told < opening.held.size()) {
    const std::span<uint8_t> room = loop_.plainRoom();
    if (room.empty() || !loop_.hasRoom(1)) break;
    const size_t count = std::min(room.size(), opening.held.size() - told);
    std::memcpy(room.data(), opening.held.data() + told, count);
    emitData(slot, connection, loop_.takePlain(static_cast<uint32_t>(count)), static_cast<uint32_t>(count));
    told += count;
  }
  opening.held.erase(opening.held.begin(), opening.held.begin() + static_cast<std::ptrdiff_t>(told));
  if (!opening.held.empty()) {
    connection.pauses |= pausedByLayer;
    receive(slot, false);
    return listOpening(slot, connection);
  }
  connection.pauses &= static_cast<uint16_t>(~pausedByLayer);
  const bool ended = opening.peerEnded;
  dropOpening(connection);
  if (connection.opening) countForRules(connection);
  receive(slot, connection.reading());
  if (connection.tls) return afterSecured(slot, connection);
  if (ended) return onPlainEnded(slot, connection);
  // What was written or ended while connecting.
  if (connection.queue) sendQueued(slot, connection);
  else afterSending(slot, connection);
}

void Network::listOpening(Slot slot, Connection& connection) {
  if (connection.opening->listed) return;
  connection.opening->listed = true;
  readable_.emplace_back(slot, connection.tag);
}

// ---- Ending

void Network::onOpeningEnded(Slot slot, Connection& connection) {
  Opening& opening = *connection.opening;
  if (connection.state != ConnectionState::open) return onPlainEnded(slot, connection);
  opening.peerEnded = true;
  if (opening.runsSteps() && opening.step && !opening.suspended && !opening.pending) {
    runOpening(slot, connection, {});
  }
}

// The socket has failed under a step.
void Network::onOpeningFailed(Slot slot, Connection& connection, bool sending) {
  const OpeningStep* step = connection.opening->step.get();
  const OpeningFailure failure = step == nullptr ? OpeningFailure::stepAbort
                                 : sending       ? step->sendFailed()
                                                 : step->aborted();
  failOpening(slot, connection, StepVerdict::failed(failure));
}

void Network::onOpeningTimeout(Slot slot, Connection& connection) {
  if (!isOpening(connection)) return;
  const OpeningStep* step = connection.opening->step.get();
  failOpening(slot, connection,
              StepVerdict::failed(step == nullptr ? OpeningFailure::stepTimeout : step->timedOut()));
}

void Network::failOpening(Slot slot, Connection& connection, const StepVerdict& verdict) {
  if (!connection.live() || !isOpening(connection)) return;
  Opening& opening = *connection.opening;
  OpeningReport report;
  report.failure = verdict.failure;
  report.text = verdict.text;
  if (opening.index < opening.steps().size()) report.step = opening.steps()[opening.index]->name();
  report.remoteAddress = opening.source().host();
  report.remotePort = opening.source().port();
  // What it was is told even if so many follow that the rest is forgotten.
  const int32_t number = OpeningFailures::shared().put(std::move(report)) | static_cast<int32_t>(verdict.failure)
                                                                                << 24;
  connection.error = {ErrorCode::opening, number, ""};
  const bool byRule =
      verdict.failure == OpeningFailure::ruleReject || verdict.failure == OpeningFailure::ruleSilentDrop;
  if (opening.marks && !byRule) opening.marks->countGlitches(1, loop_.nowMs());
  if (connection.hidden) {
    if (Listener* listener = listenerOf(connection)) listener->countOpening(verdict.failure);
    loop_.emit(EventType::openingFailed, connection.tag, slot, number,
               static_cast<int32_t>(connection.listenerKey));
  }
  endOpening(slot, connection, verdict);
}

// Answered, and no session comes of it: it counts as none (HP-18).
void Network::finishMonitor(Slot slot, Connection& connection, const StepVerdict& verdict) {
  if (Listener* listener = listenerOf(connection)) {
    listener->accepted--;
    listener->countOpening(verdict.failure);
  }
  endOpening(slot, connection, verdict);
}

void Network::endOpening(Slot slot, Connection& connection, const StepVerdict& verdict) {
  const bool ended = connection.opening->peerEnded;
  dropOpening(connection);
  connection.securing = false;
  if (verdict.end == OpeningEnd::reset) return beginClosing(slot, connection, CloseMode::reset, connection.error);
  if (verdict.end == OpeningEnd::silent) {
    const bool dies = verdict.resetTtl != 0 && !connection.local;
    if (dies) (void)engine_.setOption(slot, {SocketOption::hopLimit, verdict.resetTtl, ""});
    return beginClosing(slot, connection, dies ? CloseMode::reset : CloseMode::silent, connection.error);
  }
  const bool saidNothing = connection.bytesWritten == 0 && !connection.queue && !connection.sending;
  // Who connected has nothing that the peer would have to hear.
  if (!connection.hidden || saidNothing || ended || connection.readSide != ReadSide::open) {
    return beginClosing(slot, connection, CloseMode::normal, connection.error);
  }
  beginDraining(slot, connection, goodbyeMs);
}

// The steps are over, one way or another; what they found out stays if somebody may ask for it.
void Network::dropOpening(Connection& connection) {
  Opening& opening = *connection.opening;
  loop_.cancel(opening.timer);
  loop_.cancel(opening.deadline);
  if (opening.stage() != Opening::Stage::over) opening.moveTo(Opening::Stage::over);
  connection.layered = connection.tls != nullptr;
  if (opening.isForgettable()) connection.opening.reset();
  else opening.forget();
}

// Rules may count bytes; those of the last second are told together, so that no byte costs anything for it.
void Network::countForRules(Connection& connection) {
  Opening& opening = *connection.opening;
  if (!opening.marks || !opening.marks->countsBytes()) return;
  const bool any = opening.countBytes(connection.bytesRead, connection.bytesWritten);
  opening.countDelayMs = any ? countEveryMs : std::clamp(opening.countDelayMs * 2, countEveryMs, maxCountEveryMs);
  loop_.arm(opening.timer, loop_.nowMs() + opening.countDelayMs);
}

// It ends, for the tables of rules as well.
void Network::endMarks(Connection& connection) {
  Opening& opening = *connection.opening;
  loop_.cancel(opening.timer);
  if (!opening.marks) return;
  if (opening.marks->countsBytes()) opening.countBytes(connection.bytesRead, connection.bytesWritten);
  opening.endMarks();
}

}  // namespace sluice
