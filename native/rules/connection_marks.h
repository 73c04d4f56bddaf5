#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "rules/rule_facts.h"
#include "rules/stick_table.h"

namespace sluice {

/// What rules have left on one connection: entries it is counted in, tags, variables. Owned by the connection, and made
/// by RuleList::evaluate() when the first rule has something to leave, so that others cost nothing.
///
/// Its end is the end of the connection for the tables: conn_cur falls, and the entries may be purged again.
///
/// Threads: the connection's.
class ConnectionMarks {
 public:
  /// Entries that one connection is counted in at most (HP-58).
  static constexpr int maxTracked = 3;

  /// Whether addBytes() has anybody to tell.
  bool countsBytes() const { return countsBytes_; }
  /// Bytes that were received and sent; not before countsBytes().
  void addBytes(uint64_t in, uint64_t out, TimeMs now);
  /// All handshakes are done and the application takes over: sess_cnt and sess_rate, once per connection and entry.
  void countSession(TimeMs now);
  /// The peer did what none should, e.g. a handshake of it failed (HP-93): glitch_cnt and glitch_rate.
  void countGlitches(uint32_t count, TimeMs now);

  /// Counts it in an entry from now on. The place is free: the first to track in a place wins.
  void track(int place, TrackedEntry entry, TimeMs now);
  /// The entry in that place; empty where there is none.
  TrackedEntry& tracked(int place) { return tracked_[static_cast<size_t>(place)]; }
  const TrackedEntry& tracked(int place) const { return tracked_[static_cast<size_t>(place)]; }

  /// In the order they were first given; each once.
  const std::vector<std::string>& tags() const { return tags_; }
  void tag(std::string_view name);
  bool hasTag(std::string_view name) const;

  const std::vector<std::pair<std::string, std::string>>& variables() const { return variables_; }
  void set(std::string_view name, std::string_view value);
  /// Null where nothing has set it.
  const std::string* variable(std::string_view name) const;

  /// Whom rules say that the connection comes from and goes to, whatever socket and PROXY header say (HP-55).
  std::optional<SocketAddress> source{}, destination{};

  /// What rules want to be told, for whoever can tell it to take away.
  struct LogEntry {
    RuleStage stage = RuleStage::socket;
    uint32_t rule = 0;
    std::string text{}, value{};
    SocketAddress source{};
  };
  std::vector<LogEntry> log{};

  /// Socket options that rules ask for, for whoever owns the socket to set and to reset here (engine/socket_option.h).
  std::optional<uint32_t> typeOfService{}, mark{};

  /// Where an interrupted evaluation of a stage goes on: behind a delay, or at the rule that could not be decided. It
  /// counts for the list of that id alone; another one, loaded meanwhile, begins at its start.
  struct Resumption {
    uint64_t listId = 0;
    uint32_t rule = 0;
    bool expectProxy = false;  // a rule before said so
  };
  Resumption& resumption(RuleStage stage) { return resumptions_[static_cast<size_t>(stage)]; }

 private:
  std::array<TrackedEntry, maxTracked> tracked_;
  std::vector<std::string> tags_;
  std::vector<std::pair<std::string, std::string>> variables_;
  std::array<Resumption, ruleStages> resumptions_{};
  bool countsBytes_ = false;
  bool sessionCounted_ = false;
};

}  // namespace sluice
