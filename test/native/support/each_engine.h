#pragma once

#include <string_view>

#include "support/test.h"
#include "support/world.h"

namespace sluice::test {

/// Registers one test per engine; those that cannot run here are shown as skipped, with the engine's reason.
struct EngineRegistration {
  EngineRegistration(std::string_view sentence, void (*body)(std::string_view engine));
};

}  // namespace sluice::test

/// A sentence that holds on every engine. The body sees the engine's name as `engine`.
#define ENGINE_TEST(sentence)                                                                \
  static void SLUICE_TEST_JOIN(test_, __LINE__)(std::string_view engine);                    \
  static const ::sluice::test::EngineRegistration SLUICE_TEST_JOIN(registration_, __LINE__)( \
      sentence, SLUICE_TEST_JOIN(test_, __LINE__));                                          \
  static void SLUICE_TEST_JOIN(test_, __LINE__)([[maybe_unused]] std::string_view engine)
