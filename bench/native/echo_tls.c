/// echo_tls --cert file --key file [--service echo|discard|chargen] [--port N] [--buffer bytes]
///
/// The limit to measure TLS against: echo_epoll.c with OpenSSL on its sockets, set up as an experienced user of OpenSSL
/// would do it. One shared buffer, `read_ahead` so that a record takes one system call, no buffers on idle connections.
/// `echo_tls --version` prints which OpenSSL it uses.
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "epoll_server.h"

enum { chunksPerTurn = 16 };

typedef struct {
  int fd;
  uint32_t interest;
  SSL* tls;
  Kept kept;
  uint64_t generated;  // chargen: bytes sent
} Connection;

static Service service;
static SSL_CTX* context;

static void failedTls(const char* what) {
  fprintf(stderr, "%s: %s\n", what, ERR_reason_error_string(ERR_peek_error()));
  exit(1);
}

static void watch(Connection* connection, uint32_t interest) {
  if (interest == connection->interest) return;
  pollFor(connection->fd, connection->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, interest, connection);
  connection->interest = interest;
}

static void closeConnection(Connection* connection) {
  if (SSL_is_init_finished(connection->tls)) SSL_shutdown(connection->tls);
  SSL_free(connection->tls);
  ERR_clear_error();
  close(connection->fd);
  forget(&connection->kept);
  free(connection);
}

/// The result of a call: bytes, 0 when it has to wait, -1 when the connection is over.
static ssize_t outcome(Connection* connection, int result, size_t size) {
  if (result == 1) return (ssize_t)size;
  const int reason = SSL_get_error(connection->tls, result);
  return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t sendSome(Connection* connection, const uint8_t* bytes, size_t size) {
  size_t sent = 0;
  const int result = SSL_write_ex(connection->tls, bytes, size, &sent);
  return outcome(connection, result, sent);
}

/// Reads as much as there is and fits. 0: nothing yet.
static ssize_t receiveSome(Connection* connection) {
  size_t got = 0;
  while (got < bufferSize) {
    size_t now = 0;
    const int result = SSL_read_ex(connection->tls, buffer + got, bufferSize - got, &now);
    if (result != 1) return got > 0 ? (ssize_t)got : outcome(connection, result, 0);
    got += now;
    if (!SSL_has_pending(connection->tls) && now < 16384) break;  // another call would only find nothing
  }
  return (ssize_t)got;
}

static void echo(Connection* connection) {
  ssize_t received = receiveSome(connection);
  if (received < 0) return closeConnection(connection);
  if (received == 0) return;
  ssize_t sent = 0;
  while (sent < received) {
    ssize_t taken = sendSome(connection, buffer + sent, (size_t)(received - sent));
    if (taken < 0) return closeConnection(connection);
    if (taken == 0) break;
    sent += taken;
  }
  if (sent == received) return;
  keep(&connection->kept, buffer + sent, (size_t)(received - sent));
  watch(connection, EPOLLOUT);
}

static void sendKept(Connection* connection) {
  Kept* kept = &connection->kept;
  while (kept->sent < kept->size) {
    ssize_t sent = sendSome(connection, kept->bytes + kept->sent, kept->size - kept->sent);
    if (sent < 0) return closeConnection(connection);
    if (sent == 0) return;
    kept->sent += (size_t)sent;
  }
  forget(kept);
  watch(connection, EPOLLIN);
  echo(connection);  // what OpenSSL has read already, no event tells of
}

static void discard(Connection* connection) {
  if (receiveSome(connection) < 0) closeConnection(connection);
}

static void generate(Connection* connection) {
  for (int chunk = 0; chunk < chunksPerTurn; chunk++) {
    ssize_t sent = sendSome(connection, chargenText + connection->generated % chargenPeriod, chargenChunk);
    if (sent < 0) return closeConnection(connection);
    if (sent == 0) return;
    connection->generated += (uint64_t)sent;
  }
}

static void shakeHands(Connection* connection) {
  const int result = SSL_do_handshake(connection->tls);
  if (result != 1) {
    if (outcome(connection, result, 0) < 0) return closeConnection(connection);
    return watch(connection, SSL_want_write(connection->tls) ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
  watch(connection, service == serviceChargen ? EPOLLOUT : EPOLLIN);
  if (service == serviceEcho) echo(connection);  // what came along with the end of the handshake
  else if (service == serviceDiscard) discard(connection);
}

static void accepted(int fd) {
  Connection* connection = zeroed(sizeof *connection);
  connection->fd = fd;
  connection->tls = SSL_new(context);
  if (connection->tls == NULL || SSL_set_fd(connection->tls, fd) != 1) failedTls("SSL_new");
  SSL_set_accept_state(connection->tls);
  watch(connection, EPOLLIN);
}

static void ready(void* target, uint32_t events) {
  (void)events;
  Connection* connection = target;
  if (!SSL_is_init_finished(connection->tls)) shakeHands(connection);
  else if (service == serviceDiscard) discard(connection);
  else if (service == serviceChargen) generate(connection);
  else if (connection->kept.bytes != NULL) sendKept(connection);
  else echo(connection);
}

static void prepareTls(int argc, char** argv) {
  context = SSL_CTX_new(TLS_server_method());
  if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_use_certificate_chain_file(context, textOption(argc, argv, "cert", "")) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, textOption(argc, argv, "key", ""), SSL_FILETYPE_PEM) != 1)
    failedTls("--cert, --key");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (numberOption(argc, argv, "keep-buffers", 0) == 0) SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_session_id_context(context, (const unsigned char*)"echo", 4);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // tickets alone
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--version") == 0) {
    printf("%s\n", OpenSSL_version(OPENSSL_VERSION_STRING));
    return 0;
  }
  service = serviceOption(argc, argv);
  prepareTls(argc, argv);
  serve(argc, argv, 256 * 1024, accepted, ready, NULL);
}
