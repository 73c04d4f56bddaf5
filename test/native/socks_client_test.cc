#include "handshake/socks_client.h"

#include <functional>

#include "support/bytes.h"
#include "support/test.h"

using namespace sluice;
using namespace sluice::test;

namespace {

SocksClient make(const SocksRequest& request) {
  auto client = SocksClient::create(request);
  CHECK(client);
  return *client;
}

// All that is to be sent now.
Bytes send(SocksClient& client) {
  const auto output = client.output();
  Bytes sent(output.begin(), output.end());
  client.sent(sent.size());
  CHECK(client.output().empty());
  return sent;
}

std::string tell(const SocksClient::Step& step) {
  if (step.status == ParseStatus::needsMore) return "needsMore";
  if (step.status == ParseStatus::done) return "done";
  return std::string(openingReason(step.failure)) + ": " + std::string(step.text);
}

// A SOCKS server's answers: what it sends after what it got.
struct Exchange {
  const char* name;
  SocksRequest request;
  std::vector<std::pair<Bytes, Bytes>> turns;  // asked, answered
};

std::vector<Exchange> exchanges() {
  const Bytes granted5 = hex("05 00 00 01 7f000001 1f90");
  return {
      {"SOCKS 4",
       {.version = SocksVersion::v4, .host = "192.0.2.1", .port = 443, .user = "HAProxy"},
       {{hex("04 01 01bb c0000201 48415072 6f7879 00"), hex("00 5a 0050 0a000001")}}},
      {"SOCKS 4 without user",
       {.version = SocksVersion::v4, .host = "192.0.2.1", .port = 443},
       {{hex("04 01 01bb c0000201 00"), hex("00 5a 0000 00000000")}}},
      {"SOCKS 4a with a name",
       {.version = SocksVersion::v4a, .host = "a.example", .port = 80, .user = "me"},
       {{hex("04 01 0050 00000001 6d6500 612e6578616d706c6500"), hex("00 5a 0050 0a000001")}}},
      {"SOCKS 4a with an address",
       {.version = SocksVersion::v4a, .host = "192.0.2.1", .port = 80},
       {{hex("04 01 0050 c0000201 00"), hex("00 5a 0050 0a000001")}}},
      {"SOCKS 5, IPv4",
       {.host = "192.0.2.1", .port = 443},
       {{hex("05 01 00"), hex("05 00")}, {hex("05 01 00 01 c0000201 01bb"), granted5}}},
      {"SOCKS 5, IPv6",
       {.host = "2001:db8::1", .port = 443},
       {{hex("05 01 00"), hex("05 00")},
        {hex("05 01 00 04 20010db8000000000000000000000001 01bb"),
         hex("05 00 00 04 00000000000000000000000000000001 1f90")}}},
      {"SOCKS 5, a name",
       {.host = "a.example", .port = 443},
       {{hex("05 01 00"), hex("05 00")},
        {hex("05 01 00 03 09 612e6578616d706c65 01bb"), hex("05 00 00 03 03 616263 1f90")}}},
      {"SOCKS 5, password wanted",
       {.host = "192.0.2.1", .port = 443, .user = "me", .password = "pass"},
       {{hex("05 02 00 02"), hex("05 02")},
        {hex("01 02 6d65 04 70617373"), hex("01 00")},
        {hex("05 01 00 01 c0000201 01bb"), granted5}}},
      {"SOCKS 5, password offered and not wanted",
       {.host = "192.0.2.1", .port = 443, .user = "me", .password = "pass"},
       {{hex("05 02 00 02"), hex("05 00")}, {hex("05 01 00 01 c0000201 01bb"), granted5}}},
      {"SOCKS 5, an empty name as bound address",
       {.host = "192.0.2.1", .port = 443},
       {{hex("05 01 00"), hex("05 00")}, {hex("05 01 00 01 c0000201 01bb"), hex("05 00 00 03 00 0000")}}},
  };
}

// Lets the server's bytes come in the sizes given by `next`, with the target's first bytes behind them.
void run(const Exchange& exchange, const std::function<size_t(size_t left)>& next) {
  SocksClient client = make(exchange.request);
  const Bytes target = bytes("SSH-2.0");
  for (size_t turn = 0; turn < exchange.turns.size(); turn++) {
    const bool isLast = turn + 1 == exchange.turns.size();
    CHECK(send(client) == exchange.turns[turn].first);
    const Bytes answer = exchange.turns[turn].second + (isLast ? target : Bytes());
    Bytes held;
    size_t come = 0;
    bool isAnswered = false;
    while (come < answer.size()) {
      const size_t size = next(answer.size() - come);
      held.insert(held.end(), answer.begin() + static_cast<std::ptrdiff_t>(come),
                  answer.begin() + static_cast<std::ptrdiff_t>(come + size));
      come += size;
      const Exact exact(held);
      const SocksClient::Step step = client.receive(exact.span());
      if (!isAnswered) {
        const bool isWhole = come >= exchange.turns[turn].second.size();
        isAnswered = isWhole;
        CHECK_EQ(tell(step), isWhole && isLast ? "done" : "needsMore");
        CHECK_EQ(step.consumed, isWhole ? exchange.turns[turn].second.size() : 0);
      } else {
        CHECK_EQ(tell(step), isLast ? "done" : "needsMore");
        CHECK_EQ(step.consumed, 0u);
      }
      held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(step.consumed));
    }
    if (isLast) CHECK(held == target);
  }
  CHECK(client.output().empty());
  CHECK(client.state() == SocksClient::State::done);
}

// The last step after these answers.
std::string refuse(const SocksRequest& request, const std::vector<Bytes>& answers) {
  SocksClient client = make(request);
  std::string told;
  for (const Bytes& answer : answers) {
    (void)send(client);
    told = tell(client.receive(Exact(answer).span()));
  }
  CHECK(client.output().empty());
  // It stays so.
  CHECK_EQ(tell(client.receive(hex("0500"))), told);
  return told;
}

const SocksRequest request4{.version = SocksVersion::v4, .host = "192.0.2.1", .port = 443};
const SocksRequest request5{.host = "192.0.2.1", .port = 443};
const SocksRequest withPassword{.host = "192.0.2.1", .port = 443, .user = "me", .password = "pass"};

}  // namespace

TEST("a request is granted, and the target's first bytes are left alone") {
  for (const Exchange& exchange : exchanges()) {
    setContext(exchange.name);
    run(exchange, [](size_t left) { return left; });
  }
  setContext("");
}

TEST("answers may come byte by byte, or cut anywhere in two and three parts") {
  for (const Exchange& exchange : exchanges()) {
    setContext(exchange.name);
    run(exchange, [](size_t) { return 1; });
    for (size_t first = 1; first < 30; first++) {
      for (size_t second = 1; second < 30; second += 3) {
        size_t part = 0;
        run(exchange, [&](size_t left) {
          const size_t size = part == 0 ? first : part == 1 ? second : left;
          part += 1;
          return std::min(size, left);
        });
      }
    }
  }
  setContext("");
}

TEST("a request sent in parts goes on where it stopped") {
  SocksClient client = make(withPassword);
  Bytes sent;
  const auto sendOne = [&] {
    sent.push_back(client.output()[0]);
    client.sent(1);
  };
  for (int i = 0; i < 4; i++) sendOne();
  CHECK(sent == hex("05020002"));
  CHECK_EQ(tell(client.receive(hex("0502"))), "needsMore");
  sent.clear();
  for (int i = 0; i < 3; i++) sendOne();
  CHECK_EQ(text(client.output()), std::string("e\4pass"));
  // The server may answer before it has read all: what is not sent yet still goes before the next request.
  CHECK_EQ(tell(client.receive(hex("0100"))), "needsMore");
  CHECK(Bytes(client.output().begin(), client.output().end()) ==
        bytes("e\4pass") + hex("05 01 00 01 c0000201 01bb"));
}

TEST("the server says where it connected from") {
  SocksClient client = make(request5);
  (void)client.receive(hex("0500"));
  CHECK_EQ(client.replyCode(), 0xffu);
  (void)client.receive(hex("05 00 00 01 0a000001 1f90"));
  CHECK_EQ(client.replyCode(), 0u);
  CHECK_EQ(client.boundAddress().host(), "10.0.0.1");
  CHECK_EQ(client.boundAddress().port(), 8080u);
  SocksClient named = make(request5);
  (void)named.receive(hex("0500"));
  CHECK_EQ(tell(named.receive(hex("05 00 00 03 03 616263 1f90"))), "done");
  CHECK_EQ(named.boundAddress().family(), AF_UNSPEC);
}

TEST("each refusal of SOCKS 4 is told") {
  CHECK_EQ(refuse(request4, {hex("00 5b 0000 00000000")}), "SOCKS4_DENY: request rejected or failed (91)");
  CHECK_EQ(refuse(request4, {hex("00 5c 0000 00000000")}), "SOCKS4_DENY: the server cannot reach our identd (92)");
  CHECK_EQ(refuse(request4, {hex("00 5d 0000 00000000")}), "SOCKS4_DENY: our identd names another user (93)");
  CHECK_EQ(refuse(request4, {hex("00 00")}), "SOCKS4_DENY: refused with a code that SOCKS 4 does not have");
  CHECK_EQ(refuse(request4, {bytes("HTTP/1.1 400 Bad Request")}),
           "SOCKS4_BAD_REPLY: the server does not speak SOCKS 4");
}

TEST("each refusal of SOCKS 5 is told") {
  const char* const texts[] = {"general failure of the server (1)",
                               "not allowed by the server's rules (2)",
                               "network unreachable (3)",
                               "host unreachable (4)",
                               "connection refused by the target (5)",
                               "time to live expired (6)",
                               "the server does not know CONNECT (7)",
                               "the server does not know this type of address (8)",
                               "refused with a code that SOCKS 5 does not have"};
  for (uint8_t code = 1; code <= 9; code++) {
    const std::string told = std::string("SOCKS5_DENY: ") + texts[code - 1];
    CHECK_EQ(refuse(request5, {hex("0500"), Bytes{5, code, 0, 1, 0, 0, 0, 0, 0, 0}}), told);
    CHECK_EQ(refuse(request5, {hex("0500"), Bytes{5, code}}), told);
  }
  CHECK_EQ(refuse(request5, {hex("0500"), hex("04")}), "SOCKS5_BAD_REPLY: the answer has another version");
  CHECK_EQ(refuse(request5, {hex("0500"), hex("0500000200")}),
           "SOCKS5_BAD_REPLY: the answer has an unknown type of address");
  CHECK_EQ(refuse(request5, {bytes("HTTP/1.1 400")}), "SOCKS5_BAD_REPLY: the server does not speak SOCKS 5");
  CHECK_EQ(refuse(request5, {hex("05ff")}),
           "SOCKS5_NO_METHOD: the server wants authentication, and no password was given");
  CHECK_EQ(refuse(withPassword, {hex("05ff")}), "SOCKS5_NO_METHOD: the server takes neither password nor none");
  CHECK_EQ(refuse(request5, {hex("0502")}),
           "SOCKS5_BAD_REPLY: the server chose a way to authenticate that was not offered");
  CHECK_EQ(refuse(withPassword, {hex("0501")}),
           "SOCKS5_BAD_REPLY: the server chose a way to authenticate that was not offered");
  CHECK_EQ(refuse(withPassword, {hex("0502"), hex("0101")}), "SOCKS5_AUTH_DENY: user name or password are wrong");
  CHECK_EQ(refuse(withPassword, {hex("0502"), hex("0201")}),
           "SOCKS5_BAD_REPLY: the answer to the password has an unknown version");
}

TEST("a password is not given to a server that does not ask for it") {
  SocksClient client = make(withPassword);
  (void)send(client);
  (void)client.receive(hex("0500"));
  CHECK(text(client.output()).find("pass") == std::string::npos);
}

TEST("what an end means depends on the version") {
  CHECK_EQ(openingReason(make(request4).failureAtEnd()), "SOCKS4_ABORT");
  CHECK_EQ(openingReason(make(request4).failureAtReceive()), "SOCKS4_RECV");
  CHECK_EQ(openingReason(make(request4).failureAtSend()), "SOCKS4_SEND");
  CHECK_EQ(openingReason(make(request5).failureAtEnd()), "SOCKS5_ABORT");
}

TEST("what a version cannot express is refused at once, with the field's name") {
  const auto field = [](const SocksRequest& request) {
    const auto made = SocksClient::create(request);
    return made ? std::string("fine") : std::string(made.error().syscall);
  };
  using enum SocksVersion;
  CHECK_EQ(field({.version = v4, .host = "a.example", .port = 1}), "host");
  CHECK_EQ(field({.version = v4, .host = "::1", .port = 1}), "host");
  CHECK_EQ(field({.version = v4a, .host = "::1", .port = 1}), "host");
  CHECK_EQ(field({.version = v4a, .host = "a.example", .port = 1}), "fine");
  CHECK_EQ(field({.host = "", .port = 1}), "host");
  CHECK_EQ(field({.host = std::string(255, 'a'), .port = 1}), "fine");
  CHECK_EQ(field({.host = std::string(256, 'a'), .port = 1}), "host");
  CHECK_EQ(field({.host = std::string("a\0b", 3), .port = 1}), "host");
  CHECK_EQ(field({.host = "fe80::1%1", .port = 1}), "host");
  CHECK_EQ(field({.host = "fe80::1::2", .port = 1}), "host");
  CHECK_EQ(field({.version = v4, .host = "10.0.0.1", .port = 1, .user = std::string("a\0b", 3)}), "user");
  CHECK_EQ(field({.version = v4, .host = "10.0.0.1", .port = 1, .user = std::string(256, 'u')}), "user");
  CHECK_EQ(field({.version = v4, .host = "10.0.0.1", .port = 1, .user = "u", .password = "p"}), "password");
  CHECK_EQ(field({.host = "a", .port = 1, .user = "u"}), "password");
  CHECK_EQ(field({.host = "a", .port = 1, .password = "p"}), "user");
  CHECK_EQ(field({.host = "a", .port = 1, .user = std::string(256, 'u'), .password = "p"}), "user");
  CHECK_EQ(field({.host = "a", .port = 1, .user = "u", .password = std::string(256, 'p')}), "password");
}
