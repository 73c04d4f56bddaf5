import type { BenchCase } from './cases.js'
import type { Competitor } from './competitors.js'
import { number } from './report/format.js'
import type { Problem } from './results.js'

/** Tells on stderr what is going on: one changing line on a terminal, a line per case elsewhere. */
export class Progress {
  readonly #out: NodeJS.WriteStream | undefined
  readonly #steps: number
  #done = 0
  #case = ''

  /** `steps`: how many measurements there will be. Without `out`, silent. */
  constructor(steps: number, out?: NodeJS.WriteStream) {
    this.#steps = steps
    this.#out = out
  }

  show(bench: BenchCase, competitor: Competitor, what: string): void {
    if (this.#out?.isTTY) this.#line(`${this.#share()} ${bench.name}  ${competitor.title} ${what} …`)
    else if (this.#case !== bench.name) this.#out?.write(`${this.#share()} ${bench.title}\n`)
    this.#case = bench.name
  }

  measured(bench: BenchCase, competitor: Competitor, value: number): void {
    this.#done++
    if (this.#out?.isTTY)
      this.#line(`${this.#share()} ${bench.name}  ${competitor.title}: ${number(value)} ${bench.unit}`)
  }

  failed({ case: bench, server, message }: Problem): void {
    this.done()
    this.#out?.write(`FAILED ${[bench, server].filter(Boolean).join(', ')}: ${message}\n`)
  }

  /** Leaves a clean line for what is printed next. */
  done(): void {
    if (this.#out?.isTTY) this.#out.write('\r\x1b[K')
  }

  #line(text: string): void {
    this.#out!.write(`\r\x1b[K${text.slice(0, (this.#out!.columns || 80) - 1)}`)
  }

  #share(): string {
    return `[${String(Math.min(99, Math.floor((100 * this.#done) / Math.max(1, this.#steps)))).padStart(2)} %]`
  }
}
