#pragma once

#include <concepts>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// A test is a sentence and its proof:
///
///   TEST("a header split at any byte parses as if it came whole") {
///     CHECK_EQ(parseInTwo(bytes, cut), expected);
///   }
///
/// A failed CHECK is printed and the test goes on; `REQUIRE` ends it. The program prints one line per test
/// (`ok name` or `not ok name`, then what failed), at last `N passed, N failed`, and exits with 1 if any failed. With an
/// argument it runs the tests whose name contains it.
namespace sluice::test {

using Body = void (*)();

/// Adds a test; the order of addition is the order of running.
struct Registration {
  Registration(std::string name, Body body);
  /// For tests made in a loop, e.g. one per engine.
  Registration(std::string name, void (*body)(std::string_view), std::string argument);
};

/// Notes a failure of the running test.
void fail(const char* file, int line, const std::string& what);
/// Failures of the running test so far.
int failures();
/// Ends the running test, once it returns, as skipped: shown as `ok name # SKIP reason`, and counted as neither.
void skip(std::string reason);
/// What a failing CHECK says more, e.g. the engine or the round; "" for nothing.
void setContext(std::string context);

template <class T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (std::is_same_v<T, uint8_t> || std::is_same_v<T, int8_t>) {
    return std::to_string(static_cast<int>(value));
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    return '"' + std::string(std::string_view(value)) + '"';
  } else if constexpr (requires(std::ostringstream& out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return out.str();
  } else {
    return "(value)";
  }
}

// Integers of different signs compare by value, not after conversion.
template <class A, class B>
bool equal(const A& a, const B& b) {
  if constexpr (std::integral<A> && std::integral<B> && !std::is_same_v<A, bool> && !std::is_same_v<B, bool> &&
                !std::is_same_v<A, char> && !std::is_same_v<B, char>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <class A, class B>
bool checkEqual(const char* file, int line, const char* left, const char* right, const A& a, const B& b) {
  if (equal(a, b)) return true;
  fail(file, line, std::string(left) + " == " + right + ", but " + show(a) + " is not " + show(b));
  return false;
}

}  // namespace sluice::test

#define SLUICE_TEST_JOIN_(a, b) a##b
#define SLUICE_TEST_JOIN(a, b) SLUICE_TEST_JOIN_(a, b)
#define SLUICE_TEST(name, body, registration)                         \
  static void body();                                                 \
  static const ::sluice::test::Registration registration(name, body); \
  static void body()

#define TEST(name) SLUICE_TEST(name, SLUICE_TEST_JOIN(test_, __LINE__), SLUICE_TEST_JOIN(registration_, __LINE__))

#define CHECK(...) \
  (static_cast<bool>(__VA_ARGS__) ? void() : ::sluice::test::fail(__FILE__, __LINE__, #__VA_ARGS__))

#define CHECK_EQ(a, b) ((void)::sluice::test::checkEqual(__FILE__, __LINE__, #a, #b, a, b))

/// Like CHECK, but ends the enclosing function: for what the rest of a test cannot do without.
#define REQUIRE(...)                                          \
  do {                                                        \
    if (!(__VA_ARGS__)) {                                     \
      ::sluice::test::fail(__FILE__, __LINE__, #__VA_ARGS__); \
      return;                                                 \
    }                                                         \
  } while (false)
