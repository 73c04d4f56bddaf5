// What users import as `sluice/msgpack`.

export { type MessagePacker, msgpack } from './msgpack-codec.js'
