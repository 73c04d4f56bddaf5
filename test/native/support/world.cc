#include "support/world.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>

#include "support/test.h"

namespace sluice::test {

using enum Completion::Kind;

int Story::count(Completion::Kind kind) const { return static_cast<int>(std::ranges::count(kinds, kind)); }

World::World(std::string_view engineName, const Options& options)
    : slab_(options.slabBytes), options_(options), batch_(options.batchCompletions) {
  auto engine = makeEngine(engineName,
                           {.slab = slab_,
                            .receiveChunkBytes = options.receiveChunkBytes,
                            .receiveTurnBytes = options.receiveTurnBytes,
                            .acceptTurnCount = options.acceptTurnCount},
                           &options_.sim);
  CHECK(engine);
  if (!engine) return;
  engine_ = std::move(*engine);
  listener_ = listenOn(*SocketAddress::ip("127.0.0.1", 0));
  if (listener_ == noListener) return;
  auto address = engine_->listenerAddress(listener_);
  CHECK(address);
  if (address) address_ = *address;
}

ListenerId World::listenOn(const SocketAddress& address, uint32_t budget) {
  auto listener = engine_->listen({.address = address});
  CHECK(listener);
  if (!listener) return noListener;
  engine_->setAcceptBudget(*listener, budget);
  return *listener;
}

Story& World::of(Slot socket) {
  if (stories_.size() <= socket) stories_.resize(socket + 1);
  return stories_[socket];
}

size_t World::step(Deadline deadline) {
  last.clear();
  const uint32_t space = options_.spaceBytes == 0 ? options_.slabBytes : options_.spaceBytes;
  auto count = engine_->poll({.completions = batch_, .spaceBegin = 0, .spaceEnd = space}, deadline);
  if (!count) {
    fail(__FILE__, __LINE__, std::string("poll: ") + count.error().syscall);
    return 0;
  }
  CHECK(*count <= batch_.size());
  last.assign(batch_.begin(), batch_.begin() + static_cast<ptrdiff_t>(*count));
  for (const Completion& completion : last) note(completion);
  return *count;
}

void World::note(const Completion& completion) {
  if (completion.kind == acceptFailed) return acceptErrors.push_back(completion.error);
  if (completion.kind == Completion::Kind::accepted) {
    of(completion.socket) = Story{};
    accepted.push_back(completion.socket);
  }
  Story& story = of(completion.socket);
  story.kinds.push_back(completion.kind);
  if (completion.error) story.error = completion.error;
  if (completion.kind != received) return;
  CHECK(completion.length > 0);
  CHECK(completion.offset + completion.length <= slab_.size());
  story.received.append(reinterpret_cast<const char*>(slab_.data()) + completion.offset, completion.length);
  if (engine_->features().lendsReceiveMemory && !keepReceived) engine_->giveBack(completion.offset);
}

bool World::until(const std::function<bool()>& done) {
  const Deadline deadline{engine_->nowMs() + 10'000};
  while (!done()) {
    if (engine_->nowMs() >= deadline.atMs) {
      fail(__FILE__, __LINE__, "what was waited for did not happen within 10 s");
      return false;
    }
    step(deadline);
  }
  return true;
}

Slot World::connectTo(const SocketAddress& address) {
  auto socket = engine_->connect({.address = address});
  CHECK(socket);
  if (!socket) return noSlot;
  of(*socket) = Story{};
  return *socket;
}

World::Pair World::pair() {
  const size_t before = accepted.size();
  const Slot client = connect();
  if (client == noSlot || !until([&] { return accepted.size() > before && of(client).has(connected); })) {
    return {noSlot, noSlot};
  }
  const Pair made{client, accepted[before]};
  engine_->receive(made.client, true);
  engine_->receive(made.server, true);
  return made;
}

bool World::sendAll(Slot socket, std::string_view bytes) {
  sendError = {};
  while (!bytes.empty()) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    Story& story = of(socket);
    const int before = story.count(sent);
    const SendResult result = engine_->send(socket, &piece, 1);
    bytes.remove_prefix(result.taken);
    if (result.error) {
      sendError = result.error;
      return false;
    }
    if (!result.waiting) continue;
    size_t length = 0;
    const bool answered = until([&] { return of(socket).count(sent) > before || of(socket).has(sendFailed); });
    if (!answered) return false;
    for (const Completion& completion : last) {
      if (completion.socket == socket && completion.kind == sent) length += completion.length;
    }
    if (of(socket).has(sendFailed)) {
      sendError = of(socket).error;
      return false;
    }
    bytes.remove_prefix(length);
  }
  return true;
}

void World::finish(Slot socket, CloseMode mode) {
  engine_->close(socket, mode);
  if (until([&] { return of(socket).has(closed); })) engine_->release(socket);
}

void World::fence() {
  if (fence_.client == noSlot) fence_ = pair();
  if (fence_.client == noSlot) return;
  for (const auto& [from, to] :
       {std::pair(fence_.client, fence_.server), std::pair(fence_.server, fence_.client)}) {
    const size_t before = of(to).received.size();
    sendAll(from, "!");
    until([&, to = to] { return of(to).received.size() > before; });
  }
}

std::vector<std::string> engineNames() {
  std::vector<std::string> names;
  for (const EngineInfo& engine : listEngines()) names.emplace_back(engine.name);
  return names;
}

size_t openDescriptors() {
  // Where there is a folder of them it costs a few system calls instead of thousands; its own descriptor is always in.
  if (DIR* folder = ::opendir("/proc/self/fd")) {
    size_t count = 0;
    while (::readdir(folder) != nullptr) ++count;
    ::closedir(folder);
    return count;
  }
  size_t count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
  return count;
}

std::string pattern(size_t length, uint32_t seed) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) {
    seed = seed * 1'664'525 + 1'013'904'223;
    bytes[i] = static_cast<char>(seed >> 24);
  }
  return bytes;
}

}  // namespace sluice::test
