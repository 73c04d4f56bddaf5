/** Calls the user's own code. What it throws goes the way of what a timer of Node's throws: no request is to blame. */
export function safely(call: () => void): void {
  try {
    call()
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown
    })
  }
}
