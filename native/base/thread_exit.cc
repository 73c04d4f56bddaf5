#include "base/thread_exit.h"

#include <cstdlib>
#include <mutex>
#include <vector>

namespace sluice {

namespace {

struct Entry {
  void* context;
  void (*stop)(void*);
};

struct Registry {
  std::mutex mutex;
  std::vector<Entry> entries;
};

// Never destroyed, as threads may outlive static objects.
Registry& registry() {
  static auto* all = new Registry();
  return *all;
}

void stopAll() {
  std::vector<Entry> entries;
  {
    const std::lock_guard lock(registry().mutex);
    entries = registry().entries;
  }
  for (const Entry& entry : entries) entry.stop(entry.context);
}

}  // namespace

void ThreadExit::add(void* context, void (*stop)(void*)) {
  // What signs up last is called first: libraries that are in use by now have signed up before.
  [[maybe_unused]] static const int once = std::atexit(stopAll);
  const std::lock_guard lock(registry().mutex);
  registry().entries.push_back({context, stop});
}

void ThreadExit::remove(void* context) {
  const std::lock_guard lock(registry().mutex);
  std::erase_if(registry().entries, [context](const Entry& entry) { return entry.context == context; });
}

}  // namespace sluice
