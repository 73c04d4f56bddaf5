// The part of Network that keeps rates: buckets of connections, and their places in groups. How much may be received the
// engine asks just before it does (ReceiveLimiter); what is sent is cut in network_sending.cc. A connection that finds
// its bucket empty sleeps until the tick that fills it; the timer wheel wakes all those of one tick together.
#include <algorithm>
#include <string_view>

#include "net/network.h"

namespace sluice {

namespace {

constexpr uint32_t bitOf(Direction direction) { return 1u << static_cast<uint32_t>(direction); }

// An IPv4 client has one key, whether it came by a listener of IPv6 or of IPv4.
std::string keyOf(const SocketAddress& address) {
  constexpr std::string_view mapped = "::ffff:";
  std::string host = address.host();
  const bool isMapped = host.starts_with(mapped) && host.find('.') != std::string::npos;
  return isMapped ? host.substr(mapped.size()) : host;
}

}  // namespace

void Network::bindRate(Slot slot, Connection& connection, const RateBinding& binding, const SocketAddress* remote) {
  if (!binding.any()) return;
  if (binding.bounds.any()) setOperationBounds(slot, connection, binding.bounds);
  if (binding.groupFollows) connection.pauses |= pausedForGroup;
  if (binding.own) setRateLimit(slot, connection, binding.own);
  if (binding.group) setRateGroup(slot, connection, binding.group);
  if (!binding.groups) return;
  auto peer = remote == nullptr ? peerAddress(slot) : Result<SocketAddress>(*remote);
  setRateGroup(slot, connection, binding.groups->group(peer ? keyOf(*peer) : "", engine_.nowMs()));
}

ConnectionLimit& Network::limitOf(Slot slot, Connection& connection) {
  if (!connection.limit) {
    connection.limit = std::make_unique<ConnectionLimit>();
    connection.limit->timer.tag = static_cast<uint64_t>(TimerKind::limit) << 32 | slot;
    limitReceive(slot, true);
    if (connection.relay) stopSplicing(*connection.relay);
  }
  return *connection.limit;
}

void Network::setRateLimit(Slot slot, Connection& connection, std::shared_ptr<const RateLimit> limit) {
  if (!limit && !connection.limit) return;
  ConnectionLimit& limits = limitOf(slot, connection);
  if (!limit) limits.own.reset();
  else if (limits.own) limits.own->replace(std::move(limit), engine_.nowMs());
  else limits.own.emplace(std::move(limit), engine_.nowMs());
  reviewOwnLimit(slot, connection);
  dropIdleLimit(slot, connection);
}

void Network::setRateGroup(Slot slot, Connection& connection, std::shared_ptr<RateGroup> group) {
  if (group || connection.limit) {
    ConnectionLimit& limits = limitOf(slot, connection);
    if (!limits.member || limits.member->group() != group) {
      leaveGroup(limits);
      if (group) {
        limits.member = std::make_unique<RateMember>(std::move(group), rateMail_, slot, engine_.nowMs());
      }
      limits.sendHolds &= static_cast<uint8_t>(~heldByGroup);
      resumeSending(slot, connection);
    }
  }
  setPauses(slot, connection, connection.pauses & static_cast<uint16_t>(~(pausedByGroup | pausedForGroup)));
  dropIdleLimit(slot, connection);
}

void Network::setOperationBounds(Slot slot, Connection& connection, const OperationBounds& bounds) {
  if (!bounds.any() && !connection.limit) return;
  limitOf(slot, connection).bounds = bounds;
  dropIdleLimit(slot, connection);
}

void Network::leaveGroup(ConnectionLimit& limits) {
  for (const Direction direction : directions) stopAwaiting(limits, direction);
  limits.member.reset();
}

void Network::dropIdleLimit(Slot slot, Connection& connection) {
  if (!connection.limit || connection.limit->own || connection.limit->member) return;
  if (connection.limit->bounds.any()) return;
  connection.limit.reset();
  limitReceive(slot, false);
}

void Network::dropLimit(Connection& connection) {
  if (!connection.limit) return;
  leaveGroup(*connection.limit);
  connection.limit.reset();
}

bool Network::debitRate(Slot slot, Connection& connection, Direction direction, int64_t bytes) {
  if (!connection.limit || !connection.limit->own) return false;
  connection.limit->own->refill(engine_.nowMs());
  connection.limit->own->spend(direction, bytes);
  reviewOwnLimit(slot, connection);
  return true;
}

RateStanding Network::rateStanding(Connection& connection) {
  RateStanding standing;
  if (!connection.limit) return standing;
  ConnectionLimit& limits = *connection.limit;
  for (const Direction direction : directions) {
    auto& told = direction == Direction::read ? standing.read : standing.write;
    if (limits.own) {
      limits.own->refill(engine_.nowMs());
      told.level = limits.own->limit()->of(direction).unlimited() ? rateLimitMax : limits.own->level(direction);
      told.allowed = std::max<int64_t>(0, told.level);
    }
    if (limits.member) told.allowed = std::min(told.allowed, limits.member->allowance(direction, engine_.nowMs()));
  }
  standing.read.heldByOwn = (connection.pauses & pausedByRate) != 0;
  standing.read.heldByGroup = (connection.pauses & pausedByGroup) != 0;
  standing.write.heldByOwn = (limits.sendHolds & heldByOwn) != 0;
  standing.write.heldByGroup = (limits.sendHolds & heldByGroup) != 0;
  return standing;
}

// ---- what may move

// 0 or less: nothing. The clock is asked only where the loop's idea of the time is too old to say yes.
int64_t Network::ownAllowance(ConnectionLimit& limits, Direction direction) {
  if (!limits.own) return rateLimitMax;
  limits.own->refill(loop_.nowMs());
  if (limits.own->level(direction) <= 0) limits.own->refill(engine_.nowMs());
  return limits.own->level(direction);
}

int64_t Network::groupAllowance(ConnectionLimit& limits, Direction direction, int64_t wanted) {
  if (!limits.member) return wanted;
  const int64_t bytes = limits.member->available(direction, loop_.nowMs());
  if (bytes > 0) return std::min(bytes, wanted);
  const auto answer = limits.member->request(direction, wanted, engine_.nowMs());
  if (answer.bytes == 0) await(limits, direction, answer.serveAtMs);
  return std::min(answer.bytes, wanted);
}

void Network::spend(ConnectionLimit& limits, Direction direction, int64_t bytes) {
  if (bytes == 0) return;
  if (limits.own) limits.own->spend(direction, bytes);
  if (limits.member) limits.member->spend(direction, bytes);
}

uint32_t Network::mayReceive(Slot slot) {
  Connection& connection = at(slot);
  // While draining what comes is dropped, and the time for that is bounded.
  if (!connection.limit || connection.state != ConnectionState::open) return UINT32_MAX;
  ConnectionLimit& limits = *connection.limit;
  const int64_t own = ownAllowance(limits, Direction::read);
  if (own <= 0) {
    connection.pauses |= pausedByRate;
    armLimit(connection);
    if (limits.member) limits.member->release(Direction::read, loop_.nowMs());
    return 0;
  }
  const int64_t most = std::min<int64_t>(own, limits.bounds.of(Direction::read));
  const int64_t bytes = groupAllowance(limits, Direction::read, most);
  if (bytes == 0) connection.pauses |= pausedByGroup;
  return static_cast<uint32_t>(std::min<int64_t>(bytes, UINT32_MAX));
}

void Network::received(Slot slot, uint32_t bytes, bool more) {
  Connection& connection = at(slot);
  if (!connection.limit || connection.state != ConnectionState::open) return;
  spend(*connection.limit, Direction::read, bytes);
  if (!more && connection.limit->member) connection.limit->member->release(Direction::read, loop_.nowMs());
}

uint32_t Network::usualReceive(Slot slot) {
  Connection& connection = at(slot);
  if (!connection.limit || connection.state != ConnectionState::open) return UINT32_MAX;
  ConnectionLimit& limits = *connection.limit;
  int64_t bytes = limits.bounds.of(Direction::read);
  if (limits.own) bytes = std::min(bytes, limits.own->limit()->read.rate);
  if (limits.member) bytes = std::min(bytes, limits.member->usual(Direction::read));
  return static_cast<uint32_t>(bytes);
}

size_t Network::maySend(Connection& connection, size_t wanted) {
  ConnectionLimit& limits = *connection.limit;
  if (limits.sendHolds != 0) return 0;
  const int64_t own = ownAllowance(limits, Direction::write);
  if (own <= 0) {
    limits.sendHolds |= heldByOwn;
    armLimit(connection);
    return 0;
  }
  wanted = std::min<size_t>(wanted, limits.bounds.of(Direction::write));
  const int64_t most = std::min<int64_t>(own, static_cast<int64_t>(std::min<size_t>(wanted, rateLimitMax)));
  const int64_t bytes = groupAllowance(limits, Direction::write, most);
  if (bytes == 0) limits.sendHolds |= heldByGroup;
  return static_cast<size_t>(bytes);
}

// A send that completes later is counted when it is handed over, so that others do not take the same bytes.
void Network::noteSend(Connection& connection, const SendResult& result, size_t asked) {
  size_t bytes = result.taken;
  if (result.waiting && defers_) {
    connection.limit->reserved = asked - result.taken;
    bytes = asked;
  }
  spend(*connection.limit, Direction::write, static_cast<int64_t>(bytes));
}

void Network::settleSend(Connection& connection, size_t sent) {
  const uint64_t reserved = std::exchange(connection.limit->reserved, 0);
  if (reserved > sent) spend(*connection.limit, Direction::write, -static_cast<int64_t>(reserved - sent));
}

// It waits for the kernel, or for more to send: what it was granted may go to others.
void Network::releaseSend(Connection& connection) {
  const bool needsMore = connection.queue && !connection.sending;
  if (connection.limit->member && !needsMore) connection.limit->member->release(Direction::write, loop_.nowMs());
}

void Network::resumeSending(Slot slot, Connection& connection) {
  if (connection.limit && connection.limit->sendHolds != 0) return;
  if (!connection.queue || connection.sending || !connection.live()) return;
  // Time spent waiting for a bucket does not count (LE-49).
  if (connection.timers) connection.timers->lastWriteMs = loop_.nowMs();
  sendQueued(slot, connection);
}

// What may leave at once is a member's part. Whoever has more goes on in the next turn of the loop, after the others.
void Network::sendLater(Slot slot, Connection& connection) {
  if (connection.limit->sendsLater) return;
  connection.limit->sendsLater = true;
  sendingLater_.push_back(slot);
  if (sendingLater_.size() == 1) wakeLoop_(wakeContext_);
}

void Network::takeTurns() {
  std::vector<Slot> listed;
  listed.swap(sendingLater_);
  for (const Slot slot : listed) {
    Connection& connection = at(slot);
    if (!connection.limit || !connection.limit->sendsLater) continue;
    connection.limit->sendsLater = false;
    resumeSending(slot, connection);
  }
}

// ---- time

void Network::armLimit(Connection& connection) {
  ConnectionLimit& limits = *connection.limit;
  TimeMs next = Deadline::never().atMs;
  if (limits.own && (connection.pauses & pausedByRate) != 0) next = limits.own->positiveAtMs(Direction::read);
  if (limits.own && (limits.sendHolds & heldByOwn) != 0) {
    next = std::min(next, limits.own->positiveAtMs(Direction::write));
  }
  if (next == Deadline::never().atMs) loop_.cancel(limits.timer);
  else if (!limits.timer.armed() || limits.timer.atMs != next) loop_.arm(limits.timer, next);
}

// Looks whether its own buckets still hold it: time has passed, or they have changed.
void Network::reviewOwnLimit(Slot slot, Connection& connection) {
  ConnectionLimit& limits = *connection.limit;
  if (ownAllowance(limits, Direction::read) > 0) {
    setPauses(slot, connection, connection.pauses & static_cast<uint16_t>(~pausedByRate));
  }
  const bool sends = (limits.sendHolds & heldByOwn) == 0 || ownAllowance(limits, Direction::write) > 0;
  if (sends) limits.sendHolds &= static_cast<uint8_t>(~heldByOwn);
  armLimit(connection);
  if (sends) resumeSending(slot, connection);
}

void Network::await(ConnectionLimit& limits, Direction direction, TimeMs serveAtMs) {
  auto& wait = groupWaits_[limits.member->group().get()];
  if (!wait) {
    wait = std::make_unique<GroupWait>(limits.member->group());
    wait->tag = static_cast<uint64_t>(TimerKind::group) << 32;
  }
  if ((limits.awaited & bitOf(direction)) == 0) wait->waiting++;
  limits.awaited |= bitOf(direction);
  if (!wait->armed() || wait->atMs > serveAtMs) loop_.arm(*wait, serveAtMs);
}

void Network::stopAwaiting(ConnectionLimit& limits, Direction direction) {
  if ((limits.awaited & bitOf(direction)) == 0) return;
  limits.awaited &= ~bitOf(direction);
  auto wait = groupWaits_.find(limits.member->group().get());
  // The entry stays until its time: mostly somebody waits again by then.
  if (wait != groupWaits_.end()) wait->second->waiting--;
}

void Network::onGroupTimer(GroupWait& wait) {
  if (wait.waiting == 0) {
    groupWaits_.erase(wait.group.get());
    return;
  }
  const TimeMs next = wait.group->serve(loop_.nowMs());
  // Never: all of them have been granted something, and the mail says so.
  loop_.arm(wait, next == Deadline::never().atMs ? wait.group->nextTickMs() : next);
}

// Those whom a group has granted something, or told to ask anew.
void Network::takeGrants() {
  rateNotes_.clear();
  rateMail_.take(rateNotes_);
  for (const auto& [member, slot, direction] : rateNotes_) {
    Connection& connection = at(slot);
    // It may have gone because of the note before.
    if (!connection.limit || connection.limit->member.get() != member) continue;
    stopAwaiting(*connection.limit, direction);
    if (direction == Direction::read) {
      setPauses(slot, connection, connection.pauses & static_cast<uint16_t>(~pausedByGroup));
    } else {
      connection.limit->sendHolds &= static_cast<uint8_t>(~heldByGroup);
      resumeSending(slot, connection);
    }
  }
}

}  // namespace sluice
