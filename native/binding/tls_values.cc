#include "binding/tls_values.h"

#include "binding/tls_handles.h"
#include "binding/tls_keylog.h"
#include "binding/values.h"

namespace sluice::values {

namespace {

int32_t signedNumber(const Napi::Object& object, const char* key) {
  return static_cast<int32_t>(real(object, key));
}

// The items of an array of objects.
template <class Item>
void eachObject(const Napi::Object& object, const char* key, Item item) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) return;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value entry = list.Get(i);
    if (entry.IsObject()) item(entry.As<Napi::Object>());
  }
}

void readIdentity(const Napi::Object& object, TlsOptions& options) {
  eachObject(object, "keys", [&options](const Napi::Object& pair) {
    options.keys.push_back({bytes(pair, "certificate"), bytes(pair, "key"), text(pair, "passphrase")});
  });
  eachObject(object, "pfx", [&options](const Napi::Object& pfx) {
    options.pfx.push_back({bytes(pfx, "data"), text(pfx, "passphrase")});
  });
  eachObject(object, "psks", [&options](const Napi::Object& psk) {
    options.psks.push_back({text(psk, "identity"), bytes(psk, "key")});
  });
  options.pskHint = text(object, "pskHint");
}

void readTrust(const Napi::Object& object, TlsOptions& options) {
  options.ca = bytesList(object, "ca");
  options.systemTrust = flag(object, "systemTrust");
  options.crls = bytesList(object, "crls");
  options.rejectUnauthorized = flag(object, "rejectUnauthorized");
  options.clientAuth = static_cast<TlsClientAuth>(number(object, "clientAuth"));
  options.verifyDepth = signedNumber(object, "verifyDepth");
}

void readProtocol(const Napi::Object& object, TlsOptions& options) {
  options.minVersion = static_cast<TlsVersion>(number(object, "minVersion"));
  options.maxVersion = static_cast<TlsVersion>(number(object, "maxVersion"));
  options.ciphers = text(object, "ciphers");
  options.cipherSuites = text(object, "cipherSuites");
  options.groups = text(object, "groups");
  options.signatureAlgorithms = text(object, "signatureAlgorithms");
  options.securityLevel = signedNumber(object, "securityLevel");
  options.honorCipherOrder = flag(object, "honorCipherOrder");
  options.alpn = bytesList(object, "alpn");
  options.allowRenegotiation = flag(object, "allowRenegotiation");
  options.maxRenegotiationsPerMinute = number(object, "maxRenegotiationsPerMinute");
  options.maxKeyUpdatesPerSecond = number(object, "maxKeyUpdatesPerSecond");
  options.maxEmptyRecordsPerSecond = number(object, "maxEmptyRecordsPerSecond");
  options.maxHandshakeBytes = number(object, "maxHandshakeBytes");
  options.dynamicRecordSize = flag(object, "dynamicRecordSize");
}

void readSessions(const Napi::Object& object, TlsOptions& options) {
  options.tickets = flag(object, "tickets");
  options.ticketKeys = handleOf<TlsTicketKeys>(object.Get("ticketKeys"));
  options.ticketCount = number(object, "ticketCount");
  options.sessionTimeoutS = number(object, "sessionTimeoutS");
  options.sessionCacheCount = number(object, "sessionCacheCount");
  options.sessionIdContext = text(object, "sessionIdContext");
  options.clientSessions = handleOf<TlsClientSessions>(object.Get("clientSessions"));
  options.ocspResponse = bytes(object, "ocspResponse");
  options.requestOcsp = flag(object, "requestOcsp");
}

}  // namespace

std::string bytesOf(const Napi::Value& value) {
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  const auto span = memory<char>(value);
  return {span.data(), span.size()};
}

std::string bytes(const Napi::Object& object, const char* key) { return bytesOf(object.Get(key)); }

std::vector<std::string> bytesList(const Napi::Object& object, const char* key) {
  std::vector<std::string> result;
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) return result;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) result.push_back(bytesOf(list.Get(i)));
  return result;
}

Napi::Value buffer(Napi::Env env, const std::string& bytes) {
  if (bytes.empty()) return env.Undefined();
  return Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size());
}

Napi::Value bufferList(Napi::Env env, const std::vector<std::string>& list) {
  auto result = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); i++) result.Set(i, buffer(env, list[i]));
  return result;
}

Napi::Object tlsFailure(Napi::Env env, const TlsError& error) {
  auto result = Napi::Object::New(env);
  result.Set("failure", string(env, tlsFailureName(error.failure)));
  result.Set("stage", string(env, tlsStageName(error.stage)));
  result.Set("reason", error.reason);
  result.Set("option", error.option);
  result.Set("text", error.text);
  result.Set("libraryCode", error.libraryCode);
  result.Set("verifyCode", error.verifyCode);
  result.Set("alert", error.alert);
  return result;
}

Napi::Object tlsInfo(Napi::Env env, const TlsInfo& info, const TlsError& verifyError) {
  auto result = Napi::Object::New(env);
  result.Set("protocol", info.protocol);
  result.Set("cipher", info.cipher);
  result.Set("cipherStandard", info.cipherStandard);
  result.Set("group", info.group);
  result.Set("alpn", info.alpn);
  result.Set("serverName", info.serverName);
  result.Set("pskIdentity", info.pskIdentity);
  result.Set("resumed", info.resumed);
  result.Set("hasPeerCertificate", info.hasPeerCertificate);
  result.Set("entry", info.entry);
  if (verifyError) result.Set("verifyFailure", tlsFailure(env, verifyError));
  return result;
}

TlsResult<TlsOptions> tlsOptions(const Napi::Object& object) {
  TlsOptions options;
  readIdentity(object, options);
  readTrust(object, options);
  readProtocol(object, options);
  readSessions(object, options);
  const Napi::Value keylog = object.Get("keylog");
  if (keylog.IsFunction()) {
    options.keylog = keylogToFunction(keylog.As<Napi::Function>());
  } else if (keylog.IsString()) {
    auto sink = keylogToFile(keylog.As<Napi::String>().Utf8Value());
    if (!sink) return sink.error();
    options.keylog = std::move(*sink);
  }
  return options;
}

}  // namespace sluice::values
