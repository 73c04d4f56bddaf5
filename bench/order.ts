/**
 * The order of competitors in one round: everyone is once at each place, so that no one is always measured after the
 * same neighbour's heat or just when the machine is busy.
 */
export function orderOfRound<T>(competitors: readonly T[], round: number): T[] {
  if (competitors.length === 0) return []
  const first = round % competitors.length
  const rotated = [...competitors.slice(first), ...competitors.slice(0, first)]
  // Every other turn of the wheel goes backwards: neighbours change too, not only places.
  return Math.floor(round / competitors.length) % 2 === 0 ? rotated : rotated.reverse()
}
