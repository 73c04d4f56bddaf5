#include "net/opening_rules.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "handshake/opening_failure.h"
#include "net/network.h"
#include "net/opening.h"
#include "tls/certificate.h"

namespace sluice::opening_steps {

namespace {

using Bytes = std::span<const uint8_t>;

/// What TLS found out, with the memory that facts look at.
struct TlsFacts {
  TlsInfo info;
  std::string commonName;
  std::array<uint8_t, 32> fingerprint{};
};

// "AB:CD:…"
void readHex(std::string_view text, std::array<uint8_t, 32>& bytes) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'A' + 10; };
  for (size_t i = 0; i < bytes.size() && i * 3 + 1 < text.size(); i++) {
    bytes[i] = static_cast<uint8_t>(digit(text[i * 3]) << 4 | digit(text[i * 3 + 1]));
  }
}

void addTls(RuleFacts& facts, TlsFacts& known, const TlsSession& session, const RuleNeeds& needs) {
  known.info = session.info();
  facts.tls = true;
  facts.serverName = known.info.serverName;
  facts.alpn = known.info.alpn;
  ClientCertificateFacts& certificate = facts.certificate;
  certificate.presented = known.info.hasPeerCertificate;
  if (!certificate.presented) return;
  TlsError error;
  certificate.verified = session.verifyResult(error) == 0;
  if (!needs.commonName && !needs.fingerprint) return;
  const std::vector<std::string> chain = session.peerChain();
  const auto parsed = parseCertificate(chain.empty() ? std::string_view{} : std::string_view(chain.front()));
  if (!parsed) return;
  known.commonName = (*parsed).subjectCommonName;
  readHex((*parsed).fingerprint256, known.fingerprint);
  certificate.commonName = known.commonName;
  certificate.fingerprint = known.fingerprint;
}

void addProxy(RuleFacts& facts, const ProxyHeader& header) {
  facts.proxyVersion = header.version;
  if (header.hasAddresses) {
    facts.claimedSource = &header.source;
    facts.claimedDestination = &header.destination;
  }
  // The first TLV's type and length stand right before its value.
  if (!header.tlvs.empty()) facts.tlvs = std::span(header.raw).subspan(header.tlvs.front().offset - 3);
}

class RulesStep final : public OpeningStep {
 public:
  RulesStep(RuleStage stage, std::shared_ptr<const RuleList> list) : stage_(stage), list_(std::move(list)) {}

  StepVerdict begin(OpeningContext& context) override {
    untilMs_ = context.nowMs() + list_->inspectDelayMs();
    return ask(context, {}, false);
  }
  StepVerdict bytes(OpeningContext& context, Bytes bytes) override { return ask(context, bytes, false); }
  StepVerdict resumed(OpeningContext& context, Bytes bytes) override { return ask(context, bytes, false); }
  StepVerdict full(OpeningContext& context, Bytes bytes) override { return ask(context, bytes, true); }
  StepVerdict ended(OpeningContext& context, Bytes bytes) override { return ask(context, bytes, true); }
  OpeningFailure timedOut() const override { return OpeningFailure::ruleTimeout; }
  OpeningFailure aborted() const override { return OpeningFailure::ruleAbort; }

 private:
  StepVerdict ask(OpeningContext& context, Bytes bytes, bool complete) {
    auto& opening = static_cast<Opening&>(context);
    RuleFacts facts;
    TlsFacts known;
    facts.peer = &opening.source();
    if (list_->needs().local) facts.local = &opening.destination();
    facts.nowMs = opening.nowMs();
    if (stage_ != RuleStage::socket) {
      if (const ProxyHeader* header = opening.claimed()) addProxy(facts, *header);
      if (const TlsSession* session = opening.session()) addTls(facts, known, *session, list_->needs());
    }
    if (stage_ == RuleStage::content) {
      facts.content = bytes;
      facts.contentComplete = complete || facts.nowMs >= untilMs_;
    }
    const RuleVerdict verdict = list_->evaluate(stage_, facts, opening.marks);
    opening.applyMarks();
    if (verdict.expectProxy) opening.expectProxy();
    switch (verdict.action) {
      case RuleAction::accept: return StepVerdict::done(0);
      case RuleAction::reject: return StepVerdict::failed(OpeningFailure::ruleReject, {}, OpeningEnd::reset);
      case RuleAction::silentDrop: {
        StepVerdict drop = StepVerdict::failed(OpeningFailure::ruleSilentDrop, {}, OpeningEnd::silent);
        drop.resetTtl = verdict.resetTtl;
        return drop;
      }
      case RuleAction::delay: return StepVerdict::suspended(std::max(1u, verdict.delayMs));
      case RuleAction::undecided: break;
    }
    // With contentComplete there is no such verdict.
    return StepVerdict::needMore(static_cast<uint32_t>(untilMs_ > facts.nowMs ? untilMs_ - facts.nowMs : 1));
  }

  const RuleStage stage_;
  const std::shared_ptr<const RuleList> list_;
  TimeMs untilMs_ = 0;  // content: no more is waited for
};

class RulesKind final : public OpeningStepKind {
 public:
  RulesKind(RuleStage stage, std::shared_ptr<const RuleListInForce> list) : stage_(stage), list_(std::move(list)) {}
  std::string_view name() const override { return "rules"; }
  bool wanted(OpeningContext&) const override { return list_->asks(stage_); }
  std::unique_ptr<OpeningStep> start() const override { return std::make_unique<RulesStep>(stage_, list_->get()); }

 private:
  const RuleStage stage_;
  const std::shared_ptr<const RuleListInForce> list_;
};

}  // namespace

std::unique_ptr<OpeningStepKind> rules(RuleStage stage, std::shared_ptr<const RuleListInForce> list) {
  return std::make_unique<RulesKind>(stage, std::move(list));
}

}  // namespace sluice::opening_steps
