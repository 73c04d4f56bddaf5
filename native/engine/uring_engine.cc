#include "engine/uring_engine.h"

#ifdef __linux__

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "engine/kernel_socket.h"
#include "engine/sys.h"

namespace sluice {

namespace {

// Errors of io_uring_enter after which the same call may succeed later.
bool passes(int error) {
  return error == ETIME || error == EINTR || error == EAGAIN || error == EBUSY || error == ENOMEM;
}

}  // namespace

UringEngine::UringEngine(UringRing ring, UringBuffers buffers, int eventFd, WakeFd wake,
                         const EngineOptions& options, UringExtras extras)
    : buffers_(std::move(buffers)),
      ring_(std::move(ring)),
      eventFd_(eventFd),
      wake_(std::move(wake)),
      options_(options),
      extras_(extras) {}

UringEngine::~UringEngine() {
  if (started_) cancelEverything();
  for (Slot slot = 0; slot < sockets_.size(); ++slot) {
    if (sockets_.contains(slot) && sockets_[slot].fd >= 0) kernel_socket::closeFd(sockets_[slot].fd);
  }
  for (ListenerId id = 0; id < listeners_.size(); ++id) {
    if (!listeners_.contains(id)) continue;
    for (const int fd : listeners_[id].waiting) kernel_socket::closeFd(fd);
    if (listeners_[id].fd >= 0) kernel_socket::closeFd(listeners_[id].fd);
  }
  sys::close(eventFd_);
}

// Without this the kernel would go on for a moment after the ring is closed, with memory that is gone by then. A ring
// whose thread has ended was cancelled with it; only what it had completed is left to collect.
void UringEngine::cancelEverything() {
  delayed_.clear();
  uring::SubmissionEntry* entry = ring_.next();
  if (!entry && ring_.submit() >= 0) entry = ring_.next();
  if (entry) {
    entry->opcode = uring::opcode::cancel;
    entry->fd = -1;
    entry->operationFlags = uring::operation::cancelAll | uring::operation::cancelAny;
    entry->userData = tag(Operation::cancel, 0);
  }
  constexpr uring::Timespec patience{0, 20'000'000};
  for (int tries = 0; tries < 50 && underWay_ > 0; ++tries) {
    const int entered = ring_.enter(1, &patience);
    while (const uring::CompletionEntry* next = ring_.peek()) {
      const uring::CompletionEntry completion = *next;
      ring_.advance();
      const auto operation = static_cast<Operation>(completion.userData >> 56);
      if (operation == Operation::cancel) continue;
      if (!(completion.flags & uring::completionFlag::more)) --underWay_;
      if (operation == Operation::accept && completion.result >= 0) kernel_socket::closeFd(completion.result);
    }
    if (entered < 0 && !passes(-entered)) return;
  }
}

EngineFeatures UringEngine::featuresWith(UringExtras extras) {
  EngineFeatures features;
  features.wakeStyle = WakeStyle::descriptor;
  features.lendsReceiveMemory = true;
  features.batchedSubmission = true;
  features.multishotAccept = true;
  features.multishotReceive = true;
  features.incrementalBuffers = extras.incremental;
  features.limitedReceives = extras.receiveLimit;
  return features;
}

// ---- entries

uint64_t UringEngine::tag(Operation operation, Slot slot) const {
  uint64_t generation = 0;
  if (operation == Operation::accept) generation = listeners_.generation(slot);
  if (operation > Operation::accept) generation = sockets_.generation(slot);
  return uint64_t{static_cast<uint8_t>(operation)} << 56 | generation << 32 | slot;
}

// The entry is good until the next call of queue() or enter().
uring::SubmissionEntry& UringEngine::queue(Operation operation, Slot slot, uint8_t opcode, int fd) {
  uring::SubmissionEntry* entry = delayed_.empty() ? ring_.next() : nullptr;
  if (!entry && delayed_.empty()) {
    submit();
    entry = ring_.next();
  }
  // The kernel takes no more now: it is short of memory, or wants its completions collected first.
  if (!entry) entry = &delayed_.emplace_back();
  entry->opcode = opcode;
  entry->fd = fd;
  entry->userData = tag(operation, slot);
  if (operation != Operation::cancel) ++underWay_;
  return *entry;
}

void UringEngine::queueCancel(uint64_t userData, bool all) {
  ++counters_.interestChanges;
  uring::SubmissionEntry& entry = queue(Operation::cancel, 0, uring::opcode::cancel, -1);
  entry.address = userData;
  entry.operationFlags = all ? uring::operation::cancelAll : 0;
  entry.flags = uring::entryFlag::skipCompletion;  // what was cancelled completes itself
}

void UringEngine::moveDelayed() {
  while (!delayed_.empty()) {
    uring::SubmissionEntry* entry = ring_.next();
    if (!entry) return;
    *entry = delayed_.front();
    delayed_.pop_front();
  }
}

// ---- sockets

// On a non-blocking descriptor io_uring would answer EAGAIN instead of waiting. It blocks on none of them.
Result<void> UringEngine::setBlocking(int fd) {
  if (sys::fcntl(fd, F_SETFL, 0) < 0) return systemError(errno, "fcntl");
  return {};
}

Result<Slot> UringEngine::connect(const ConnectSpec& spec) {
  auto fd = kernel_socket::openConnector(spec);
  if (!fd) return fd.error();
  if (auto made = setBlocking(*fd); !made) {
    kernel_socket::closeFd(*fd);
    return made.error();
  }
  const Slot slot = sockets_.allocate();
  if (slot == noSlot) {
    kernel_socket::closeFd(*fd);
    return Error{ErrorCode::connectionLimit, 0, ""};
  }
  UringSocket& socket = sockets_[slot];
  socket.fd = *fd;
  socket.isUnix = spec.address.family() == AF_UNIX;
  socket.connecting = true;
  socket.connectTo = std::make_unique<SocketAddress>(spec.address);
  uring::SubmissionEntry& entry = queue(Operation::connect, slot, uring::opcode::connect, *fd);
  entry.address = reinterpret_cast<uint64_t>(socket.connectTo->data());
  entry.offset = socket.connectTo->length();
  return slot;
}

Result<Slot> UringEngine::adopt(int fd) {
  auto prepared = kernel_socket::prepareAdopted(fd);
  if (!prepared) return prepared.error();
  const auto blocking = setBlocking(*prepared);
  const Slot slot = blocking ? sockets_.allocate() : noSlot;
  if (slot == noSlot) {
    kernel_socket::closeFd(*prepared);
    return blocking ? Error{ErrorCode::connectionLimit, 0, ""} : blocking.error();
  }
  sockets_[slot].fd = *prepared;
  auto address = kernel_socket::localAddress(*prepared);
  sockets_[slot].isUnix = address && address->family() == AF_UNIX;
  return slot;
}

SendResult UringEngine::send(Slot slot, const iovec* pieces, int count) {
  UringSocket& socket = sockets_[slot];
  SLUICE_ASSERT(!socket.sending && !socket.closing && count >= 1 && count <= maxSendPieces);
  ++counters_.sends;
  socket.sending = true;
  size_t asked = 0;
  for (int i = 0; i < count; ++i) asked += pieces[i].iov_len;
  socket.askedBytes = static_cast<uint32_t>(std::min<size_t>(asked, INT32_MAX));
  if (count == 1) {
    uring::SubmissionEntry& entry = queue(Operation::send, slot, uring::opcode::send, socket.fd);
    entry.address = reinterpret_cast<uint64_t>(pieces->iov_base);
    entry.length = static_cast<uint32_t>(std::min<size_t>(pieces->iov_len, INT32_MAX));
    entry.operationFlags = MSG_NOSIGNAL | MSG_WAITALL;
  } else {
    // First the entry: making room for it may free all messages.
    uring::SubmissionEntry& entry = queue(Operation::send, slot, uring::opcode::sendMessage, socket.fd);
    if (messagesUsed_ == messages_.size()) messages_.emplace_back();
    Message& message = messages_[messagesUsed_++];
    std::copy_n(pieces, count, message.pieces);
    message.header = {};
    message.header.msg_iov = message.pieces;
    message.header.msg_iovlen = static_cast<size_t>(count);
    entry.address = reinterpret_cast<uint64_t>(&message.header);
    entry.length = 1;
    entry.operationFlags = MSG_NOSIGNAL | MSG_WAITALL;
  }
  return {0, true, {}};
}

void UringEngine::close(Slot slot, CloseMode mode) {
  UringSocket& socket = sockets_[slot];
  if (socket.closing) return;
  socket.closing = true;
  socket.closeMode = mode;
  dropAside(slot);
  if (socket.receiving && !socket.cancelling) queueCancel(tag(Operation::receive, slot), false);
  if (socket.sending) queueCancel(tag(Operation::send, slot), false);
  if (socket.connecting) queueCancel(tag(Operation::connect, slot), false);
  closeIfIdle(slot);
}

// An operation under way keeps the file open, so nothing would leave before it has ended.
void UringEngine::closeIfIdle(Slot slot) {
  UringSocket& socket = sockets_[slot];
  if (socket.busy()) return;
  if (socket.closeMode == CloseMode::silent) kernel_socket::setSilentOnClose(socket.fd);
  else if (socket.closeMode == CloseMode::reset || socket.unreadLost) kernel_socket::setResetOnClose(socket.fd);
  kernel_socket::closeFd(socket.fd);
  socket.fd = -1;
  closed_.push_back(slot);
}

void UringEngine::release(Slot slot) {
  SLUICE_ASSERT(!sockets_[slot].busy());
  sockets_.release(slot);
}

// ---- turns

Result<void> UringEngine::start() {
  if (started_) return {};
  if (const int enabled = ring_.enable(); enabled < 0) return systemError(-enabled, "io_uring_register");
  started_ = true;
  armWake();
  return {};
}

void UringEngine::armWake() {
  uring::SubmissionEntry& entry = queue(Operation::wake, 0, uring::opcode::pollAdd, wake_.fd());
  entry.operationFlags = POLLIN;
  entry.length = uring::operation::pollMultishot;
}

void UringEngine::wake() noexcept {
  wake_.signal();
  // Before the first turn nobody listens to that one yet.
  if (!started_) (void)!sys::write(eventFd_, std::array<uint64_t, 1>{1}.data(), sizeof(uint64_t));
}

Result<void> UringEngine::enter(bool wait, Deadline deadline) {
  if (failed_) return Error{ErrorCode::engineUnavailable, 0, "io_uring_enter"};
  if (auto ready = start(); !ready) return ready.error();
  moveDelayed();
  ++counters_.waits;
  uring::Timespec timeout{};
  const bool timed = wait && !deadline.isNever();
  if (timed) {
    const TimeMs now = nowMs();
    const TimeMs left = deadline.atMs > now ? deadline.atMs - now : 0;
    timeout = {static_cast<int64_t>(left / 1000), static_cast<int64_t>(left % 1000 * 1'000'000)};
  }
  ring_.setQuiet(true);
  const int entered = ring_.enter(wait ? 1 : 0, timed ? &timeout : nullptr);
  ring_.setQuiet(awake_);
  if (entered < 0 && !passes(-entered)) {
    failed_ = true;
    return systemError(-entered, "io_uring_enter");
  }
  forgetMessages();
  return {};
}

void UringEngine::submit() {
  armStarved();
  moveDelayed();
  if (failed_ || ring_.queued() == 0 || !start()) return;
  ring_.setQuiet(true);
  const int submitted = ring_.submit();
  ring_.setQuiet(awake_);
  if (submitted < 0 && !passes(-submitted)) failed_ = true;
  forgetMessages();
}

void UringEngine::forgetMessages() {
  if (ring_.queued() == 0 && delayed_.empty()) messagesUsed_ = 0;
}

Result<size_t> UringEngine::poll(PollBatch batch, Deadline deadline) {
  ++turn_;
  Output out{batch.completions};
  cancelPaused();
  armStarved();
  const bool wait = !deadline.isNow() && !somethingHere();
  if (wait || ring_.queued() > 0 || !delayed_.empty() || ring_.kernelWaits()) {
    if (auto entered = enter(wait, deadline); !entered) return entered.error();
  }
  for (int rounds = 0;; ++rounds) {
    deliverClosed(out);
    deliverWaitingAccepts(out);
    // In turns, so that neither fills small batches for ever.
    if ((turn_ & 1) != 0) takeCompletions(out);
    deliverAside(out);
    takeCompletions(out);
    if (out.count > 0 || wait || rounds == maxRounds) return out.count;
    // Nothing for the caller in it. Before saying so, the descriptor is made unreadable and everything looked at again.
    if (!work()) clearEvent();
    if (!work()) return 0;
    if (auto entered = enter(false, deadline); !entered) return entered.error();
  }
}

bool UringEngine::somethingHere() const {
  if (ring_.peek() || !closed_.empty()) return true;
  const auto deliverableAside = [this](Slot slot) { return deliverable(slot); };
  return std::any_of(aside_.begin(), aside_.end(), deliverableAside) || !waiting_.empty();
}

bool UringEngine::work() const {
  return ring_.queued() > 0 || ring_.kernelWaits() || somethingHere() || !delayed_.empty() ||
         (!(starved_.empty() && served_.empty()) && buffers_.available() > 0);
}

void UringEngine::stayAwake(bool on) {
  awake_ = on;
  ring_.setQuiet(on);
  if (on) settle();
}

void UringEngine::settle() {
  if (!work()) clearEvent();
}

void UringEngine::clearEvent() {
  uint64_t count = 0;
  (void)!sys::read(eventFd_, &count, sizeof count);
}

void UringEngine::takeCompletions(Output& out) {
  while (!out.full()) {
    const uring::CompletionEntry* next = ring_.peek();
    if (!next) return;
    const uring::CompletionEntry completion = *next;
    ring_.advance();
    handle(completion, out);
  }
}

// Each completion of the kernel becomes at most one of ours, so a batch that was not full has room.
void UringEngine::handle(const uring::CompletionEntry& completion, Output& out) {
  const auto operation = static_cast<Operation>(completion.userData >> 56);
  const auto generation = static_cast<uint32_t>(completion.userData >> 32) & 0xffffff;
  const auto slot = static_cast<Slot>(completion.userData);
  ++counters_.kernelEvents;
  if (operation == Operation::cancel) return;  // there was nothing to cancel any more
  const bool last = !(completion.flags & uring::completionFlag::more);
  if (last) --underWay_;
  if (operation == Operation::wake) {
    wake_.clear();
    if (last) armWake();
    return;
  }
  if (operation == Operation::accept) {
    if (!listeners_.contains(slot, generation)) return dropStale(operation, completion);
    return handleAccepted(slot, completion, out);
  }
  if (!sockets_.contains(slot, generation)) return dropStale(operation, completion);
  switch (operation) {
    case Operation::receive: return handleReceived(slot, completion, out);
    case Operation::send: return handleSent(slot, completion.result, out);
    default: return handleConnected(slot, completion.result, out);
  }
}

void UringEngine::dropStale(Operation operation, const uring::CompletionEntry& completion) {
  ++counters_.staleEvents;
  if (operation == Operation::accept && completion.result >= 0) kernel_socket::closeFd(completion.result);
  if (!(completion.flags & uring::completionFlag::buffer)) return;
  if (completion.result > 0) {
    buffers_.giveBack(buffers_.take(completion).offset);
  } else {
    buffers_.takeEmpty(completion);
  }
}

void UringEngine::handleConnected(Slot slot, int result, Output& out) {
  UringSocket& socket = sockets_[slot];
  socket.connecting = false;
  socket.connectTo.reset();
  if (socket.closing) return closeIfIdle(slot);
  Completion completion{.kind = Completion::Kind::connectFailed, .socket = slot};
  if (result < 0) {
    completion.error = systemError(-result, "connect");
  } else if (auto peer = kernel_socket::peerAddress(socket.fd); !peer) {
    // The kernel said yes, and there is nobody: a reset was faster (HP-27).
    const int pending = kernel_socket::takeError(socket.fd);
    completion.error = systemError(pending != 0 ? pending : peer.error().osError, "connect");
  } else {
    completion.kind = Completion::Kind::connected;
  }
  socket.receivedAll = completion.kind == Completion::Kind::connectFailed;  // only close() is left
  out.add(completion);
  armReceive(slot);
}

// The kernel tells a connection's death once, to whoever asks first. Receiving then sees a plain end, so the engine
// remembers.
Error UringEngine::sendFailure(UringSocket& socket, int error) {
  if (error == EPIPE && socket.failure != 0) error = socket.failure;
  // On a Unix socket EPIPE is a peer that closed in peace; what it wrote before ends with a clean end.
  if (!(socket.isUnix && error == EPIPE)) socket.failure = error == EPIPE ? ECONNRESET : error;
  return systemError(error, "send");
}

void UringEngine::handleSent(Slot slot, int result, Output& out) {
  UringSocket& socket = sockets_[slot];
  socket.sending = false;
  if (socket.closing) return closeIfIdle(slot);
  Completion completion{.kind = Completion::Kind::sent, .socket = slot};
  if (result >= 0) {
    completion.length = static_cast<uint32_t>(result);
    socket.cutShort = completion.length < socket.askedBytes;
  } else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
    completion.kind = Completion::Kind::sendFailed;
    completion.error = sendFailure(socket, -result);
  }
  out.add(completion);
}

void UringEngine::deliverClosed(Output& out) {
  size_t told = 0;
  for (; told < closed_.size() && !out.full(); ++told) {
    out.add({.kind = Completion::Kind::closed, .socket = closed_[told]});
  }
  closed_.erase(closed_.begin(), closed_.begin() + static_cast<ptrdiff_t>(told));
}

}  // namespace sluice

#endif
