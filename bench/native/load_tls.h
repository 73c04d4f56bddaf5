/// The load generator's bytes under TLS 1.3: the same functions as in load_plain.h.
///
/// It offers one cipher suite, one group and no other version, so that every server does the same cryptography; verifies
/// the server's certificate; and sees to it that each handshake is of the kind that is asked for, full or resumed.
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "load_state.h"

enum { transportStart = EPOLLOUT };

static SSL_CTX* tlsContext;
static bool tlsResumes;

static const char* transportError(int error) {
  const unsigned long code = ERR_peek_error();
  const char* text = code != 0 ? ERR_reason_error_string(code) : NULL;
  return text != NULL ? text : strerror(error);
}

static inline void tlsCheck(bool isFine, const char* what) {
  if (!isFine) failLoad("%s: %s", what, transportError(errno));
}

// The newest ticket is for the next handshakes on the same connection: not every server gives a new one when it resumes.
static int tlsKeepSession(SSL* ssl, SSL_SESSION* session) {
  Connection* connection = SSL_get_app_data(ssl);
  if (connection->session != NULL) SSL_SESSION_free(connection->session);
  connection->session = session;
  return 1;
}

/// Options: --ca file, and --resume yes to resume with the tickets of former connections.
static inline void transportPrepare(int argc, char** argv) {
  tlsResumes = strcmp(textOption(argc, argv, "resume", "no"), "yes") == 0;
  tlsContext = SSL_CTX_new(TLS_client_method());
  tlsCheck(tlsContext != NULL, "SSL_CTX_new");
  tlsCheck(SSL_CTX_set_min_proto_version(tlsContext, TLS1_3_VERSION) == 1, "TLS 1.3");
  tlsCheck(SSL_CTX_set_ciphersuites(tlsContext, "TLS_AES_128_GCM_SHA256") == 1, "cipher suite");
  tlsCheck(SSL_CTX_set1_groups_list(tlsContext, "X25519") == 1, "group");
  const char* algorithms = "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256";
  tlsCheck(SSL_CTX_set1_sigalgs_list(tlsContext, algorithms) == 1, "signature algorithms");
  const char* ca = textOption(argc, argv, "ca", "");
  tlsCheck(SSL_CTX_load_verify_locations(tlsContext, ca, NULL) == 1, ca);
  SSL_CTX_set_verify(tlsContext, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_mode(tlsContext, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (settings.connections > 1000) SSL_CTX_set_mode(tlsContext, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(tlsContext, 1);
  SSL_CTX_set_session_cache_mode(tlsContext, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  if (tlsResumes) SSL_CTX_sess_set_new_cb(tlsContext, tlsKeepSession);
}

static inline void transportOpen(Connection* connection) {
  SSL* ssl = SSL_new(tlsContext);
  tlsCheck(ssl != NULL && SSL_set_fd(ssl, connection->fd) == 1, "SSL_new");
  SSL_set_app_data(ssl, connection);
  SSL_set_connect_state(ssl);
  connection->mayResume = connection->session != NULL;
  if (connection->mayResume) {
    SSL_SESSION* copy = SSL_SESSION_dup(connection->session);  // OpenSSL lets nobody use one twice
    tlsCheck(copy != NULL && SSL_set_session(ssl, copy) == 1, "SSL_set_session");
    SSL_SESSION_free(copy);
  }
  connection->tls = ssl;
}

// The result of a call as recv(2) would give it. A key update apart, only waiting for the wire is no failure.
static inline ssize_t tlsFailed(Connection* connection, int result) {
  const int reason = SSL_get_error(connection->tls, result), error = errno;
  if (reason == SSL_ERROR_ZERO_RETURN) return 0;
  const bool blocked = reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE;
  errno = blocked ? EAGAIN : reason == SSL_ERROR_SYSCALL && error != 0 ? error : EPROTO;
  return -1;
}

static inline bool transportReady(Connection* connection) {
  if (SSL_is_init_finished(connection->tls)) return true;
  const int result = SSL_do_handshake(connection->tls);
  if (result == 1) {
    const bool resumed = SSL_session_reused(connection->tls);
    if (resumed != connection->mayResume)
      failLoad("connection %u: %s", connection->number,
               resumed ? "resumed without being asked" : "the server did not resume the session");
    return true;
  }
  if (tlsFailed(connection, result) >= 0 || errno != EAGAIN)
    failLoad("connection %u: handshake: %s", connection->number, transportError(errno));
  watch(connection, SSL_want_write(connection->tls) ? EPOLLIN | EPOLLOUT : EPOLLIN);
  return false;
}

static inline ssize_t transportSend(Connection* connection, const uint8_t* bytes, size_t size) {
  size_t sent = 0;
  const int result = SSL_write_ex(connection->tls, bytes, size, &sent);
  connection->blocked = result != 1;
  return result == 1 ? (ssize_t)sent : tlsFailed(connection, result);
}

static inline ssize_t transportReceive(Connection* connection, uint8_t* into, size_t size) {
  size_t got = 0;
  while (got < size) {
    size_t now = 0;
    const int result = SSL_read_ex(connection->tls, into + got, size - got, &now);
    if (result != 1) return got > 0 ? (ssize_t)got : tlsFailed(connection, result);
    got += now;
  }
  return (ssize_t)got;
}

static inline bool transportEnd(Connection* connection) {
  const int result = SSL_shutdown(connection->tls);
  if (result < 0) {
    if (tlsFailed(connection, result) >= 0 || errno != EAGAIN)
      failLoad("connection %u: shutdown: %s", connection->number, transportError(errno));
    return false;
  }
  shutdown(connection->fd, SHUT_WR);
  return true;
}

static inline void transportClose(Connection* connection) {
  SSL_shutdown(connection->tls);
  SSL_free(connection->tls);
  ERR_clear_error();
  connection->tls = NULL;
  close(connection->fd);
}
