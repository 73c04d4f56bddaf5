#include "engine/uring_engine.h"

#ifdef __linux__

#include <algorithm>

#include "engine/kernel_socket.h"

namespace sluice {

// The accepting side of UringEngine. Without a bound, one multishot accept; within a budget, single ones, never more
// of them under way than the budget still allows (HP-72). Of several multishot accepts on one socket the kernel wakes the
// first for ever, so where others accept from it too these are single ones as well: they queue up behind each other.

namespace {

constexpr uint32_t mostSingleAccepts = 16;
// Few, because those of a thread that is busy wait until it is not.
constexpr uint32_t mostSharedAccepts = 4;

// The connection failed before it was accepted, or the call did; the listener is fine.
bool passesForAccept(int error) {
  switch (error) {
    case EINTR:
    case ECANCELED:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EPERM:  // firewall rules
    case EOPNOTSUPP:
    case ENOPROTOOPT: return true;
    default: return false;
  }
}

}  // namespace

Result<ListenerId> UringEngine::listen(const ListenSpec& spec) {
  auto fd = kernel_socket::openListener(spec);
  if (!fd) return fd.error();
  const auto blocking = setBlocking(*fd);
  const ListenerId id = blocking ? listeners_.allocate() : noListener;
  if (id == noListener) {
    kernel_socket::closeFd(*fd);
    return blocking ? Error{ErrorCode::descriptorLimit, 0, ""} : blocking.error();
  }
  listeners_[id].fd = *fd;
  listeners_[id].shared = spec.shared;
  auto address = kernel_socket::localAddress(*fd);
  listeners_[id].isUnix = address && address->family() == AF_UNIX;
  return id;
}

void UringEngine::setAcceptBudget(ListenerId id, uint32_t count) {
  UringListener& listener = listeners_[id];
  listener.budget = count;
  listener.failed = false;
  const bool tooMany = listener.multishot ? count != unlimitedAccepts : listener.accepting > count;
  if (tooMany) cancelAccept(id);
  if (count > 0 && !listener.waiting.empty()) listWaiting(id);
  armAccept(id);
}

void UringEngine::armAccept(ListenerId id) {
  UringListener& listener = listeners_[id];
  if (listener.closing || listener.retiring || listener.failed || listener.cancelling) return;
  const bool multishot = listener.budget == unlimitedAccepts && !listener.shared;
  const auto waiting = static_cast<uint32_t>(listener.waiting.size());
  const uint32_t room = listener.budget - std::min(listener.budget, waiting);
  const uint32_t most = listener.shared ? mostSharedAccepts : mostSingleAccepts;
  const uint32_t wanted = multishot ? 1 : std::min({room, options_.acceptTurnCount, most});
  for (; listener.accepting < wanted; ++listener.accepting) {
    listener.multishot = multishot;
    uring::SubmissionEntry& entry = queue(Operation::accept, id, uring::opcode::accept, listener.fd);
    entry.operationFlags = SOCK_CLOEXEC;  // blocking: io_uring waits by itself, and only then
    if (multishot) entry.ioprio = uring::operation::acceptMultishot;
  }
}

void UringEngine::cancelAccept(ListenerId id) {
  UringListener& listener = listeners_[id];
  if (listener.accepting == 0 || listener.cancelling) return;
  listener.cancelling = true;
  queueCancel(tag(Operation::accept, id), true);
}

void UringEngine::closeListener(ListenerId id) {
  UringListener& listener = listeners_[id];
  listener.closing = true;
  for (const int fd : listener.waiting) kernel_socket::closeFd(fd);
  listener.waiting.clear();
  // Accepts under way would keep the port open, so they end here and not with the next turn.
  if (listener.accepting > 0) {
    cancelAccept(id);
    (void)enter(false, Deadline::now());
  }
  kernel_socket::closeFd(listener.fd);
  listener.fd = -1;
  if (listener.accepting == 0) listeners_.release(id);
}

// Nobody is refused who has got through already: a successor listens on the same socket, and knows nothing of them.
void UringEngine::retireListener(ListenerId id) {
  UringListener& listener = listeners_[id];
  listener.retiring = true;
  if (listener.accepting > 0) {
    cancelAccept(id);
    (void)enter(false, Deadline::now());
  }
  kernel_socket::closeFd(listener.fd);
  listener.fd = -1;
  if (!listener.waiting.empty()) listWaiting(id);
  releaseRetired(id);
}

bool UringEngine::isRetiring(ListenerId id) const { return listeners_.contains(id) && listeners_[id].retiring; }

void UringEngine::releaseRetired(ListenerId id) {
  const UringListener& listener = listeners_[id];
  if (listener.retiring && listener.accepting == 0 && listener.waiting.empty()) listeners_.release(id);
}

void UringEngine::handleAccepted(ListenerId id, const uring::CompletionEntry& completion, Output& out) {
  UringListener& listener = listeners_[id];
  if (!(completion.flags & uring::completionFlag::more)) {
    if (--listener.accepting == 0) listener.cancelling = listener.multishot = false;
  }
  if (listener.closing) {
    if (completion.result >= 0) kernel_socket::closeFd(completion.result);
    if (listener.accepting == 0) listeners_.release(id);
    return;
  }
  if (completion.result >= 0) {
    listener.waiting.push_back(completion.result);
  } else if (listener.retiring) {
    // Its end was asked for.
  } else if (completion.result == -EAGAIN) {
    (void)setBlocking(listener.fd);  // somebody who shares it made it non-blocking
  } else if (!passesForAccept(-completion.result)) {
    listener.failed = true;
    listener.error = systemError(-completion.result, "accept");
    cancelAccept(id);
  }
  deliverAccepted(id, out);
  armAccept(id);
  releaseRetired(id);
}

void UringEngine::deliverAccepted(ListenerId id, Output& out) {
  UringListener& listener = listeners_[id];
  if (listener.turn != turn_) {
    listener.turn = turn_;
    listener.turnCount = 0;
  }
  const auto mayDeliver = [&listener] { return listener.budget > 0 || listener.retiring; };
  while (!listener.waiting.empty() && mayDeliver() && listener.turnCount < options_.acceptTurnCount &&
         !out.full()) {
    const int fd = listener.waiting.front();
    listener.waiting.pop_front();
    const Slot slot = sockets_.allocate();
    if (slot == noSlot) {
      kernel_socket::closeFd(fd);
      listener.failed = true;
      listener.error = Error{ErrorCode::connectionLimit, 0, "accept"};
      cancelAccept(id);
      break;
    }
    sockets_[slot].fd = fd;
    sockets_[slot].isUnix = listener.isUnix;
    ++listener.turnCount;
    if (listener.budget != unlimitedAccepts && listener.budget > 0) --listener.budget;
    out.add({.kind = Completion::Kind::accepted, .socket = slot, .listener = id});
  }
  if (listener.error && !out.full()) {
    out.add({.kind = Completion::Kind::acceptFailed, .listener = id, .error = listener.error});
    listener.error = {};
  }
  if (listener.error || (!listener.waiting.empty() && mayDeliver())) listWaiting(id);
}

void UringEngine::listWaiting(ListenerId id) {
  if (listeners_[id].toDeliver) return;
  listeners_[id].toDeliver = true;
  waiting_.push_back(id);
}

void UringEngine::deliverWaitingAccepts(Output& out) {
  if (waiting_.empty()) return;
  std::vector<ListenerId> listed;
  listed.swap(waiting_);
  for (const ListenerId id : listed) {
    if (!listeners_.contains(id) || !listeners_[id].toDeliver) continue;
    listeners_[id].toDeliver = false;
    if (listeners_[id].closing) continue;
    deliverAccepted(id, out);
    armAccept(id);
    releaseRetired(id);
  }
}

}  // namespace sluice

#endif
