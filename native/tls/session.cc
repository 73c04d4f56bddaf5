#include "tls/session.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "tls/callbacks.h"
#include "tls/client_sessions.h"
#include "tls/library_errors.h"
#include "tls/policy.h"
#include "tls/session_rare.h"

namespace sluice {

namespace {

// OpenSSL asks for a buffer also when all it does is to send what it has encrypted already. It does not look into it.
constexpr uint8_t noPlaintext[1] = {};
constexpr size_t largestRecord = SSL3_RT_HEADER_LENGTH + SSL3_RT_MAX_ENCRYPTED_LENGTH;

// Mostly there is nothing to clear, and looking is cheaper: OpenSSL walks through all its slots.
void clearErrors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

TlsError closedError() {
  return {TlsFailure::closed, TlsStage::write, "", "", "this end has said that it writes no more"};
}

}  // namespace

TlsSession::~TlsSession() {
  if (ssl_ == nullptr) return;
  // Whoever was not said goodbye to may resume all the same (LE-86); a failed session may not.
  if (!failed_) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  TlsCallbacks::attach(ssl_, nullptr);
  SSL_free(ssl_);
  clearErrors();
}

// ── Ciphertext ──

void TlsSession::lend(std::span<const uint8_t> bytes) {
  SLUICE_ASSERT(lent_.empty());
  lent_ = bytes;
}

void TlsSession::keepRest() {
  if (lent_.empty()) return;
  if (failed_ || peerEnded_) {
    // Nobody will read it, and a peer may go on sending.
    lent_ = {};
    kept_ = {};
    keptBegin_ = 0;
    return;
  }
  if (keptBegin_ > 0) {
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(keptBegin_));
    keptBegin_ = 0;
  }
  kept_.insert(kept_.end(), lent_.begin(), lent_.end());
  lent_ = {};
}

void TlsSession::wireFailed() {
  wireFailed_ = true;
  wireEnded_ = true;
}

size_t TlsSession::readWire(uint8_t* into, size_t size) {
  if (overLimit_ != TlsFailure::none) return 0;
  size_t got = 0;
  if (keptBegin_ < kept_.size()) {
    got = std::min(size, kept_.size() - keptBegin_);
    std::memcpy(into, kept_.data() + keptBegin_, got);
    keptBegin_ += got;
    if (keptBegin_ == kept_.size()) {
      kept_ = {};
      keptBegin_ = 0;
    }
  } else {
    got = std::min(size, lent_.size());
    if (got > 0) std::memcpy(into, lent_.data(), got);
    lent_ = lent_.subspan(got);
  }
  wireBytesRead_ += got;
  if (!handshakeDone_ && wireBytesRead_ > policy_->maxHandshakeBytes) overLimit_ = TlsFailure::handshakeTooLarge;
  return got;
}

size_t TlsSession::writeWire(const uint8_t* from, size_t size) {
  if (wireFailed_) return size;  // nobody will read it
  const size_t taken = wire_->take({from, size});
  wireBytesWritten_ += taken;
  return taken;
}

// ── Actions ──

TlsStatus TlsSession::handshake() {
  if (failed_) return TlsStatus::failed;
  if (handshakeDone_) return TlsStatus::ok;
  clearErrors();
  const int result = SSL_do_handshake(ssl_);
  if (result != 1) return finish(Action::handshake, result);
  handshakeDone_ = true;
  blocked_ = false;
  isTls13_ = SSL_version(ssl_) >= TLS1_3_VERSION;
  clearErrors();
  return TlsStatus::ok;
}

TlsStatus TlsSession::read(std::span<uint8_t> into, size_t& got) {
  got = 0;
  if (failed_) return TlsStatus::failed;
  SLUICE_ASSERT(handshakeDone_ && !into.empty());
  if (peerEnded_) return TlsStatus::ended;
  clearErrors();
  while (got < into.size()) {
    keepBuffersFor(unreadWireBytes() > largestRecord);
    const uint32_t recordsBefore = dataRecordsRead_;
    size_t size = 0;
    const int result = SSL_read_ex(ssl_, into.data() + got, into.size() - got, &size);
    const uint32_t records = dataRecordsRead_ - recordsBefore;
    if (records > 0) countEmptyRecords(records, result == 1 ? 1 : 0);
    if (overLimit_ != TlsFailure::none) return failOverLimit(Action::read);
    if (result == 1) {
      got += size;
      // A further call would only find out that there is nothing.
      if (unreadWireBytes() == 0 && got < into.size() && SSL_pending(ssl_) == 0) return waitForInput(Action::read);
      continue;
    }
    const bool isAfterGoodbye =
        sentNotify_ && SSL_get_error(ssl_, result) == SSL_ERROR_SYSCALL && unreadWireBytes() > 0;
    if (isAfterGoodbye) continue;  // a record that OpenSSL drops after close_notify
    return finish(Action::read, result);
  }
  return TlsStatus::ok;
}

bool TlsSession::hasPlaintext() const {
  if (failed_ || peerEnded_ || !handshakeDone_) return false;
  return unreadWireBytes() > 0 || SSL_pending(ssl_) > 0;
}

TlsStatus TlsSession::write(std::span<const uint8_t> bytes, size_t& taken) {
  taken = 0;
  if (failed_) return TlsStatus::failed;
  SLUICE_ASSERT(handshakeDone_);
  if (wantsNotify_) {
    rare_->errors.push_back(closedError());
    return TlsStatus::failed;
  }
  if (blocked_) {
    if (const TlsStatus status = flush(); status != TlsStatus::ok) return status;
  }
  clearErrors();
  while (!bytes.empty()) {
    const size_t size = std::min(bytes.size(), sizer_.next(now_));
    size_t written = 0;
    madeDataRecord_ = false;
    keepBuffersFor(size < bytes.size());
    const int result = SSL_write_ex(ssl_, bytes.data(), size, &written);
    if (result == 1) {
      sizer_.made(written);
      taken += written;
      bytes = bytes.subspan(written);
      continue;
    }
    keepBuffersFor(false);
    const TlsStatus status = finish(Action::write, result);
    // Encrypted, so it is ours; what remains is to send it. Otherwise something else had to go first.
    if (status == TlsStatus::wantOutput && madeDataRecord_) {
      sizer_.made(size);
      taken += size;
      pendingWrite_ = static_cast<uint32_t>(size);
    }
    return status;
  }
  return TlsStatus::ok;
}

TlsStatus TlsSession::flush() {
  if (failed_) return TlsStatus::failed;
  if (!blocked_) return TlsStatus::ok;
  if (!handshakeDone_) return handshake();
  clearErrors();
  if (pendingWrite_ > 0) {
    size_t written = 0;
    const int result = SSL_write_ex(ssl_, noPlaintext, pendingWrite_, &written);
    if (result != 1) return finish(Action::write, result);
    SLUICE_ASSERT(written == pendingWrite_);
    pendingWrite_ = 0;
  }
  if (SSL_in_init(ssl_)) {
    const int result = SSL_do_handshake(ssl_);
    if (result != 1) return finish(Action::write, result);
  }
  blocked_ = false;
  return wantsNotify_ && !sentNotify_ ? shutdown() : TlsStatus::ok;
}

TlsStatus TlsSession::shutdown() {
  wantsNotify_ = true;
  if (sentNotify_ || failed_ || wireFailed_ || !handshakeDone_) return TlsStatus::ok;
  if (blocked_ && (pendingWrite_ > 0 || SSL_in_init(ssl_))) return flush();
  clearErrors();
  const int result = SSL_shutdown(ssl_);
  if (result < 0) return finish(Action::shutdown, result);
  sentNotify_ = true;
  blocked_ = false;
  // Reading goes on as before: OpenSSL would drop key updates now, and could not decrypt what follows them.
  SSL_set_shutdown(ssl_, SSL_get_shutdown(ssl_) & ~SSL_SENT_SHUTDOWN);
  return TlsStatus::ok;
}

TlsStatus TlsSession::updateKeys(bool requestPeer) {
  if (failed_) return TlsStatus::failed;
  if (blocked_) {
    if (const TlsStatus status = flush(); status != TlsStatus::ok) return status;
  }
  clearErrors();
  if (!isTls13_ ||
      SSL_key_update(ssl_, requestPeer ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
    TlsError error = sessionError(TlsStage::write, LibraryErrors::take());
    error.failure = TlsFailure::invalidOption;
    error.text = "keys are updated in TLS 1.3 only";
    rare_->errors.push_back(std::move(error));
    return TlsStatus::failed;
  }
  const int result = SSL_do_handshake(ssl_);
  return result == 1 ? TlsStatus::ok : finish(Action::write, result);
}

TlsStatus TlsSession::renegotiate() {
  if (failed_) return TlsStatus::failed;
  if (blocked_) {
    if (const TlsStatus status = flush(); status != TlsStatus::ok) return status;
  }
  clearErrors();
  if (isTls13_ || !policy_->allowRenegotiation || SSL_renegotiate(ssl_) != 1) {
    TlsError error = sessionError(TlsStage::write, LibraryErrors::take());
    error.failure = TlsFailure::invalidOption;
    error.text = isTls13_ ? "TLS 1.3 negotiates once" : "allowRenegotiation is off, or one is under way";
    rare_->errors.push_back(std::move(error));
    return TlsStatus::failed;
  }
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return TlsStatus::ok;
  const TlsStatus status = finish(Action::write, result);
  return status == TlsStatus::wantInput ? TlsStatus::ok : status;
}

// Between the records of one call they are not worth an allocation each.
void TlsSession::keepBuffersFor(bool another) {
  if (another == keepsForNow_ || keepsBuffers_) return;
  keepsForNow_ = another;
  if (another) SSL_clear_mode(ssl_, SSL_MODE_RELEASE_BUFFERS);
  else SSL_set_mode(ssl_, SSL_MODE_RELEASE_BUFFERS);
}

void TlsSession::keepBuffers(bool keep) {
  keepsBuffers_ = keep;
  keepsForNow_ = false;
  if (keep) SSL_clear_mode(ssl_, SSL_MODE_RELEASE_BUFFERS);
  else SSL_set_mode(ssl_, SSL_MODE_RELEASE_BUFFERS);
}

bool TlsSession::releaseBuffers() {
  if (failed_ || !handshakeDone_ || blocked_) return false;
  const bool released = SSL_free_buffers(ssl_) == 1;
  clearErrors();
  return released;
}

// ── Outcomes ──

TlsStatus TlsSession::waitForInput(Action action) {
  if (wireFailed_) {
    const bool inHandshake = action == Action::handshake;
    TlsError error;
    error.failure = inHandshake ? TlsFailure::aborted : TlsFailure::reset;
    error.stage = inHandshake ? TlsStage::handshake : TlsStage::read;
    error.reason = inHandshake ? "SSL_ABORT" : "ERESET";
    error.text = "the transport failed";
    return fail(std::move(error));
  }
  if (!wireEnded_ || unreadWireBytes() > 0) return TlsStatus::wantInput;
  if (action == Action::read) return TlsStatus::truncated;
  if (action != Action::handshake)
    return fail({TlsFailure::truncated, TlsStage::write, "SSL_FATAL", "", "the peer has left"});
  const bool saidNothing = wireBytesRead_ == 0;
  TlsError error;
  error.failure = saidNothing ? TlsFailure::empty : TlsFailure::aborted;
  error.stage = TlsStage::handshake;
  error.reason = saidNothing ? "SSL_EMPTY" : "SSL_ABORT";
  error.text = saidNothing ? "the peer left without a word" : "the peer left in the middle of the handshake";
  return fail(std::move(error));
}

TlsStatus TlsSession::finish(Action action, int result) {
  if (overLimit_ != TlsFailure::none) return failOverLimit(action);
  const int reason = SSL_get_error(ssl_, result);
  switch (reason) {
    case SSL_ERROR_WANT_READ: clearErrors(); return waitForInput(action);
    case SSL_ERROR_WANT_WRITE:
      clearErrors();
      blocked_ = true;
      return TlsStatus::wantOutput;
    case SSL_ERROR_ZERO_RETURN:
      clearErrors();
      if (action != Action::read) break;
      peerEnded_ = true;
      return TlsStatus::ended;
    default: break;
  }
  return failFromLibrary(action);
}

TlsStatus TlsSession::fail(TlsError error) {
  failed_ = true;
  blocked_ = false;
  clearErrors();
  if (!handshakeDone_ && policy_->clientSessions != nullptr && !rare_->sessionKey.empty()) {
    policy_->clientSessions->drop(rare_->sessionKey);
  }
  rare_->errors.push_back(std::move(error));
  return TlsStatus::failed;
}

TlsStatus TlsSession::failFromLibrary(Action action) {
  constexpr TlsStage stages[] = {TlsStage::handshake, TlsStage::read, TlsStage::write, TlsStage::shutdown};
  const LibraryErrors errors = LibraryErrors::take();
  const bool isCertificate = errors.isFrom(ERR_LIB_SSL) && errors.reason() == SSL_R_CERTIFICATE_VERIFY_FAILED;
  TlsError error;
  if (isCertificate && rare_->verifyCode != X509_V_OK) {
    error = verifyError(rare_->verifyCode, rare_->verifyDepth);
    error.libraryCode = errors.code;
  } else {
    error = sessionError(stages[static_cast<size_t>(action)], errors);
  }
  return fail(std::move(error));
}

TlsStatus TlsSession::failOverLimit(Action action) {
  TlsError error;
  error.failure = overLimit_;
  error.stage = action == Action::handshake ? TlsStage::handshake : TlsStage::read;
  switch (overLimit_) {
    case TlsFailure::keyUpdateFlood:
      error.reason = "SSL_KEYUPDATE";
      error.text = "more than " + std::to_string(policy_->maxKeyUpdatesPerSecond) + " key updates in a second";
      break;
    case TlsFailure::renegotiation:
      error.reason = "SSL_RENEG";
      error.text =
          policy_->allowRenegotiation ? "the peer negotiates again too often" : "the peer wants to negotiate again";
      break;
    case TlsFailure::recordFlood:
      error.reason = "SSL_FATAL";
      error.text = "more than " + std::to_string(policy_->maxEmptyRecordsPerSecond) + " empty records in a second";
      break;
    case TlsFailure::unrecognizedName:
      error.reason = "SSL_MISMATCH_SNI";
      error.text =
          rare_->serverName.empty() ? "the client asks for no name" : "nobody here is " + rare_->serverName;
      break;
    default:
      error.reason = "SSL_HANDSHAKE";
      error.text = "more than " + std::to_string(policy_->maxHandshakeBytes) + " bytes in the handshake";
      break;
  }
  return fail(std::move(error));
}

TlsError TlsSession::takeError() {
  if (rare_->errors.empty()) return {};
  TlsError oldest = std::move(rare_->errors.front());
  rare_->errors.erase(rare_->errors.begin());
  return oldest;
}

// ── What OpenSSL tells on its way ──

void TlsSession::onMessage(bool sent, int contentType, uint8_t firstByte) {
  // In TLS 1.3 the type in the header says nothing; the inner one does.
  const bool tellsRecord = contentType == (isTls13_ ? SSL3_RT_INNER_CONTENT_TYPE : SSL3_RT_HEADER);
  if (tellsRecord && firstByte == SSL3_RT_APPLICATION_DATA) {
    if (sent) madeDataRecord_ = true;
    else dataRecordsRead_ += 1;
    return;
  }
  if (sent || !handshakeDone_ || contentType != SSL3_RT_HANDSHAKE) return;
  if (firstByte == SSL3_MT_KEY_UPDATE) {
    rare_->keyUpdates.add(now_);
    const uint32_t limit = policy_->maxKeyUpdatesPerSecond;
    if (limit > 0 && rare_->keyUpdates.rate(now_) > limit) overLimit_ = TlsFailure::keyUpdateFlood;
  } else if (firstByte == SSL3_MT_CLIENT_HELLO || firstByte == SSL3_MT_HELLO_REQUEST) {
    rare_->renegotiations.add(now_);
    const bool tooMany = rare_->renegotiations.rate(now_) > policy_->maxRenegotiationsPerMinute;
    if (!policy_->allowRenegotiation || tooMany) overLimit_ = TlsFailure::renegotiation;
  }
}

void TlsSession::countEmptyRecords(uint32_t records, uint32_t filled) {
  // In TLS 1.0 one comes before each record with data, against BEAST.
  if (records <= filled || SSL_version(ssl_) <= TLS1_VERSION) return;
  rare_->emptyRecords.add(now_, records - filled);
  const uint32_t limit = policy_->maxEmptyRecordsPerSecond;
  if (limit > 0 && rare_->emptyRecords.rate(now_) > limit) overLimit_ = TlsFailure::recordFlood;
}

TlsSession::NameChoice TlsSession::chooseByName(std::string_view name) {
  if (rare_->nameKnown) {
    // The second hello of the same handshake, or a renegotiation: neither may lead to another policy.
    return rare_->serverName == name ? NameChoice::known : NameChoice::changed;
  }
  rare_->nameKnown = true;
  rare_->serverName = name;
  const SSL_CTX* firstContext = SSL_get_SSL_CTX(ssl_);
  if (const auto names = context_->serverNames(); names != nullptr) {
    const TlsServerNames::Choice choice = names->choose(name);
    if (choice.refuse) {
      overLimit_ = TlsFailure::unrecognizedName;
      return NameChoice::unknown;
    }
    rare_->entry = choice.entry;
    if (choice.context != nullptr) {
      std::shared_ptr<const TlsPolicy> policy = choice.context->policy();
      if (!policy->takeOver(ssl_, *policy_)) return NameChoice::failed;
      policy_ = std::move(policy);
      sizer_ = RecordSizer(policy_->dynamicRecordSize);
    }
  }
  // Otherwise the session's id context is that of its SSL_CTX already.
  const bool dependsOnName = policy_->clientAuth != TlsClientAuth::none;
  if (!dependsOnName && SSL_get_SSL_CTX(ssl_) == firstContext) return NameChoice::known;
  uint8_t id[TlsPolicy::idBytes];
  policy_->sessionId(name, id);
  return SSL_set_session_id_context(ssl_, id, sizeof id) == 1 ? NameChoice::known : NameChoice::failed;
}

}  // namespace sluice
