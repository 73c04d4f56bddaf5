#include "binding/tls_certificates.h"

#include "binding/tls_values.h"
#include "binding/values.h"
#include "tls/certificate.h"

namespace sluice {

namespace {

using Info = const Napi::CallbackInfo&;

Napi::Array strings(Napi::Env env, const std::vector<std::string>& list) {
  auto result = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); i++) result.Set(i, list[i]);
  return result;
}

// (request)
Napi::Value create(Info info) {
  const auto object = info[0].As<Napi::Object>();
  CertificateRequest request;
  request.names = values::bytesList(object, "names");
  request.commonName = values::text(object, "commonName");
  request.keyType = static_cast<TlsKeyType>(values::number(object, "keyType"));
  request.notBeforeS = static_cast<int64_t>(values::real(object, "notBeforeS"));
  request.days = static_cast<int32_t>(values::real(object, "days"));
  request.authority = values::flag(object, "authority");
  request.purpose = values::text(object, "purpose");
  request.issuerCertificate = values::bytes(object, "issuerCertificate");
  request.issuerKey = values::bytes(object, "issuerKey");
  auto made = createCertificate(request);
  if (!made) return values::tlsFailure(info.Env(), made.error());
  auto result = Napi::Object::New(info.Env());
  result.Set("cert", made->certificate);
  result.Set("key", made->key);
  return result;
}

// (authority: { cert, key }, [certificates], days)
Napi::Value createRevocationList(Info info) {
  const auto object = info[0].As<Napi::Object>();
  const CertificateAndKey authority{values::bytes(object, "cert"), values::bytes(object, "key")};
  const auto list = info[1].As<Napi::Array>();
  std::vector<std::string> revoked;
  for (uint32_t i = 0; i < list.Length(); i++) revoked.push_back(values::bytesOf(list.Get(i)));
  auto made = createCrl(authority, revoked, info[2].As<Napi::Number>().Int32Value());
  if (!made) return values::tlsFailure(info.Env(), made.error());
  return Napi::String::New(info.Env(), *made);
}

// (pemOrDer)
Napi::Value parse(Info info) {
  const Napi::Env env = info.Env();
  auto parsed = parseCertificate(values::bytesOf(info[0]));
  if (!parsed) return values::tlsFailure(env, parsed.error());
  auto result = Napi::Object::New(env);
  result.Set("subject", parsed->subject);
  result.Set("issuer", parsed->issuer);
  result.Set("subjectCommonName", parsed->subjectCommonName);
  result.Set("dnsNames", strings(env, parsed->dnsNames));
  result.Set("ipAddresses", strings(env, parsed->ipAddresses));
  result.Set("uris", strings(env, parsed->uris));
  result.Set("emails", strings(env, parsed->emails));
  result.Set("serialNumber", parsed->serialNumber);
  result.Set("notBeforeS", static_cast<double>(parsed->notBeforeS));
  result.Set("notAfterS", static_cast<double>(parsed->notAfterS));
  result.Set("fingerprint", parsed->fingerprint);
  result.Set("fingerprint256", parsed->fingerprint256);
  result.Set("fingerprint512", parsed->fingerprint512);
  result.Set("keyType", parsed->keyType);
  result.Set("keyBits", parsed->keyBits);
  result.Set("signatureAlgorithm", parsed->signatureAlgorithm);
  result.Set("isAuthority", parsed->isAuthority);
  result.Set("der", values::buffer(env, parsed->der));
  return result;
}

// (pemOrDer)
Napi::Value split(Info info) {
  const auto list = splitCertificates(values::bytesOf(info[0]));
  return list ? values::bufferList(info.Env(), *list) : values::tlsFailure(info.Env(), list.error());
}

}  // namespace

void addCertificateFunctions(Napi::Object& tls) {
  const auto add = [&tls](const char* name, auto function) {
    tls.Set(name, Napi::Function::New(tls.Env(), function, name));
  };
  add("createCertificate", create);
  add("createCrl", createRevocationList);
  add("parseCertificate", parse);
  add("splitCertificates", split);
}

}  // namespace sluice
