#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "rules/connection_marks.h"
#include "rules/rule_facts.h"

namespace sluice {

struct RuleSpec;

enum class RuleAction : uint8_t {
  accept,
  reject,      // end it with RST (HP-20)
  silentDrop,  // end it without telling the peer, as far as the system allows; see RuleVerdict::resetTtl (HP-22)
  delay,       // hold it for delayMs with reading paused, then ask again: evaluation goes on behind this rule
  undecided,   // content only: ask again when more has come, with contentComplete when no more will be waited for
};

struct RuleVerdict {
  RuleAction action = RuleAction::accept;
  /// Socket stage: a PROXY header must come first, as a rule of the list says; known with the final verdict (HP-55).
  bool expectProxy = false;
  uint8_t resetTtl =
      0;  // silentDrop: send RST that dies after so many hops; 0: nothing at all where the system can
  uint32_t delayMs = 0;
  int32_t rule =
      -1;  // which rule said so, counted from 0 as the list was loaded; -1: the default, which is to accept
};

/// What a list looks at, so that nobody finds out what no rule asks for.
struct RuleNeeds {
  bool stage[ruleStages] = {};  // some rule is of that stage
  bool commonName = false, fingerprint = false, tlvs = false;
  bool local = false;  // RuleFacts::local: asking the system for it costs a call
};

/// Rules for connections, compiled. The first rule that ends evaluation decides; the default is to accept (HP-55).
/// Immutable but for its counts of hits, so loops share it and whoever reloads swaps the pointer.
///
///   auto verdict = list->evaluate(RuleStage::socket, facts, connection.marks);
///
/// Rules before the deciding one have had their effect: reject behind track still counts conn_cnt (HP-59). A rule is
/// carried out at most once per connection and stage, however often an undecided stage is asked again.
///
/// Threads: any.
class RuleList {
 public:
  /// `rules` are checked by whoever made them (src/rules/rule-list.ts).
  static std::shared_ptr<const RuleList> create(const std::vector<RuleSpec>& rules, uint32_t inspectDelayMs);
  ~RuleList();
  RuleList(const RuleList&) = delete;
  RuleList& operator=(const RuleList&) = delete;

  /// `marks` may be null, and is made when a rule needs it; keep it as long as the connection lives, and hand it in at
  /// each stage.
  RuleVerdict evaluate(RuleStage stage, const RuleFacts& facts, std::unique_ptr<ConnectionMarks>& marks) const;

  const RuleNeeds& needs() const { return needs_; }
  /// How long the content stage waits for content before it decides by what is there (HP-56); 0: it does not wait.
  uint32_t inspectDelayMs() const { return inspectDelayMs_; }
  /// How often each rule has been carried out.
  std::vector<uint64_t> hits() const;

 private:
  struct Program;
  explicit RuleList(std::unique_ptr<Program> program);

  RuleNeeds needs_;
  uint32_t inspectDelayMs_ = 0;
  const std::unique_ptr<Program> program_;
};

}  // namespace sluice
