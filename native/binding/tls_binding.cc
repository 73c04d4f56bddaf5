#include "binding/tls_binding.h"

#include <map>
#include <mutex>

#include "binding/tls_certificates.h"
#include "binding/tls_handles.h"
#include "binding/tls_values.h"
#include "binding/values.h"
#include "tls/client_sessions.h"
#include "tls/library.h"
#include "tls/ticket_keys.h"

namespace sluice {

namespace {

using Info = const Napi::CallbackInfo&;

Napi::Value answer(Napi::Env env, const TlsResult<void>& result) {
  return result ? env.Undefined() : values::tlsFailure(env, result.error());
}

template <class T>
Napi::Value handleOr(Napi::Env env, const TlsResult<std::shared_ptr<T>>& result) {
  return result ? newHandle(env, *result) : values::tlsFailure(env, result.error());
}

Napi::Value check(Info info) { return answer(info.Env(), TlsLibrary::check()); }

Napi::Value features(Info info) {
  const TlsLibrary::Features& features = TlsLibrary::features();
  auto result = Napi::Object::New(info.Env());
  result.Set("version", features.version);
  result.Set("hasMlKem", features.hasMlKem);
  return result;
}

// So that a test can compare them with the error table.
Napi::Value failureNames(Info info) {
  auto names = Napi::Array::New(info.Env());
#define X(name, text) names.Set(names.Length(), text);
  SLUICE_TLS_FAILURES(X)
#undef X
  return names;
}

// ── Contexts ──

// (isServer, options)
Napi::Value createContext(Info info) {
  const auto role = info[0].As<Napi::Boolean>().Value() ? TlsRole::server : TlsRole::client;
  const auto options = values::tlsOptions(info[1].As<Napi::Object>());
  if (!options) return values::tlsFailure(info.Env(), options.error());
  return handleOr(info.Env(), TlsContext::create(role, *options));
}

// (context, options)
Napi::Value reloadContext(Info info) {
  const auto options = values::tlsOptions(info[1].As<Napi::Object>());
  if (!options) return values::tlsFailure(info.Env(), options.error());
  return answer(info.Env(), handleOf<TlsContext>(info[0])->reload(*options));
}

// { refuse, context, entry }
TlsFallback fallbackOf(const Napi::Object& fallbacks, const char* key) {
  const auto fallback = fallbacks.Get(key).As<Napi::Object>();
  return {values::flag(fallback, "refuse"), handleOf<TlsContext>(fallback.Get("context")),
          values::number(fallback, "entry")};
}

// (context, [{ pattern, context, entry }], { unknown, nameless })
Napi::Value setServerNames(Info info) {
  const auto list = info[1].As<Napi::Array>();
  std::vector<TlsServerName> names;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const auto entry = list.Get(i).As<Napi::Object>();
    names.push_back({values::text(entry, "pattern"), handleOf<TlsContext>(entry.Get("context")),
                     values::number(entry, "entry")});
  }
  const auto given = info[2].As<Napi::Object>();
  TlsFallbacks fallbacks{fallbackOf(given, "unknown"), fallbackOf(given, "nameless")};
  return answer(info.Env(), handleOf<TlsContext>(info[0])->setServerNames(std::move(names), std::move(fallbacks)));
}

// (context, name): the entry that serves a client who asks for it, 0 for the context itself; -1 when it is refused.
Napi::Value chooseServerName(Info info) {
  const auto names = handleOf<TlsContext>(info[0])->serverNames();
  if (names == nullptr) return Napi::Number::New(info.Env(), 0);
  const TlsServerNames::Choice choice = names->choose(info[1].As<Napi::String>().Utf8Value());
  return Napi::Number::New(info.Env(), choice.refuse ? -1.0 : choice.entry);
}

// (context)
Napi::Value contextTicketKeys(Info info) {
  auto keys = handleOf<TlsContext>(info[0])->ticketKeys();
  return keys ? newHandle(info.Env(), std::move(keys)) : info.Env().Undefined();
}

// ── Ticket keys ──

Napi::Value createTicketKeys(Info info) { return handleOr(info.Env(), TlsTicketKeys::create()); }

// (keys, [bytes], encryptIndex)
Napi::Value setTicketKeys(Info info) {
  const auto list = info[1].As<Napi::Array>();
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < list.Length(); i++) keys.push_back(values::bytesOf(list.Get(i)));
  const int encryptIndex = info[2].As<Napi::Number>().Int32Value();
  return answer(info.Env(), handleOf<TlsTicketKeys>(info[0])->set(keys, encryptIndex));
}

// (keys, howManyToKeep)
Napi::Value rotateTicketKeys(Info info) {
  const auto key = handleOf<TlsTicketKeys>(info[0])->rotate(info[1].As<Napi::Number>().Uint32Value());
  return key ? values::buffer(info.Env(), *key) : values::tlsFailure(info.Env(), key.error());
}

// (keys)
Napi::Value ticketKeyList(Info info) {
  const auto keys = handleOf<TlsTicketKeys>(info[0]);
  auto result = Napi::Object::New(info.Env());
  result.Set("keys", values::bufferList(info.Env(), keys->keys()));
  result.Set("encryptIndex", static_cast<double>(keys->encryptIndex()));
  return result;
}

// What other threads of the process can find by its number, for as long as somebody has it.
struct SharedTicketKeys {
  std::mutex mutex;
  uint32_t next = 1;
  std::map<uint32_t, std::weak_ptr<TlsTicketKeys>> byNumber;
};

// Never destroyed: worker threads may outlive static objects.
SharedTicketKeys& sharedTicketKeys() {
  static auto* shared = new SharedTicketKeys();
  return *shared;
}

// (keys)
Napi::Value shareTicketKeys(Info info) {
  const auto keys = handleOf<TlsTicketKeys>(info[0]);
  SharedTicketKeys& shared = sharedTicketKeys();
  const std::lock_guard lock(shared.mutex);
  for (auto it = shared.byNumber.begin(); it != shared.byNumber.end();) {
    const auto known = it->second.lock();
    if (known == keys) return Napi::Number::New(info.Env(), it->first);
    it = known ? std::next(it) : shared.byNumber.erase(it);
  }
  const uint32_t number = shared.next++;
  shared.byNumber.emplace(number, keys);
  return Napi::Number::New(info.Env(), number);
}

// (number)
Napi::Value findTicketKeys(Info info) {
  SharedTicketKeys& shared = sharedTicketKeys();
  const std::lock_guard lock(shared.mutex);
  const auto found = shared.byNumber.find(info[0].As<Napi::Number>().Uint32Value());
  auto keys = found == shared.byNumber.end() ? nullptr : found->second.lock();
  return keys ? newHandle(info.Env(), std::move(keys)) : info.Env().Undefined();
}

// ── Sessions of clients ──

// (maxKeys)
Napi::Value createClientSessions(Info info) {
  return newHandle(info.Env(), std::make_shared<TlsClientSessions>(info[0].As<Napi::Number>().Uint32Value()));
}

Napi::Value clientSessionsSize(Info info) {
  return Napi::Number::New(info.Env(), static_cast<double>(handleOf<TlsClientSessions>(info[0])->size()));
}

Napi::Value clearClientSessions(Info info) {
  handleOf<TlsClientSessions>(info[0])->clear();
  return info.Env().Undefined();
}

}  // namespace

Napi::Object tlsBinding(Napi::Env env) {
  auto result = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) {
    result.Set(name, Napi::Function::New(env, function, name));
  };
  add("check", check);
  add("features", features);
  add("failureNames", failureNames);
  add("createContext", createContext);
  add("reloadContext", reloadContext);
  add("setServerNames", setServerNames);
  add("chooseServerName", chooseServerName);
  add("contextTicketKeys", contextTicketKeys);
  add("createTicketKeys", createTicketKeys);
  add("setTicketKeys", setTicketKeys);
  add("rotateTicketKeys", rotateTicketKeys);
  add("ticketKeyList", ticketKeyList);
  add("shareTicketKeys", shareTicketKeys);
  add("findTicketKeys", findTicketKeys);
  add("createClientSessions", createClientSessions);
  add("clientSessionsSize", clientSessionsSize);
  add("clearClientSessions", clearClientSessions);
  addCertificateFunctions(result);
  return result;
}

bool tlsConfigFrom(const Napi::Value& value, std::shared_ptr<const TlsConfig>& config) {
  config = nullptr;
  if (value.IsUndefined() || value.IsNull()) return true;
  if (!value.IsObject()) return false;
  const auto object = value.As<Napi::Object>();
  auto read = std::make_shared<TlsConfig>();
  read->context = handleOf<TlsContext>(object.Get("context"));
  if (!read->context) return false;
  read->peer.serverName = values::text(object, "serverName");
  read->peer.verifyName = values::text(object, "verifyName");
  read->peer.checkCommonName = values::flag(object, "checkCommonName");
  read->peer.alpn = values::bytesList(object, "alpn");
  read->peer.sessionKey = values::text(object, "sessionKey");
  read->peer.session = values::bytes(object, "session");
  read->handshakeTimeoutMs = values::number(object, "handshakeTimeoutMs");
  read->maxHandshakes = values::number(object, "maxHandshakes");
  read->maxHandshakesWaiting = values::number(object, "maxHandshakesWaiting");
  read->maxHandshakesPerSecond = values::number(object, "maxHandshakesPerSecond");
  read->allowTruncation = values::flag(object, "allowTruncation");
  read->discardPlaintext = values::flag(object, "discardPlaintext");
  config = std::move(read);
  return true;
}

}  // namespace sluice
