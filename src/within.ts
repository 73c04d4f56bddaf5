/** What a promise comes to, or what `late` makes after `timeoutMs`. The timer does not keep the process alive. */
export async function within<T>(question: Promise<T>, timeoutMs: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timedOut = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), timeoutMs)
    timer.unref()
  })
  try {
    return await Promise.race([question, timedOut])
  } finally {
    clearTimeout(timer)
  }
}
