#include "support/each_engine.h"

#include <string>

namespace sluice::test {

namespace {

const std::vector<EngineInfo>& engines() {
  static const std::vector<EngineInfo> all = listEngines();
  return all;
}

void skipUnavailable(std::string_view name) {
  for (const EngineInfo& engine : engines()) {
    if (engine.name == name) skip(engine.reason);
  }
}

}  // namespace

EngineRegistration::EngineRegistration(std::string_view sentence, void (*body)(std::string_view)) {
  for (const EngineInfo& engine : engines()) {
    const std::string name(engine.name);
    Registration(name + ": " + std::string(sentence), engine.available ? body : skipUnavailable, name);
  }
}

}  // namespace sluice::test
