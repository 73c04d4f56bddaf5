import { describe, expect, it } from 'vitest'
import { Stop } from '../../src/stop.js'

describe('a stop', () => {
  it('aborts once, tells each listener once, and keeps the first reason', () => {
    const stop = new Stop()
    const told: string[] = []
    stop.addEventListener('abort', () => told.push('a'))
    stop.addEventListener('abort', () => told.push('b'))
    stop.abort('first')
    stop.abort('second')
    expect([stop.aborted, stop.reason, told]).toEqual([true, 'first', ['a', 'b']])
    stop.addEventListener('abort', () => told.push('late'))
    expect(told).toEqual(['a', 'b'])
  })

  it('tells nobody who has left, also while it tells', () => {
    const stop = new Stop()
    const told: string[] = []
    const second = () => told.push('second')
    stop.addEventListener('abort', () => stop.removeEventListener('abort', second))
    stop.addEventListener('abort', second)
    stop.abort(undefined)
    expect(told).toEqual([])
  })

  it('follows a signal of the user and another stop, with their reason, until it is let go', () => {
    const controller = new AbortController()
    const first = new Stop()
    first.follow(controller.signal)
    const second = new Stop()
    second.follow(first)
    const apart = new Stop()
    apart.follow(first)()
    controller.abort('why')
    expect([first, second, apart].map(({ aborted, reason }) => [aborted, reason])).toEqual([
      [true, 'why'],
      [true, 'why'],
      [false, undefined],
    ])
    const late = new Stop()
    late.follow(controller.signal)
    expect([late.aborted, late.reason]).toEqual([true, 'why'])
    expect(() => late.follow(undefined)()).not.toThrow()
  })
})
