#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "tls/context.h"
#include "tls/options.h"
#include "tls/record_sizer.h"
#include "tls/tls_error.h"

struct ssl_st;

namespace sluice {

class TlsPolicy;

/// Where ciphertext goes.
class TlsWire {
 public:
  virtual ~TlsWire() = default;
  /// Takes the first bytes, perhaps fewer than offered, perhaps none; returns how many. It must not call the session.
  /// The bytes are valid during the call.
  virtual size_t take(std::span<const uint8_t> bytes) = 0;
};

/// How far a call came.
enum class TlsStatus : uint8_t {
  ok,          // all that was asked for
  wantInput,   // needs more from the wire: lend() some, and call again
  wantOutput,  // the wire took less than offered: when it takes more again, flush() or repeat the call
  ended,       // read: the peer said close_notify; nothing will come any more
  truncated,   // read: the wire ended without close_notify; what was read may be incomplete
  failed,      // takeError() says why; the session is of no more use
};

/// What is known of a session, once its handshake is done.
struct TlsInfo {
  std::string protocol;        // "TLSv1.3"
  std::string cipher;          // OpenSSL's name, "ECDHE-RSA-AES128-GCM-SHA256"
  std::string cipherStandard;  // that of the standard, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
  std::string group;           // "x25519"; "" when no key was exchanged, or by other means
  std::string alpn;            // "" when none was agreed on
  std::string serverName;      // SNI: what a client asked for, also where nobody knows the name
  std::string pskIdentity;     // servers: who it was; "" without PSK
  uint32_t entry = 0;          // servers: which entry of the table of names it was, as that numbers them
  bool resumed = false;
  bool hasPeerCertificate = false;
};

enum class TlsChannelBinding : uint8_t { unique, exporter, serverEndPoint };

/// One end of one TLS connection: a machine of bytes without sockets and without a clock of its own.
///
/// Ciphertext comes in by lend() and goes out to a TlsWire. One thread at a time may call it, not always the same one:
/// a handshake may run elsewhere, with `wire` and lent bytes that belong to that thread.
///
///     session->lend(received);                       // nothing is copied
///     while (true) {
///       TlsStatus status = session->read(into, got); // ok: `into` is full, there may be more
///       … hand out `got` bytes, also when the status is another …
///       if (status != TlsStatus::ok || paused) break;
///     }
///     session->keepRest();                           // before `received` goes away
///
/// Every call leaves OpenSSL's error queue of the thread empty; failures are kept in the session, oldest first.
///
/// Memory of an idle session, measured with OpenSSL 3.0 and TLS 1.3: 14.4 KB for a server without client certificates, of
/// which 7.6 are OpenSSL's SSL struct, 1.9 its two AES-GCM contexts, 0.9 its SSL_SESSION and 0.7 our own; a client has 5
/// more for the parsed certificate. The two record buffers (16.5 KiB each) exist only while a record is under way, or
/// until releaseBuffers() when keepBuffers() was asked for.
class TlsSession {
 public:
  /// `context` decides the role. Errors: invalidOption (serverName, verifyName, alpn), badSession, noMemory.
  static TlsResult<std::unique_ptr<TlsSession>> create(std::shared_ptr<TlsContext> context,
                                                       const TlsPeerOptions& peer);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Who takes ciphertext from now on; not owned. Must be set before anything else is called.
  void setWire(TlsWire* wire) { wire_ = wire; }
  /// The time of the loop, in its milliseconds; to be set before a turn's calls. Sizes of records and flood limits
  /// depend on it, nothing else.
  void setNow(TimeMs now) { now_ = now; }

  // ── Ciphertext in ──

  /// The following calls consume these bytes, which stay the caller's: they must be valid until keepRest(), and there
  /// must be none lent already.
  void lend(std::span<const uint8_t> bytes);
  /// Copies what is left of the lent bytes into the session. In steady state nothing is left, so nothing is copied. What
  /// comes after close_notify or a failure is dropped.
  void keepRest();
  /// Ciphertext that came and has not been consumed: kept or lent.
  size_t unreadWireBytes() const { return kept_.size() - keptBegin_ + lent_.size(); }
  /// The transport will bring no more (its FIN). Before close_notify this is a truncation, and before the end of the
  /// handshake `empty` or `aborted`.
  void wireEnded() { wireEnded_ = true; }
  /// The transport failed: calls fail with `reset` (`aborted` during the handshake) once what came before is read, and
  /// nothing more is written.
  void wireFailed();

  // ── The four actions ──

  /// ok, wantInput, wantOutput or failed. After `failed` a fatal alert may have gone to the wire; what the wire did not
  /// take of it at once is lost. read() and write() need `ok` first.
  TlsStatus handshake();
  bool handshakeDone() const { return handshakeDone_; }
  /// Bytes of the peer that the handshake has consumed so far. 0 with wireEnded() is what `empty` means.
  uint64_t wireBytesRead() const { return wireBytesRead_; }
  uint64_t wireBytesWritten() const { return wireBytesWritten_; }

  /// Decrypts into `into`; `got` bytes of it are valid whatever the status. ok: `into` is full. wantInput: all that came
  /// is read. wantOutput: something has to be sent before reading goes on (only in renegotiations). Not to be called
  /// with an empty span.
  TlsStatus read(std::span<uint8_t> into, size_t& got);
  /// Whether read() may give something without new input: plaintext inside OpenSSL, or unread ciphertext. False after
  /// read() said wantInput; so calling read() while it is true neither stalls nor spins (LE-83).
  bool hasPlaintext() const;

  /// Encrypts and sends; the first `taken` bytes are the session's, whatever the status, and must not be offered again.
  /// ok: all of them are taken and sent. wantOutput: the wire is full; offer the rest after flush() said ok. The rest may
  /// lie elsewhere then, and be shorter or longer (trap 14). wantInput: only in renegotiations. failed with `closed` after
  /// shutdown(); reading goes on all the same.
  TlsStatus write(std::span<const uint8_t> bytes, size_t& taken);
  /// So many bytes, written now, make one record.
  size_t recordBytes() { return sizer_.next(now_); }
  /// Sends what the wire did not take. ok: the session holds no ciphertext.
  TlsStatus flush();
  /// flush() has something to do.
  bool wantsOutput() const { return blocked_; }

  /// Says close_notify, after all that was written: ok when the wire has it, wantOutput to be called again. Reading goes
  /// on until `ended`, then both directions were closed cleanly. When reading has failed nothing is sent (HP-94).
  TlsStatus shutdown();
  bool saidGoodbye() const { return sentNotify_; }
  bool peerSaidGoodbye() const { return peerEnded_; }

  /// TLS 1.3: new keys for what we send, and if `requestPeer` for what the peer sends. failed with an error and without
  /// harm to the session where the protocol has no such thing.
  TlsStatus updateKeys(bool requestPeer);
  /// TLS 1.2: asks to negotiate again (LE-88); read() carries it out, and both ends must allow it. Otherwise like
  /// updateKeys().
  TlsStatus renegotiate();

  /// The oldest failure not taken yet; none if there is none.
  TlsError takeError();

  /// By default OpenSSL's buffers go whenever they are empty and no further record is known of. A busy session may keep
  /// them, which saves two allocations per message, until releaseBuffers(), to be called when it has become idle; false if a record is under way.
  void keepBuffers(bool keep);
  bool releaseBuffers();

  // ── What is known; valid once handshakeDone() ──

  TlsInfo info() const;
  /// X509_V_OK (0) or X509_V_ERR_…: how the peer's certificate verified in this handshake, or in the one that made the
  /// session (IC-30). `error` describes it as it would have failed the handshake; none if verified, or nothing to verify.
  int verifyResult(TlsError& error) const;
  /// DER, leaf first; empty without one.
  std::vector<std::string> peerChain() const;
  /// Own leaf, DER.
  std::string ownCertificate() const;
  /// OCSP response that came along, DER; empty without one.
  std::string ocspResponse() const;
  /// Keying material, RFC 5705 and RFC 8446 7.5. `context` nullptr: none, which differs from empty in TLS 1.2.
  TlsResult<std::string> exportKeys(std::string_view label, const std::string* context, size_t length) const;
  /// RFC 5929 and RFC 9266. Errors: invalidOption where the protocol has none (unique with TLS 1.3; end point without
  /// certificate).
  TlsResult<std::string> channelBinding(TlsChannelBinding kind) const;
  /// DER of a session that TlsPeerOptions::session takes; empty when it cannot be resumed. With TLS 1.3 only after the
  /// first read().
  std::string session() const;

 private:
  friend struct TlsCallbacks;
  friend class TlsWireBio;
  enum class Action : uint8_t { handshake, read, write, shutdown };
  enum class NameChoice : uint8_t { known, unknown, changed, failed };
  struct Rare;  // facts that most calls do not need

  TlsSession(std::shared_ptr<TlsContext> context, std::shared_ptr<const TlsPolicy> policy);
  TlsResult<void> prepare(const TlsPeerOptions& peer);
  TlsResult<void> prepareClient(const TlsPeerOptions& peer);
  TlsResult<void> prepareNames(const TlsPeerOptions& peer);
  TlsResult<void> prepareResumption(const TlsPeerOptions& peer);

  TlsStatus finish(Action action, int result);
  TlsStatus waitForInput(Action action);
  TlsStatus fail(TlsError error);
  TlsStatus failFromLibrary(Action action);
  TlsStatus failOverLimit(Action action);

  size_t readWire(uint8_t* into, size_t size);
  size_t writeWire(const uint8_t* from, size_t size);
  NameChoice chooseByName(std::string_view name);
  void onMessage(bool sent, int contentType, uint8_t firstByte);
  void countEmptyRecords(uint32_t records, uint32_t filled);
  void keepBuffersFor(bool another);

  ssl_st* ssl_ = nullptr;
  TlsWire* wire_ = nullptr;
  std::span<const uint8_t> lent_;
  std::vector<uint8_t> kept_;
  size_t keptBegin_ = 0;
  TimeMs now_ = 0;
  uint64_t wireBytesRead_ = 0, wireBytesWritten_ = 0;
  uint32_t pendingWrite_ = 0;  // plaintext of a record that the wire has not taken whole
  uint32_t dataRecordsRead_ = 0;
  bool madeDataRecord_ = false;  // by the write under way
  bool blocked_ = false, wireEnded_ = false, wireFailed_ = false, handshakeDone_ = false, isTls13_ = false;
  bool wantsNotify_ = false, sentNotify_ = false, peerEnded_ = false, failed_ = false;
  bool keepsBuffers_ = false, keepsForNow_ = false;
  TlsFailure overLimit_ = TlsFailure::none;
  RecordSizer sizer_;
  std::shared_ptr<TlsContext> context_;
  std::shared_ptr<const TlsPolicy> policy_;  // that of the name asked for, once it is known
  std::unique_ptr<Rare> rare_;
};

}  // namespace sluice
