#include "binding/proxy_values.h"

#include "binding/tls_values.h"
#include "binding/values.h"

namespace sluice::values {

namespace {

Napi::Object failureOf(Napi::Env env, OpeningFailure failure, std::string_view text) {
  auto result = Napi::Object::New(env);
  result.Set("reason", string(env, openingReason(failure)));
  result.Set("text", string(env, text));
  return result;
}

// (bytes, maxHeaderBytes, maxTlvBytes): { header, consumed }, or { reason, text }, or undefined while bytes are missing.
Napi::Value parse(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ProxyLimits limits{info[1].As<Napi::Number>().Uint32Value(), info[2].As<Napi::Number>().Uint32Value()};
  const ProxyParse parse = parseProxyHeader(memory<uint8_t>(info[0]), limits);
  switch (parse.status) {
    case ParseStatus::needsMore: return env.Undefined();
    case ParseStatus::failed: return failureOf(env, parse.failure, parse.text);
    case ParseStatus::done: break;
  }
  auto result = Napi::Object::New(env);
  result.Set("header", proxyHeader(env, parse.header));
  result.Set("consumed", static_cast<uint32_t>(parse.consumed));
  return result;
}

// (value of an `ssl` TLV): its parts, or undefined when it is malformed.
Napi::Value decodeSsl(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto ssl = decodeProxySsl(memory<uint8_t>(info[0]));
  if (!ssl) return env.Undefined();
  auto result = Napi::Object::New(env);
  result.Set("client", ssl->client);
  result.Set("verify", ssl->verify);
  result.Set("version", string(env, ssl->version));
  result.Set("commonName", string(env, ssl->commonName));
  result.Set("cipher", string(env, ssl->cipher));
  result.Set("certificateSignature", string(env, ssl->certificateSignature));
  result.Set("keyAlgorithm", string(env, ssl->keyAlgorithm));
  result.Set("group", string(env, ssl->group));
  result.Set("signatureScheme", string(env, ssl->signatureScheme));
  result.Set("certificate", buffer(env, std::string(ssl->certificate.begin(), ssl->certificate.end())));
  return result;
}

// (NativeProxySend): the header's bytes, or a failure.
Napi::Value write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ProxySend send = proxySend(info[0].As<Napi::Object>());
  const auto header = writeProxyHeader(send.options, send.facts());
  if (!header) return failure(env, header.error());
  return Napi::Buffer<uint8_t>::Copy(env, (*header).data(), (*header).size());
}

}  // namespace

Napi::Object proxyHeader(Napi::Env env, const ProxyHeader& header) {
  auto result = Napi::Object::New(env);
  result.Set("version", header.version);
  result.Set("local", header.local);
  result.Set("family", static_cast<uint32_t>(header.family));
  result.Set("transport", static_cast<uint32_t>(header.transport));
  result.Set("hasAddresses", header.hasAddresses);
  if (header.source.family() != AF_UNSPEC) result.Set("source", address(env, header.source));
  if (header.destination.family() != AF_UNSPEC) result.Set("destination", address(env, header.destination));
  result.Set("raw", Napi::Buffer<uint8_t>::Copy(env, header.raw.data(), header.raw.size()));
  auto tlvs = Napi::Array::New(env, header.tlvs.size() * 3);
  uint32_t at = 0;
  for (const ProxyTlv& tlv : header.tlvs) {
    tlvs.Set(at++, tlv.type);
    tlvs.Set(at++, tlv.offset);
    tlvs.Set(at++, tlv.length);
  }
  result.Set("tlvs", tlvs);
  return result;
}

ProxySend proxySend(const Napi::Object& object) {
  ProxySend send;
  ProxySendOptions& options = send.options;
  options.version = static_cast<uint8_t>(number(object, "version"));
  options.local = flag(object, "local");
  const Napi::Value custom = object.Get("tlvs");
  if (custom.IsArray()) {
    const auto list = custom.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); i++) {
      const auto tlv = list.Get(i).As<Napi::Object>();
      options.custom.push_back({static_cast<uint8_t>(number(tlv, "type")), bytes(tlv, "value")});
    }
  }
  options.crc32c = flag(object, "crc32c");
  send.source = socketAddress(object.Get("source"));
  send.destination = socketAddress(object.Get("destination"));
  // A value is there to be sent.
  send.alpn = text(object, "alpn");
  send.authority = text(object, "authority");
  send.uniqueId = bytes(object, "uniqueId");
  send.netns = text(object, "netns");
  options.alpn = options.authority = options.uniqueId = options.netns = true;
  const Napi::Value ssl = object.Get("ssl");
  if (!ssl.IsObject()) return send;
  const auto facts = ssl.As<Napi::Object>();
  options.ssl = options.sslCommonName = options.sslCipher = options.sslCertificateSignature = true;
  options.sslKeyAlgorithm = options.sslGroup = options.sslSignatureScheme = options.sslCertificate = true;
  send.hasSsl = true;
  send.sslClient = static_cast<uint8_t>(number(facts, "client"));
  send.sslVerify = number(facts, "verify");
  send.sslVersion = text(facts, "version");
  send.sslCommonName = text(facts, "commonName");
  send.sslCipher = text(facts, "cipher");
  send.sslCertificateSignature = text(facts, "certificateSignature");
  send.sslKeyAlgorithm = text(facts, "keyAlgorithm");
  send.sslGroup = text(facts, "group");
  send.sslSignatureScheme = text(facts, "signatureScheme");
  send.sslCertificate = bytes(facts, "certificate");
  return send;
}

SocketAddress socketAddress(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto object = value.As<Napi::Object>();
  auto found = has(object, "path")
                   ? SocketAddress::unixPath(text(object, "path"))
                   : SocketAddress::ip(text(object, "address"), static_cast<uint16_t>(number(object, "port")));
  return found ? *found : SocketAddress();
}

Napi::Object proxyBinding(Napi::Env env) {
  auto exports = Napi::Object::New(env);
  exports.Set("parse", Napi::Function::New(env, parse));
  exports.Set("decodeSsl", Napi::Function::New(env, decodeSsl));
  exports.Set("write", Napi::Function::New(env, write));
  return exports;
}

}  // namespace sluice::values
