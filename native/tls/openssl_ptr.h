#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>

namespace sluice {

/// Frees whatever OpenSSL made. Calls only: the address of an OpenSSL function in a template argument, in static data or
/// given to OpenSSL would be looked up when the addon is loaded, and a process without OpenSSL could not load it. A call
/// is looked up when it happens.
struct OpensslFree {
  void operator()(X509* it) const { X509_free(it); }
  void operator()(X509_CRL* it) const { X509_CRL_free(it); }
  void operator()(X509_NAME* it) const { X509_NAME_free(it); }
  void operator()(X509_REVOKED* it) const { X509_REVOKED_free(it); }
  void operator()(X509_EXTENSION* it) const { X509_EXTENSION_free(it); }
  void operator()(GENERAL_NAME* it) const { GENERAL_NAME_free(it); }
  void operator()(ASN1_STRING* it) const { ASN1_STRING_free(it); }  // times and integers too
  void operator()(BIGNUM* it) const { BN_free(it); }
  void operator()(EVP_PKEY* it) const { EVP_PKEY_free(it); }
  void operator()(EVP_MD_CTX* it) const { EVP_MD_CTX_free(it); }
  void operator()(PKCS12* it) const { PKCS12_free(it); }
  void operator()(BIO* it) const { BIO_free(it); }
  void operator()(SSL_CTX* it) const { SSL_CTX_free(it); }
  void operator()(SSL_SESSION* it) const { SSL_SESSION_free(it); }
  void operator()(GENERAL_NAMES* it) const { GENERAL_NAMES_free(it); }
  void operator()(STACK_OF(X509) * it) const {
    for (int i = 0; i < sk_X509_num(it); i++) X509_free(sk_X509_value(it, i));
    sk_X509_free(it);
  }
};

template <class T>
using OpensslPtr = std::unique_ptr<T, OpensslFree>;

}  // namespace sluice
