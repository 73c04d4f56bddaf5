#include "binding/opening_values.h"

#include "binding/proxy_values.h"
#include "binding/rule_lists.h"
#include "binding/tls_handles.h"
#include "binding/values.h"
#include "net/opening_rules.h"
#include "net/opening_steps.h"
#include "rules/cidr_set.h"

namespace sluice::values {

namespace {

using opening_steps::Kind;

// Null for none.
opening_steps::Networks networks(const Napi::Value& value) {
  if (auto shared = handleOf<SharedCidrSet>(value)) return shared;
  if (!value.IsArray()) return nullptr;
  const auto list = value.As<Napi::Array>();
  std::vector<CidrSet::Entry> entries;
  for (uint32_t i = 0; i < list.Length(); i++) {
    CidrSet::Entry entry;
    const Napi::Value item = list.Get(i);
    const std::string text = item.IsString() ? item.As<Napi::String>().Utf8Value() : "";
    if (parseNetwork(text, entry.network) == NetworkTextError::none) entries.push_back(entry);
  }
  return std::make_shared<SharedCidrSet>(
      std::make_shared<const CidrSet>(std::move(entries), std::vector<std::string>{""}));
}

opening_steps::HeaderSources sources(const Napi::Object& step) {
  return {networks(step.Get("from")), flag(step, "byRule")};
}

SocksRequest socksRequest(const Napi::Object& step) {
  SocksRequest request;
  const uint32_t version = number(step, "version");
  request.host = text(step, "host");
  if (version == 5) request.version = SocksVersion::v5;
  else request.version = SocketAddress::ip(request.host, 0) ? SocksVersion::v4 : SocksVersion::v4a;
  request.port = static_cast<uint16_t>(number(step, "port"));
  request.user = text(step, "user");
  request.password = text(step, "password");
  return request;
}

Kind stepKind(const Napi::Object& step) {
  const std::string kind = text(step, "kind");
  if (kind == "acceptProxy") {
    return opening_steps::acceptProxy({sources(step),
                                       {number(step, "maxHeaderBytes"), number(step, "maxTlvBytes")},
                                       flag(step, "version1"),
                                       flag(step, "version2")});
  }
  if (kind == "acceptNetscaler") return opening_steps::acceptNetscaler({sources(step), number(step, "magic")});
  if (kind == "monitor") {
    using enum opening_steps::MonitorOptions::Answer;
    const std::string answer = text(step, "answer");
    return opening_steps::monitor({networks(step.Get("networks")), answer == "plain"  ? plain
                                                                   : answer == "http" ? http
                                                                                      : none});
  }
  if (kind == "sniff") return opening_steps::sniff({flag(step, "allowPlain"), number(step, "plainAfterMs")});
  if (kind == "script") {
    return opening_steps::script({text(step, "name"), number(step, "number"), number(step, "maxBytes")});
  }
  if (kind == "socks") return opening_steps::socks(socksRequest(step));
  if (kind == "rules") {
    constexpr std::string_view stages[] = {"socket", "session", "content"};
    for (size_t i = 0; i < std::size(stages); i++)
      if (auto list = rule_lists::readList(step.Get("rules")); list && text(step, "stage") == stages[i])
        return opening_steps::rules(static_cast<RuleStage>(i), std::move(list));
  }
  if (kind == "sendProxy") return opening_steps::sendProxy(proxySend(step.Get("header").As<Napi::Object>()));
  return nullptr;
}

std::vector<Kind> stepKinds(const Napi::Value& value) {
  std::vector<Kind> kinds;
  if (!value.IsArray()) return kinds;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (!item.IsObject()) break;
    if (Kind kind = stepKind(item.As<Napi::Object>())) kinds.push_back(std::move(kind));
  }
  return kinds;
}

// (number of the failure, as an event or error carries it): what it was. When so many have followed that details are
// forgotten, `step` and `address` are ''.
Napi::Value takeFailure(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  OpeningReport report;
  const int32_t number = info[0].As<Napi::Number>().Int32Value();
  if (!OpeningFailures::shared().take(number & OpeningFailures::maxNumber, report)) {
    report.failure = static_cast<OpeningFailure>(number >> 24);
  }
  auto result = Napi::Object::New(env);
  result.Set("reason", string(env, openingReason(report.failure)));
  result.Set("meaning", string(env, openingText(report.failure)));
  result.Set("text", string(env, report.text));
  result.Set("step", string(env, report.step));
  result.Set("address", string(env, report.remoteAddress));
  result.Set("port", static_cast<uint32_t>(report.remotePort));
  return result;
}

// So that a test can compare them with the error table.
Napi::Value reasons(const Napi::CallbackInfo& info) {
  auto list = Napi::Array::New(info.Env());
  for (size_t i = 1; i < openingFailureCount; i++) {
    list.Set(list.Length(), string(info.Env(), openingReason(static_cast<OpeningFailure>(i))));
  }
  return list;
}

// (text of a network): undefined, or why it is none, and what may be meant.
Napi::Value checkNetwork(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  IpNetwork network;
  switch (parseNetwork(info[0].As<Napi::String>().Utf8Value(), network)) {
    case NetworkTextError::none: return env.Undefined();
    case NetworkTextError::hostBits: return string(env, network.text());
    default: return string(env, "");
  }
}

// (request): whether it can be expressed.
Napi::Value checkSocks(const Napi::CallbackInfo& info) {
  const auto client = SocksClient::create(socksRequest(info[0].As<Napi::Object>()));
  return client ? info.Env().Undefined() : string(info.Env(), client.error().syscall);
}

}  // namespace

std::shared_ptr<const OpeningPlan> openingPlan(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  const auto object = value.As<Napi::Object>();
  auto plan = std::make_shared<OpeningPlan>();
  plan->steps = stepKinds(object.Get("steps"));
  plan->sessionSteps = stepKinds(object.Get("sessionSteps"));
  plan->timeoutMs = number(object, "timeoutMs");
  return plan;
}

Napi::Object openingCounts(Napi::Env env, const OpeningCounts& counts) {
  auto result = Napi::Object::New(env);
  for (size_t i = 0; i < counts.size(); i++) {
    if (counts[i] == 0) continue;
    const std::string_view reason = openingReason(static_cast<OpeningFailure>(i));
    result.Set(std::string(reason), static_cast<double>(counts[i]));
  }
  return result;
}

Napi::Object ruleMarks(Napi::Env env, const std::vector<std::string>& tags,
                       const std::vector<std::pair<std::string, std::string>>& variables) {
  auto result = Napi::Object::New(env);
  auto list = Napi::Array::New(env, tags.size());
  for (uint32_t i = 0; i < tags.size(); i++) list.Set(i, tags[i]);
  auto map = Napi::Object::New(env);
  for (const auto& [name, value] : variables) map.Set(name, value);
  result.Set("tags", list);
  result.Set("variables", map);
  return result;
}

Napi::Object openingBinding(Napi::Env env) {
  auto exports = Napi::Object::New(env);
  exports.Set("takeFailure", Napi::Function::New(env, takeFailure));
  exports.Set("reasons", Napi::Function::New(env, reasons));
  exports.Set("checkNetwork", Napi::Function::New(env, checkNetwork));
  exports.Set("checkSocks", Napi::Function::New(env, checkSocks));
  return exports;
}

}  // namespace sluice::values
