#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace sluice {

/// Which addresses are wanted.
enum class ResolveFamily : uint8_t { any = 0, ipv4 = 4, ipv6 = 6 };

struct ResolvedAddress {
  std::string host;  // an IP literal, with %scope where it has one
  ResolveFamily family = ResolveFamily::ipv4;

  bool operator==(const ResolvedAddress&) const = default;
};

/// Either addresses, at least one, in the system's order and without repetition; or why there are none.
struct ResolveResult {
  Error error;         // nameNotResolved, memoryLimit, or what errno says
  std::string detail;  // the system's words for it, e.g. "Name or service not known (EAI_NONAME)"
  std::vector<ResolvedAddress> addresses;
};

/// Asks the system with getaddrinfo(3) and waits for the answer. Any thread.
ResolveResult resolveNow(const std::string& host, ResolveFamily family);

/// The answer for an IP literal, which nobody has to be asked for; nothing for any other name.
std::optional<ResolveResult> resolveLiteral(const std::string& host, ResolveFamily family);

struct ResolverOptions {
  size_t maxThreads = 4;
  uint32_t idleMs = 10'000;  // after which a thread without work ends
  /// What the threads call; tests put their own here.
  std::function<ResolveResult(const std::string& host, ResolveFamily family)> lookup = resolveNow;
};

/// Resolves names on a few threads of its own, so that slow DNS servers hold up nobody else's work.
///
/// Callback   `done` is called exactly once per query, unless cancelled: on a thread of the resolver or, for IP
///            literals and when no thread can be started, inside resolve(). It is brief and calls nothing of the
///            resolver; to do more it hops to its own thread.
/// Cancelling After cancel() and after the destructor `done` neither runs nor will.
/// Hanging    getaddrinfo cannot be interrupted. Nobody waits for a call whose query was cancelled or whose resolver
///            is gone: its thread ends by itself, and meanwhile another may take its place.
/// Threads    start on demand, at most maxThreads at a time plus those that hang in cancelled queries (bounded too).
///            Every call may come from any thread.
class Resolver {
 public:
  using Id = uint64_t;
  using Done = void (*)(void* context, std::unique_ptr<ResolveResult> result);

  explicit Resolver(ResolverOptions options = {});
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Starts a query and returns what cancel() takes; ids are never used twice.
  Id resolve(std::string host, ResolveFamily family, Done done, void* context);
  /// Drops a query. True when `done` had not been called, and now never will be.
  bool cancel(Id id);

  struct Stats {
    size_t threads = 0;    // working or waiting for work
    size_t abandoned = 0;  // in a call that nobody waits for any more
    size_t queued = 0;     // queries that no thread has taken yet
  };
  Stats stats() const;

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;  // shared with the threads, which may outlive the resolver
};

}  // namespace sluice
