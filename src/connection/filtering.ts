import type { Connection } from '../connection.js'
import { SluiceError } from '../errors.js'
import { type FileRange, FileSegment } from '../file/segment.js'
import { checkFilter, type Filter, type FilterOptions } from '../filter/filter.js'
import { FilterStack } from '../filter/stack.js'
import { expected } from '../options.js'
import { filtered, filtersOf } from './state.js'
import { requireWritable } from './writing.js'

// Filters between the socket and whoever uses the connection; parts of files are sent by them too.

/** As of {@link Connection.filter}. */
export function addFilters(connection: Connection, filters: Filter | readonly Filter[], options: FilterOptions): void {
  const list = Array.isArray(filters) ? (filters as readonly Filter[]) : [filters as Filter]
  list.forEach((filter, i) => {
    checkFilter(filter, Array.isArray(filters) ? `filters[${i}]` : 'filter')
  })
  const { head } = options
  if (head !== undefined && !(head instanceof Uint8Array)) throw expected('a Uint8Array', head, 'head')
  requireWritable(connection)
  if (filtersOf(connection)?.isInFilter) {
    throw new SluiceError('INVALID_ARGUMENT', { detail: 'filters cannot be added while a filter is being called' })
  }
  const stack = filterStack(connection)
  list.forEach((filter, i) => {
    stack.add(filter, i === 0 ? head : undefined)
  })
}

/** Its filters, though it be none yet. */
export function filterStack(connection: Connection): FilterStack {
  let stack = filtersOf(connection)
  if (stack === undefined) {
    stack = new FilterStack(connection, connection.handlers)
    connection.handlers = stack
    connection.flags |= filtered
  }
  return stack
}

/** As of {@link Connection.writeFile}. */
export function writeFile(connection: Connection, segment: FileSegment, range: FileRange): boolean {
  if (!(segment instanceof FileSegment)) throw expected('a FileSegment', segment, 'segment')
  const { fromBytes, lengthBytes } = segment.partOf(range)
  segment.requireOpen()
  return writeFilePart(connection, segment, fromBytes, lengthBytes)
}

/** The same of a segment that somebody holds open. */
export function writeFilePart(
  connection: Connection,
  segment: FileSegment,
  fromBytes: number,
  lengthBytes: number,
): boolean {
  requireWritable(connection)
  return filterStack(connection).writeFile(segment, fromBytes, lengthBytes)
}
