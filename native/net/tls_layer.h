#pragma once

#include <memory>
#include <vector>

#include "buffer/byte_queue.h"
#include "net/tls_config.h"
#include "tls/session.h"

namespace sluice {

/// TLS on one connection, or one of several over each other: a session, what waits to be encrypted, and where both stand.
///
///   waiting ─ a place is free ─▶ handshaking ─ proven ─▶ open ─ its end, both ways ─▶ over
///                │ ▲ handed to the pool, and back               │
///                ▼ │                                            │ failure, from every phase ─▶ over
///              offloaded
///
/// Bytes come in at the lowest layer and go out of it; the connection holds the topmost.
class TlsLayer final : public TlsWire {
 public:
  enum class Phase : uint8_t { waiting, handshaking, offloaded, open, over };

  /// `wire` takes the ciphertext unless there is a layer below.
  TlsLayer(std::shared_ptr<const TlsConfig> config, std::unique_ptr<TlsLayer> below, TlsWire* wire)
      : config_(std::move(config)), below_(std::move(below)), wire_(wire) {
    if (below_) below_->above_ = this;
  }

  /// Ends the waiting. Until then there is no session: who connects and sends nothing costs no more than this object.
  void begin(std::unique_ptr<TlsSession> session) {
    session_ = std::move(session);
    session_->setWire(this);
    moveTo(Phase::handshaking);
  }

  /// Whether reading may give something without new bytes from the wire, here or below.
  bool hasInput() const {
    if (session_ && phase_ == Phase::open && session_->hasPlaintext()) return true;
    return below_ && below_->hasInput();
  }

  bool hasSession() const { return session_ != nullptr; }
  TlsSession& session() { return *session_; }
  const TlsSession& session() const { return *session_; }
  const TlsConfig& config() const { return *config_; }
  TlsLayer* below() { return below_.get(); }
  TlsLayer* above() { return above_; }
  TlsLayer& lowest() { return below_ ? below_->lowest() : *this; }

  Phase phase() const { return phase_; }
  /// The only line that writes the phase.
  void moveTo(Phase next) {
    SLUICE_ASSERT(mayMove(phase_, next));
    phase_ = next;
  }
  static constexpr bool mayMove(Phase from, Phase to) {
    using enum Phase;
    switch (to) {
      case waiting: return false;
      case handshaking: return from == waiting || from == offloaded;
      case offloaded: return from == handshaking;
      case open: return from == handshaking;
      case over: return from != over;
    }
    return false;
  }

  void setNow(TimeMs now) {
    if (session_) session_->setNow(now);
    if (below_) below_->setNow(now);
  }

  /// TlsWire: what the session sends goes through the layer below, or out; while offloaded into a buffer of its own.
  size_t take(std::span<const uint8_t> bytes) override {
    if (phase_ == Phase::offloaded) {
      heldOut.insert(heldOut.end(), bytes.begin(), bytes.end());
      return bytes.size();
    }
    if (!below_) return wire_->take(bytes);
    // What it holds back comes first.
    if (!below_->plain.empty()) return 0;
    if (below_->session_->wantsOutput() && below_->session_->flush() != TlsStatus::ok) return 0;
    size_t taken = 0;
    below_->session_->write(bytes, taken);
    return taken;
  }

  /// Written by JavaScript and not encrypted yet.
  ByteQueue plain;
  /// Encrypted, while its ciphertext has not left.
  size_t unsentBytes = 0;
  /// What came while there was no session, or another thread had it; and what it sent there.
  std::vector<uint8_t> heldIn, heldOut;
  bool heldEnd = false;
  bool listed = false;   // in the network's list of those with something to read
  bool queued = false;   // in the network's list of handshakes that can go on
  bool counted = false;  // takes a place among its listener's handshakes

 private:
  std::unique_ptr<TlsSession> session_;
  std::shared_ptr<const TlsConfig> config_;
  std::unique_ptr<TlsLayer> below_;
  TlsLayer* above_ = nullptr;
  TlsWire* wire_;
  Phase phase_ = Phase::waiting;
};

}  // namespace sluice
