import type { Yardstick } from '../cases.js'
import type { TargetResult } from '../results.js'

/** Three significant digits, without an exponent: 0.0874, 1.23, 45.6, 1 234. */
export function number(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size >= 100) return grouped(Math.round(value))
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4)
}

/** "0.45×" */
export function ratio(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(2)}×`
}

/** "58 %" */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** "1 234 567" */
export function grouped(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ' ')
}

/** Microseconds in a unit that keeps them short: "870 ns", "12.3 µs", "4.56 ms". */
export function duration(microseconds: number): string {
  if (microseconds < 1) return `${number(microseconds * 1000)} ns`
  return microseconds < 1000 ? `${number(microseconds)} µs` : `${number(microseconds / 1000)} ms`
}

/** "✓ ≤ 0.45× node:net" */
export function shortTarget(target: TargetResult): string {
  const { against, atMost, met } = target
  const of = against === undefined ? '' : `× ${againstName[against]}${atMost === undefined ? ' a second' : ''}`
  const limit = against === undefined && atMost !== undefined ? `≤ ${number(atMost)}` : limitOf(target)
  return `${met ? '✓' : '✗'} ${limit}${of}`
}

/** "≤ 0.45", or "≥ 1.40" */
export function limitOf({ atMost, atLeast }: TargetResult): string {
  return atMost === undefined ? `≥ ${atLeast.toFixed(2)}` : `≤ ${atMost.toFixed(2)}`
}

/** What the ratio of a target is of: "of node:net", or the unit of the case. */
export function ratioOf({ against, atLeast }: TargetResult, unit: string): string {
  if (against === undefined) return unit
  return atLeast === undefined ? `of ${against}` : `of ${against}, a second`
}

/** "reached", or "missed", and by whom else. */
export function verdict({ met, cRatio }: TargetResult): string {
  if (met) return 'reached'
  return cRatio === undefined ? 'missed' : `missed, by C too: ${cRatio.toFixed(2)}`
}

const againstName: Readonly<Record<Yardstick, string>> = {
  'node:net': 'node:net',
  'node:tls': 'node:tls',
  'c-epoll': 'C',
  'c-openssl': 'C',
  'c-relay': 'C',
  haproxy: 'HAProxy',
  unlimited: 'no limits',
  'no-steps': 'no steps',
  'Buffer.concat': 'Buffer.concat',
  bl: 'bl',
  'unix-pair': 'a Unix socket',
}

/** How headings call a yardstick. */
export const yardstickName: Readonly<Record<Yardstick, string>> = {
  ...againstName,
  'c-epoll': 'C epoll',
  'c-openssl': 'C OpenSSL',
  'c-relay': 'C relay',
}
