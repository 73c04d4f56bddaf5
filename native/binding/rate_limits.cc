#include "binding/rate_limits.h"

#include "base/clock.h"
#include "binding/values.h"

namespace sluice::rate_limits {

namespace {

using SharedGroup = std::shared_ptr<RateGroup>;
using SharedMap = std::shared_ptr<RateGroupMap>;

template <class Shared>
Napi::Value handle(Napi::Env env, Shared shared) {
  return Napi::External<Shared>::New(env, new Shared(std::move(shared)),
                                     [](Napi::Env, Shared* owned) { delete owned; });
}

template <class Shared>
Shared sharedOf(const Napi::Value& value) {
  return value.IsExternal() ? *value.As<Napi::External<Shared>>().Data() : nullptr;
}

int64_t amount(const Napi::Value& value) { return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0; }

// A rate that is left out is no limit.
RateLimit::Flow readFlow(const Napi::Object& object, const char* rate, const char* burst) {
  if (!values::has(object, rate)) return {};
  return {amount(object.Get(rate)), amount(object.Get(burst))};
}

TimeMs timeOf(const Napi::Value& value) {
  return value.IsNumber() ? static_cast<TimeMs>(value.As<Napi::Number>().Int64Value()) : monotonicMs();
}

Napi::Value createGroup(const Napi::CallbackInfo& info) {
  return handle<SharedGroup>(info.Env(), RateGroup::create(readLimit(info[0].As<Napi::Object>()), amount(info[1]),
                                                           sharedOf<SharedGroup>(info[2]), monotonicMs()));
}

Napi::Value restartGroupClock(const Napi::CallbackInfo& info) {
  if (auto group = sharedOf<SharedGroup>(info[0])) group->restartClock(timeOf(info[1]));
  return info.Env().Undefined();
}

Napi::Value configureGroup(const Napi::CallbackInfo& info) {
  if (auto group = sharedOf<SharedGroup>(info[0])) {
    group->configure(readLimit(info[1].As<Napi::Object>()), amount(info[2]), timeOf(info[3]));
  }
  return info.Env().Undefined();
}

Napi::Value debitGroup(const Napi::CallbackInfo& info) {
  if (auto group = sharedOf<SharedGroup>(info[0])) {
    group->debit(readDirection(info[1]), amount(info[2]), timeOf(info[3]));
  }
  return info.Env().Undefined();
}

Napi::Value groupStats(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  const auto group = sharedOf<SharedGroup>(info[0]);
  if (!group) return result;
  const RateGroupStats stats = group->stats(timeOf(info[1]));
  const auto set = [&result](const char* key, auto value) { result.Set(key, static_cast<double>(value)); };
  set("members", stats.members);
  set("readLevel", stats.read.level);
  set("writeLevel", stats.write.level);
  set("totalRead", stats.read.total);
  set("totalWritten", stats.write.total);
  set("readPerSecond", stats.read.bytesPerSecond);
  set("writtenPerSecond", stats.write.bytesPerSecond);
  set("waitingToRead", stats.read.waiting);
  set("waitingToWrite", stats.write.waiting);
  set("readScarce", stats.read.scarce);
  set("writeScarce", stats.write.scarce);
  set("tick", stats.tick);
  set("refills", stats.refills);
  set("minShare", stats.minShare);
  return result;
}

Napi::Value resetGroupTotals(const Napi::CallbackInfo& info) {
  if (auto group = sharedOf<SharedGroup>(info[0])) group->resetTotals();
  return info.Env().Undefined();
}

Napi::Value dissolveGroup(const Napi::CallbackInfo& info) {
  if (auto group = sharedOf<SharedGroup>(info[0])) group->dissolve();
  return info.Env().Undefined();
}

Napi::Value createGroupMap(const Napi::CallbackInfo& info) {
  return handle<SharedMap>(info.Env(),
                           std::make_shared<RateGroupMap>(readLimit(info[0].As<Napi::Object>()), amount(info[1]),
                                                          sharedOf<SharedGroup>(info[2])));
}

Napi::Value groupOfMap(const Napi::CallbackInfo& info) {
  auto map = sharedOf<SharedMap>(info[0]);
  if (!map || !info[1].IsString()) return info.Env().Undefined();
  return handle<SharedGroup>(info.Env(), map->group(info[1].As<Napi::String>().Utf8Value(), timeOf(info[2])));
}

Napi::Value configureGroupMap(const Napi::CallbackInfo& info) {
  if (auto map = sharedOf<SharedMap>(info[0])) {
    map->configure(readLimit(info[1].As<Napi::Object>()), amount(info[2]), timeOf(info[3]));
  }
  return info.Env().Undefined();
}

Napi::Value groupMapSize(const Napi::CallbackInfo& info) {
  auto map = sharedOf<SharedMap>(info[0]);
  return Napi::Number::New(info.Env(), map ? static_cast<double>(map->size(timeOf(info[1]))) : 0);
}

}  // namespace

void exportTo(Napi::Env env, Napi::Object& exports) {
  exports.Set("createRateGroup", Napi::Function::New(env, createGroup));
  exports.Set("restartRateGroupClock", Napi::Function::New(env, restartGroupClock));
  exports.Set("configureRateGroup", Napi::Function::New(env, configureGroup));
  exports.Set("debitRateGroup", Napi::Function::New(env, debitGroup));
  exports.Set("rateGroupStats", Napi::Function::New(env, groupStats));
  exports.Set("resetRateGroupTotals", Napi::Function::New(env, resetGroupTotals));
  exports.Set("dissolveRateGroup", Napi::Function::New(env, dissolveGroup));
  exports.Set("createRateGroupMap", Napi::Function::New(env, createGroupMap));
  exports.Set("rateGroupOfMap", Napi::Function::New(env, groupOfMap));
  exports.Set("configureRateGroupMap", Napi::Function::New(env, configureGroupMap));
  exports.Set("rateGroupMapSize", Napi::Function::New(env, groupMapSize));
}

RateLimit readLimit(const Napi::Object& object) {
  RateLimit limit;
  limit.read = readFlow(object, "readRate", "readBurst");
  limit.write = readFlow(object, "writeRate", "writeBurst");
  limit.tickMs = values::number(object, "tickMs");
  // Only of a worker thread that is being terminated nothing can be read; nobody there looks at the outcome.
  return limit.valid() ? limit : RateLimit{};
}

std::shared_ptr<const RateLimit> readOwnLimit(const Napi::Value& value) {
  return value.IsObject() ? std::make_shared<const RateLimit>(readLimit(value.As<Napi::Object>())) : nullptr;
}

std::shared_ptr<RateGroup> readGroup(const Napi::Value& value) { return sharedOf<SharedGroup>(value); }

RateBinding readBinding(const Napi::Object& object) {
  RateBinding binding;
  binding.own = readOwnLimit(object.Get("rateLimit"));
  binding.group = readGroup(object.Get("rateGroup"));
  binding.groups = sharedOf<SharedMap>(object.Get("rateGroups"));
  binding.groupFollows = values::flag(object, "rateGroupFollows");
  binding.bounds = {values::number(object, "maxReadBytes"), values::number(object, "maxWriteBytes")};
  return binding;
}

Direction readDirection(const Napi::Value& value) {
  return amount(value) == 0 ? Direction::read : Direction::write;
}

Napi::Object standing(Napi::Env env, const RateStanding& standing) {
  auto result = Napi::Object::New(env);
  result.Set("readLevel", static_cast<double>(standing.read.level));
  result.Set("writeLevel", static_cast<double>(standing.write.level));
  result.Set("maxToRead", static_cast<double>(standing.read.allowed));
  result.Set("maxToWrite", static_cast<double>(standing.write.allowed));
  result.Set("readHeldByLimit", standing.read.heldByOwn);
  result.Set("readHeldByGroup", standing.read.heldByGroup);
  result.Set("writeHeldByLimit", standing.write.heldByOwn);
  result.Set("writeHeldByGroup", standing.write.heldByGroup);
  return result;
}

}  // namespace sluice::rate_limits
