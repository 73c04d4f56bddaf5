#include "tls/certificate.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>

#include "tls/credentials.h"
#include "tls/library.h"
#include "tls/library_errors.h"
#include "tls/openssl_ptr.h"

namespace sluice {

namespace {

constexpr int64_t lateClockS = 3600;
constexpr int version3 = 2;  // as X.509 counts
constexpr size_t maxCommonNameBytes = 64;

OpensslPtr<EVP_PKEY> makeKey(TlsKeyType type) {
  switch (type) {
    case TlsKeyType::ecP256: return OpensslPtr<EVP_PKEY>(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    case TlsKeyType::rsa2048:
      return OpensslPtr<EVP_PKEY>(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(2048)));
    case TlsKeyType::ed25519: return OpensslPtr<EVP_PKEY>(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  }
  return nullptr;
}

// Edwards curves bring their own digest.
const EVP_MD* digestFor(const EVP_PKEY* key) {
  const int type = EVP_PKEY_get_base_id(key);
  return type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ? nullptr : EVP_sha256();
}

bool setRandomSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);
  const OpensslPtr<BIGNUM> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  return number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool setTime(ASN1_TIME* time, int64_t atS, int32_t days) {
  return ASN1_TIME_adj(time, static_cast<time_t>(atS), days, 0) != nullptr;
}

std::string textOf(BIO* memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory, &bytes);
  return size > 0 ? std::string(bytes, static_cast<size_t>(size)) : std::string();
}

OpensslPtr<BIO> emptyMemory() { return OpensslPtr<BIO>(BIO_new(BIO_s_mem())); }

std::string pemOf(X509* certificate) {
  const OpensslPtr<BIO> out = emptyMemory();
  return PEM_write_bio_X509(out.get(), certificate) == 1 ? textOf(out.get()) : "";
}

std::string pemOf(EVP_PKEY* key) {
  const OpensslPtr<BIO> out = emptyMemory();
  const int done = PEM_write_bio_PKCS8PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return done == 1 ? textOf(out.get()) : "";
}

// An IP literal as the octets of a subject alternative name; empty for anything else.
std::string ipOctets(const std::string& text) {
  char octets[16];
  if (inet_pton(AF_INET, text.c_str(), octets) == 1) return std::string(octets, 4);
  if (inet_pton(AF_INET6, text.c_str(), octets) == 1) return std::string(octets, 16);
  return "";
}

bool isDnsPattern(const std::string& name) {
  return !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '-' || letter == '.' || letter == '_' || letter == '*';
  });
}

bool addAlternativeNames(X509* certificate, const std::vector<std::string>& names) {
  if (names.empty()) return true;
  const OpensslPtr<GENERAL_NAMES> all(sk_GENERAL_NAME_new_null());
  for (const std::string& name : names) {
    const std::string octets = ipOctets(name);
    const std::string& value = octets.empty() ? name : octets;
    OpensslPtr<GENERAL_NAME> one(GENERAL_NAME_new());
    ASN1_STRING* content = ASN1_STRING_type_new(octets.empty() ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
    if (all == nullptr || one == nullptr || content == nullptr) return false;
    GENERAL_NAME_set0_value(one.get(), octets.empty() ? GEN_DNS : GEN_IPADD, content);
    if (ASN1_STRING_set(content, value.data(), static_cast<int>(value.size())) != 1) return false;
    if (sk_GENERAL_NAME_push(all.get(), one.get()) == 0) return false;
    (void)one.release();  // the stack frees it
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), 0, 0) == 1;
}

bool addExtension(X509* certificate, X509V3_CTX* context, int which, const char* value) {
  const OpensslPtr<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, context, which, value));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool addExtensions(X509* certificate, X509* issuer, const CertificateRequest& request) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::string purpose = request.purpose.empty() ? "serverAuth,clientAuth" : request.purpose;
  return addExtension(certificate, &context, NID_basic_constraints,
                      request.authority ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
         addExtension(certificate, &context, NID_key_usage,
                      request.authority ? "critical,keyCertSign,cRLSign,digitalSignature"
                                        : "critical,digitalSignature,keyEncipherment") &&
         (request.authority || addExtension(certificate, &context, NID_ext_key_usage, purpose.c_str())) &&
         addExtension(certificate, &context, NID_subject_key_identifier, "hash") &&
         (issuer == certificate ||
          addExtension(certificate, &context, NID_authority_key_identifier, "keyid:always")) &&
         addAlternativeNames(certificate, request.names);
}

TlsError wrong(const char* option, std::string text) {
  return optionError(TlsFailure::invalidOption, option, std::move(text));
}

TlsResult<void> checkRequest(const CertificateRequest& request) {
  if (request.names.empty() && !request.authority) return wrong("names", "at least one is needed");
  for (size_t i = 0; i < request.names.size(); i++) {
    if (!ipOctets(request.names[i]).empty() || isDnsPattern(request.names[i])) continue;
    const std::string option = "names[" + std::to_string(i) + "]";
    return wrong(option.c_str(), "\"" + request.names[i] + "\" is no DNS name or IP address");
  }
  const std::string& purpose = request.purpose;
  if (!purpose.empty() && purpose != "serverAuth" && purpose != "clientAuth") {
    return wrong("purpose", "\"" + purpose + "\"; serverAuth and clientAuth are allowed");
  }
  if (request.commonName.size() > maxCommonNameBytes) return wrong("commonName", "at most 64 bytes are allowed");
  if (request.issuerCertificate.empty() != request.issuerKey.empty()) {
    return wrong("issuerKey", "an issuer needs both its certificate and its key");
  }
  return {};
}

// A common name too long for the field is left out: the alternative names are what counts.
bool setSubject(X509* certificate, const CertificateRequest& request) {
  std::string name = request.commonName;
  if (name.empty() && !request.names.empty()) name = request.names.front();
  if (name.empty()) name = "Authority";
  if (name.size() > maxCommonNameBytes) return true;
  const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, bytes,
                                    static_cast<int>(name.size()), -1, 0) == 1;
}

}  // namespace

TlsResult<CertificateAndKey> createCertificate(const CertificateRequest& request) {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  ERR_clear_error();
  if (auto checked = checkRequest(request); !checked) return checked.error();
  Credential issuer;
  const bool isSelfSigned = request.issuerCertificate.empty();
  if (!isSelfSigned) {
    auto parsed = parseKeyPair({request.issuerCertificate, request.issuerKey, ""}, "issuer");
    if (!parsed) return parsed.error();
    issuer = std::move(*parsed);
  }
  const OpensslPtr<EVP_PKEY> key = makeKey(request.keyType);
  const OpensslPtr<X509> certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return outOfMemory(TlsStage::options);
  X509* made = certificate.get();
  X509* above = isSelfSigned ? made : issuer.certificate.get();
  EVP_PKEY* signer = isSelfSigned ? key.get() : issuer.key.get();
  const int64_t notBeforeS =
      request.notBeforeS != 0 ? request.notBeforeS : static_cast<int64_t>(std::time(nullptr)) - lateClockS;
  const bool isMade = X509_set_version(made, version3) == 1 && setRandomSerial(made) && setSubject(made, request) &&
                      X509_set_issuer_name(made, X509_get_subject_name(above)) == 1 &&
                      setTime(X509_getm_notBefore(made), notBeforeS, 0) &&
                      setTime(X509_getm_notAfter(made), notBeforeS, request.days) &&
                      X509_set_pubkey(made, key.get()) == 1 && addExtensions(made, above, request) &&
                      X509_sign(made, signer, digestFor(signer)) > 0;
  if (!isMade) return optionError(TlsFailure::invalidOption, "names", "OpenSSL cannot make this certificate");
  CertificateAndKey result{pemOf(made), pemOf(key.get())};
  ERR_clear_error();
  if (result.certificate.empty() || result.key.empty()) return outOfMemory(TlsStage::options);
  return result;
}

TlsResult<std::string> createCrl(const CertificateAndKey& authority,
                                 const std::vector<std::string>& revokedCertificates, int32_t days) {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  auto issuer = parseKeyPair({authority.certificate, authority.key, ""}, "authority");
  if (!issuer) return issuer.error();
  const int64_t lastS = static_cast<int64_t>(std::time(nullptr)) - lateClockS - (days < 0 ? -days * 86400LL : 0);
  const OpensslPtr<X509_CRL> crl(X509_CRL_new());
  const OpensslPtr<ASN1_STRING> last(ASN1_TIME_adj(nullptr, static_cast<time_t>(lastS), 0, 0));
  const OpensslPtr<ASN1_STRING> next(ASN1_TIME_adj(nullptr, static_cast<time_t>(lastS), days < 0 ? 0 : days, 60));
  if (crl == nullptr || last == nullptr || next == nullptr) return outOfMemory(TlsStage::options);
  X509_CRL_set_version(crl.get(), 1);
  X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(issuer->certificate.get()));
  X509_CRL_set1_lastUpdate(crl.get(), last.get());
  X509_CRL_set1_nextUpdate(crl.get(), next.get());
  for (size_t i = 0; i < revokedCertificates.size(); i++) {
    auto parsed = parseCertificates(revokedCertificates[i], TlsFailure::badCertificateData,
                                    "revokedCertificates[" + std::to_string(i) + "]");
    if (!parsed) return parsed.error();
    for (const auto& certificate : *parsed) {
      OpensslPtr<X509_REVOKED> entry(X509_REVOKED_new());
      if (entry == nullptr) return outOfMemory(TlsStage::options);
      X509_REVOKED_set_serialNumber(entry.get(), X509_get_serialNumber(certificate.get()));
      X509_REVOKED_set_revocationDate(entry.get(), last.get());
      if (X509_CRL_add0_revoked(crl.get(), entry.get()) != 1) return outOfMemory(TlsStage::options);
      (void)entry.release();  // the list frees it
    }
  }
  X509_CRL_sort(crl.get());
  const OpensslPtr<BIO> out = emptyMemory();
  if (X509_CRL_sign(crl.get(), issuer->key.get(), digestFor(issuer->key.get())) <= 0 ||
      PEM_write_bio_X509_CRL(out.get(), crl.get()) != 1) {
    return optionError(TlsFailure::invalidOption, "authority", "cannot sign");
  }
  ERR_clear_error();
  return textOf(out.get());
}

}  // namespace sluice
