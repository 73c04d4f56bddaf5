/** Names an option within others: `'cert'` within `'tls'` is `'tls.cert'`. */
export function nameIn(within: string, option: string): string {
  return within === '' ? option : `${within}.${option}`
}
