#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "tls/certificate.h"
#include "tls/credentials.h"
#include "tls/library.h"
#include "tls/library_errors.h"
#include "tls/openssl_ptr.h"

namespace sluice {

namespace {

std::string contentOf(const ASN1_STRING* text) {
  const auto* bytes = reinterpret_cast<const char*>(ASN1_STRING_get0_data(text));
  return std::string(bytes, static_cast<size_t>(ASN1_STRING_length(text)));
}

std::string nameText(const X509_NAME* name) {
  const OpensslPtr<BIO> out(BIO_new(BIO_s_mem()));
  if (out == nullptr || X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
    return "";
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  return size > 0 ? std::string(bytes, static_cast<size_t>(size)) : std::string();
}

std::string commonName(const X509_NAME* name) {
  const int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (index < 0) return "";
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
  if (size < 0) return "";
  std::string text(reinterpret_cast<char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  return text;
}

std::string ipText(const std::string& octets) {
  char text[INET6_ADDRSTRLEN] = "";
  if (octets.size() == 4) inet_ntop(AF_INET, octets.data(), text, sizeof text);
  if (octets.size() == 16) inet_ntop(AF_INET6, octets.data(), text, sizeof text);
  return text;
}

void readAlternativeNames(const X509* certificate, CertificateInfo& info) {
  void* found = X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr);
  const OpensslPtr<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(found));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); i++) {
    int kind = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &kind);
    if (kind != GEN_DNS && kind != GEN_IPADD && kind != GEN_URI && kind != GEN_EMAIL) continue;
    const std::string text = contentOf(static_cast<const ASN1_STRING*>(value));
    if (kind == GEN_DNS) info.dnsNames.push_back(text);
    else if (kind == GEN_IPADD) info.ipAddresses.push_back(ipText(text));
    else if (kind == GEN_URI) info.uris.push_back(text);
    else info.emails.push_back(text);
  }
}

std::string serialOf(const X509* certificate) {
  const OpensslPtr<BIGNUM> number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* hex = number == nullptr ? nullptr : BN_bn2hex(number.get());
  std::string text = hex == nullptr ? "" : hex;
  OPENSSL_free(hex);
  return text;
}

int64_t secondsOf(const ASN1_TIME* time) {
  tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<int64_t>(timegm(&parts)) : 0;
}

std::string fingerprintOf(const X509* certificate, const EVP_MD* digest) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(certificate, digest, bytes, &size) != 1) return "";
  constexpr const char* digits = "0123456789ABCDEF";
  std::string text;
  for (unsigned i = 0; i < size; i++) {
    if (i > 0) text += ':';
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

std::string keyTypeOf(const EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA: return "RSA";
    case EVP_PKEY_RSA_PSS: return "RSA-PSS";
    case EVP_PKEY_EC: return "EC";
    case EVP_PKEY_DSA: return "DSA";
    default: break;
  }
  const char* name = EVP_PKEY_get0_type_name(key);
  return name == nullptr ? "" : name;
}

}  // namespace

TlsResult<CertificateInfo> parseCertificate(std::string_view pemOrDer) {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  auto parsed = parseCertificates(pemOrDer, TlsFailure::badCertificateData, "certificate");
  if (!parsed) return parsed.error();
  X509* certificate = parsed->front().get();
  CertificateInfo info;
  info.subject = nameText(X509_get_subject_name(certificate));
  info.issuer = nameText(X509_get_issuer_name(certificate));
  info.subjectCommonName = commonName(X509_get_subject_name(certificate));
  readAlternativeNames(certificate, info);
  info.serialNumber = serialOf(certificate);
  info.notBeforeS = secondsOf(X509_get0_notBefore(certificate));
  info.notAfterS = secondsOf(X509_get0_notAfter(certificate));
  info.fingerprint = fingerprintOf(certificate, EVP_sha1());
  info.fingerprint256 = fingerprintOf(certificate, EVP_sha256());
  info.fingerprint512 = fingerprintOf(certificate, EVP_sha512());
  if (const EVP_PKEY* key = X509_get0_pubkey(certificate)) {
    info.keyType = keyTypeOf(key);
    info.keyBits = static_cast<uint32_t>(EVP_PKEY_get_bits(key));
  }
  const char* algorithm = OBJ_nid2ln(X509_get_signature_nid(certificate));
  info.signatureAlgorithm = algorithm == nullptr ? "" : algorithm;
  info.isAuthority = X509_check_ca(certificate) > 0;
  info.der = derOf(certificate);
  ERR_clear_error();
  return info;
}

TlsResult<std::vector<std::string>> splitCertificates(std::string_view pemOrDer) {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  auto parsed = parseCertificates(pemOrDer, TlsFailure::badCertificateData, "certificate");
  if (!parsed) return parsed.error();
  std::vector<std::string> all;
  for (const auto& certificate : *parsed) all.push_back(derOf(certificate.get()));
  return all;
}

}  // namespace sluice
