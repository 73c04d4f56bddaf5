#pragma once

#include <openssl/ssl.h>

#include <cstddef>

namespace sluice {

class TlsPolicy;
class TlsSession;

/// What OpenSSL asks while it works. Each finds its TlsSession in the SSL.
struct TlsCallbacks {
  static void install(SSL_CTX* context, const TlsPolicy& policy);
  static void installPsk(SSL* ssl, const TlsPolicy& policy);
  static void attach(SSL* ssl, TlsSession* session);
  /// nullptr while an SSL is made or taken apart.
  static TlsSession* sessionOf(const SSL* ssl);

  static int verify(int isFine, X509_STORE_CTX* store);
  static int clientHello(SSL* ssl, int* alert, void*);
  static int sessionBegins(SSL* ssl, void*);
  static int selectAlpn(SSL* ssl, const unsigned char** chosen, unsigned char* chosenSize,
                        const unsigned char* offered, unsigned offeredSize, void*);
  static int ticketKey(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                       int encrypting);
  static int newSession(SSL* ssl, SSL_SESSION* made);
  static int stapleOcsp(SSL* ssl, void*);
  static unsigned serverPsk(SSL* ssl, const char* identity, unsigned char* key, unsigned maxKeyBytes);
  static unsigned clientPsk(SSL* ssl, const char* hint, char* identity, unsigned maxIdentityBytes,
                            unsigned char* key, unsigned maxKeyBytes);
  static void keylog(const SSL* ssl, const char* line);
  static void message(int sent, int version, int contentType, const void* bytes, size_t size, SSL* ssl, void*);
};

}  // namespace sluice
