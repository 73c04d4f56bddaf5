#include "support/net_world.h"

#include <algorithm>

#include "support/test.h"

namespace sluice::test {

namespace {
constexpr size_t mostSlots = 4096;
}  // namespace

int Tale::count(EventType type) const { return static_cast<int>(std::ranges::count(events, type)); }

NetWorld::NetWorld(std::string_view engine, const Options& options)
    : slab_(options.slabBytes + options.plainBytes),
      records_(options.eventRecords),
      taken_(mostSlots),
      sim_(options.sim) {
  const auto received = std::span(slab_).first(options.slabBytes);
  auto made = makeEngine(engine, {.slab = received}, &sim_);
  SLUICE_ASSERT(made);
  loop_ = std::make_unique<Loop>(
      std::move(*made), LoopMemory{received, records_, taken_, std::span(slab_).subspan(options.slabBytes)}, 1);
  network_ = std::make_unique<Network>(
      *loop_,
      [](void* self) {
        static_cast<NetWorld*>(self)->woken = true;
        static_cast<NetWorld*>(self)->engine().wake();
      },
      this);
  frame_ = &loop_->frames().front();
  loop_->useFrame(frame_);
}

NetWorld::~NetWorld() {
  loop_->giveBack(frame_->lent);
  network_ = nullptr;
}

SocketAddress NetWorld::listen(uint32_t key, const ConnectionConfig& config,
                               std::vector<std::shared_ptr<AcceptGate>> gates) {
  ListenSpec spec;
  spec.address = *SocketAddress::ip("127.0.0.1", 0);
  auto listener = network_->listen(spec, key, config, std::move(gates));
  SLUICE_ASSERT(listener);
  return *engine().listenerAddress(*listener);
}

Conn NetWorld::connect(const SocketAddress& address, const ConnectionConfig& config, uint32_t connectTimeoutMs) {
  ConnectSpec spec;
  spec.address = address;
  loop_->refreshNow();
  auto slot = network_->connect(spec, config, connectTimeoutMs);
  SLUICE_ASSERT(slot);
  const Conn conn{*slot, engine().generation(*slot) << 8};
  tales_[conn] = Tale{};
  return conn;
}

NetWorld::Pair NetWorld::pair(const ConnectionConfig& clientConfig, const ConnectionConfig& serverConfig) {
  static uint32_t nextKey = 1'000'000;
  const uint32_t key = nextKey++;
  const SocketAddress address = listen(key, serverConfig);
  const size_t before = opened.size();
  const Conn client = connect(address, clientConfig);
  until([&] { return opened.size() > before && of(client).has(EventType::connected); });
  network_->closeListener(key);
  return {client, opened.size() > before ? opened[before] : Conn{}};
}

void NetWorld::turn(Deadline deadline) {
  deliver();
  apply();
  deliver();
  loop_->useFrame(frame_);
  delivered_ = 0;
  // As drivers do.
  const auto collected = loop_->collect(woken.exchange(false) || network_->work() ? Deadline::now() : deadline);
  CHECK(collected);
  network_->serveWaiting();
  // What the answers cause is delivered in the same turn.
  for (int pass = 0; pass < 8 && delivered_ < frame_->count; ++pass) {
    deliver();
    apply();
  }
  engine().submit();
  loop_->giveBack(frame_->lent);
}

bool NetWorld::until(const std::function<bool()>& done, TimeMs withinMs) {
  const Deadline deadline{nowMs() + withinMs};
  deliver();
  while (!done()) {
    if (nowMs() >= deadline.atMs) {
      fail(__FILE__, __LINE__, "what was waited for did not happen within " + std::to_string(withinMs) + " ms");
      return false;
    }
    turn(deadline);
  }
  return true;
}

void NetWorld::pass(TimeMs ms) {
  const Deadline deadline{nowMs() + ms};
  while (nowMs() < deadline.atMs) turn(deadline);
}

void NetWorld::fence() {
  if (fence_.client.slot == noSlot) fence_ = pair();
  for (const auto& [from, to] :
       {std::pair(fence_.client, fence_.server), std::pair(fence_.server, fence_.client)}) {
    const size_t before = of(to).received.size();
    writeNow(from, "!");
    until([&, to = to] { return of(to).received.size() > before; });
  }
}

void NetWorld::write(Conn to, std::string_view bytes, bool wantDrain) {
  const auto type = static_cast<int32_t>(OpType::writeOut) | (wantDrain ? wantDrainFlag : 0);
  ops_.push_back({static_cast<int32_t>(to.tag) | type, static_cast<int32_t>(to.slot),
                  static_cast<int32_t>(out_.size()), static_cast<int32_t>(bytes.size())});
  out_ += bytes;
}

void NetWorld::writeReference(Conn to, std::string_view bytes, uint32_t reference, bool wantDrain) {
  const auto type = static_cast<int32_t>(OpType::writeReference) | (wantDrain ? wantDrainFlag : 0);
  ops_.push_back({static_cast<int32_t>(to.tag) | type, static_cast<int32_t>(to.slot),
                  static_cast<int32_t>(reference), static_cast<int32_t>(bytes.size())});
  references_.push_back(reinterpret_cast<const uint8_t*>(bytes.data()));
}

void NetWorld::writeFile(Conn to, const double (&where)[2], uint32_t length, uint32_t reference, bool wantDrain) {
  const auto type = static_cast<int32_t>(OpType::writeFile) | (wantDrain ? wantDrainFlag : 0);
  ops_.push_back({static_cast<int32_t>(to.tag) | type, static_cast<int32_t>(to.slot),
                  static_cast<int32_t>(reference), static_cast<int32_t>(length)});
  references_.push_back(reinterpret_cast<const uint8_t*>(where));
}

void NetWorld::writeSlab(Conn to, uint32_t offset, uint32_t length) {
  ops_.push_back({static_cast<int32_t>(to.tag) | static_cast<int32_t>(OpType::writeSlab),
                  static_cast<int32_t>(to.slot), static_cast<int32_t>(offset), static_cast<int32_t>(length)});
}

void NetWorld::op(OpType type, Conn to, int32_t a, int32_t b) {
  ops_.push_back({static_cast<int32_t>(to.tag) | static_cast<int32_t>(type), static_cast<int32_t>(to.slot), a, b});
}

void NetWorld::relayGo(Conn from, Conn to) {
  const std::string& early = of(from).received;
  if (!early.empty()) write(to, early);
  op(OpType::relayGo, from, static_cast<int32_t>(early.size()));
}

void NetWorld::opTimer(OpType type, uint32_t key, int32_t ms) {
  ops_.push_back({static_cast<int32_t>(type), static_cast<int32_t>(key), ms, 0});
}

void NetWorld::apply() {
  if (ops_.empty()) return;
  loop_->refreshNow();
  // Taken first: what an operation causes may stage the next ones.
  const auto ops = std::move(ops_);
  const auto out = std::move(out_);
  const auto references = std::move(references_);
  ops_.clear();
  out_.clear();
  references_.clear();
  network_->apply(ops, reinterpret_cast<const uint8_t*>(out.data()), references);
}

void NetWorld::deliver() {
  while (delivered_ < frame_->count) note(frame_->records[delivered_++]);
}

void NetWorld::note(const EventRecord& record) {
  const auto type = static_cast<EventType>(record.head & 0xff);
  const Conn conn{static_cast<Slot>(record.id), static_cast<uint32_t>(record.head) & ~0xffu};
  switch (type) {
    case EventType::released: released.push_back(static_cast<uint32_t>(record.id)); return;
    case EventType::timer: scriptTimers.push_back(static_cast<uint32_t>(record.id)); return;
    case EventType::handshakeFailed: handshakeFailures.push_back(record.a); return;
    case EventType::openingFailed:
      if (record.a != 0) openingFailures.push_back(record.a);
      return;
    case EventType::stepBegins:
    case EventType::stepBytes: {
      Asked question{conn, type == EventType::stepBegins ? record.b : -1, ""};
      if (type == EventType::stepBytes) {
        question.bytes.assign(reinterpret_cast<const char*>(slab_.data()) + record.a,
                              static_cast<size_t>(record.b));
      }
      asked.push_back(question);
      if (onAsked) onAsked(question);
      return;
    }
    case EventType::relayCount:
      relayed[static_cast<uint32_t>(record.id)][static_cast<uint32_t>(record.head) >> 8] =
          static_cast<uint64_t>(static_cast<uint32_t>(record.b)) << 32 | static_cast<uint32_t>(record.a);
      return;
    case EventType::relayTimeout: relayTimeouts.push_back(static_cast<uint32_t>(record.id)); return;
    case EventType::listenerFailed: listenerFailures.push_back(static_cast<ErrorCode>(record.a & 0xff)); return;
    case EventType::opened:
      tales_[conn] = Tale{};
      listenerOf[conn] = static_cast<uint32_t>(record.a);
      opened.push_back(conn);
      break;
    default: break;
  }
  CHECK(tales_.contains(conn));  // never an event of somebody unknown
  Tale& tale = tales_[conn];
  CHECK(!tale.has(EventType::closed));  // closed is the last
  tale.events.push_back(type);
  if (type == EventType::data) {
    CHECK(record.b > 0);
    tale.received.append(reinterpret_cast<const char*>(slab_.data()) + record.a, static_cast<size_t>(record.b));
  } else if (type == EventType::timeout) {
    tale.timeouts.push_back(static_cast<TimeoutKind>(record.a));
    tale.timeoutTimes.push_back(nowMs());
  } else if (type == EventType::closed) {
    tale.closeCode = static_cast<ErrorCode>(record.a & 0xff);
    tale.closeNumber = record.b;
    tale.closedAtMs = nowMs();
    if (forgetClosed) op(OpType::forget, conn);
  }
  if (handler) handler(conn, type, record);
}

}  // namespace sluice::test
