#include "tls/server_names.h"

#include <algorithm>

#include "tls/context.h"

namespace sluice {

namespace {

// Lower case, without the dot at the end.
std::string normalized(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  std::string lower(name);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return lower;
}

bool isName(std::string_view name) {
  if (name.empty() || name.size() > 253 || name.front() == '.' || name.back() == '.') return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' || letter == '.' ||
           letter == '_';
  });
}

TlsError badName(size_t index, const std::string& text) {
  return {TlsFailure::invalidOption, TlsStage::options, "", "serverNames[" + std::to_string(index) + "]", text};
}

}  // namespace

TlsResult<std::shared_ptr<const TlsServerNames>> TlsServerNames::create(std::vector<TlsServerName> names,
                                                                        TlsFallbacks fallbacks) {
  auto table = std::make_shared<TlsServerNames>();
  table->fallbacks_ = std::move(fallbacks);
  struct Exception {
    size_t index;
    std::string name;
  };
  std::vector<Exception> exceptions;
  for (size_t i = 0; i < names.size(); i++) {
    const std::string pattern = normalized(names[i].pattern);
    const std::string quoted = "\"" + names[i].pattern + "\"";
    if (names[i].context == nullptr || names[i].context->role() != TlsRole::server) {
      return badName(i, quoted + " has no context for servers");
    }
    const bool isWildcard = pattern.starts_with("*."), isException = pattern.starts_with("!");
    const std::string name = pattern.substr(isWildcard ? 2 : isException ? 1 : 0);
    if (!isName(name)) {
      return badName(i, quoted + " is no DNS name; \"*.name\" and \"!name\" are allowed, and no other use of *");
    }
    if (isException) {
      exceptions.push_back({i, name});
    } else if (isWildcard) {
      if (!table->wildcards_.emplace(name, Served{names[i].context, names[i].entry}).second)
        return badName(i, quoted + " stands twice");
    } else if (!table->exact_.emplace(name, Served{names[i].context, names[i].entry}).second) {
      return badName(i, quoted + " stands twice");
    }
  }
  for (Exception& exception : exceptions) {
    const size_t dot = exception.name.find('.');
    const auto found =
        dot == std::string::npos ? table->wildcards_.end() : table->wildcards_.find(exception.name.substr(dot + 1));
    if (found == table->wildcards_.end() || found->second.context != names[exception.index].context) {
      return badName(exception.index, "\"!" + exception.name + "\" takes nothing out of a wildcard of its context");
    }
    found->second.except.push_back(std::move(exception.name));
  }
  return std::shared_ptr<const TlsServerNames>(std::move(table));
}

const TlsServerNames::Served* TlsServerNames::served(std::string_view name) const {
  const std::string wanted = normalized(name);
  // Somebody behind us may see a dot where we see a letter of another alphabet.
  if (!isName(wanted)) return nullptr;
  if (const auto found = exact_.find(wanted); found != exact_.end()) return &found->second;
  const size_t dot = wanted.find('.');
  if (dot == std::string::npos) return nullptr;
  const auto found = wildcards_.find(wanted.substr(dot + 1));
  if (found == wildcards_.end()) return nullptr;
  const auto& except = found->second.except;
  if (std::find(except.begin(), except.end(), wanted) != except.end()) return nullptr;
  return &found->second;
}

TlsServerNames::Choice TlsServerNames::choose(std::string_view name) const {
  if (!name.empty()) {
    if (const Served* found = served(name)) return {found->context.get(), found->entry};
  }
  const TlsFallback& fallback = name.empty() ? fallbacks_.nameless : fallbacks_.unknown;
  return {fallback.context.get(), fallback.entry, fallback.refuse};
}

TlsContext* TlsServerNames::find(std::string_view name) const {
  const Served* found = served(name);
  return found == nullptr ? nullptr : found->context.get();
}

}  // namespace sluice
