#include "support/test.h"

#include <cstdio>
#include <vector>

namespace sluice::test {

namespace {

struct Case {
  std::string name;
  Body plain = nullptr;
  void (*withArgument)(std::string_view) = nullptr;
  std::string argument;
};

// A function, so that it exists before the first registration of any file.
std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

// Of the running test.
std::vector<std::string> failed;
std::string skipReason;
std::string context;

enum class Verdict { passed, failed, skipped };

Verdict run(const Case& test) {
  failed.clear();
  skipReason.clear();
  context.clear();
  test.plain ? test.plain() : test.withArgument(test.argument);
  const bool skipped = failed.empty() && !skipReason.empty();
  std::printf("%s %s%s%s\n", failed.empty() ? "ok" : "not ok", test.name.c_str(), skipped ? " # SKIP " : "",
              skipped ? skipReason.c_str() : "");
  for (const std::string& what : failed) std::printf("  %s\n", what.c_str());
  std::fflush(stdout);
  return !failed.empty() ? Verdict::failed : skipped ? Verdict::skipped : Verdict::passed;
}

}  // namespace

Registration::Registration(std::string name, Body body) { cases().push_back({std::move(name), body, nullptr, {}}); }

Registration::Registration(std::string name, void (*body)(std::string_view), std::string argument) {
  cases().push_back({std::move(name), nullptr, body, std::move(argument)});
}

void fail(const char* file, int line, const std::string& what) {
  const std::string where = std::string(file) + ':' + std::to_string(line);
  failed.push_back(where + ": " + what + (context.empty() ? "" : " [" + context + "]"));
}

int failures() { return static_cast<int>(failed.size()); }

void skip(std::string reason) { skipReason = std::move(reason); }

void setContext(std::string text) { context = std::move(text); }

}  // namespace sluice::test

int main(int count, char** arguments) {
  using namespace sluice::test;
  const std::string filter = count > 1 ? arguments[1] : "";
  int counts[3] = {};
  for (const Case& test : cases()) {
    if (test.name.find(filter) != std::string::npos) ++counts[static_cast<int>(run(test))];
  }
  std::printf("%d passed, %d failed\n", counts[0], counts[1]);
  // A filter that fits nothing is a mistake, not a success.
  return counts[1] > 0 || counts[0] + counts[2] == 0 ? 1 : 0;
}
