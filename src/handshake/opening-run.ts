import type { Channel } from '../channel.js'
import { SluiceError } from '../errors.js'
import * as records from '../native/records.js'
import type { CustomStep, StepAnswer } from './custom-step.js'
import { OpeningConnection } from './opening-connection.js'

const answers = { close: records.stepCloses, reject: records.stepRejects, drop: records.stepDrops } as const

/** The custom steps of one connection while it opens: calls them, and tells native code what they say. Internal. */
export class OpeningRun {
  readonly connection: OpeningConnection
  /** What a step threw, or said when it refused. */
  cause: unknown
  text: string | undefined
  private step: CustomStep | undefined
  private over = false

  constructor(
    private readonly channel: Channel,
    private readonly slot: number,
    readonly tag: number,
  ) {
    this.connection = new OpeningConnection(channel, slot, tag)
  }

  begin(step: CustomStep): void {
    this.step = step
    if (step.begin === undefined) this.tell(records.stepNeedsMore)
    else this.ask(() => step.begin!(this.connection))
  }

  bytes(view: Uint8Array): void {
    const bytes = Buffer.from(view)
    this.ask(() => this.step!.bytes(this.connection, bytes), bytes.length)
  }

  /** The session begins, or `error` ended it. */
  end(error?: SluiceError): void {
    this.over = true
    this.connection.end(error)
  }

  private ask(call: () => StepAnswer | Promise<StepAnswer>, most = 0): void {
    let answer: StepAnswer | Promise<StepAnswer>
    try {
      answer = call()
    } catch (thrown) {
      this.threw(thrown)
      return
    }
    if (!(answer instanceof Promise)) this.answered(answer, most)
    else
      answer.then(
        (late) => this.answered(late, most),
        (thrown) => this.threw(thrown),
      )
  }

  private answered(answer: StepAnswer, most: number): void {
    const { consumed, verdict, text } = (answer ?? {}) as { consumed?: unknown; verdict?: unknown; text?: unknown }
    if (answer === 'needMore') {
      this.tell(records.stepNeedsMore)
    } else if (typeof verdict === 'string' && Object.hasOwn(answers, verdict)) {
      if (typeof text === 'string') this.text = text
      this.tell(answers[verdict as keyof typeof answers])
    } else if (Number.isInteger(consumed) && (consumed as number) >= 0 && (consumed as number) <= most) {
      this.tell(records.stepDone, consumed as number)
    } else {
      this.threw(
        new SluiceError('INVALID_ARGUMENT', {
          phase: 'handshake',
          detail: `a step must answer 'needMore', { consumed } with 0 to ${most} bytes, or { verdict }`,
        }),
      )
    }
  }

  private threw(thrown: unknown): void {
    this.cause = thrown
    this.tell(records.stepThrew)
  }

  private tell(kind: number, consumed = 0): void {
    if (!this.over) this.channel.stage(records.opStepAnswer | this.tag, this.slot, kind, consumed)
  }
}
