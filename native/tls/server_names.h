#pragma once

#include <cstdint>
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
  uint32_t entry = 0;  // the caller's number, told by TlsInfo::entry
};

/// Who serves those that no name of the table is for.
struct TlsFallback {
  bool refuse = false;                    // nobody: the alert unrecognized_name
  std::shared_ptr<TlsContext> context{};  // null: the context that has the table
  uint32_t entry = 0;
};

struct TlsFallbacks {
  TlsFallback unknown{};   // they ask for another name, or for what is no name
  TlsFallback nameless{};  // they ask for none
};

/// Finds the context for a name: exact names come first, then wildcards. What no DNS name could be, e.g. with letters beyond
/// ASCII, is nobody's. Immutable.
class TlsServerNames {
 public:
  /// Errors: invalidOption with option "serverNames[i]".
  static TlsResult<std::shared_ptr<const TlsServerNames>> create(std::vector<TlsServerName> names,
                                                                 TlsFallbacks fallbacks);

  struct Choice {
    TlsContext* context = nullptr;  // null: the one that has the table
    uint32_t entry = 0;
    bool refuse = false;
  };
  /// For what a client asks; "" where it asks for no name.
  Choice choose(std::string_view name) const;
  /// nullptr: nobody's name.
  TlsContext* find(std::string_view name) const;

 private:
  struct Served {
    std::shared_ptr<TlsContext> context;
    uint32_t entry;
    std::vector<std::string> except{};  // of wildcards
  };
  const Served* served(std::string_view name) const;

  std::unordered_map<std::string, Served> exact_;
  std::unordered_map<std::string, Served> wildcards_;  // by what follows "*."
  TlsFallbacks fallbacks_;
};

}  // namespace sluice
