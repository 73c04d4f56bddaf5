// A service that runs in several places, which tell who they are.
import type { Listener, Runtime } from 'sluice'
import { defineProtocol, empty, MessageService, request, utf8 } from 'sluice/messages'
import { portOf } from './pair.js'

export const fleet = defineProtocol({
  name: 'fleet',
  messages: {
    who: request(empty(), utf8()),
    /** Answered when `release()` is called there. */
    held: request(empty(), utf8()),
  },
})
export const { who, held } = fleet.messages

/** One place of it. */
export class Place {
  readonly held: (() => void)[] = []

  private constructor(
    readonly name: string,
    readonly service: MessageService,
    readonly listener: Listener,
  ) {}

  static async start(runtime: Runtime, name: string, port = 0): Promise<Place> {
    const service = new MessageService({ protocols: [fleet], runtime })
    const listener = await service.listen({ host: '127.0.0.1', port })
    const place = new Place(name, service, listener)
    service.handle(fleet, {
      who: () => name,
      held: () => new Promise<string>((resolve) => place.held.push(() => resolve(name))),
    })
    return place
  }

  get endpoint(): string {
    return `127.0.0.1:${portOf(this.listener)}`
  }

  /** Connections that are active here. */
  get active(): number {
    return this.service.stats().active
  }
}

/** As tests have it: again at once. */
export const fast = { reconnect: { baseMs: 20, steps: 2, jitterMinMs: 0, jitterMaxMs: 5 } }
