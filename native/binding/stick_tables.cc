#include "binding/stick_tables.h"

#include <cstdlib>

#include "base/clock.h"
#include "binding/shared_by_number.h"
#include "binding/values.h"
#include "rules/stick_table.h"

namespace sluice::stick_tables {

namespace {

using Info = const Napi::CallbackInfo&;
using Table = std::shared_ptr<StickTable>;

// Of the same order as TableKeyType.
constexpr std::string_view keyTypes[] = {"ip", "ipv4", "ipv6", "prefix", "integer", "string", "binary"};

uint64_t numberOf(const Napi::Value& value) {
  return value.IsNumber() ? static_cast<uint64_t>(value.As<Napi::Number>().Int64Value()) : 0;
}

TimeMs timeOf(const Napi::Value& value) { return value.IsNumber() ? numberOf(value) : monotonicMs(); }

template <class Use>
void forEach(const Napi::Value& value, Use use) {
  if (!value.IsArray()) return;
  const auto list = value.As<Napi::Array>();
  const uint32_t count = list.Length();
  for (uint32_t i = 0; i < count; i++) {
    const Napi::HandleScope scope(value.Env());
    const Napi::Value item = list.Get(i);
    if (item.IsObject()) use(item.As<Napi::Object>());
  }
}

Napi::Value create(Info info) {
  const auto options = info[0].As<Napi::Object>();
  TableConfig config;
  const std::string type = values::text(options, "keyType");
  for (size_t i = 0; i < std::size(keyTypes); i++)
    if (type == keyTypes[i]) config.key.type = static_cast<TableKeyType>(i);
  config.key.ipv4Bits = static_cast<uint8_t>(values::number(options, "ipv4Bits"));
  config.key.ipv6Bits = static_cast<uint8_t>(values::number(options, "ipv6Bits"));
  config.key.length = static_cast<uint8_t>(values::number(options, "keyBytes"));
  // Only of a worker thread that is being terminated nothing can be read.
  config.size = std::max(1u, values::number(options, "size"));
  config.expireMs = numberOf(options.Get("expireMs"));
  config.noPurge = values::flag(options, "noPurge");
  forEach(options.Get("columns"), [&config](const Napi::Object& column) {
    const uint32_t periodMs = values::number(column, "periodMs");
    config.layout.store(readColumn(column).data, values::number(column, "count"), std::max(1u, periodMs));
  });
  return newHandle(info.Env(), StickTable::create(config));
}

// A number, text, or bytes; whether it can be a key of that table.
bool readKey(const Napi::Value& value, const StickTable& table, TableKey& key) {
  const TableKeyShape& shape = table.config().key;
  if (value.IsNumber()) return shape.ofNumber(value.As<Napi::Number>().Uint32Value(), key);
  if (value.IsString()) return shape.ofText(value.As<Napi::String>().Utf8Value(), key);
  return value.IsTypedArray() && shape.ofBytes(values::memory<uint8_t>(value), key);
}

// A key of a type that has texts, and one of binary data as it is.
Napi::Value keyOf(Napi::Env env, const TableKeyShape& shape, const std::string& stored) {
  if (shape.type == TableKeyType::binary) return Napi::Buffer<char>::Copy(env, stored.data(), stored.size());
  if (shape.type == TableKeyType::integer)
    return Napi::Number::New(env, std::strtoul(shape.text(stored).c_str(), nullptr, 10));
  return Napi::String::New(env, shape.text(stored));
}

// { key, values: one per column, references, idleMs, expiresInMs? }
Napi::Object rowOf(Napi::Env env, const StickTable& table, const StickTable::Row& row) {
  auto result = Napi::Object::New(env);
  auto numbers = Napi::Array::New(env, row.values.size());
  for (uint32_t i = 0; i < row.values.size(); i++) numbers.Set(i, static_cast<double>(row.values[i]));
  result.Set("key", keyOf(env, table.config().key, row.key));
  result.Set("values", numbers);
  result.Set("references", row.references);
  result.Set("idleMs", static_cast<double>(row.idleMs));
  if (row.expiresInMs) result.Set("expiresInMs", static_cast<double>(*row.expiresInMs));
  return result;
}

// (table): [{ data, index }], what the values of rows are of.
Napi::Value columns(Info info) {
  auto list = Napi::Array::New(info.Env());
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return list;
  for (const TableColumn column : table->columns()) {
    auto each = Napi::Object::New(info.Env());
    each.Set("data", std::string(tableDataName(column.data)));
    each.Set("index", static_cast<uint32_t>(column.index));
    list.Set(list.Length(), each);
  }
  return list;
}

Napi::Value facts(Info info) {
  auto result = Napi::Object::New(info.Env());
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return result;
  result.Set("size", table->config().size);
  result.Set("keyType", std::string(keyTypes[static_cast<size_t>(table->config().key.type)]));
  return result;
}

// (table, key, nowMs): its row, undefined where there is none, null where that is no key of this table.
Napi::Value row(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  TableKey key;
  if (!table || !readKey(info[1], *table, key)) return info.Env().Null();
  const auto row = table->row(key, timeOf(info[2]));
  return row ? rowOf(info.Env(), *table, *row) : info.Env().Undefined();
}

// (table, cursor, atLeast, nowMs): { rows, cursor }, with -1 at the end.
Napi::Value rows(Info info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return result;
  uint64_t cursor = numberOf(info[1]);
  const auto rows = table->rows(cursor, numberOf(info[2]), timeOf(info[3]));
  auto list = Napi::Array::New(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) {
    const Napi::HandleScope scope(env);
    list.Set(i, rowOf(env, *table, rows[i]));
  }
  result.Set("rows", list);
  result.Set("cursor", cursor == StickTable::noMore ? -1.0 : static_cast<double>(cursor));
  return result;
}

// (table, key, [{ data, index, value }], nowMs): false when it is full; null where that is no key.
Napi::Value set(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  TableKey key;
  if (!table || !readKey(info[1], *table, key)) return info.Env().Null();
  std::vector<StickTable::Change> changes;
  forEach(info[2], [&changes](const Napi::Object& change) {
    changes.push_back({readColumn(change), numberOf(change.Get("value"))});
  });
  return Napi::Boolean::New(info.Env(), table->set(key, changes, timeOf(info[3])));
}

// (table, key, nowMs): whether there was one; null where that is no key.
Napi::Value remove(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  TableKey key;
  if (!table || !readKey(info[1], *table, key)) return info.Env().Null();
  return Napi::Boolean::New(info.Env(), table->remove(key, timeOf(info[2])));
}

Napi::Value clear(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  return Napi::Number::New(info.Env(), table ? table->clear(timeOf(info[1])) : 0);
}

Napi::Value stats(Info info) {
  auto result = Napi::Object::New(info.Env());
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return result;
  const TableStats stats = table->stats(timeOf(info[1]));
  const auto set = [&result](const char* key, auto value) { result.Set(key, static_cast<double>(value)); };
  set("entries", stats.entries);
  set("referenced", stats.referenced);
  set("tracked", stats.tracked);
  set("untracked", stats.untracked);
  set("purged", stats.purged);
  set("expired", stats.expired);
  return result;
}

// ---- What code of JavaScript's tracks

// (table, key, nowMs): a handle; undefined when it is full, null where that is no key.
Napi::Value track(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  TableKey key;
  if (!table || !readKey(info[1], *table, key)) return info.Env().Null();
  TrackedEntry entry = table->track(key, timeOf(info[2]));
  if (!entry) return info.Env().Undefined();
  return newHandle(info.Env(), std::make_shared<TrackedEntry>(std::move(entry)));
}

// (tracked, [{ data, index, value }], nowMs)
Napi::Value count(Info info) {
  const auto entry = handleOf<TrackedEntry>(info[0]);
  if (!entry) return info.Env().Undefined();
  std::vector<std::pair<TableColumn, uint64_t>> amounts;
  forEach(info[1], [&amounts](const Napi::Object& amount) {
    amounts.emplace_back(readColumn(amount), numberOf(amount.Get("value")));
  });
  entry->add(amounts, timeOf(info[2]));
  return info.Env().Undefined();
}

Napi::Value release(Info info) {
  if (const auto entry = handleOf<TrackedEntry>(info[0])) *entry = TrackedEntry();
  return info.Env().Undefined();
}

// ---- Bytes

Napi::Value buffer(Napi::Env env, const std::vector<uint8_t>& bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

// How many entries it was about; -1: damaged, -2: of another version or kind of key.
Napi::Value countOr(Napi::Env env, const Result<uint32_t>& result) {
  if (result) return Napi::Number::New(env, *result);
  return Napi::Number::New(env, result.error().code == ErrorCode::notSupported ? -2 : -1);
}

// (table, wallMs, note, nowMs)
Napi::Value snapshot(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return buffer(info.Env(), {});
  return buffer(info.Env(), table->snapshot(timeOf(info[3]), numberOf(info[1]), readBytes(info[2])));
}

// (table, bytes, wallMs, nowMs): { count, note }
Napi::Value restore(Info info) {
  auto result = Napi::Object::New(info.Env());
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return result;
  std::string note;
  const auto restored = table->restore(values::memory<uint8_t>(info[1]), timeOf(info[3]), numberOf(info[2]), &note);
  result.Set("count", countOr(info.Env(), restored));
  result.Set("note", note);
  return result;
}

Napi::Value startExchange(Info info) {
  if (const Table table = handleOf<StickTable>(info[0])) table->startExchange();
  return info.Env().Undefined();
}

Napi::Value stopExchange(Info info) {
  if (const Table table = handleOf<StickTable>(info[0])) table->stopExchange();
  return info.Env().Undefined();
}

// (table, maxBytes): empty when nothing has changed.
Napi::Value takeChanges(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  return buffer(info.Env(), table ? table->takeChanges(numberOf(info[1])) : std::vector<uint8_t>());
}

// (table, bytes, ageMs, nowMs)
Napi::Value applyChanges(Info info) {
  const Table table = handleOf<StickTable>(info[0]);
  if (!table) return Napi::Number::New(info.Env(), 0);
  return countOr(info.Env(),
                 table->applyChanges(values::memory<uint8_t>(info[1]), numberOf(info[2]), timeOf(info[3])));
}

}  // namespace

TableColumn readColumn(const Napi::Object& object) {
  const std::string name = values::text(object, "data");
  TableColumn column;
  for (size_t i = 0; i < tableDataCount; i++)
    if (name == tableDataName(static_cast<TableData>(i))) column.data = static_cast<TableData>(i);
  column.index = static_cast<uint8_t>(values::number(object, "index"));
  return column;
}

std::string readBytes(const Napi::Value& value) {
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  const auto bytes = values::memory<char>(value);
  return {bytes.data(), bytes.size()};
}

Napi::Object binding(Napi::Env env) {
  auto exports = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function)); };
  add("create", create);
  add("columns", columns);
  add("facts", facts);
  add("row", row);
  add("rows", rows);
  add("set", set);
  add("remove", remove);
  add("clear", clear);
  add("stats", stats);
  add("track", track);
  add("count", count);
  add("release", release);
  add("snapshot", snapshot);
  add("restore", restore);
  add("startExchange", startExchange);
  add("stopExchange", stopExchange);
  add("takeChanges", takeChanges);
  add("applyChanges", applyChanges);
  add("share", SharedByNumber<StickTable>::share);
  add("fromShared", SharedByNumber<StickTable>::find);
  return exports;
}

}  // namespace sluice::stick_tables
