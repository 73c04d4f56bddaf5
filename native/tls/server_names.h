#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tls/tls_error.h"

namespace sluice {

class TlsContext;

/// One line of an SNI table. Pattern: "example.com", or "*.example.com" for exactly one label more, or "!a.example.com",
/// which takes a name out of the wildcard of the same context (HP-86). Letters of either case are the same; a dot at
/// the end is ignored.
struct TlsServerName {
  std::string pattern{};
  std::shared_ptr<TlsContext> context{};
};

/// Finds the context for a name: exact names come first, then wildcards. Immutable.
class TlsServerNames {
 public:
  /// Errors: invalidOption with option "serverNames[i]".
  static TlsResult<std::shared_ptr<const TlsServerNames>> create(std::vector<TlsServerName> names, bool strict);

  /// nullptr: nobody's name.
  TlsContext* find(std::string_view name) const;
  bool strict() const { return strict_; }
  bool empty() const { return exact_.empty() && wildcards_.empty(); }

 private:
  struct Wildcard {
    std::shared_ptr<TlsContext> context;
    std::vector<std::string> except;
  };

  std::unordered_map<std::string, std::shared_ptr<TlsContext>> exact_;
  std::unordered_map<std::string, Wildcard> wildcards_;  // by what follows "*."
  bool strict_ = false;
};

}  // namespace sluice
