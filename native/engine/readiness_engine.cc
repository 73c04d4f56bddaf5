#include "engine/readiness_engine.h"

#include <algorithm>
#include <utility>

#include "engine/kernel_socket.h"
#include "engine/sys.h"

namespace sluice {

using enum Completion::Kind;

namespace {

// A token: kind in the top byte, then 24 bits of generation, then the slot (HP-122).
constexpr uint64_t socketKind = 1;
constexpr uint64_t listenerKind = 2;

constexpr Token makeToken(uint64_t kind, uint32_t generation, uint32_t slot) {
  return {kind << 56 | static_cast<uint64_t>(generation) << 32 | slot};
}
constexpr uint64_t kindOf(Token token) { return token.value >> 56; }
constexpr uint32_t generationOf(Token token) { return static_cast<uint32_t>(token.value >> 32) & 0xffffff; }
constexpr uint32_t slotOf(Token token) { return static_cast<uint32_t>(token.value); }

// Errors that say the connection is dead, both ways. The kernel tells them once, to whoever asks first; the other
// direction then sees a plain end (spec 3.12), so the engine remembers.
constexpr bool isDeath(int error) {
  switch (error) {
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN: return true;
    default: return false;
  }
}

// ENOBUFS: Unix sockets short of memory. EINPROGRESS: a fast-open connection whose SYN is still under way.
constexpr bool wouldBlock(int error) { return error == EAGAIN || error == ENOBUFS || error == EINPROGRESS; }

// Waits with the same single event before a receive is tried ahead, such receives before the next wait, and polls
// without them after a miss.
constexpr uint32_t aheadAfter = 8;
constexpr uint32_t aheadLimit = 16;
constexpr uint32_t aheadPenalty = 256;

const Error tableFull{ErrorCode::connectionLimit, 0, ""};

}  // namespace

ReadinessEngine::ReadinessEngine(std::unique_ptr<Poller> poller, const EngineOptions& options)
    : poller_(std::move(poller)), options_(options) {}

ReadinessEngine::~ReadinessEngine() {
  for (Slot slot = 0; slot < sockets_.size(); ++slot) {
    if (sockets_.contains(slot) && sockets_[slot].fd >= 0) kernel_socket::closeFd(sockets_[slot].fd);
  }
  for (ListenerId id = 0; id < listeners_.size(); ++id) {
    if (listeners_.contains(id)) kernel_socket::closeFd(listeners_[id].fd);
  }
}

EngineFeatures ReadinessEngine::features() const {
  return {.wakeStyle = poller_->pollFd() >= 0 ? WakeStyle::descriptor : WakeStyle::thread,
          .sendsFiles = sys::hasSendfile,
          .splices = sys::hasSplice};
}

// Interest ------------------------------------------------------------------------------------------------------

Interest ReadinessEngine::wanted(const Socket& socket) {
  if (socket.connecting) return Interest::write;
  return (socket.receiving && !socket.receiveOver ? Interest::read : Interest::none) |
         (socket.waiting ? Interest::write : Interest::none);
}

Interest ReadinessEngine::wanted(const Listener& listener) {
  return listener.budget > 0 ? Interest::read : Interest::none;
}

Token ReadinessEngine::tokenOf(Slot socket) const {
  return makeToken(socketKind, sockets_.generation(socket), socket);
}

Token ReadinessEngine::tokenOfListener(ListenerId listener) const {
  return makeToken(listenerKind, listeners_.generation(listener), listener);
}

/// Makes the poller watch at least what is wanted.
//
// The only step that can fail for want of kernel memory is the first, so it is the poller's add(). A change that has
// to be made drops what is no longer wanted along the way.
template <class Watched>
Result<void> ReadinessEngine::widen(Watched& entry, Token token) {
  const Interest after = wanted(entry);
  if ((after & entry.watched) == after) return {};
  if (entry.watched == Interest::none) {
    if (auto added = poller_->add(entry.fd, token, after); !added) return added;
  } else {
    poller_->change(entry.fd, token, entry.watched, after);
  }
  entry.watched = after;
  counters_.interestChanges = poller_->interestChanges();
  return {};
}

/// Makes the poller watch exactly what is wanted.
template <class Watched>
void ReadinessEngine::settle(Watched& entry, Token token) {
  const Interest after = wanted(entry);
  if (after == entry.watched) return;
  if (after == Interest::none) {
    poller_->remove(entry.fd, entry.watched);
  } else {
    poller_->change(entry.fd, token, entry.watched, after);
  }
  entry.watched = after;
}

void ReadinessEngine::pend(const Completion& completion) {
  if (completion.socket != noSlot) ++sockets_[completion.socket].pending;
  pending_.push_back(completion);
}

// Listeners -----------------------------------------------------------------------------------------------------

Result<ListenerId> ReadinessEngine::listen(const ListenSpec& spec) {
  auto fd = kernel_socket::openListener(spec);
  if (!fd) return fd.error();
  auto address = kernel_socket::localAddress(*fd);
  const ListenerId id = address ? listeners_.allocate() : noListener;
  if (id == noListener) {
    kernel_socket::closeFd(*fd);
    return address ? tableFull : address.error();
  }
  listeners_[id].fd = *fd;
  listeners_[id].isUnix = address->family() == AF_UNIX;
  return id;
}

void ReadinessEngine::setAcceptBudget(ListenerId id, uint32_t count) {
  SLUICE_ASSERT(listeners_.contains(id));
  Listener& listener = listeners_[id];
  listener.budget = count;
  if (auto watched = widen(listener, tokenOfListener(id)); !watched) {
    listener.budget = 0;
    pend({.kind = acceptFailed, .listener = id, .error = watched.error()});
  }
}

int ReadinessEngine::listenerFd(ListenerId id) const {
  SLUICE_ASSERT(listeners_.contains(id));
  return listeners_[id].fd;
}

void ReadinessEngine::closeListener(ListenerId id) {
  SLUICE_ASSERT(listeners_.contains(id));
  Listener& listener = listeners_[id];
  poller_->remove(listener.fd, listener.watched);
  kernel_socket::closeFd(listener.fd);
  std::erase_if(pending_, [id](const Completion& c) { return c.listener == id; });
  listeners_.release(id);
}

void ReadinessEngine::serveListener(ListenerId id, Filling& filling) {
  Listener& listener = listeners_[id];
  if (listener.budget == 0) return settle(listener, tokenOfListener(id));
  for (uint32_t turn = std::min(options_.acceptTurnCount, listener.budget); turn > 0 && !filling.full(); --turn) {
    auto fd = sockets_.used() < maxSlots ? kernel_socket::acceptNext(listener.fd) : Result<int>(tableFull);
    auto slot = fd && *fd >= 0 ? admit(*fd, listener.isUnix) : Result<Slot>(noSlot);
    if (!fd || !slot) {
      listener.budget = 0;
      settle(listener, tokenOfListener(id));
      return filling.push({.kind = acceptFailed, .listener = id, .error = fd ? slot.error() : fd.error()});
    }
    if (*slot == noSlot) return;
    if (listener.budget != unlimitedAccepts) --listener.budget;
    filling.push({.kind = accepted, .socket = *slot, .listener = id});
  }
}

// Sockets -------------------------------------------------------------------------------------------------------

/// Gives `fd` a slot, or closes it.
Result<Slot> ReadinessEngine::admit(int fd, bool isUnix) {
  const Slot slot = sockets_.allocate();
  if (slot == noSlot) {
    kernel_socket::closeFd(fd);
    return tableFull;
  }
  sockets_[slot].fd = fd;
  sockets_[slot].isUnix = isUnix;
  return slot;
}

Result<Slot> ReadinessEngine::connect(const ConnectSpec& spec) {
  auto fd = kernel_socket::openConnector(spec);
  if (!fd) return fd.error();
  auto slot = admit(*fd, spec.address.family() == AF_UNIX);
  if (!slot) return slot;
  Socket& socket = sockets_[*slot];

  auto step = kernel_socket::connectStep(*fd, spec.address);
  if (step && *step == kernel_socket::ConnectStep::connected) {
    pend({.kind = connected, .socket = *slot});
    return slot;
  }
  Error error = step ? Error{} : step.error();
  if (!error) {
    socket.connecting = std::make_unique<SocketAddress>(spec.address);
    if (auto watched = widen(socket, tokenOf(*slot)); !watched) error = watched.error();
  }
  if (error) {
    socket.connecting = nullptr;
    socket.receiveOver = true;
    pend({.kind = connectFailed, .socket = *slot, .error = error});
  }
  return slot;
}

void ReadinessEngine::serveConnecting(Slot slot, Socket& socket, Filling& filling) {
  auto step = kernel_socket::connectStep(socket.fd, *socket.connecting);
  if (step && *step == kernel_socket::ConnectStep::waiting) return;  // woken for nothing (HP-27)
  socket.connecting = nullptr;
  if (!step) {
    socket.receiveOver = true;
    settle(socket, tokenOf(slot));
    return filling.push({.kind = connectFailed, .socket = slot, .error = step.error()});
  }
  filling.push({.kind = connected, .socket = slot});
  if (socket.receiving) settle(socket, tokenOf(slot));  // asked for already; else receive() makes the same change
}

Result<Slot> ReadinessEngine::adopt(int adopted) {
  auto fd = kernel_socket::prepareAdopted(adopted);
  if (!fd) return fd.error();
  auto address = kernel_socket::localAddress(*fd);
  if (!address) {
    kernel_socket::closeFd(*fd);
    return address.error();
  }
  return admit(*fd, address->family() == AF_UNIX);
}

void ReadinessEngine::receive(Slot slot, bool on) {
  SLUICE_ASSERT(sockets_.contains(slot));
  Socket& socket = sockets_[slot];
  if (socket.receiving == on || socket.fd < 0) return;
  socket.receiving = on;
  if (auto watched = widen(socket, tokenOf(slot)); !watched) {
    socket.receiveOver = true;
    pend({.kind = receiveFailed, .socket = slot, .error = watched.error()});
  }
}

void ReadinessEngine::limitReceive(Slot slot, bool on) {
  SLUICE_ASSERT(sockets_.contains(slot));
  sockets_[slot].limited = on;
  sockets_[slot].unusual = on || sockets_[slot].spliceTo != noSlot;
}

void ReadinessEngine::spliceTo(Slot from, Slot to) {
  SLUICE_ASSERT(sockets_.contains(from) && (to == noSlot || sockets_.contains(to)));
  sockets_[from].spliceTo = to;
  sockets_[from].unusual = to != noSlot || sockets_[from].limited;
}

/// True when the kernel had no room last time: `result` then says that `sent` will follow, or why not.
bool ReadinessEngine::waitForRoom(Slot slot, Socket& socket, SendResult& result) {
  SLUICE_ASSERT(!socket.waiting);
  if (!socket.blocked) return false;
  socket.waiting = true;
  result = {.waiting = true};
  if (auto watched = widen(socket, tokenOf(slot)); !watched) {
    socket.waiting = false;
    result = {.error = watched.error()};
  }
  return true;
}

SendResult ReadinessEngine::send(Slot slot, const iovec* pieces, int count) {
  SLUICE_ASSERT(sockets_.contains(slot) && count > 0 && count <= maxSendPieces);
  Socket& socket = sockets_[slot];
  SendResult result;
  if (waitForRoom(slot, socket, result)) return result;

  ++counters_.sends;
  size_t length = pieces[0].iov_len;
  ssize_t sentBytes;
  if (count == 1) {
    sentBytes = sys::send(socket.fd, pieces[0].iov_base, length);
  } else {
    for (int i = 1; i < count; ++i) length += pieces[i].iov_len;
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces);
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    sentBytes = sys::sendmsg(socket.fd, &message);
  }
  return afterSend(socket, sentBytes, length, count == 1 ? "send" : "sendmsg");
}

SendResult ReadinessEngine::sendFile(Slot slot, int file, uint64_t offset, size_t length) {
  SLUICE_ASSERT(sockets_.contains(slot) && length > 0);
  Socket& socket = sockets_[slot];
  SendResult result;
  if (waitForRoom(slot, socket, result)) return result;
  ++counters_.sends;
  const ssize_t sentBytes = sys::sendfile(socket.fd, file, offset, length);
  if (sentBytes == 0) return {.fileError = ENODATA};
  const bool isOfSocket = sentBytes > 0 || wouldBlock(errno) || isDeath(errno) || errno == ENOTCONN;
  if (!isOfSocket) return {.fileError = errno};
  return afterSend(socket, sentBytes, length, "sendfile");
}

SendResult ReadinessEngine::afterSend(Socket& socket, ssize_t sentBytes, size_t length, const char* call) {
  if (sentBytes >= 0) {
    socket.blocked = static_cast<size_t>(sentBytes) < length;
    return {.taken = static_cast<size_t>(sentBytes)};
  }

  int error = errno;
  if (wouldBlock(error)) {
    socket.blocked = true;
    return {};
  }
  if (error == EPIPE && socket.failure != 0) error = socket.failure;
  // On a Unix socket EPIPE is a peer that closed in peace; what it wrote before ends with a clean end.
  if (isDeath(error) && !(socket.isUnix && error == EPIPE)) socket.failure = error == EPIPE ? ECONNRESET : error;
  return {.error = systemError(error, call)};
}

void ReadinessEngine::close(Slot slot, CloseMode mode) {
  SLUICE_ASSERT(sockets_.contains(slot));
  Socket& socket = sockets_[slot];
  if (socket.fd < 0) return;
  // Before close(2): a duplicate of the descriptor elsewhere would keep the registration alive (HP-122).
  poller_->remove(socket.fd, socket.watched);
  if (mode == CloseMode::reset) kernel_socket::setResetOnClose(socket.fd);
  if (mode == CloseMode::silent) kernel_socket::setSilentOnClose(socket.fd);
  kernel_socket::closeFd(socket.fd);
  if (socket.pending > 0) std::erase_if(pending_, [slot](const Completion& c) { return c.socket == slot; });
  socket = Socket{};
  pend({.kind = closed, .socket = slot});
}

void ReadinessEngine::release(Slot slot) {
  SLUICE_ASSERT(sockets_.contains(slot) && sockets_[slot].fd < 0);
  sockets_.release(slot);
}

int ReadinessEngine::fd(Slot slot) const {
  SLUICE_ASSERT(sockets_.contains(slot));
  return sockets_[slot].fd;
}

// Polling -------------------------------------------------------------------------------------------------------

Result<size_t> ReadinessEngine::poll(PollBatch batch, Deadline deadline) {
  SLUICE_ASSERT(!batch.completions.empty() && batch.spaceEnd <= options_.slab.size());
  if (broken_) return broken_;
  Filling filling(batch);
  if (!pending_.empty()) deliverPending(filling);
  serveReady(filling);
  if (filling.full() || readyNext_ < readyCount_) return filling.count;
  // The poller was asked just now.
  if (std::exchange(glanced_, false) && filling.count > 0) return filling.count;
  if (deadline.isNow() && receiveAhead(filling)) return filling.count;

  auto found = poller_->wait(ready_, filling.count > 0 ? Deadline::now() : deadline);
  if (!found) {
    broken_ = found.error();
    if (filling.count > 0) return filling.count;  // the next poll says it
    return broken_;
  }
  noteWait(*found);
  serveReady(filling);
  counters_.interestChanges = poller_->interestChanges();
  return filling.count;
}

bool ReadinessEngine::glance() {
  if (work()) return true;
  auto found = poller_->wait(ready_, Deadline::now());
  if (!found) {
    broken_ = found.error();
    return true;
  }
  noteWait(*found);
  return glanced_ = *found > 0;
}

void ReadinessEngine::deliverPending(Filling& filling) {
  const size_t count = std::min(pending_.size(), filling.completions.size() - filling.count);
  for (size_t i = 0; i < count; ++i) {
    if (pending_[i].socket != noSlot) --sockets_[pending_[i].socket].pending;
    filling.push(pending_[i]);
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(count));
}

void ReadinessEngine::serveReady(Filling& filling) {
  while (readyNext_ < readyCount_ && !filling.full()) {
    if (!serve(ready_[readyNext_], filling)) return;
    ++readyNext_;
  }
}

/// False when there was no room for even one receive: the report stays first in line.
bool ReadinessEngine::serve(const Ready& ready, Filling& filling) {
  const uint32_t slot = slotOf(ready.token);
  const uint32_t generation = generationOf(ready.token);
  if (kindOf(ready.token) == listenerKind && listeners_.contains(slot, generation)) {
    serveListener(slot, filling);
    return true;
  }
  if (kindOf(ready.token) != socketKind || !sockets_.contains(slot, generation) || sockets_[slot].fd < 0) {
    ++counters_.staleEvents;
    return true;
  }

  Socket& socket = sockets_[slot];
  const Interest useful = ready.ready & wanted(socket);
  if (useful == Interest::none) {
    settle(socket, ready.token);
    return true;
  }
  if (socket.connecting) {
    serveConnecting(slot, socket, filling);
    return true;
  }
  // Receiving first: what the peer sent before it died is delivered before its death is noticed (HP-12).
  if (has(useful, Interest::read) && receiveFrom(slot, socket, filling) == Turn::noRoom) return false;
  if (has(useful, Interest::write) && !filling.full()) {
    socket.waiting = socket.blocked = false;
    filling.push({.kind = sent, .socket = slot});
  }
  return true;
}

ReadinessEngine::Turn ReadinessEngine::receiveFrom(Slot slot, Socket& socket, Filling& filling) {
  uint32_t turn = options_.receiveTurnBytes;
  const size_t countBefore = filling.count;
  while (turn > 0) {
    const uint32_t space = filling.spaceEnd > filling.space ? filling.spaceEnd - filling.space : 0;
    // Scraps at the slab's end would cut messages into small pieces; a fresh slab is only a poll away.
    const bool scrap = filling.received && space < options_.receiveChunkBytes;
    if (filling.full() || space == 0 || scrap) return filling.count > countBefore ? Turn::more : Turn::noRoom;

    uint32_t chunk = std::min({options_.receiveChunkBytes, space, turn});
    bool cut = false;  // by the limiter
    if (socket.unusual && socket.spliceTo != noSlot) {
      Turn result = Turn::more;
      if (!spliceFrom(slot, socket, turn, filling, result)) continue;
      return result;
    }
    if (socket.unusual && socket.limited) {
      const uint32_t allowed = limiter_->mayReceive(slot);
      if (allowed == 0) {
        // It is readable, so the poller would tell of it again and again.
        socket.receiving = false;
        settle(socket, tokenOf(slot));
        return Turn::drained;
      }
      cut = allowed < chunk;
      chunk = std::min(chunk, allowed);
    }
    ++counters_.receives;
    const ssize_t got = sys::recv(socket.fd, options_.slab.data() + filling.space, chunk);
    if (got > 0) {
      const auto length = static_cast<uint32_t>(got);
      filling.push({.kind = received, .socket = slot, .offset = filling.space, .length = length});
      filling.space = (filling.space + length + 7) & ~7u;
      filling.received = true;
      turn -= length;
      if (socket.limited) limiter_->received(slot, length, length == chunk);
      if (length < chunk) return Turn::drained;  // no trailing call for EAGAIN (HP-120)
      // Whether there is more is better heard from the poller than found out with an allowance that others could use.
      if (cut) return Turn::drained;
      continue;
    }
    ++counters_.receivesWithoutData;
    if (got < 0 && errno == EAGAIN) return Turn::drained;
    finishReceiving(slot, socket, got < 0 ? errno : 0, filling);
    return Turn::drained;
  }
  return Turn::more;
}

/// Receives straight into another socket. True when the turn is over, with its `result`.
//
// What that one does not take comes here after all, so that the pipe is empty for the next.
bool ReadinessEngine::spliceFrom(Slot slot, Socket& socket, uint32_t& turn, Filling& filling, Turn& result) {
  if (filling.completions.size() - filling.count < 2) {
    result = filling.count > 0 ? Turn::more : Turn::noRoom;
    return true;
  }
  Socket& to = sockets_[socket.spliceTo];
  if (!pipe_.ready() || to.fd < 0) {
    spliceTo(slot, noSlot);
    return false;
  }
  const size_t most = std::min<size_t>({turn, filling.spaceEnd - filling.space, SplicePipe::sizeBytes});
  ++counters_.receives;
  const ssize_t got = pipe_.fill(socket.fd, most);
  if (got <= 0) {
    const int error = got < 0 ? errno : 0;
    if (error == EINVAL || error == ENOSYS || error == EBADF) {
      spliceTo(slot, noSlot);
      return false;
    }
    ++counters_.receivesWithoutData;
    if (error != EAGAIN) finishReceiving(slot, socket, error, filling);
    result = Turn::drained;
    return true;
  }
  ++counters_.splices;
  ++counters_.sends;
  int error = 0;
  const auto length = static_cast<uint32_t>(got);
  const auto left = static_cast<uint32_t>(pipe_.empty(to.fd, length, error));
  if (left < length) filling.push({.kind = spliced, .socket = slot, .length = length - left});
  turn -= length;
  if (left > 0) {
    // With an error the next send() of it says the same.
    if (error == 0) to.blocked = true;
    else if (isDeath(error)) to.failure = error == EPIPE ? ECONNRESET : error;
    pipe_.read(options_.slab.subspan(filling.space, left));
    filling.push({.kind = received, .socket = slot, .offset = filling.space, .length = left});
    filling.space = (filling.space + left + 7) & ~7u;
    filling.received = true;
    spliceTo(slot, noSlot);
  }
  result = Turn::drained;
  return length < most || left > 0;
}

/// `error` 0: recv() said the peer has ended, which is only true when nothing worse is known (HP-26).
void ReadinessEngine::finishReceiving(Slot slot, Socket& socket, int error, Filling& filling) {
  if (error == 0) error = socket.failure;
  if (error == 0) error = kernel_socket::takeError(socket.fd);
  if (error == EPIPE) error = ECONNRESET;  // how Linux spells a reset after FIN
  socket.receiveOver = true;
  if (error == 0) return filling.push({.kind = ended, .socket = slot});
  if (isDeath(error)) socket.failure = error;
  filling.push({.kind = receiveFailed, .socket = slot, .error = systemError(error, "recv")});
}

// Receiving ahead -----------------------------------------------------------------------------------------------

void ReadinessEngine::noteWait(size_t found) {
  ++counters_.waits;
  counters_.kernelEvents += found;
  readyNext_ = 0;
  readyCount_ = found;
  aheadCount_ = 0;
  if (found == 0) return;
  const bool same = found == 1 && ready_[0].token.value == lone_.value;
  loneStreak_ = same ? loneStreak_ + 1 : 0;
  lone_ = ready_[0].token;
}

/// A lone connection in ping-pong pays a wait per message only to hear its own name. When the last waits reported
/// nothing else, its next bytes are tried first. The caller polled because the poller's descriptor is readable, so
/// it nearly always hits; after aheadLimit hits a real wait looks at everybody else.
bool ReadinessEngine::receiveAhead(Filling& filling) {
  if (loneStreak_ < aheadAfter || filling.count > 0) return false;
  if (aheadPause_ > 0) {
    --aheadPause_;
    return false;
  }
  if (++aheadCount_ > aheadLimit) return false;
  const Slot slot = slotOf(lone_);
  if (kindOf(lone_) != socketKind || !sockets_.contains(slot, generationOf(lone_))) return false;
  Socket& socket = sockets_[slot];
  if (wanted(socket) != Interest::read) return false;
  const Turn turn = receiveFrom(slot, socket, filling);
  if (filling.count == 0) {
    aheadPause_ = aheadPenalty;
    return false;
  }
  if (turn == Turn::more) loneStreak_ = 0;  // a stream, not a ping-pong
  return turn == Turn::drained;
}

Result<std::unique_ptr<Engine>> makeReadinessEngine(std::unique_ptr<Poller> poller, const EngineOptions& options) {
  return std::unique_ptr<Engine>(std::make_unique<ReadinessEngine>(std::move(poller), options));
}

}  // namespace sluice
