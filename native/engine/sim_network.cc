#include "engine/sim_network.h"

#include <algorithm>
#include <cerrno>

namespace sluice {

namespace {

using Kind = SimEvent::Kind;

size_t sizeOf(const iovec* pieces, int count) {
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
  return size;
}

}  // namespace

SimNetwork::SimNetwork(const SimOptions& options, Watcher& watcher)
    : options_(options), watcher_(watcher), random_(options.seed), portUsers_(65536) {}

// ── time ──

std::optional<uint64_t> SimNetwork::nextEventUs() {
  while (!schedule_.empty() && !matters(schedule_.next())) schedule_.take();
  if (schedule_.empty()) return std::nullopt;
  return schedule_.nextUs();
}

uint64_t SimNetwork::runUntil(uint64_t atUs) {
  uint64_t events = 0;
  for (auto next = nextEventUs(); next && *next <= atUs; next = nextEventUs(), ++events) {
    schedule_.advanceTo(*next);
    run(schedule_.take());
  }
  schedule_.advanceTo(atUs);
  return events;
}

void SimNetwork::plan(SimEnd end, Kind kind, uint64_t atUs, uint32_t bytes) {
  schedule_.add(atUs, {kind, end.side, end.connection, connections_.generation(end.connection), bytes});
}

// An event of a connection that is gone, or whose reason is gone, must not move the clock.
bool SimNetwork::matters(const SimEvent& event) const {
  if (!connections_.contains(event.connection, event.generation)) return false;
  const Side& concerned = connections_[event.connection].sides[event.side];
  switch (event.kind) {
    case Kind::requestArrives:
    case Kind::connectGivesUp: return concerned.connecting;
    case Kind::spuriousRoom: return concerned.holder == Holder::application;
    case Kind::segmentArrives:
    case Kind::windowOpens: return true;
  }
  return true;
}

void SimNetwork::run(const SimEvent& event) {
  const SimEnd end{event.connection, event.side};
  switch (event.kind) {
    case Kind::requestArrives: return requestArrives(end);
    case Kind::connectGivesUp: return connectGivesUp(end);
    case Kind::segmentArrives: return segmentArrives(end);
    case Kind::windowOpens:
      outgoing(end).windowUsed -= event.bytes;
      transmit(end);
      return tell(end);
    case Kind::spuriousRoom: side(end).spuriousRoom = true; return tell(end);
  }
}

void SimNetwork::tell(SimEnd end) {
  if (side(end).holder == Holder::application) watcher_.endChanged(side(end).slot);
}

// ── arriving ──

void SimNetwork::segmentArrives(SimEnd reader) {
  SimStream& stream = incoming(reader);
  const SimSegment segment = stream.wire.front();
  stream.wire.pop_front();
  switch (segment.kind) {
    case SimSegment::Kind::data: return dataArrives(reader, segment.bytes);
    case SimSegment::Kind::open: return openArrives(reader);
    case SimSegment::Kind::reset: return resetArrives(reader);
    case SimSegment::Kind::fin: stream.finArrived = true; return tell(reader);
    case SimSegment::Kind::refuse: {
      // A Unix path exists as long as its listener; an abstract name is refused, unix(7).
      const std::string host = side(reader).peer.host();
      const bool path = side(reader).peer.family() == AF_UNIX && !host.empty() && host.front() != '\0';
      const bool exists = connections_[reader.connection].fate == Fate::refused;
      side(reader).connecting = false;
      side(reader).connectError = systemError(path && !exists ? ENOENT : ECONNREFUSED, "connect");
      return tell(reader);
    }
  }
}

void SimNetwork::dataArrives(SimEnd reader, uint32_t bytes) {
  SimStream& stream = incoming(reader);
  stream.arrive(bytes);
  if (side(reader).holder != Holder::nobody) return tell(reader);
  stream.dropArrived();
  sendReset(reader);
}

void SimNetwork::openArrives(SimEnd reader) {
  Side& opened = side(reader);
  if (opened.holder == Holder::nobody) return;
  if (reader.side == 0 && !opened.connecting) return sendReset(reader);  // too late: it has given up
  opened.open = true;
  if (reader.side == 0) {
    opened.connecting = false;
    put(reader, {SimSegment::Kind::open});
    transmit(reader);
    return tell(reader);
  }
  Connection& connection = connections_[reader.connection];
  Listener& listener = listeners_[connection.listener];
  --listener.halfOpen;
  listener.waiting.push_back(reader.connection);
  watcher_.listenerChanged(connection.listener);
}

void SimNetwork::resetArrives(SimEnd reader) {
  incoming(reader).resetArrived = true;
  outgoing(reader).dropUnsent();
  outgoing(reader).cut = true;
  Side& concerned = side(reader);
  if (concerned.connecting) {
    // The listener was closed after it had answered.
    concerned.connecting = false;
    concerned.connectError = systemError(ECONNRESET, "connect");
  }
  if (concerned.holder == Holder::listener && !concerned.open) {
    --listeners_[connections_[reader.connection].listener].halfOpen;
    return leave(reader);
  }
  tell(reader);
}

// ── departing ──

void SimNetwork::put(SimEnd writer, SimSegment segment) {
  Connection& connection = connections_[writer.connection];
  SimStream& stream = outgoing(writer);
  uint64_t leavesUs = std::max(nowUs(), stream.lineFreeUs);
  if (options_.bytesPerSecond != 0) leavesUs += segment.bytes * SimSchedule::secondUs / options_.bytesPerSecond;
  stream.lineFreeUs = leavesUs;

  const bool stalls = connection.random.chance(options_.stallProbability);
  const uint64_t stallUs =
      connection.random.between(SimSchedule::toUs(options_.stallMinMs), SimSchedule::toUs(options_.stallMaxMs));
  if (stalls) connection.frozenUntilUs = std::max(connection.frozenUntilUs, leavesUs + stallUs);

  const uint64_t travelUs = stream.latencyUs + connection.random.between(0, SimSchedule::toUs(options_.jitterMs));
  stream.lastArrivalUs = std::max({leavesUs + travelUs, stream.lastArrivalUs, connection.frozenUntilUs});
  stream.wire.push_back(segment);
  plan(other(writer), Kind::segmentArrives, stream.lastArrivalUs);
}

void SimNetwork::transmit(SimEnd writer) {
  Connection& connection = connections_[writer.connection];
  SimStream& stream = outgoing(writer);
  const uint64_t window = side(other(writer)).windowBytes;
  if (stream.cut || !side(writer).open) return;
  while (stream.unsent() > 0 && stream.windowUsed < window) {
    const uint64_t drawn = connection.random.between(
        options_.segmentMinBytes == 0 ? options_.segmentMaxBytes : options_.segmentMinBytes,
        options_.segmentMaxBytes);
    const uint64_t size = std::min<uint64_t>({stream.unsent(), drawn, window - stream.windowUsed});
    stream.depart(size);
    stream.windowUsed += size;
    put(writer, {SimSegment::Kind::data, static_cast<uint32_t>(size)});
    connection.carriedBytes += size;
    if (connection.carriedBytes >= connection.resetAfterBytes) {
      // Somebody in between cuts the connection: each end believes that the other one did.
      sendReset(writer);
      sendReset(other(writer));
      return;
    }
  }
  if (stream.finWanted && !stream.finSent && stream.unsent() == 0) {
    stream.finSent = true;
    put(writer, {SimSegment::Kind::fin});
  }
}

void SimNetwork::sendReset(SimEnd writer) {
  SimStream& stream = outgoing(writer);
  if (stream.cut) return;
  stream.cut = true;
  stream.dropUnsent();
  put(writer, {SimSegment::Kind::reset});
}

// Reports by halves of the window, as TCP avoids silly ones. What stays unreported never closes the window alone.
void SimNetwork::reportRead(SimEnd reader) {
  SimStream& stream = incoming(reader);
  if (stream.unreported == 0 || stream.unreported * 2 < side(reader).windowBytes) return;
  const uint64_t arrivesUs =
      std::max(nowUs() + outgoing(reader).latencyUs, connections_[reader.connection].frozenUntilUs);
  plan(other(reader), Kind::windowOpens, arrivesUs, static_cast<uint32_t>(stream.unreported));
  stream.unreported = 0;
}

// ── the calls of an end ──

bool SimNetwork::readable(SimEnd end) const {
  const SimStream& stream = incoming(end);
  return stream.arrived() > 0 || stream.resetArrived || stream.finArrived;
}

SimReceived SimNetwork::read(SimEnd end, uint8_t* into, size_t size) {
  SimStream& stream = incoming(end);
  if (stream.arrived() > 0) {
    const uint64_t drawn = connections_[end.connection].random.between(
        options_.segmentMinBytes == 0 ? options_.segmentMaxBytes : options_.segmentMinBytes,
        options_.segmentMaxBytes);
    const size_t taken = std::min<uint64_t>({size, stream.arrived(), drawn});
    stream.read(into, taken);
    stream.unreported += taken;
    reportRead(end);
    return {SimReceived::Kind::data, static_cast<uint32_t>(taken)};
  }
  if (stream.resetArrived) {
    side(end).resetTold = true;
    return {SimReceived::Kind::failed, 0, systemError(ECONNRESET, "recv")};
  }
  if (stream.finArrived) return {SimReceived::Kind::end};
  return {};
}

bool SimNetwork::writable(SimEnd end) const {
  return side(end).open && outgoing(end).unsent() <= side(end).sendBufferBytes / 2;
}

SendResult SimNetwork::send(SimEnd end, const iovec* pieces, int count) {
  Side& sender = side(end);
  SimStream& stream = outgoing(end);
  if (broken(end)) {
    const int reason = sender.resetTold ? EPIPE : ECONNRESET;
    sender.resetTold = true;
    return {.error = systemError(reason, "send")};
  }
  if (stream.finWanted) return {.error = systemError(EPIPE, "send")};
  if (!sender.open) return {.error = systemError(ENOTCONN, "send")};

  SimRandom& random = connections_[end.connection].random;
  const size_t size = sizeOf(pieces, count);
  const bool isShort = random.chance(options_.shortSendProbability);
  const size_t part = random.between(1, size);
  if (stream.cut) return {.taken = isShort ? part : size};  // lost: a reset is on its way to this end

  const uint64_t room = sender.sendBufferBytes - std::min<uint64_t>(sender.sendBufferBytes, stream.unsent());
  const size_t taken = std::min<uint64_t>(isShort ? part : size, room);
  size_t left = taken;
  for (int i = 0; left > 0; ++i) {
    const size_t piece = std::min(left, pieces[i].iov_len);
    stream.append(pieces[i].iov_base, piece);
    left -= piece;
  }
  transmit(end);
  return {.taken = taken};
}

bool SimNetwork::drawDeferredSend(SimEnd end) {
  return connections_[end.connection].random.chance(options_.deferredSendProbability);
}

void SimNetwork::drawSpuriousRoom(SimEnd end) {
  SimRandom& random = connections_[end.connection].random;
  const bool drawn = random.chance(options_.spuriousSentProbability);
  // Never at once: virtual time has to move between two of them.
  const uint64_t delayUs = random.between(1, 1000);
  if (drawn) plan(end, Kind::spuriousRoom, nowUs() + delayUs);
}

Result<void> SimNetwork::shutdownSend(SimEnd end) {
  if (!side(end).open || broken(end)) return systemError(ENOTCONN, "shutdown");
  outgoing(end).finWanted = true;
  transmit(end);
  return {};
}

void SimNetwork::close(SimEnd end, CloseMode mode) {
  SimStream& heard = incoming(end);
  const bool unread = heard.arrived() > 0;
  heard.dropArrived();
  if (mode == CloseMode::silent) {
    outgoing(end).dropUnsent();
  } else if (mode == CloseMode::reset || unread || !side(end).open) {
    sendReset(end);
  } else {
    outgoing(end).finWanted = true;
    transmit(end);
  }
  --descriptors_;
  leave(end);
}

void SimNetwork::leave(SimEnd end) {
  Side& leaving = side(end);
  leaving.holder = Holder::nobody;
  leaving.slot = noSlot;
  leaving.connecting = false;
  freeIfUnheld(end.connection);
}

void SimNetwork::freeIfUnheld(uint32_t id) {
  const Connection& connection = connections_[id];
  if (connection.sides[0].holder != Holder::nobody || connection.sides[1].holder != Holder::nobody) return;
  --portUsers_[connection.sides[0].local.port()];
  connections_.release(id);
}

void SimNetwork::setOption(SimEnd end, const SocketOptionValue& value) {
  const uint64_t bytes = static_cast<uint64_t>(std::max(value.number, 1));
  if (value.option == SocketOption::sendBufferBytes) side(end).sendBufferBytes = bytes;
  if (value.option != SocketOption::receiveBufferBytes) return;
  side(end).windowBytes = bytes;
  reportRead(end);
  transmit(other(end));
}

TcpInfo SimNetwork::tcpInfo(SimEnd end) const {
  const SimStream& out = outgoing(end);
  const SimStream& in = incoming(end);
  constexpr uint32_t segmentBytes = 1460;
  TcpInfo info;
  info.rttUs = info.minRttUs = static_cast<uint32_t>(out.latencyUs + in.latencyUs);
  info.rttVarianceUs = static_cast<uint32_t>(SimSchedule::toUs(options_.jitterMs));
  info.sendWindowSegments = static_cast<uint32_t>(side(other(end)).windowBytes / segmentBytes + 1);
  info.sendSegmentBytes = info.receiveSegmentBytes = segmentBytes;
  info.unackedSegments = static_cast<uint32_t>((out.onWire() + segmentBytes - 1) / segmentBytes);
  info.receiveSpaceBytes = static_cast<uint32_t>(side(end).windowBytes);
  info.notSentBytes = static_cast<uint32_t>(out.unsent());
  info.bytesAcked = out.arrivedInAll();
  info.bytesReceived = in.arrivedInAll();
  info.deliveryRateBytesPerSecond = info.pacingRateBytesPerSecond = options_.bytesPerSecond;
  // The numbers of Linux's TCP_ESTABLISHED and so on.
  if (in.resetArrived || side(end).connectError) info.state = 7;  // CLOSE
  else if (side(end).connecting) info.state = 2;                  // SYN_SENT
  else if (out.finWanted && in.finArrived) info.state = 9;        // LAST_ACK
  else if (out.finWanted) info.state = 4;                         // FIN_WAIT1
  else if (in.finArrived) info.state = 8;                         // CLOSE_WAIT
  else info.state = 1;                                            // ESTABLISHED
  return info;
}

}  // namespace sluice
