#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/sim_options.h"
#include "net/tls_config.h"

namespace sluice::test {

/// How many seeds a test runs; the variable, e.g. SLUICE_TLS_SEEDS=20000, asks for a long run.
uint64_t seedCount(const char* variable, uint64_t usual);

/// A network that splits and delays, of few bytes at a time or of many, by `mixed`, which is made of the seed.
SimOptions roughNetwork(uint64_t seed, uint64_t mixed);

bool isPrefix(const std::string& part, const std::string& whole);

/// TLS for "localhost", with a certificate and contexts made once per program.
std::shared_ptr<const TlsConfig> localServerTls();
std::shared_ptr<const TlsConfig> localClientTls(TlsVersion newest = TlsVersion::tls13);

}  // namespace sluice::test
