#include "support/seeds.h"

#include <cstdlib>

#include "engine/sim_random.h"
#include "tls/certificate.h"
#include "tls/context.h"

namespace sluice::test {

uint64_t seedCount(const char* variable, uint64_t usual) {
  const char* wanted = std::getenv(variable);
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual;
}

SimOptions roughNetwork(uint64_t seed, uint64_t mixed) {
  SimRandom random(mixed);
  SimOptions sim;
  sim.seed = seed;
  sim.latencyMinMs = 0.1;
  sim.latencyMaxMs = 5;
  sim.jitterMs = 3;
  // From a byte at a time to whole flights; few bytes need many events, so they come with little data.
  sim.segmentMinBytes = 1;
  sim.segmentMaxBytes = uint64_t{1} << random.between(0, 14);
  sim.sendBufferBytes = uint64_t{1} << random.between(4, 18);
  sim.receiveWindowBytes = uint64_t{1} << random.between(4, 18);
  sim.shortSendProbability = 0.3;
  sim.deferredSendProbability = 0.3;
  sim.spuriousSentProbability = 0.2;
  return sim;
}

bool isPrefix(const std::string& part, const std::string& whole) {
  return whole.compare(0, part.size(), part) == 0;
}

namespace {

const CertificateAndKey& certificate() {
  static const CertificateAndKey made = *createCertificate({.names = {"localhost"}});
  return made;
}

std::shared_ptr<TlsContext> makeClient(TlsVersion newest) {
  TlsOptions options;
  options.ca.push_back(certificate().certificate);
  options.maxVersion = newest;
  return *TlsContext::create(TlsRole::client, options);
}

}  // namespace

std::shared_ptr<const TlsConfig> localServerTls() {
  static const auto context = [] {
    TlsOptions options;
    options.keys.push_back({certificate().certificate, certificate().key, ""});
    return *TlsContext::create(TlsRole::server, options);
  }();
  TlsConfig config;
  config.context = context;
  return std::make_shared<const TlsConfig>(std::move(config));
}

std::shared_ptr<const TlsConfig> localClientTls(TlsVersion newest) {
  static const auto tls13 = makeClient(TlsVersion::tls13), tls12 = makeClient(TlsVersion::tls12);
  TlsConfig config;
  config.context = newest == TlsVersion::tls13 ? tls13 : tls12;
  config.peer.serverName = config.peer.verifyName = "localhost";
  return std::make_shared<const TlsConfig>(std::move(config));
}

}  // namespace sluice::test
