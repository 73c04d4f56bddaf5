#include "binding/cidr_sets.h"

#include <map>

#include "binding/shared_by_number.h"
#include "rules/cidr_set.h"

namespace sluice::cidr_sets {

namespace {

using Info = const Napi::CallbackInfo&;

std::string textOf(const Napi::Value& value) {
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

std::shared_ptr<const CidrSet> setOf(const Napi::Value& value) {
  const auto shared = handleOf<SharedCidrSet>(value);
  return shared ? shared->get() : std::make_shared<const CidrSet>();
}

Napi::Object wrongNetwork(Napi::Env env, uint32_t index, NetworkTextError error, const IpNetwork& network) {
  static constexpr const char* parts[] = {"", "address", "bits", "hostBits"};
  auto answer = Napi::Object::New(env);
  answer.Set("index", index);
  answer.Set("part", parts[static_cast<size_t>(error)]);
  answer.Set("meant", error == NetworkTextError::hostBits ? network.text() : "");
  return answer;
}

// (…, networks, values or undefined); or which of the networks is wrong, and in what.
std::shared_ptr<const CidrSet> readSet(Info info, size_t first, Napi::Value& wrong) {
  const Napi::Env env = info.Env();
  const auto texts = info[first].As<Napi::Array>();
  const bool valued = info[first + 1].IsArray();
  std::vector<CidrSet::Entry> entries;
  std::vector<std::string> values{""};
  std::map<std::string, uint32_t> known{{"", 0}};
  const uint32_t count = texts.Length();
  entries.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(env);
    CidrSet::Entry entry;
    const auto error = parseNetwork(textOf(texts.Get(i)), entry.network);
    if (error != NetworkTextError::none) {
      wrong = wrongNetwork(env, i, error, entry.network);
      return nullptr;
    }
    if (valued) {
      const auto [it, isNew] =
          known.try_emplace(textOf(info[first + 1].As<Napi::Array>().Get(i)), static_cast<uint32_t>(values.size()));
      if (isNew) values.push_back(it->first);
      entry.value = it->second;
    }
    entries.push_back(entry);
  }
  return std::make_shared<const CidrSet>(std::move(entries), std::move(values));
}

Napi::Value create(Info info) {
  Napi::Value wrong;
  auto set = readSet(info, 0, wrong);
  return set ? newHandle(info.Env(), std::make_shared<SharedCidrSet>(std::move(set))) : wrong;
}

Napi::Value replace(Info info) {
  Napi::Value wrong;
  auto set = readSet(info, 1, wrong);
  if (!set) return wrong;
  if (const auto shared = handleOf<SharedCidrSet>(info[0])) shared->replace(std::move(set));
  return info.Env().Undefined();
}

Napi::Object entryOf(Napi::Env env, const CidrSet& set, const CidrSet::Entry& entry) {
  auto result = Napi::Object::New(env);
  result.Set("network", entry.network.text());
  result.Set("value", std::string(set.value(entry)));
  return result;
}

// (set, address): its entry, undefined where there is none, null where that is no address.
Napi::Value find(Info info) {
  const auto address = parseIp(textOf(info[1]));
  if (!address) return info.Env().Null();
  const auto set = setOf(info[0]);
  const CidrSet::Entry* entry = set->find(*address);
  return entry ? entryOf(info.Env(), *set, *entry) : info.Env().Undefined();
}

Napi::Value has(Info info) {
  const auto address = parseIp(textOf(info[1]));
  if (!address) return info.Env().Null();
  return Napi::Boolean::New(info.Env(), setOf(info[0])->find(*address) != nullptr);
}

Napi::Value size(Info info) {
  return Napi::Number::New(info.Env(), static_cast<double>(setOf(info[0])->entries().size()));
}

// (set): all entries, by address.
Napi::Value entries(Info info) {
  auto list = Napi::Array::New(info.Env());
  const auto set = setOf(info[0]);
  uint32_t i = 0;
  for (const CidrSet::Entry& entry : set->entries()) {
    const Napi::HandleScope scope(info.Env());
    list.Set(i++, entryOf(info.Env(), *set, entry));
  }
  return list;
}

}  // namespace

Napi::Object binding(Napi::Env env) {
  auto exports = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function)); };
  add("create", create);
  add("replace", replace);
  add("find", find);
  add("has", has);
  add("size", size);
  add("entries", entries);
  add("share", SharedByNumber<SharedCidrSet>::share);
  add("fromShared", SharedByNumber<SharedCidrSet>::find);
  return exports;
}

}  // namespace sluice::cidr_sets
