#include <openssl/crypto.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "engine/sim_random.h"
#include "support/test.h"
#include "support/tls_pair.h"

using namespace sluice;
using namespace sluice::test;

namespace {

std::atomic<size_t> allocations{0};

// OpenSSL lets its allocator be chosen before it has used it, so before main(). It makes and frees some small things per
// record whatever one does; what counts is its buffers.
constexpr size_t bufferBytes = 1024;
void* countedMalloc(size_t size, const char*, int) {
  if (size >= bufferBytes) allocations += 1;
  return std::malloc(size);
}
void* countedRealloc(void* at, size_t size, const char*, int) {
  if (size >= bufferBytes) allocations += 1;
  return std::realloc(at, size);
}
void plainFree(void* at, const char*, int) { std::free(at); }
const int isCounting = CRYPTO_set_mem_functions(&countedMalloc, &countedRealloc, &plainFree);

TlsOptions withVersion(TlsOptions options, TlsVersion version) {
  options.minVersion = options.maxVersion = version;
  return options;
}

TlsPair connected(TlsVersion version = TlsVersion::tls13, TlsOptions server = serverOptions(),
                  TlsOptions client = clientOptions()) {
  TlsPair pair(clientContext(client), serverContext(withVersion(std::move(server), version)));
  CHECK(pair.handshake());
  return pair;
}

std::string randomBytes(size_t count, uint64_t seed) {
  SimRandom random(seed);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.next());
  return bytes;
}

// Lengths in the headers of records on a wire.
std::vector<size_t> recordLengths(const std::string& wire) {
  std::vector<size_t> lengths;
  for (size_t at = 0; at + 5 <= wire.size();) {
    const size_t length = static_cast<uint8_t>(wire[at + 3]) * 256u + static_cast<uint8_t>(wire[at + 4]);
    lengths.push_back(length);
    at += 5 + length;
  }
  return lengths;
}

constexpr TlsVersion bothVersions[] = {TlsVersion::tls12, TlsVersion::tls13};

}  // namespace

// Not inline: GCC would see malloc() meet delete, and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  allocations += 1;
  void* at = std::malloc(size);
  if (at == nullptr) std::abort();
  return at;
}
[[gnu::noinline]] void operator delete(void* at) noexcept { std::free(at); }
[[gnu::noinline]] void operator delete(void* at, size_t) noexcept { std::free(at); }

TEST(
    "bytes arrive whole over a wire that takes a few at a time, though the rest is offered from elsewhere and in "
    "other sizes") {
  for (const TlsVersion version : bothVersions) {
    for (const size_t limit : {1, 3, 21, 22, 500, 1399, 5000, 16406}) {
      TlsPair pair = connected(version);
      SimRandom random(limit);
      const std::string all = randomBytes(limit < 10 ? 3'000 : 60'000, limit);
      std::string arrived;
      size_t sent = 0;
      for (int round = 0; (sent < all.size() || pair.client->wantsOutput()) && round < 100'000; round++) {
        pair.fromClient.room = limit;
        if (pair.client->wantsOutput() && random.chance(0.5)) {
          (void)pair.client->flush();
        } else if (sent < all.size()) {
          // In fresh memory of exactly this size, gone right afterwards.
          const size_t size = random.between(1, std::min<size_t>(all.size() - sent, 20'000));
          const std::string piece = all.substr(sent, size);
          size_t taken = 0;
          const TlsStatus status = pair.client->write(bytesOf(piece), taken);
          CHECK(status == TlsStatus::ok || status == TlsStatus::wantOutput);
          CHECK(taken <= size && (status != TlsStatus::ok || taken == size));
          CHECK_EQ(status == TlsStatus::wantOutput, pair.client->wantsOutput());
          sent += taken;
        }
        arrived += pair.toServer();
      }
      CHECK(arrived == all);
    }
  }
}

TEST("flush() sends the last of what was taken") {
  TlsPair pair = connected();
  pair.fromClient.room = 0;
  size_t taken = 0;
  CHECK(pair.client->write(bytesOf("hello"), taken) == TlsStatus::wantOutput);
  CHECK_EQ(taken, 5u);
  CHECK(pair.client->flush() == TlsStatus::wantOutput);
  CHECK(pair.client->write(bytesOf("more"), taken) == TlsStatus::wantOutput);
  CHECK_EQ(taken, 0u);
  CHECK_EQ(pair.toServer(), "");
  pair.fromClient.room = SIZE_MAX;
  CHECK(pair.client->flush() == TlsStatus::ok);
  CHECK(!pair.client->wantsOutput());
  CHECK_EQ(pair.toServer(), "hello");
  CHECK_EQ(pair.clientSays("more"), "more");
}

TEST("plaintext left inside never stalls and never spins") {
  for (const TlsVersion version : bothVersions) {
    TlsPair pair = connected(version);
    const std::string all = randomBytes(100'000, 7);
    writeAll(*pair.client, all);
    const std::string wire = std::move(pair.fromClient.bytes);
    pair.fromClient.bytes.clear();
    pair.server->lend(bytesOf(wire));
    std::string arrived;
    uint8_t into[777];
    size_t calls = 0;
    while (pair.server->hasPlaintext()) {
      size_t got = 0;
      const TlsStatus status = pair.server->read(into, got);
      arrived.append(reinterpret_cast<char*>(into), got);
      calls += 1;
      CHECK(status == TlsStatus::ok || !pair.server->hasPlaintext());
      if (calls % 10 == 0) pair.server->keepRest();  // a pause in the middle
    }
    CHECK(arrived == all);
    CHECK_EQ(pair.server->unreadWireBytes(), 0u);
    CHECK(calls <= all.size() / sizeof into + 2);
  }
}

TEST("each byte of a record alone is no reason to stop, spin or copy") {
  TlsPair pair = connected();
  writeAll(*pair.client, "one record");
  const std::string wire = std::move(pair.fromClient.bytes);
  std::string arrived;
  for (size_t i = 0; i < wire.size(); i++) {
    pair.server->lend(bytesOf(wire).subspan(i, 1));
    TlsStatus status = TlsStatus::ok;
    arrived += readAll(*pair.server, status);
    CHECK(status == TlsStatus::wantInput);
    CHECK(!pair.server->hasPlaintext());
    CHECK_EQ(pair.server->unreadWireBytes(), 0u);
    CHECK_EQ(arrived, i + 1 < wire.size() ? "" : "one record");
    pair.server->keepRest();
  }
}

TEST("records are small at first and after idling, and full when much is sent") {
  TlsPair pair = connected();
  const std::string all(200'000, 'x');
  pair.client->setNow(5000);
  writeAll(*pair.client, all);
  std::vector<size_t> lengths = recordLengths(pair.fromClient.bytes);
  const size_t smallOnes =
      static_cast<size_t>(std::count_if(lengths.begin(), lengths.end(), [](size_t n) { return n < 1500; }));
  CHECK(lengths.front() <= 1460 - 5);
  CHECK(smallOnes >= 64 * 1024 / 1400 && smallOnes <= 64 * 1024 / 1400 + 3);
  CHECK_EQ(*std::max_element(lengths.begin(), lengths.end()), 16384u + 17u);
  CHECK(pair.toServer() == all);

  pair.client->setNow(5999);
  writeAll(*pair.client, all);
  CHECK_EQ(recordLengths(pair.fromClient.bytes).front(), 16384u + 17u);
  pair.toServer();
  pair.client->setNow(6999);
  writeAll(*pair.client, all);
  CHECK(recordLengths(pair.fromClient.bytes).front() < 1460);
  pair.toServer();

  TlsOptions plain = clientOptions();
  plain.dynamicRecordSize = false;
  TlsPair full = connected(TlsVersion::tls13, serverOptions(), plain);
  writeAll(*full.client, all);
  CHECK_EQ(recordLengths(full.fromClient.bytes).front(), 16384u + 17u);
}

TEST("keys are updated in the middle of bulk both ways, with output blocked meanwhile") {
  TlsPair pair = connected();
  SimRandom random(3);
  const std::string all = randomBytes(200'000, 11);
  std::string toServer, toClient;
  size_t clientSent = 0, serverSent = 0;
  const auto write = [&](TlsSession& session, size_t& sent) {
    if (session.wantsOutput()) (void)session.flush();
    if (sent >= all.size()) return;
    size_t taken = 0;
    const std::string piece = all.substr(sent, random.between(1, 9000));
    (void)session.write(bytesOf(piece), taken);
    sent += taken;
  };
  for (int round = 0; round < 20'000 && (toServer.size() < all.size() || toClient.size() < all.size()); round++) {
    pair.fromClient.room = random.between(0, 2999);
    pair.fromServer.room = random.between(0, 2999);
    write(*pair.client, clientSent);
    write(*pair.server, serverSent);
    if (round % 7 == 0) (void)pair.client->updateKeys(random.chance(0.5));
    if (round % 11 == 0) (void)pair.server->updateKeys(random.chance(0.5));
    pair.client->setNow(static_cast<TimeMs>(round) * 50);
    pair.server->setNow(static_cast<TimeMs>(round) * 50);
    toServer += pair.toServer();
    toClient += pair.toClient();
  }
  CHECK(toServer == all);
  CHECK(toClient == all);
  CHECK(!pair.client->takeError());
  CHECK(!pair.server->takeError());
  CHECK_EQ(queuedLibraryErrors(), 0u);
}

TEST("a flood of key updates ends the session, and a few do not") {
  TlsOptions server = serverOptions();
  server.maxKeyUpdatesPerSecond = 10;
  TlsPair pair = connected(TlsVersion::tls13, server);
  pair.server->setNow(10'000);
  for (int i = 0; i < 10; i++) CHECK(pair.client->updateKeys(false) == TlsStatus::ok);
  CHECK_EQ(pair.clientSays("still there"), "still there");
  pair.server->setNow(13'000);
  for (int i = 0; i < 10; i++) CHECK(pair.client->updateKeys(false) == TlsStatus::ok);
  CHECK_EQ(pair.clientSays("a while later"), "a while later");
  for (int i = 0; i < 5; i++) CHECK(pair.client->updateKeys(false) == TlsStatus::ok);
  pair.toServer();
  CHECK(pair.serverStatus == TlsStatus::failed);
  const TlsError error = pair.server->takeError();
  CHECK(error.failure == TlsFailure::keyUpdateFlood);
  CHECK_EQ(error.reason, std::string_view("SSL_KEYUPDATE"));
}

TEST("a request for new keys does not harm TLS 1.2") {
  TlsPair pair = connected(TlsVersion::tls12);
  CHECK(pair.client->updateKeys(true) == TlsStatus::failed);
  CHECK(pair.client->takeError().failure == TlsFailure::invalidOption);
  CHECK_EQ(pair.clientSays("still there"), "still there");
}

TEST("renegotiation is refused unless allowed, and then it happens between the bytes") {
  TlsOptions eager = clientOptions();
  eager.allowRenegotiation = true;
  {
    TlsPair pair = connected(TlsVersion::tls12, serverOptions(), eager);
    CHECK(pair.client->renegotiate() == TlsStatus::ok);
    pair.toServer();
    CHECK(pair.serverStatus == TlsStatus::failed);
    const TlsError error = pair.server->takeError();
    CHECK(error.failure == TlsFailure::renegotiation);
    CHECK_EQ(error.reason, std::string_view("SSL_RENEG"));
  }
  {
    TlsPair pair = connected(TlsVersion::tls12);
    CHECK(pair.client->renegotiate() == TlsStatus::failed);
    CHECK_EQ(pair.clientSays("still there"), "still there");
  }
  {
    TlsOptions server = serverOptions();
    server.allowRenegotiation = true;
    server.maxRenegotiationsPerMinute = 2;
    TlsPair pair = connected(TlsVersion::tls12, server, eager);
    const auto again = [&](size_t limit) {
      CHECK(pair.client->renegotiate() == TlsStatus::ok);
      for (int i = 0; i < 5000; i++) {
        // read() of the server wants to write here, and its wire takes little.
        pair.fromServer.room = limit;
        pair.toServer();
        if (pair.server->wantsOutput()) (void)pair.server->flush();
        pair.toClient();
      }
      pair.fromServer.room = SIZE_MAX;
    };
    again(SIZE_MAX);
    CHECK_EQ(pair.clientSays("once more"), "once more");
    CHECK_EQ(pair.serverSays("and back"), "and back");
    again(5);
    CHECK_EQ(pair.clientSays("twice"), "twice");
    CHECK_EQ(pair.serverSays("and back"), "and back");
    (void)pair.client->renegotiate();
    pair.toServer();
    CHECK(pair.server->takeError().failure == TlsFailure::renegotiation);
  }
}

TEST("each direction says goodbye for itself, and the other goes on") {
  for (const TlsVersion version : bothVersions) {
    TlsPair pair = connected(version);
    writeAll(*pair.client, "last words");
    CHECK(pair.client->shutdown() == TlsStatus::ok);
    CHECK(pair.client->saidGoodbye());
    CHECK_EQ(pair.toServer(), "last words");
    CHECK(pair.serverStatus == TlsStatus::ended);
    CHECK(pair.server->peerSaidGoodbye());
    CHECK(!pair.server->hasPlaintext());

    size_t taken = 0;
    CHECK(pair.client->write(bytesOf("no"), taken) == TlsStatus::failed);
    CHECK_EQ(taken, 0u);
    CHECK(pair.client->takeError().failure == TlsFailure::closed);

    CHECK_EQ(pair.serverSays("a long answer"), "a long answer");
    if (version == TlsVersion::tls13) CHECK(pair.server->updateKeys(false) == TlsStatus::ok);
    CHECK_EQ(pair.serverSays("and its end"), "and its end");
    CHECK(!pair.client->peerSaidGoodbye());
    CHECK(pair.server->shutdown() == TlsStatus::ok);
    CHECK(pair.server->shutdown() == TlsStatus::ok);
    CHECK_EQ(pair.fromServer.bytes.size(), version == TlsVersion::tls13 ? 24u : 31u);
    CHECK_EQ(pair.toClient(), "");
    CHECK(pair.clientStatus == TlsStatus::ended);
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
}

TEST("close_notify comes after what was written, also over a blocked wire") {
  TlsPair pair = connected();
  const std::string all = randomBytes(5'000, 5);
  pair.fromClient.room = 100;
  size_t sent = 0, taken = 0;
  CHECK(pair.client->write(bytesOf(all).first(1000), taken) == TlsStatus::wantOutput);
  sent += taken;
  CHECK(pair.client->shutdown() == TlsStatus::wantOutput);
  CHECK(!pair.client->saidGoodbye());
  for (int i = 0; i < 500 && !pair.client->saidGoodbye(); i++) {
    pair.fromClient.room = 3;
    (void)(i % 2 == 0 ? pair.client->shutdown() : pair.client->flush());
  }
  CHECK(pair.client->saidGoodbye());
  CHECK(!pair.client->wantsOutput());
  CHECK(pair.toServer() == all.substr(0, sent));
  CHECK(pair.serverStatus == TlsStatus::ended);
}

TEST("a wire that ends without close_notify is a truncation, after all that came") {
  TlsPair pair = connected();
  writeAll(*pair.client, "half a mess");
  CHECK_EQ(pair.toServer(), "half a mess");
  writeAll(*pair.client, "age");
  pair.fromClient.bytes.pop_back();
  pair.toServer();
  pair.server->wireEnded();
  uint8_t into[100];
  size_t got = 0;
  CHECK(pair.server->read(into, got) == TlsStatus::truncated);
  CHECK(pair.server->read(into, got) == TlsStatus::truncated);
  CHECK(!pair.server->takeError());
  // A peer that only ended its own direction of TCP may still listen.
  CHECK_EQ(pair.serverSays("did you say something?"), "did you say something?");
  CHECK(pair.server->shutdown() == TlsStatus::ok);
}

TEST("close_notify and the end of the wire together are a clean end") {
  TlsPair pair = connected();
  writeAll(*pair.client, "bye");
  (void)pair.client->shutdown();
  pair.server->wireEnded();
  CHECK_EQ(pair.toServer(), "bye");
  CHECK(pair.serverStatus == TlsStatus::ended);
}

TEST("what comes after close_notify is dropped, however much it is") {
  TlsPair pair = connected();
  CHECK(pair.client->shutdown() == TlsStatus::ok);
  CHECK_EQ(pair.toServer(), "");
  CHECK(pair.serverStatus == TlsStatus::ended);
  const std::string more(100'000, 'x');
  for (int i = 0; i < 3; i++) {
    pair.server->lend(bytesOf(more));
    CHECK(!pair.server->hasPlaintext());
    pair.server->keepRest();
    CHECK_EQ(pair.server->unreadWireBytes(), 0u);
  }
}

TEST("a wire that fails tells after all that came, and nothing more is written") {
  TlsPair pair = connected();
  writeAll(*pair.client, "just made it");
  pair.server->wireFailed();
  CHECK_EQ(pair.toServer(), "just made it");
  CHECK(pair.serverStatus == TlsStatus::failed);
  CHECK(pair.server->takeError().failure == TlsFailure::reset);
  CHECK(pair.server->shutdown() == TlsStatus::ok);
  CHECK_EQ(pair.fromServer.bytes, "");
}

TEST("a damaged record ends the session, the peer is told, and it stays ended") {
  for (const TlsVersion version : bothVersions) {
    TlsPair pair = connected(version);
    CHECK_EQ(pair.clientSays("fine"), "fine");
    writeAll(*pair.client, "damaged");
    pair.fromClient.bytes[9] = static_cast<char>(pair.fromClient.bytes[9] ^ 1);
    CHECK_EQ(pair.toServer(), "");
    CHECK(pair.serverStatus == TlsStatus::failed);
    CHECK(pair.server->takeError().failure == TlsFailure::badRecord);
    CHECK(!pair.server->hasPlaintext());
    size_t count = 0;
    uint8_t into[10];
    CHECK(pair.server->read(into, count) == TlsStatus::failed);
    CHECK(pair.server->write(bytesOf("x"), count) == TlsStatus::failed);
    pair.toClient();
    const TlsError told = pair.client->takeError();
    CHECK(told.failure == TlsFailure::peerAlert);
    CHECK_EQ(told.alert, 20);
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
}

TEST("bytes that nobody lent any more are not looked at: keepRest() has copied them") {
  TlsPair pair = connected();
  const std::string all = randomBytes(40'000, 13);
  writeAll(*pair.client, all);
  auto wire = std::make_unique<std::string>(std::move(pair.fromClient.bytes));
  pair.server->lend(bytesOf(*wire));
  std::string arrived(10'000, '\0');
  size_t got = 0;
  CHECK(pair.server->read({reinterpret_cast<uint8_t*>(arrived.data()), arrived.size()}, got) == TlsStatus::ok);
  CHECK(pair.server->unreadWireBytes() > 20'000);
  pair.server->keepRest();
  std::fill(wire->begin(), wire->end(), '\xdb');
  wire.reset();
  TlsStatus status = TlsStatus::ok;
  arrived += readAll(*pair.server, status);
  CHECK(arrived == all);
  CHECK_EQ(pair.server->unreadWireBytes(), 0u);
}

TEST("a busy session that keeps its buffers allocates none, nor anything of our own, and idling gives them back") {
  if (isCounting != 1) return skip("OpenSSL has been used before its allocator could be chosen");
  for (const TlsVersion version : bothVersions) {
    TlsPair pair = connected(version);
    pair.client->keepBuffers(true);
    pair.server->keepBuffers(true);
    const std::string message(1024, 'm');
    std::vector<uint8_t> into(16384);
    pair.fromClient.bytes.reserve(4096);
    const auto roundTrip = [&] {
      size_t count = 0;
      (void)pair.client->write(bytesOf(message), count);
      pair.server->lend(bytesOf(pair.fromClient.bytes));
      const TlsStatus status = pair.server->read(into, count);
      pair.server->keepRest();
      pair.fromClient.bytes.clear();
      return status == TlsStatus::wantInput && count == message.size();
    };
    for (int i = 0; i < 3; i++) CHECK(roundTrip());
    const size_t before = allocations;
    bool isFine = true;
    for (int i = 0; i < 1000; i++) isFine &= roundTrip();
    CHECK_EQ(allocations - before, 0u);
    CHECK(isFine);
    CHECK(pair.client->releaseBuffers());
    CHECK(pair.server->releaseBuffers());
    CHECK(roundTrip());
  }
}

TEST("buffers with half a record in them are not released") {
  TlsPair pair = connected();
  pair.server->keepBuffers(true);
  writeAll(*pair.client, "in two halves");
  const std::string wire = std::move(pair.fromClient.bytes);
  pair.server->lend(bytesOf(wire).first(10));
  TlsStatus status = TlsStatus::ok;
  (void)readAll(*pair.server, status);
  pair.server->keepRest();
  CHECK(!pair.server->releaseBuffers());
  pair.server->lend(bytesOf(wire).subspan(10));
  CHECK_EQ(readAll(*pair.server, status), "in two halves");
  CHECK(pair.server->releaseBuffers());
}
