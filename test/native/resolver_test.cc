#include "net/resolver.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/test.h"

using namespace sluice;

namespace {

/// Something that a thread waits for.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// Counts up, and lets others wait for a number.
class Counter {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void waitFor(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

/// What one query was answered.
struct Answer {
  Counter calls;
  std::unique_ptr<ResolveResult> result;
  std::thread::id thread;

  static void done(void* context, std::unique_ptr<ResolveResult> result) {
    auto* self = static_cast<Answer*>(context);
    self->result = std::move(result);
    self->thread = std::this_thread::get_id();
    self->calls.add();
  }
};

ResolveResult address(const std::string& host) {
  ResolveResult result;
  result.addresses.push_back({host, ResolveFamily::ipv4});
  return result;
}

ResolverOptions withLookup(std::function<ResolveResult(const std::string&)> lookup, size_t maxThreads = 4) {
  ResolverOptions options;
  options.maxThreads = maxThreads;
  options.lookup = [lookup = std::move(lookup)](const std::string& host, ResolveFamily) { return lookup(host); };
  return options;
}

}  // namespace

TEST("an IP literal is answered inside resolve, without a thread") {
  for (const char* literal : {"127.0.0.1", "0.0.0.0", "::1", "fe80::1%1", "::ffff:1.2.3.4"}) {
    Resolver resolver;
    Answer answer;
    resolver.resolve(literal, ResolveFamily::any, &Answer::done, &answer);
    CHECK_EQ(answer.calls.count(), 1);
    CHECK_EQ(answer.result->addresses.size(), size_t{1});
    CHECK_EQ(resolver.stats().threads, size_t{0});
  }
}

TEST("an IP literal of the other family is an error") {
  Resolver resolver;
  Answer answer;
  resolver.resolve("127.0.0.1", ResolveFamily::ipv6, &Answer::done, &answer);
  CHECK_EQ(answer.calls.count(), 1);
  CHECK(answer.result->error.code == ErrorCode::nameNotResolved);
  CHECK(answer.result->addresses.empty());
}

TEST("the system resolves localhost to a loopback address, on another thread") {
  Resolver resolver;
  Answer answer;
  resolver.resolve("localhost", ResolveFamily::ipv4, &Answer::done, &answer);
  answer.calls.waitFor(1);
  CHECK(!answer.result->error);
  CHECK_EQ(answer.result->addresses.front().host, std::string("127.0.0.1"));
  CHECK(answer.result->addresses.front().family == ResolveFamily::ipv4);
  CHECK(answer.thread != std::this_thread::get_id());
}

TEST("a name that cannot exist is told in the system's words") {
  Resolver resolver;
  Answer answer;
  resolver.resolve(std::string(300, 'a'), ResolveFamily::any, &Answer::done, &answer);
  answer.calls.waitFor(1);
  CHECK(answer.result->error.code == ErrorCode::nameNotResolved);
  CHECK_EQ(std::string(answer.result->error.syscall), std::string("getaddrinfo"));
  CHECK(answer.result->detail.find("(EAI_") != std::string::npos);
}

// Goal: slow names cannot make us start thread after thread. Method: lookups that wait for each other's presence
// up to the bound, and note how many are inside.
TEST("all queries are answered by no more threads than allowed, and by that many") {
  constexpr int queries = 40, bound = 3;
  Counter inside;
  std::atomic<int> now{0}, most{0};
  Resolver resolver(withLookup(
      [&](const std::string& host) {
        const int present = ++now;
        for (int seen = most; seen < present && !most.compare_exchange_weak(seen, present);) {}
        inside.add();
        inside.waitFor(bound);
        --now;
        return address(host);
      },
      bound));
  std::vector<Answer> answers(queries);
  for (int i = 0; i < queries; ++i)
    resolver.resolve("name" + std::to_string(i), ResolveFamily::any, &Answer::done, &answers[i]);
  for (int i = 0; i < queries; ++i) {
    answers[i].calls.waitFor(1);
    CHECK_EQ(answers[i].result->addresses.front().host, "name" + std::to_string(i));
  }
  CHECK_EQ(most.load(), bound);
}

TEST("a query cancelled before a thread took it never calls back") {
  Gate gate;
  Counter entered;
  Resolver resolver(withLookup(
      [&](const std::string& host) {
        CHECK(host != "cancelled");
        entered.add();
        gate.wait();
        return address(host);
      },
      1));
  Answer first, cancelled, last;
  resolver.resolve("first", ResolveFamily::any, &Answer::done, &first);
  entered.waitFor(1);
  const Resolver::Id id = resolver.resolve("cancelled", ResolveFamily::any, &Answer::done, &cancelled);
  resolver.resolve("last", ResolveFamily::any, &Answer::done, &last);
  CHECK(resolver.cancel(id));
  CHECK(!resolver.cancel(id));
  gate.open();
  first.calls.waitFor(1);
  last.calls.waitFor(1);
  CHECK_EQ(cancelled.calls.count(), 0);
}

// Goal: a dead DNS server must not hold up names that others could resolve. Method: one thread allowed, which hangs;
// once its query is cancelled the next one has to be answered while the first still hangs.
TEST("a cancelled query that hangs gives its place to the next one, and never calls back") {
  Gate gate;
  Counter entered, left;
  Answer hanging, next;
  {
    Resolver resolver(withLookup(
        [&](const std::string& host) {
          if (host == "hanging") {
            entered.add();
            gate.wait();
            left.add();
          }
          return address(host);
        },
        1));
    const Resolver::Id id = resolver.resolve("hanging", ResolveFamily::any, &Answer::done, &hanging);
    resolver.resolve("next", ResolveFamily::any, &Answer::done, &next);
    entered.waitFor(1);
    CHECK(resolver.cancel(id));
    next.calls.waitFor(1);
    CHECK_EQ(resolver.stats().abandoned, size_t{1});
    gate.open();
    left.waitFor(1);
  }
  CHECK_EQ(hanging.calls.count(), 0);
}

TEST("the destructor waits for no lookup, and afterwards nothing calls back") {
  // Shared, because the thread comes back after the test has let go of everything.
  auto gate = std::make_shared<Gate>();
  auto entered = std::make_shared<Counter>();
  auto left = std::make_shared<Counter>();
  Answer hanging, queued;
  {
    Resolver resolver(withLookup(
        [=](const std::string& host) {
          entered->add();
          gate->wait();
          left->add();
          return address(host);
        },
        1));
    resolver.resolve("hanging", ResolveFamily::any, &Answer::done, &hanging);
    resolver.resolve("queued", ResolveFamily::any, &Answer::done, &queued);
    entered->waitFor(1);
  }
  gate->open();
  left->waitFor(1);
  CHECK_EQ(hanging.calls.count() + queued.calls.count(), 0);
}

TEST("threads without work end, and later queries start new ones") {
  auto ended = std::make_shared<Counter>();
  struct Farewell {
    std::shared_ptr<Counter> ended;
    ~Farewell() { ended->add(); }
  };
  ResolverOptions options = withLookup([=](const std::string& host) {
    thread_local Farewell farewell{ended};
    return address(host);
  });
  options.idleMs = 1;
  Resolver resolver(std::move(options));
  for (int round = 1; round <= 3; ++round) {
    Answer answer;
    resolver.resolve("name", ResolveFamily::any, &Answer::done, &answer);
    answer.calls.waitFor(1);
    ended->waitFor(round);
    CHECK_EQ(resolver.stats().threads, size_t{0});
  }
}

// Goal: no interleaving of resolve, cancel and answer loses a query or answers it twice. Method: several threads ask
// and cancel what the others ask; in the end each query was answered or its cancellation confirmed, exactly one of both.
TEST("whatever the interleaving, a query is either answered once or cancelled") {
  constexpr int askers = 4, rounds = 300;
  std::atomic<int> answered{0}, cancelled{0};
  Counter settled;
  struct Context {
    std::atomic<int>& answered;
    Counter& settled;
    static void done(void* context, std::unique_ptr<ResolveResult>) {
      auto* self = static_cast<Context*>(context);
      ++self->answered;
      self->settled.add();
    }
  } context{answered, settled};
  Resolver resolver(withLookup([](const std::string& host) {
    std::this_thread::yield();
    return address(host);
  }));
  std::atomic<Resolver::Id> newest{0};
  std::vector<std::thread> threads;
  for (int asker = 0; asker < askers; ++asker) {
    threads.emplace_back([&, asker] {
      for (int round = 0; round < rounds; ++round) {
        const auto id = resolver.resolve("name", ResolveFamily::any, &Context::done, &context);
        const auto other = newest.exchange(id);
        for (const Resolver::Id target : {other, round % 3 == asker % 3 ? id : 0}) {
          if (!resolver.cancel(target)) continue;
          ++cancelled;
          settled.add();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  settled.waitFor(askers * rounds);
  CHECK_EQ(answered + cancelled, askers * rounds);
  CHECK_EQ(resolver.stats().queued, size_t{0});
}
