#include "net/resolver.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/address.h"

namespace sluice {

namespace {

constexpr const char* callName = "getaddrinfo";
// Threads that hang in cancelled queries. Beyond it, new queries wait until one of them comes back.
constexpr size_t maxAbandoned = 32;
// The same on every system; musl's default of 128 KiB is short for some name service modules.
constexpr size_t stackBytes = 1024 * 1024;

int nativeFamily(ResolveFamily family) {
  switch (family) {
    case ResolveFamily::ipv4: return AF_INET;
    case ResolveFamily::ipv6: return AF_INET6;
    case ResolveFamily::any: return AF_UNSPEC;
  }
  return AF_UNSPEC;
}

ResolvedAddress resolved(const SocketAddress& address) {
  return {address.host(), address.family() == AF_INET6 ? ResolveFamily::ipv6 : ResolveFamily::ipv4};
}

const char* codeName(int code) {
  switch (code) {
    case EAI_AGAIN: return "EAI_AGAIN";
    case EAI_BADFLAGS: return "EAI_BADFLAGS";
    case EAI_FAIL: return "EAI_FAIL";
    case EAI_FAMILY: return "EAI_FAMILY";
    case EAI_MEMORY: return "EAI_MEMORY";
    case EAI_NONAME: return "EAI_NONAME";
    case EAI_SERVICE: return "EAI_SERVICE";
    case EAI_SOCKTYPE: return "EAI_SOCKTYPE";
    case EAI_OVERFLOW: return "EAI_OVERFLOW";
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
    case EAI_NODATA: return "EAI_NODATA";
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY: return "EAI_ADDRFAMILY";
#endif
    default: return "EAI";
  }
}

ResolveResult failed(int code, int osError) {
  ResolveResult result;
  if (code == EAI_SYSTEM) {
    result.error = systemError(osError, callName);
  } else {
    result.error = {code == EAI_MEMORY ? ErrorCode::memoryLimit : ErrorCode::nameNotResolved, 0, callName};
    result.detail = std::string(gai_strerror(code)) + " (" + codeName(code) + ")";
  }
  return result;
}

// Node unloads an addon together with the last worker thread that used it; a thread that hangs in getaddrinfo must
// still find its code when it comes back.
void keepCodeLoaded() {
  static const bool once = [] {
    Dl_info self{};
    if (dladdr(reinterpret_cast<const void*>(&keepCodeLoaded), &self) != 0 && self.dli_fname != nullptr)
      dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    return true;
  }();
  (void)once;
}

bool startDetachedThread(void* (*run)(void*), void* argument) {
  keepCodeLoaded();
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, stackBytes);
  // Signals are the business of the threads that were there before.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int failure = pthread_create(&thread, &attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return failure == 0;
}

}  // namespace

ResolveResult resolveNow(const std::string& host, ResolveFamily family) {
  addrinfo hints{};
  hints.ai_family = nativeFamily(family);
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int code = getaddrinfo(host.c_str(), nullptr, &hints, &list)) return failed(code, errno);
  ResolveResult result;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    ResolvedAddress address = resolved(SocketAddress::from(entry->ai_addr, entry->ai_addrlen));
    const auto end = result.addresses.end();
    if (std::find(result.addresses.begin(), end, address) == end) result.addresses.push_back(std::move(address));
  }
  freeaddrinfo(list);
  if (result.addresses.empty()) return failed(EAI_NONAME, 0);
  return result;
}

std::optional<ResolveResult> resolveLiteral(const std::string& host, ResolveFamily family) {
  const auto address = SocketAddress::ip(host, 0);
  if (!address) return std::nullopt;
  ResolvedAddress literal = resolved(*address);
  ResolveResult result;
  if (family != ResolveFamily::any && family != literal.family) {
    result.error = {ErrorCode::nameNotResolved, 0, ""};
    result.detail = "the literal is of the other address family";
  } else {
    result.addresses.push_back(std::move(literal));
  }
  return result;
}

/// What resolver and threads share. `mutex` guards all of it but `options`, which never changes; it is held while
/// `done` runs, so whoever has had the mutex knows that no `done` is under way.
struct Resolver::Pool {
  /// One thread, living on its stack.
  struct Worker {
    bool abandoned = false;  // nobody waits for what it does, and it has been replaced
  };
  struct Query {
    std::string host;
    ResolveFamily family;
    Done done;
    void* context;
    Worker* worker = nullptr;  // who has taken it
  };

  explicit Pool(ResolverOptions given) : options(std::move(given)) {}

  /// Starts a thread if more queries wait than threads do, and the bound allows.
  static void startThread(const std::shared_ptr<Pool>& pool);
  static void* runThread(void* argument);
  void work(std::unique_lock<std::mutex>& lock);
  void answer(Id id, Worker& worker, std::unique_lock<std::mutex>& lock);

  const ResolverOptions options;
  std::mutex mutex;
  std::condition_variable changed;
  bool stopped = false;
  Id lastId = 0;
  std::unordered_map<Id, Query> queries;  // neither answered nor cancelled
  std::deque<Id> queue;                   // those that no worker has taken
  size_t threads = 0;                     // serving the queue
  size_t idle = 0;                        // of these, waiting for work
  size_t abandoned = 0;                   // not counted in `threads`
};

void Resolver::Pool::startThread(const std::shared_ptr<Pool>& pool) {
  if (pool->queue.size() <= pool->idle || pool->threads >= pool->options.maxThreads) return;
  auto* argument = new std::shared_ptr<Pool>(pool);
  if (startDetachedThread(&Pool::runThread, argument)) {
    ++pool->threads;
  } else {
    delete argument;
  }
}

void* Resolver::Pool::runThread(void* argument) {
  const std::unique_ptr<std::shared_ptr<Pool>> pool(static_cast<std::shared_ptr<Pool>*>(argument));
  std::unique_lock lock((*pool)->mutex);
  (*pool)->work(lock);
  return nullptr;
}

void Resolver::Pool::work(std::unique_lock<std::mutex>& lock) {
  Worker self;
  while (!stopped && !self.abandoned) {
    if (!queue.empty()) {
      const Id id = queue.front();
      queue.pop_front();
      answer(id, self, lock);
      continue;
    }
    ++idle;
    const bool more = changed.wait_for(lock, std::chrono::milliseconds(options.idleMs),
                                       [this] { return stopped || !queue.empty(); });
    --idle;
    if (!more) break;
  }
  --(self.abandoned ? abandoned : threads);
}

void Resolver::Pool::answer(Id id, Worker& worker, std::unique_lock<std::mutex>& lock) {
  Query& query = queries.find(id)->second;
  query.worker = &worker;
  const std::string host = query.host;
  const ResolveFamily family = query.family;
  lock.unlock();
  auto result = std::make_unique<ResolveResult>(options.lookup(host, family));
  lock.lock();
  const auto entry = queries.find(id);
  if (entry == queries.end()) return;  // cancelled meanwhile
  const Query asked = std::move(entry->second);
  queries.erase(entry);
  asked.done(asked.context, std::move(result));
}

Resolver::Resolver(ResolverOptions options) : pool_(std::make_shared<Pool>(std::move(options))) {}

Resolver::~Resolver() {
  const std::lock_guard lock(pool_->mutex);
  pool_->stopped = true;
  pool_->queries.clear();
  pool_->queue.clear();
  pool_->changed.notify_all();
}

Resolver::Id Resolver::resolve(std::string host, ResolveFamily family, Done done, void* context) {
  std::optional<ResolveResult> known = resolveLiteral(host, family);
  Id id;
  {
    const std::lock_guard lock(pool_->mutex);
    id = ++pool_->lastId;
    if (!known) {
      pool_->queries.emplace(id, Pool::Query{std::move(host), family, done, context});
      pool_->queue.push_back(id);
      Pool::startThread(pool_);
      pool_->changed.notify_one();
      if (pool_->threads == 0) {
        known = failed(EAI_MEMORY, 0);
        pool_->queries.erase(id);
        pool_->queue.pop_back();
      }
    }
  }
  if (known) done(context, std::make_unique<ResolveResult>(std::move(*known)));
  return id;
}

bool Resolver::cancel(Id id) {
  const std::lock_guard lock(pool_->mutex);
  const auto entry = pool_->queries.find(id);
  if (entry == pool_->queries.end()) return false;
  Pool::Worker* worker = entry->second.worker;
  pool_->queries.erase(entry);
  if (worker == nullptr) {
    pool_->queue.erase(std::find(pool_->queue.begin(), pool_->queue.end(), id));
  } else if (pool_->abandoned < maxAbandoned) {
    worker->abandoned = true;
    --pool_->threads;
    ++pool_->abandoned;
    Pool::startThread(pool_);
    if (pool_->threads == 0 && !pool_->queue.empty()) {
      // No other thread is to be had, so those that wait have to wait for this one.
      worker->abandoned = false;
      ++pool_->threads;
      --pool_->abandoned;
    }
  }
  return true;
}

Resolver::Stats Resolver::stats() const {
  const std::lock_guard lock(pool_->mutex);
  return {pool_->threads, pool_->abandoned, pool_->queue.size()};
}

}  // namespace sluice
