// SimNetwork's beginnings: listeners, backlogs, and how a connect finds its way into one.
#include <algorithm>
#include <cerrno>

#include "engine/sim_address.h"
#include "engine/sim_network.h"

namespace sluice {

namespace {

using Kind = SimEvent::Kind;

// Linux's ip_local_port_range.
constexpr uint16_t firstPort = 32768, lastPort = 60999;

}  // namespace

// ── listeners ──

Result<ListenerId> SimNetwork::listen(const ListenSpec& spec) {
  SocketAddress address = spec.address;
  if (address.family() == AF_UNSPEC) return systemError(EINVAL, "bind");
  if (!descriptorFree()) return systemError(EMFILE, "socket");
  if (address.family() != AF_UNIX && address.port() == 0) address = sim_address::withPort(address, pickPort());
  for (ListenerId id = 0; id < listeners_.size(); ++id) {
    if (!listeners_.contains(id)) continue;
    const Listener& present = listeners_[id];
    if (present.reusePort && spec.reusePort) continue;
    if (sim_address::clash(present.address, present.ipv6Only, address, spec.ipv6Only))
      return systemError(EADDRINUSE, "bind");
  }
  const ListenerId id = listeners_.allocate();
  if (id == noSlot) return systemError(ENFILE, "socket");
  ++descriptors_;
  ++portUsers_[address.port()];
  Listener& listener = listeners_[id];
  listener.address = address;
  listener.ipv6Only = spec.ipv6Only;
  listener.reusePort = spec.reusePort;
  listener.backlog = static_cast<uint32_t>(std::max(spec.backlog, 1));
  listener.options = spec.options;
  return id;
}

bool SimNetwork::acceptable(ListenerId listener) const { return !listeners_[listener].waiting.empty(); }

Result<SimEnd> SimNetwork::accept(ListenerId id, Slot slot) {
  Listener& listener = listeners_[id];
  SLUICE_ASSERT(!listener.waiting.empty());
  const SimEnd end{listener.waiting.front(), 1};
  if (connections_[end.connection].random.chance(options_.acceptFailProbability))
    return systemError(ENFILE, "accept");
  if (!descriptorFree()) return systemError(EMFILE, "accept");
  listener.waiting.pop_front();
  ++descriptors_;
  side(end).holder = Holder::application;
  side(end).slot = slot;
  return end;
}

void SimNetwork::closeListener(ListenerId id) {
  for (uint32_t connection = 0; connection < connections_.size(); ++connection) {
    if (!connections_.contains(connection)) continue;
    const SimEnd server{connection, 1};
    if (connections_[connection].listener != id || side(server).holder != Holder::listener) continue;
    sendReset(server);
    leave(server);
  }
  --descriptors_;
  --portUsers_[listeners_[id].address.port()];
  listeners_.release(id);
}

ListenerId SimNetwork::findListener(Connection& connection) {
  std::vector<ListenerId> found;  // more than one only with reusePort
  for (ListenerId id = 0; id < listeners_.size(); ++id)
    if (listeners_.contains(id) &&
        sim_address::serves(listeners_[id].address, listeners_[id].ipv6Only, connection.sides[0].peer))
      found.push_back(id);
  return found.empty() ? noListener : found[connection.random.between(0, found.size() - 1)];
}

// ── connecting ──

Result<SimEnd> SimNetwork::connect(const ConnectSpec& spec, Slot slot) {
  if (spec.address.family() == AF_UNSPEC) return systemError(EINVAL, "connect");
  if (!descriptorFree()) return systemError(EMFILE, "socket");
  auto local = chooseLocal(spec);
  if (!local) return local.error();
  const uint32_t id = connections_.allocate();
  if (id == noSlot) return systemError(ENFILE, "socket");
  ++descriptors_;
  ++portUsers_[local->port()];

  const SimEnd end{id, 0};
  Connection& connection = connections_[id];
  Side& client = connection.sides[0];
  client.holder = Holder::application;
  client.slot = slot;
  client.connecting = true;
  client.local = *local;
  client.peer = sim_address::destination(spec.address);
  drawFate(connection);
  for (const SocketOptionValue& option : spec.options) setOption(end, option);
  if (connection.fate == Fate::unanswered)
    plan(end, Kind::connectGivesUp, nowUs() + SimSchedule::toUs(options_.connectGiveUpMs));
  else plan(end, Kind::requestArrives, nowUs() + connection.streams[0].latencyUs);
  return end;
}

// All draws are made for every connection, so that one probability does not shift the draws of the others.
void SimNetwork::drawFate(Connection& connection) {
  SimRandom& random = connection.random = random_.fork();
  const bool refused = random.chance(options_.refuseProbability);
  const bool unanswered = random.chance(options_.blackHoleProbability);
  connection.fate = unanswered ? Fate::unanswered : refused ? Fate::refused : Fate::normal;
  const bool reset = random.chance(options_.resetProbability);
  const uint64_t after = random.between(options_.resetAfterMinBytes, options_.resetAfterMaxBytes);
  if (reset) connection.resetAfterBytes = after;
  const double latencyMaxMs = options_.latencyMaxMs == 0 ? options_.latencyMinMs : options_.latencyMaxMs;
  for (SimStream& stream : connection.streams)
    stream.latencyUs = random.between(SimSchedule::toUs(options_.latencyMinMs), SimSchedule::toUs(latencyMaxMs));
  for (Side& side : connection.sides) {
    side.sendBufferBytes = options_.sendBufferBytes;
    side.windowBytes = options_.receiveWindowBytes;
  }
}

Result<SocketAddress> SimNetwork::chooseLocal(const ConnectSpec& spec) {
  if (spec.local.family() == AF_UNSPEC) {
    const SocketAddress source = sim_address::source(spec.address);
    return source.family() == AF_UNIX ? source : sim_address::withPort(source, pickPort());
  }
  if (spec.local.family() != spec.address.family()) return systemError(EINVAL, "bind");
  SocketAddress local = spec.local;
  if (sim_address::isWildcard(local))
    local = sim_address::withPort(sim_address::source(spec.address), local.port());
  if (local.family() == AF_UNIX) return local;
  if (local.port() == 0) return sim_address::withPort(local, pickPort());
  if (localPortTaken(local)) return systemError(EADDRINUSE, "bind");
  return local;
}

bool SimNetwork::localPortTaken(const SocketAddress& local) const {
  if (portUsers_[local.port()] == 0) return false;
  for (ListenerId id = 0; id < listeners_.size(); ++id)
    if (listeners_.contains(id) &&
        sim_address::clash(listeners_[id].address, listeners_[id].ipv6Only, local, false))
      return true;
  for (uint32_t id = 0; id < connections_.size(); ++id)
    if (connections_.contains(id) && sim_address::serves(connections_[id].sides[0].local, false, local))
      return true;
  return false;
}

// In turn, so that ports are predictable. With all of them taken clients share one, which only costs plausibility.
uint16_t SimNetwork::pickPort() {
  for (int tries = firstPort; tries <= lastPort; ++tries) {
    lastPort_ = lastPort_ == 0 || lastPort_ == lastPort ? firstPort : static_cast<uint16_t>(lastPort_ + 1);
    if (portUsers_[lastPort_] == 0) break;
  }
  return lastPort_;
}

void SimNetwork::requestArrives(SimEnd client) {
  Connection& connection = connections_[client.connection];
  const SimEnd server = other(client);
  const ListenerId id = findListener(connection);
  if (id == noListener || connection.fate == Fate::refused) return put(server, {SimSegment::Kind::refuse});

  Listener& listener = listeners_[id];
  if (listener.waiting.size() + listener.halfOpen >= listener.backlog) {
    // As Linux: a full backlog drops the request, and the client repeats it after 1, 2, 4 … seconds.
    if (connection.requests == 0)
      plan(client, Kind::connectGivesUp, nowUs() + SimSchedule::toUs(options_.connectGiveUpMs));
    plan(client, Kind::requestArrives, nowUs() + (SimSchedule::secondUs << std::min(connection.requests, 6u)));
    ++connection.requests;
    return;
  }
  ++listener.halfOpen;
  connection.listener = id;
  Side& accepting = side(server);
  accepting.holder = Holder::listener;
  accepting.local = sim_address::shownTo(listener.address.family(), side(client).peer);
  accepting.peer = sim_address::shownTo(listener.address.family(), side(client).local);
  for (const SocketOptionValue& option : listener.options) setOption(server, option);
  put(server, {SimSegment::Kind::open});
}

void SimNetwork::connectGivesUp(SimEnd client) {
  side(client).connecting = false;
  side(client).connectError = systemError(ETIMEDOUT, "connect");
  tell(client);
}

}  // namespace sluice
