#include "tls/credentials.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <climits>
#include <cstring>

#include "tls/library_errors.h"

namespace sluice {

namespace {

// Answers OpenSSL's question for a passphrase, and remembers that it was asked.
struct Passphrase {
  std::string_view text;
  bool asked = false;

  static int answer(char* buffer, int size, int /*writing*/, void* context) {
    auto* self = static_cast<Passphrase*>(context);
    self->asked = true;
    if (self->text.empty() || self->text.size() > static_cast<size_t>(size)) return -1;
    std::memcpy(buffer, self->text.data(), self->text.size());
    return static_cast<int>(self->text.size());
  }
};

// Whether a PEM reader stopped because there is nothing more, rather than at something bad.
bool stoppedAtEnd() {
  const unsigned long last = ERR_peek_last_error();
  const bool atEnd = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (atEnd) ERR_clear_error();
  return atEnd;
}

bool isWholly(const unsigned char* position, std::string_view data) {
  return position == reinterpret_cast<const unsigned char*>(data.data()) + data.size();
}

OpensslPtr<EVP_PKEY> keyFromDer(std::string_view data, Passphrase& passphrase) {
  const auto* position = reinterpret_cast<const unsigned char*>(data.data());
  OpensslPtr<EVP_PKEY> key(d2i_AutoPrivateKey(nullptr, &position, static_cast<long>(data.size())));
  if (key != nullptr) return key;
  ERR_clear_error();
  const OpensslPtr<BIO> reader = readerOf(data);
  key.reset(d2i_PKCS8PrivateKey_bio(reader.get(), nullptr, &Passphrase::answer, &passphrase));
  return key;
}

}  // namespace

OpensslPtr<BIO> readerOf(std::string_view data) {
  return OpensslPtr<BIO>(BIO_new_mem_buf(data.data(), static_cast<int>(data.size())));
}

bool isPem(std::string_view data) { return data.find("-----BEGIN ") != std::string_view::npos; }

std::string derOf(X509* certificate) {
  unsigned char* bytes = nullptr;
  const int length = i2d_X509(certificate, &bytes);
  if (length < 0) return {};
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(length));
  OPENSSL_free(bytes);
  return der;
}

TlsResult<std::vector<OpensslPtr<X509>>> parseCertificates(std::string_view data, TlsFailure failure,
                                                           const std::string& option) {
  ERR_clear_error();
  std::vector<OpensslPtr<X509>> found;
  if (data.size() > INT_MAX) return optionError(failure, option, "too long");
  if (!isPem(data)) {
    const auto* position = reinterpret_cast<const unsigned char*>(data.data());
    OpensslPtr<X509> one(d2i_X509(nullptr, &position, static_cast<long>(data.size())));
    if (one == nullptr || !isWholly(position, data)) {
      return optionError(failure, option, "neither PEM with certificates nor one certificate in DER");
    }
    found.push_back(std::move(one));
    return found;
  }
  const OpensslPtr<BIO> reader = readerOf(data);
  Passphrase none{};
  while (X509* one = PEM_read_bio_X509_AUX(reader.get(), nullptr, &Passphrase::answer, &none))
    found.emplace_back(one);
  if (!stoppedAtEnd()) {
    return optionError(failure, option,
                       "certificate " + std::to_string(found.size() + 1) + " of the PEM text is damaged");
  }
  if (found.empty()) return optionError(failure, option, "the PEM text has no certificate");
  return found;
}

TlsResult<std::vector<OpensslPtr<X509_CRL>>> parseCrls(std::string_view data, const std::string& option) {
  ERR_clear_error();
  std::vector<OpensslPtr<X509_CRL>> found;
  if (data.size() > INT_MAX) return optionError(TlsFailure::badCrlData, option, "too long");
  if (!isPem(data)) {
    const auto* position = reinterpret_cast<const unsigned char*>(data.data());
    OpensslPtr<X509_CRL> one(d2i_X509_CRL(nullptr, &position, static_cast<long>(data.size())));
    if (one == nullptr || !isWholly(position, data)) {
      return optionError(TlsFailure::badCrlData, option, "neither PEM with CRLs nor one CRL in DER");
    }
    found.push_back(std::move(one));
    return found;
  }
  const OpensslPtr<BIO> reader = readerOf(data);
  while (X509_CRL* one = PEM_read_bio_X509_CRL(reader.get(), nullptr, nullptr, nullptr)) found.emplace_back(one);
  if (!stoppedAtEnd()) {
    return optionError(TlsFailure::badCrlData, option,
                       "CRL " + std::to_string(found.size() + 1) + " of the PEM text is damaged");
  }
  if (found.empty()) return optionError(TlsFailure::badCrlData, option, "the PEM text has no CRL");
  return found;
}

TlsResult<OpensslPtr<EVP_PKEY>> parseKey(std::string_view data, std::string_view passphrase,
                                         const std::string& keyOption, const std::string& passphraseOption) {
  ERR_clear_error();
  if (data.size() > INT_MAX) return optionError(TlsFailure::badKeyData, keyOption, "too long");
  Passphrase answer{passphrase};
  OpensslPtr<EVP_PKEY> key;
  if (isPem(data)) {
    const OpensslPtr<BIO> reader = readerOf(data);
    key.reset(PEM_read_bio_PrivateKey(reader.get(), nullptr, &Passphrase::answer, &answer));
  } else {
    key = keyFromDer(data, answer);
  }
  if (key != nullptr) {
    ERR_clear_error();
    return key;
  }
  if (answer.asked && passphrase.empty()) {
    ERR_clear_error();
    return optionError(TlsFailure::passphraseMissing, passphraseOption, "the key is encrypted");
  }
  if (answer.asked) {
    return optionError(TlsFailure::passphraseWrong, passphraseOption,
                       "the key cannot be decrypted with this passphrase");
  }
  return optionError(TlsFailure::badKeyData, keyOption, "no private key in PEM or DER");
}

TlsResult<Credential> parseKeyPair(const TlsKeyPair& pair, const std::string& option) {
  auto certificates = parseCertificates(pair.certificate, TlsFailure::badCertificateData, option + ".certificate");
  if (!certificates) return certificates.error();
  auto key = parseKey(pair.key, pair.passphrase, option + ".key", option + ".passphrase");
  if (!key) return key.error();
  Credential credential;
  credential.certificate = std::move(certificates->front());
  certificates->erase(certificates->begin());
  credential.chain = std::move(*certificates);
  credential.key = std::move(*key);
  if (X509_check_private_key(credential.certificate.get(), credential.key.get()) != 1) {
    return optionError(TlsFailure::keyMismatch, option + ".key", "the key is not that of the certificate");
  }
  return credential;
}

TlsResult<Credential> parsePfx(const TlsPfx& pfx, const std::string& option) {
  ERR_clear_error();
  const OpensslPtr<BIO> reader = readerOf(pfx.data);
  const OpensslPtr<PKCS12> bag(d2i_PKCS12_bio(reader.get(), nullptr));
  if (bag == nullptr) return optionError(TlsFailure::badPfxData, option + ".data", "not PKCS#12 in DER");
  const char* passphrase = pfx.passphrase.c_str();
  if (PKCS12_mac_present(bag.get()) && PKCS12_verify_mac(bag.get(), passphrase, -1) != 1) {
    // Made without a passphrase: some say an empty one, some say none.
    const bool isEmpty = pfx.passphrase.empty();
    if (isEmpty && PKCS12_verify_mac(bag.get(), nullptr, 0) == 1) passphrase = nullptr;
    else if (isEmpty)
      return optionError(TlsFailure::passphraseMissing, option + ".passphrase", "the data is encrypted");
    else
      return optionError(TlsFailure::passphraseWrong, option + ".passphrase", "the data is not of this passphrase");
  }
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
  STACK_OF(X509)* others = nullptr;
  if (PKCS12_parse(bag.get(), passphrase, &key, &certificate, &others) != 1) {
    // Mostly RC2 or DES of old tools, which OpenSSL 3 has in its legacy provider only.
    return optionError(TlsFailure::badPfxData, option + ".data",
                       "cannot be decrypted: perhaps with a legacy cipher");
  }
  Credential credential{OpensslPtr<X509>(certificate), OpensslPtr<EVP_PKEY>(key), {}};
  const OpensslPtr<STACK_OF(X509)> rest(others);
  while (others != nullptr && sk_X509_num(others) > 0) credential.chain.emplace_back(sk_X509_shift(others));
  ERR_clear_error();
  if (credential.key == nullptr || credential.certificate == nullptr) {
    return optionError(TlsFailure::badPfxData, option + ".data", "holds no key with its certificate");
  }
  return credential;
}

}  // namespace sluice
