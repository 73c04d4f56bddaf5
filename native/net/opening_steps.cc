#include "net/opening_steps.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "handshake/opening_failure.h"
#include "rules/cidr_set.h"
#include "tls/sniff.h"

namespace sluice::opening_steps {

namespace {

using enum OpeningFailure;
using Bytes = std::span<const uint8_t>;

Bytes bytesOf(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

/// A kind that makes its steps of the options it was given.
template <class Step, class Options>
class KindOf : public OpeningStepKind {
 public:
  KindOf(std::string_view name, Options options) : name_(name), options_(std::move(options)) {}
  std::string_view name() const override { return name_; }
  std::unique_ptr<OpeningStep> start() const override { return std::make_unique<Step>(options_); }

 protected:
  const std::string name_;
  const Options options_;
};

bool isWanted(const HeaderSources& sources, OpeningContext& context) {
  if (sources.byRule) return context.proxyExpected();
  return !sources.from || sources.from->get()->find(context.source()) != nullptr;
}

template <class Step, class Options>
class HeaderKind final : public KindOf<Step, Options> {
 public:
  using KindOf<Step, Options>::KindOf;
  bool wanted(OpeningContext& context) const override { return isWanted(this->options_.sources, context); }
};

// ---- Headers that tell who the client is

class ProxyStep final : public OpeningStep {
 public:
  explicit ProxyStep(const AcceptProxyOptions& options) : options_(options) {}

  StepVerdict bytes(OpeningContext& context, Bytes bytes) override {
    ProxyParse parse = parseProxyHeader(bytes, options_.limits);
    if (parse.status == ParseStatus::needsMore) return StepVerdict::needMore();
    if (parse.status == ParseStatus::failed) return StepVerdict::failed(parse.failure, parse.text);
    const bool allowed = parse.header.version == 1 ? options_.version1 : options_.version2;
    if (!allowed) return StepVerdict::failed(prxBadHdr, "headers of this version are not accepted here");
    context.setClaimed(std::make_unique<ProxyHeader>(std::move(parse.header)));
    return StepVerdict::done(parse.consumed);
  }
  StepVerdict ended(OpeningContext&, Bytes bytes) override {
    return StepVerdict::failed(bytes.empty() ? prxEmpty : prxTruncated);
  }
  // The parser gives up by itself before.
  size_t maxBytes() const override { return SIZE_MAX; }
  OpeningFailure timedOut() const override { return prxTimeout; }
  OpeningFailure aborted() const override { return prxAbort; }

 private:
  const AcceptProxyOptions& options_;
};

class NetscalerStep final : public OpeningStep {
 public:
  explicit NetscalerStep(const AcceptNetscalerOptions& options) : options_(options) {}

  StepVerdict bytes(OpeningContext& context, Bytes bytes) override {
    const NetscalerParse parse = parseNetscalerHeader(bytes, options_.magic);
    if (parse.status == ParseStatus::needsMore) return StepVerdict::needMore();
    if (parse.status == ParseStatus::failed) return StepVerdict::failed(parse.failure, parse.text);
    auto header = std::make_unique<ProxyHeader>();
    header->family = parse.source.family() == AF_INET6 ? ProxyFamily::inet6 : ProxyFamily::inet;
    header->transport = ProxyTransport::stream;
    header->hasAddresses = true;
    header->source = parse.source;
    header->destination = parse.destination;
    header->raw.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(parse.consumed));
    context.setClaimed(std::move(header));
    return StepVerdict::done(parse.consumed);
  }
  StepVerdict ended(OpeningContext&, Bytes bytes) override {
    return StepVerdict::failed(bytes.empty() ? cipEmpty : cipTruncated);
  }
  size_t maxBytes() const override { return SIZE_MAX; }
  OpeningFailure timedOut() const override { return cipTimeout; }
  OpeningFailure aborted() const override { return cipAbort; }

 private:
  const AcceptNetscalerOptions& options_;
};

// ---- Monitors

class MonitorStep final : public OpeningStep {
 public:
  explicit MonitorStep(const MonitorOptions& options) : options_(options) {}

  StepVerdict begin(OpeningContext& context) override {
    using enum MonitorOptions::Answer;
    if (options_.answer == plain) context.send(bytesOf("OK\n"));
    if (options_.answer == http) context.send(bytesOf("HTTP/1.0 200 OK\r\n\r\n"));
    return StepVerdict::over(options_.networks ? monitorAnswered : healthAnswered, OpeningEnd::drain);
  }
  // It is over before any byte is looked at.
  StepVerdict bytes(OpeningContext& context, Bytes) override { return begin(context); }
  StepVerdict ended(OpeningContext& context, Bytes) override { return begin(context); }
  OpeningFailure timedOut() const override { return stepTimeout; }
  OpeningFailure aborted() const override { return stepAbort; }

 private:
  const MonitorOptions& options_;
};

class MonitorKind final : public KindOf<MonitorStep, MonitorOptions> {
 public:
  using KindOf::KindOf;
  bool wanted(OpeningContext& context) const override {
    return !options_.networks || options_.networks->get()->find(context.source()) != nullptr;
  }
};

// ---- TLS or not

class SniffStep final : public OpeningStep {
 public:
  explicit SniffStep(const SniffOptions& options) : options_(options) {}

  StepVerdict begin(OpeningContext&) override { return StepVerdict::needMore(options_.plainAfterMs); }
  StepVerdict bytes(OpeningContext& context, Bytes bytes) override {
    switch (sniffTls(bytes)) {
      case TlsSniff::needMore: return StepVerdict::needMore();
      case TlsSniff::tls: return StepVerdict::done(0);
      case TlsSniff::sslV2: return StepVerdict::failed(sslV2Refused);
      case TlsSniff::plaintext: break;
    }
    if (!options_.allowPlain) return StepVerdict::failed(plainRefused);
    context.choosePlaintext();
    return StepVerdict::done(0);
  }
  StepVerdict resumed(OpeningContext& context, Bytes bytes) override {
    if (!bytes.empty()) return this->bytes(context, bytes);
    context.choosePlaintext();
    return StepVerdict::done(0);
  }
  StepVerdict ended(OpeningContext& context, Bytes bytes) override {
    if (bytes.empty()) return StepVerdict::failed(sniffEmpty);
    // The beginning of a hello, and no more: not TLS, whatever it is.
    if (!options_.allowPlain) return StepVerdict::failed(plainRefused);
    context.choosePlaintext();
    return StepVerdict::done(0);
  }
  OpeningFailure timedOut() const override { return sniffTimeout; }
  OpeningFailure aborted() const override { return sniffAbort; }

 private:
  const SniffOptions& options_;
};

// ---- JavaScript

class ScriptStep final : public OpeningStep {
 public:
  explicit ScriptStep(const ScriptOptions& options) : options_(options) {}

  StepVerdict begin(OpeningContext& context) override { return ask(context, {}); }
  StepVerdict bytes(OpeningContext& context, Bytes bytes) override { return ask(context, bytes); }
  StepVerdict resumed(OpeningContext& context, Bytes bytes) override {
    const auto answer = context.takeAnswer();
    if (!answer) return ask(context, bytes);
    using enum ScriptAnswer::Kind;
    switch (answer->kind) {
      case needMore: return shown(bytes) > asked_ ? ask(context, bytes) : StepVerdict::needMore();
      case done: return StepVerdict::done(std::min<size_t>(answer->consumed, asked_));
      case reject: return StepVerdict::failed(stepReject, {}, OpeningEnd::reset);
      case silent: return StepVerdict::failed(stepReject, {}, OpeningEnd::silent);
      case close: return StepVerdict::failed(stepReject);
      case threw: return StepVerdict::failed(stepError);
    }
    return StepVerdict::failed(stepError);
  }
  StepVerdict ended(OpeningContext&, Bytes) override { return StepVerdict::failed(stepAbort); }
  size_t maxBytes() const override { return options_.maxBytes; }
  OpeningFailure timedOut() const override { return stepTimeout; }
  OpeningFailure aborted() const override { return stepAbort; }
  OpeningFailure tooLong() const override { return stepTooLong; }

 private:
  size_t shown(Bytes bytes) const { return std::min<size_t>(bytes.size(), options_.maxBytes); }

  StepVerdict ask(OpeningContext& context, Bytes bytes) {
    if (context.askScript(options_.number, !begun_, bytes.first(shown(bytes)))) {
      begun_ = true;
      asked_ = shown(bytes);
    }
    return StepVerdict::suspended();
  }

  const ScriptOptions& options_;
  bool begun_ = false;
  size_t asked_ = 0;  // bytes that the last question showed
};

// ---- Connecting

class SocksStep final : public OpeningStep {
 public:
  explicit SocksStep(const SocksRequest& request) : client_(*SocksClient::create(request)) {}

  StepVerdict begin(OpeningContext& context) override {
    say(context);
    return StepVerdict::needMore();
  }
  StepVerdict bytes(OpeningContext& context, Bytes bytes) override {
    size_t consumed = 0;
    for (;;) {
      const SocksClient::Step step = client_.receive(bytes.subspan(consumed));
      consumed += step.consumed;
      if (step.status == ParseStatus::failed) return StepVerdict::failed(step.failure, step.text);
      say(context);
      if (step.status == ParseStatus::done) return StepVerdict::done(consumed);
      if (step.consumed == 0 || consumed == bytes.size()) break;
    }
    StepVerdict more = StepVerdict::needMore();
    more.consumed = consumed;
    return more;
  }
  StepVerdict ended(OpeningContext&, Bytes) override { return StepVerdict::failed(client_.failureAtEnd()); }
  OpeningFailure timedOut() const override { return socksTimeout; }
  OpeningFailure aborted() const override { return client_.failureAtReceive(); }
  OpeningFailure sendFailed() const override { return client_.failureAtSend(); }

 private:
  void say(OpeningContext& context) {
    const Bytes output = client_.output();
    if (output.empty()) return;
    context.send(output);
    client_.sent(output.size());
  }

  SocksClient client_;
};

class SendProxyStep final : public OpeningStep {
 public:
  explicit SendProxyStep(const ProxySend& send) : send_(send) {}

  StepVerdict begin(OpeningContext& context) override {
    ProxyFacts facts = send_.facts();
    // The context's words are those of accepted connections: its source is the peer.
    if (facts.source.family() == AF_UNSPEC) facts.source = context.destination();
    if (facts.destination.family() == AF_UNSPEC) facts.destination = context.source();
    const auto header = writeProxyHeader(send_.options, facts);
    if (!header) return StepVerdict::failed(prxSend);
    context.send(*header);
    return StepVerdict::done(0);
  }
  // Whatever comes is for the session.
  StepVerdict bytes(OpeningContext&, Bytes) override { return StepVerdict::done(0); }
  StepVerdict ended(OpeningContext&, Bytes) override { return StepVerdict::done(0); }
  OpeningFailure timedOut() const override { return prxSend; }
  OpeningFailure aborted() const override { return prxSend; }

 private:
  const ProxySend& send_;
};

}  // namespace

Kind acceptProxy(AcceptProxyOptions options) {
  return std::make_unique<HeaderKind<ProxyStep, AcceptProxyOptions>>("acceptProxy", std::move(options));
}

Kind acceptNetscaler(AcceptNetscalerOptions options) {
  return std::make_unique<HeaderKind<NetscalerStep, AcceptNetscalerOptions>>("acceptNetscaler", std::move(options));
}

Kind monitor(MonitorOptions options) { return std::make_unique<MonitorKind>("monitor", std::move(options)); }

Kind sniff(SniffOptions options) {
  return std::make_unique<KindOf<SniffStep, SniffOptions>>("sniff", std::move(options));
}

Kind script(ScriptOptions options) {
  const std::string name = options.name;
  return std::make_unique<KindOf<ScriptStep, ScriptOptions>>(name, std::move(options));
}

Kind socks(SocksRequest request) {
  const std::string_view name = request.version == SocksVersion::v5 ? "socks5" : "socks4";
  return std::make_unique<KindOf<SocksStep, SocksRequest>>(name, std::move(request));
}

Kind sendProxy(ProxySend send) {
  return std::make_unique<KindOf<SendProxyStep, ProxySend>>("sendProxy", std::move(send));
}

}  // namespace sluice::opening_steps
