import { HandshakeStep } from '../handshake/handshake-step.js'
import type { NativeStep } from '../native/binding.js'
import { expected } from '../options.js'
import type { RateClock } from '../rate-limit/rate-limit-group.js'
import { RuleList } from './rule-list.js'

class RulesStep extends HandshakeStep {
  constructor(private readonly list: RuleList) {
    super('rules', 'accept', { kind: 'rules', rules: list.handle, stage: 'socket' })
  }

  override get sessionSteps(): readonly NativeStep[] {
    const rules = this.list.handle
    return [
      { kind: 'rules', rules, stage: 'session' },
      { kind: 'rules', rules, stage: 'content' },
    ]
  }

  override useClock(clock: RateClock): void {
    this.list.useClock(clock)
  }
}

/**
 * The step that asks a list of rules, for `handshake` of `listen()`: those of the stage `'socket'` in its place, those of
 * `'session'` and then `'content'` when all handshakes are done, TLS included. Whoever is rejected or dropped is told to
 * `handshakeError` (`ERR_SLUICE_RULE_…`), and counted in `listener.stats().turnedAway`.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`.
 */
export function rules(list: RuleList): HandshakeStep {
  if (!(list instanceof RuleList)) throw expected('a RuleList', list, 'rules')
  return new RulesStep(list)
}
