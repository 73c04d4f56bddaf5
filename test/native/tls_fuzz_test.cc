#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <cstdlib>
#include <string>

#include "engine/sim_random.h"
#include "support/test.h"
#include "support/tls_pair.h"
#include "tls/ticket_keys.h"

using namespace sluice;
using namespace sluice::test;

namespace {

// SLUICE_FUZZ_RUNS=100000 for a long night.
size_t runs(size_t usual) {
  const char* wanted = std::getenv("SLUICE_FUZZ_RUNS");
  return wanted == nullptr ? usual : static_cast<size_t>(std::strtoull(wanted, nullptr, 10));
}

// Somebody on the wire who changes what passes by.
class Mutator {
 public:
  Mutator(uint64_t seed, double rate) : random_(seed), rate_(rate) {}

  void maul(std::string& wire) {
    if (wire.empty() || !random_.chance(rate_)) return;
    const size_t at = random_.between(0, wire.size() - 1), rest = wire.size() - at;
    const size_t count = random_.between(1, random_.chance(0.8) ? 8 : 2000);
    switch (random_.between(0, 7)) {
      case 0: wire[at] = static_cast<char>(wire[at] ^ (1 << random_.between(0, 7))); break;
      case 1: wire[at] = static_cast<char>(random_.next()); break;
      case 2: wire.erase(at, count); break;
      case 3: wire.insert(at, noise(count)); break;
      case 4: wire.insert(at, wire.substr(at, count)); break;
      case 5: wire.resize(at); break;
      case 6: wire = noise(count); break;
      default: {
        // Lengths live in the first bytes of records and messages.
        const size_t field = random_.between(3, 12);
        if (field < rest) wire[field] = static_cast<char>(random_.next());
        break;
      }
    }
    touched = true;
  }

  std::string noise(size_t count) {
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_.next());
    if (random_.chance(0.7) && count > 5) {
      bytes[0] = static_cast<char>(random_.between(20, 24));
      bytes[1] = 3;
      bytes[2] = static_cast<char>(random_.between(0, 4));
      bytes[3] = 0;
    }
    return bytes;
  }

  SimRandom& random() { return random_; }
  bool touched = false;

 private:
  SimRandom random_;
  double rate_;
};

bool isKnown(TlsStatus status) { return status <= TlsStatus::failed; }

// Lets one end do all it can, in pieces of random size, and checks what must hold whatever comes.
void drive(TlsSession& session, std::string& incoming, Mutator& mutator, std::string& received) {
  SimRandom& random = mutator.random();
  std::string wire;
  wire.swap(incoming);
  size_t calls = 0;
  while (!wire.empty()) {
    const size_t size = random.chance(0.7) ? wire.size() : random.between(1, wire.size());
    const std::vector<uint8_t> piece(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(size));
    wire.erase(0, size);
    session.lend(piece);
    if (!session.handshakeDone()) CHECK(isKnown(session.handshake()));
    uint8_t into[4096];
    while (session.hasPlaintext()) {
      size_t got = 0;
      const TlsStatus status = session.read(into, got);
      CHECK(isKnown(status) && got <= sizeof into);
      received.append(reinterpret_cast<char*>(into), got);
      calls += 1;
      if (status != TlsStatus::ok) break;
      if (calls > 10'000) return fail(__FILE__, __LINE__, "reading spins");
    }
    session.keepRest();
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
}

// That the runs went where they should.
struct Tally {
  size_t finished = 0, changed = 0;
  uint64_t bytes = 0;
};

void oneRun(Tally& tally, const std::shared_ptr<TlsContext>& client, const std::shared_ptr<TlsContext>& server,
            uint64_t seed, double rate) {
  setContext("seed " + std::to_string(seed));
  Mutator mutator(seed, rate);
  SimRandom& random = mutator.random();
  TlsPair pair(client, server, {.serverName = "localhost", .verifyName = "localhost"});
  std::string atServer, atClient, fromClient, fromServer;
  for (int round = 0; round < 12; round++) {
    pair.fromClient.room = pair.fromServer.room = random.chance(0.8) ? SIZE_MAX : random.between(0, 700);
    for (TlsSession* session : {pair.client.get(), pair.server.get()}) {
      if (!session->handshakeDone()) (void)session->handshake();
      if (session->wantsOutput()) (void)session->flush();
      if (!session->handshakeDone() || session->saidGoodbye()) continue;
      const std::string text = mutator.noise(random.between(1, 3000));
      size_t taken = 0;
      (void)session->write(bytesOf(text), taken);
      (session == pair.client.get() ? fromClient : fromServer).append(text, 0, taken);
      if (random.chance(0.1)) (void)session->updateKeys(random.chance(0.5));
      if (random.chance(0.05)) (void)session->shutdown();
    }
    mutator.maul(pair.fromClient.bytes);
    drive(*pair.server, pair.fromClient.bytes, mutator, atServer);
    mutator.maul(pair.fromServer.bytes);
    drive(*pair.client, pair.fromServer.bytes, mutator, atClient);
    if (random.chance(0.02)) pair.server->wireEnded();
    if (random.chance(0.02)) pair.client->wireFailed();
  }
  // What arrives is what was sent, or the beginning of it: never anything else.
  CHECK(fromClient.starts_with(atServer));
  CHECK(fromServer.starts_with(atClient));
  for (TlsSession* session : {pair.client.get(), pair.server.get()}) {
    const bool hasFailed = session->handshake() == TlsStatus::failed;
    size_t count = 0;
    while (session->takeError()) count += 1;
    if (hasFailed) CHECK(count > 0);
    uint8_t into[1];
    size_t got = 0;
    if (session->handshakeDone() && hasFailed) CHECK(session->read(into, got) == TlsStatus::failed);
    CHECK_EQ(queuedLibraryErrors(), 0u);
  }
  tally.finished += pair.server->handshakeDone() ? 1 : 0;
  tally.changed += mutator.touched ? 1 : 0;
  tally.bytes += atServer.size() + atClient.size();
}

std::string expandLabel(const std::string& secret, const std::string& label, size_t length) {
  const std::string full = "tls13 " + label;
  std::string info;
  info += static_cast<char>(length >> 8);
  info += static_cast<char>(length);
  info += static_cast<char>(full.size());
  info += full;
  info += '\0';
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* context = EVP_KDF_CTX_new(kdf);
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA256";
  std::string key = secret, out(length, '\0');
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                             OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                             OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
                             OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
                             OSSL_PARAM_construct_end()};
  CHECK(EVP_KDF_derive(context, reinterpret_cast<unsigned char*>(out.data()), length, parameters) == 1);
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return out;
}

// Makes records of a client of TLS 1.3 that no OpenSSL would make, from the secret in the key log.
class Forger final : public TlsKeylogSink {
 public:
  void line(std::string_view text) override {
    if (!text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")) return;
    const std::string_view hex = text.substr(text.rfind(' ') + 1);
    secret_.clear();
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      secret_ += static_cast<char>(std::strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16));
    }
  }

  std::string record(const std::string& content, uint8_t type) {
    const std::string key = expandLabel(secret_, "key", 16);
    std::string nonce = expandLabel(secret_, "iv", 12);
    for (int i = 0; i < 8; i++)
      nonce[11 - i] = static_cast<char>(nonce[11 - i] ^ static_cast<char>(sequence_ >> (8 * i)));
    sequence_ += 1;
    std::string plain = content;
    plain += static_cast<char>(type);
    const size_t length = plain.size() + 16;
    std::string header = {23, 3, 3, static_cast<char>(length >> 8), static_cast<char>(length)};
    std::string sealed(length, '\0');
    const auto at = [](std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); };
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
    int size = 0;
    EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), nullptr, reinterpret_cast<const unsigned char*>(key.data()),
                       at(nonce));
    EVP_EncryptUpdate(context, nullptr, &size, at(header), static_cast<int>(header.size()));
    EVP_EncryptUpdate(context, at(sealed), &size, at(plain), static_cast<int>(plain.size()));
    EVP_EncryptFinal_ex(context, at(sealed) + size, &size);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, at(sealed) + plain.size());
    EVP_CIPHER_CTX_free(context);
    return header + sealed;
  }

 private:
  std::string secret_;
  uint64_t sequence_ = 0;
};

}  // namespace

TEST("whatever a stranger on the wire changes, sessions fail in order or go on with what was really sent") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsOptions options = serverOptions();
    options.maxVersion = version;
    options.clientAuth = TlsClientAuth::request;
    options.ca = {testAuthority().certificate};
    options.alpn = {"h2"};
    TlsOptions clientOpts = clientOptions();
    clientOpts.keys = {{testClient().certificate, testClient().key, ""}};
    clientOpts.alpn = {"h2"};
    const auto client = clientContext(clientOpts), server = serverContext(options);
    const size_t count = runs(400);
    Tally tally;
    for (size_t seed = 0; seed < count; seed++) oneRun(tally, client, server, seed, seed % 8 == 0 ? 0.0 : 0.15);
    setContext("");
    CHECK(tally.finished > count / 4);
    CHECK(tally.changed > count / 2);
    CHECK(tally.bytes > count * 1000);
  }
}

TEST("pure noise makes a server fail, and nothing else") {
  const auto server = serverContext();
  for (size_t seed = 0; seed < runs(2000); seed++) {
    setContext("seed " + std::to_string(seed));
    Mutator mutator(seed, 0);
    TlsPair pair(clientContext(), server);
    for (int i = 0; i < 4; i++) {
      std::string noise = mutator.noise(mutator.random().between(1, 600)), received;
      drive(*pair.server, noise, mutator, received);
      CHECK_EQ(received, "");
    }
    pair.server->wireEnded();
    CHECK(pair.server->handshake() == TlsStatus::failed);
    CHECK(pair.server->takeError().failure != TlsFailure::none);
  }
}

TEST("a flood of empty records ends the session, though data comes between them") {
  const auto forger = std::make_shared<Forger>();
  TlsOptions options = serverOptions();
  options.keylog = forger;
  options.cipherSuites = "TLS_AES_128_GCM_SHA256";
  options.maxEmptyRecordsPerSecond = 100;
  TlsPair pair(clientContext(), serverContext(options));
  REQUIRE(pair.handshake());
  const auto send = [&](const std::string& content) {
    pair.fromClient.bytes += forger->record(content, 23);
    return pair.toServer();
  };
  pair.server->setNow(5000);
  CHECK_EQ(send("forged"), "forged");
  for (int i = 0; i < 100; i++) {
    CHECK_EQ(send(""), "");
    if (i % 10 == 9) CHECK_EQ(send("x"), "x");
  }
  CHECK(pair.serverStatus != TlsStatus::failed);
  pair.server->setNow(8000);
  CHECK_EQ(send("later"), "later");
  for (int i = 0; i <= 100 && pair.serverStatus != TlsStatus::failed; i++) {
    (void)send("");
    if (i % 10 == 9) (void)send("x");
  }
  CHECK(pair.serverStatus == TlsStatus::failed);
  CHECK(pair.server->takeError().failure == TlsFailure::recordFlood);
}
