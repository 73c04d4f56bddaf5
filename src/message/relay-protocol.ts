import { checked, empty, json } from './codec.js'
import { defineProtocol, request } from './protocol.js'
import { checkRelayTarget } from './relay-target.js'

/**
 * What peers say to a relay: `register` makes the connection it comes over one of a group. Source: SF-70.
 *
 * A relay has it among its `protocols`, with those it relays; peers send it in `prepare`.
 */
export const relayProtocol = defineProtocol({
  name: 'sluice-relay',
  messages: {
    register: request(
      checked(json<{ group: number; replica: number }>(), (value) => {
        checkRelayTarget(value, 'register')
        return value
      }),
      empty(),
    ),
  },
})
