#include <napi.h>
#include <unistd.h>

#include <cerrno>

#include "binding/channel.h"
#include "binding/cidr_sets.h"
#include "binding/descriptors.h"
#include "binding/gates.h"
#include "binding/opening_values.h"
#include "binding/proxy_values.h"
#include "binding/rate_limits.h"
#include "binding/resolver_binding.h"
#include "binding/rule_lists.h"
#include "binding/stick_tables.h"
#include "binding/tls_binding.h"
#include "binding/tls_values.h"
#include "binding/values.h"
#include "net/tls_failures.h"

namespace sluice {

namespace {

Napi::Value listEngineInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto list = Napi::Array::New(env);
  for (const EngineInfo& engine : listEngines()) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", Napi::String::New(env, engine.name.data(), engine.name.size()));
    entry.Set("available", engine.available);
    entry.Set("reason", engine.reason);
    entry.Set("features", values::features(env, engine.features));
    list.Set(list.Length(), entry);
  }
  return list;
}

Napi::Value syscallName(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), Network::syscallName(info[0].As<Napi::Number>().Uint32Value()));
}

Napi::Value errorName(const Napi::CallbackInfo& info) {
  const auto name = errorCodeName(static_cast<ErrorCode>(info[0].As<Napi::Number>().Uint32Value()));
  return Napi::String::New(info.Env(), name.data(), name.size());
}

Napi::Value errorNames(const Napi::CallbackInfo& info) {
  auto names = Napi::Array::New(info.Env());
#define X(name, text) names.Set(names.Length(), text);
  SLUICE_ERROR_CODES(X)
#undef X
  return names;
}

// A second descriptor of the same socket, for another loop's listener.
Napi::Value duplicateFd(const Napi::CallbackInfo& info) {
  const int fd = dup(info[0].As<Napi::Number>().Int32Value());
  if (fd < 0) return values::failure(info.Env(), systemError(errno, "dup"));
  return Napi::Number::New(info.Env(), fd);
}

// The numbers of the shared records, so that a test can compare them with src/native/records.ts.
Napi::Value recordNumbers(const Napi::CallbackInfo& info) {
  auto numbers = Napi::Object::New(info.Env());
  const auto set = [&numbers](const char* name, auto value) { numbers.Set(name, static_cast<int32_t>(value)); };
  set("eventOpened", EventType::opened);
  set("eventData", EventType::data);
  set("eventEnd", EventType::end);
  set("eventDrain", EventType::drain);
  set("eventReleased", EventType::released);
  set("eventClosed", EventType::closed);
  set("eventConnected", EventType::connected);
  set("eventTimeout", EventType::timeout);
  set("eventListenerFailed", EventType::listenerFailed);
  set("eventFinished", EventType::finished);
  set("eventTimer", EventType::timer);
  set("eventSecured", EventType::secured);
  set("eventSecuring", EventType::securing);
  set("eventHandshakeFailed", EventType::handshakeFailed);
  set("eventFileFailed", EventType::fileFailed);
  set("eventStepBegins", EventType::stepBegins);
  set("eventStepBytes", EventType::stepBytes);
  set("eventOpeningFailed", EventType::openingFailed);
  set("eventRuleLogged", EventType::ruleLogged);
  set("eventRelaying", EventType::relaying);
  set("eventRelayCount", EventType::relayCount);
  set("eventRelayTimeout", EventType::relayTimeout);
  set("opWriteSlab", OpType::writeSlab);
  set("opWriteOut", OpType::writeOut);
  set("opWriteReference", OpType::writeReference);
  set("opEnd", OpType::end);
  set("opClose", OpType::close);
  set("opDestroy", OpType::destroy);
  set("opReset", OpType::reset);
  set("opPause", OpType::pause);
  set("opResume", OpType::resume);
  set("opForget", OpType::forget);
  set("opArmTimer", OpType::armTimer);
  set("opCancelTimer", OpType::cancelTimer);
  set("opTellDrain", OpType::tellDrain);
  set("opWriteFile", OpType::writeFile);
  set("opStepAnswer", OpType::stepAnswer);
  set("stepNeedsMore", ScriptAnswer::Kind::needMore);
  set("stepDone", ScriptAnswer::Kind::done);
  set("stepRejects", ScriptAnswer::Kind::reject);
  set("stepDrops", ScriptAnswer::Kind::silent);
  set("stepCloses", ScriptAnswer::Kind::close);
  set("stepThrew", ScriptAnswer::Kind::threw);
  set("opRelayGo", OpType::relayGo);
  set("opBreakOff", OpType::breakOff);
  set("wantDrainFlag", wantDrainFlag);
  set("controlOpCount", controlOpCount);
  set("controlOutBytes", controlOutBytes);
  set("controlInTurn", controlInTurn);
  set("controlReferenceCount", controlReferenceCount);
  set("controlWords", controlWords);
  set("pausedByUser", pausedByUser);
  set("pausedByStream", pausedByStream);
  set("pausedByQueue", pausedByQueue);
  set("pausedWithoutReader", pausedWithoutReader);
  set("errorTls", ErrorCode::tls);
  set("errorOpening", ErrorCode::opening);
  set("pausedByFilter", pausedByFilter);
  set("maxSlots", maxSlots);
  return numbers;
}

// (number of the failure, as an event or error carries it): what it was, as values::tlsFailure() and with `address` and
// `port`; undefined when so many have followed that it is forgotten.
Napi::Value takeTlsFailure(const Napi::CallbackInfo& info) {
  TlsFailureReport report;
  if (!TlsFailures::shared().take(info[0].As<Napi::Number>().Int32Value(), report)) return info.Env().Undefined();
  Napi::Object result = values::tlsFailure(info.Env(), report.error);
  result.Set("address", report.remoteAddress);
  result.Set("port", static_cast<uint32_t>(report.remotePort));
  return result;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Channel", Channel::define(env));
  exports.Set("engines", Napi::Function::New(env, listEngineInfo));
  exports.Set("createGate", Napi::Function::New(env, createGate));
  exports.Set("resolve", Napi::Function::New(env, resolveHost));
  exports.Set("syscallName", Napi::Function::New(env, syscallName));
  exports.Set("errorName", Napi::Function::New(env, errorName));
  exports.Set("errorNames", Napi::Function::New(env, errorNames));
  exports.Set("duplicateFd", Napi::Function::New(env, duplicateFd));
  exports.Set("takeTlsFailure", Napi::Function::New(env, takeTlsFailure));
  descriptors::exportTo(env, exports);
  rate_limits::exportTo(env, exports);
  exports.Set("recordNumbers", Napi::Function::New(env, recordNumbers));
  exports.Set("tls", tlsBinding(env));
  exports.Set("opening", values::openingBinding(env));
  exports.Set("proxy", values::proxyBinding(env));
  exports.Set("cidrSets", cidr_sets::binding(env));
  exports.Set("stickTables", stick_tables::binding(env));
  exports.Set("ruleLists", rule_lists::binding(env));
  return exports;
}

}  // namespace

}  // namespace sluice

static Napi::Object initAddon(Napi::Env env, Napi::Object exports) { return sluice::init(env, exports); }
NODE_API_MODULE(sluice, initAddon)
