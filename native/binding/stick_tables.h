#pragma once

#include <napi.h>

#include <string>

#include "rules/table_layout.h"

namespace sluice::stick_tables {

/// What src/native/binding.ts declares about stick tables: opaque handles of a StickTable, which every function but create
/// takes first. `nowMs` is left out where the system's clock counts.
Napi::Object binding(Napi::Env env);

/// A column from { data: HAProxy's name of its kind, index? }.
TableColumn readColumn(const Napi::Object& object);
/// Text, or the bytes of a typed array.
std::string readBytes(const Napi::Value& value);

}  // namespace sluice::stick_tables
