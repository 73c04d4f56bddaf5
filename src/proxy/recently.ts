/** What takes less is done anew for whoever asks. */
const cheapMs = 5
/** What takes longer is not repeated before so many times as long has passed. */
const restFactor = 20

/**
 * The same as `ask`, but what is dear to ask for stands for a while: however many ask, and however often, it takes a twentieth
 * of the time at most.
 */
export function recently<T>(ask: () => T, nowMs: () => number = () => performance.now()): () => T {
  let known: { value: T; untilMs: number } | undefined
  return () => {
    const beganMs = nowMs()
    if (known !== undefined && beganMs < known.untilMs) return known.value
    const value = ask()
    const tookMs = nowMs() - beganMs
    known = { value, untilMs: tookMs > cheapMs ? beganMs + restFactor * tookMs : beganMs }
    return value
  }
}
