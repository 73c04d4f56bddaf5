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

std::vector<std::string> failed;  // of the running test
std::string context;

bool run(const Case& test) {
  failed.clear();
  context.clear();
  test.plain ? test.plain() : test.withArgument(test.argument);
  std::printf("%s %s\n", failed.empty() ? "ok" : "not ok", test.name.c_str());
  for (const std::string& what : failed) std::printf("  %s\n", what.c_str());
  std::fflush(stdout);
  return failed.empty();
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

void setContext(std::string text) { context = std::move(text); }

}  // namespace sluice::test

int main(int count, char** arguments) {
  using namespace sluice::test;
  const std::string filter = count > 1 ? arguments[1] : "";
  int passed = 0;
  int notPassed = 0;
  for (const Case& test : cases()) {
    if (test.name.find(filter) == std::string::npos) continue;
    run(test) ? ++passed : ++notPassed;
  }
  std::printf("%d passed, %d failed\n", passed, notPassed);
  // A filter that fits nothing is a mistake, not a success.
  return notPassed > 0 || passed == 0 ? 1 : 0;
}
