#pragma once

#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/error.h"

namespace sluice {

/// Either a value or an Error. Check with `if (!result)`, then read `*result` or `result.error()`.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose, so that `return value;` reads well
  Result(Error error) : error_(error) { SLUICE_ASSERT(error); }  // NOLINT

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const Error& error() const { return error_; }

 private:
  std::optional<T> value_;
  Error error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error) { SLUICE_ASSERT(error); }  // NOLINT

  explicit operator bool() const { return !error_; }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

}  // namespace sluice
