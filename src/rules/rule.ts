import type { CidrEntry, CidrSet } from './cidr-set.js'
import type { StickTable } from './stick-table.js'
import type { TableCounter } from './table-columns.js'

/**
 * When a rule is asked. `'socket'`: right after accept, before a byte is read, by the socket's own addresses; `'session'`:
 * when all handshakes are done, by what a PROXY header claims and TLS has found out; `'content'`: with the first bytes of
 * the application, again with each that comes, until there is a verdict. Source: D12, HP-56.
 */
export type RuleStage = 'socket' | 'session' | 'content'

/** Something known of a connection, to track by, or for a variable. `source` and `destination` are whom a PROXY header names,
 *  else the socket's own addresses; `peer` and `local` are always the socket's. */
export type RuleFact =
  | 'source'
  | 'destination'
  | 'peer'
  | 'local'
  | 'localPort'
  | 'serverName'
  | 'alpn'
  | 'commonName'
  | 'fingerprint'
  | { tlv: number }
  | { variable: string }
  | { text: string }

/** Networks to compare with: a set, which may be replaced later, or a list of networks. */
export type RuleNetworks = CidrSet | string | readonly CidrEntry[]

/** One or several. */
export type OneOrMany<T> = T | readonly T[]

/** A port, or the first and the last of several. */
export type PortRange = number | readonly [first: number, last: number]

/** A number to compare a counter with: exactly one of them. */
export interface CounterComparison {
  /** It is more. */
  above?: number
  /** It is as many or more. */
  atLeast?: number
  /** It is less. */
  below?: number
  /** It is as many or less. */
  atMost?: number
  /** It is as many. */
  equals?: number
  /** It is not as many. */
  differs?: number
}

/** Which counter: of the entry that an earlier `track` of the list has put in `place`, or with `in`, of a key that is not
 *  tracked by this. What is not there counts as 0. */
export interface CounterChoice {
  /** Which. A rate is that of its period up to now. Source: HP-61. */
  counter: TableCounter
  /** Which of several `gpc`, `gpcRate` or `gpt`. Default 0. */
  index?: number
  /** Place of the tracked entry, 0 to 2. Default 0. */
  place?: number
  /** Another table to look into. */
  in?: StickTable
  /** The key to look for in it. Default `'source'`. */
  by?: RuleFact
}

/**
 * What must be so for a rule to be carried out. Each has one of the first fields; combine them by `all`, `any` and `not`.
 *
 * | | holds when |
 * |---|---|
 * | `source`, `destination`, `peer`, `local` | the address lies in one of the networks, whose value is among `value` if given |
 * | `sourcePort`, `destinationPort`, `peerPort`, `localPort` | the port is it, or within the range |
 * | `proxied` | there was a PROXY header, or with false, none |
 * | `tlv` | the header has a TLV of that type, with a value among `is` if given; 0x21 to 0x2f are those about TLS |
 * | `tls` | the connection is secured, or with false, not |
 * | `serverName` | the client asked for one of the names; `*.example.org` is one label more, `.example.org` any |
 * | `alpn` | that protocol was agreed on |
 * | `clientCertificate` | one was `'presented'`, was `'verified'`, or is `'absent'` |
 * | `commonName`, `fingerprint` | the client's certificate has it; fingerprints are SHA-256 in hex |
 * | `counter` | it compares so |
 * | `contentStarts`, `contentContains`, `contentBytes` | what has come begins with it, contains it, is so long at least |
 * | `tag`, `variable` | an earlier rule gave the tag; set the variable, to a value among `is` if given |
 */
export type RuleCondition =
  | { all: readonly RuleCondition[] }
  | { any: readonly RuleCondition[] }
  | { not: RuleCondition }
  | { source: RuleNetworks; value?: OneOrMany<string> }
  | { destination: RuleNetworks; value?: OneOrMany<string> }
  | { peer: RuleNetworks; value?: OneOrMany<string> }
  | { local: RuleNetworks; value?: OneOrMany<string> }
  | { sourcePort: PortRange }
  | { destinationPort: PortRange }
  | { peerPort: PortRange }
  | { localPort: PortRange }
  | { proxied: boolean }
  | { tlv: number; is?: OneOrMany<string | Uint8Array> }
  | { tls: boolean }
  | { serverName: OneOrMany<string> }
  | { alpn: OneOrMany<string> }
  | { clientCertificate: 'presented' | 'verified' | 'absent' }
  | { commonName: OneOrMany<string> }
  | { fingerprint: OneOrMany<string> }
  | (CounterChoice & CounterComparison)
  | { contentStarts: OneOrMany<string | Uint8Array> }
  | { contentContains: OneOrMany<string | Uint8Array> }
  | { contentBytes: number }
  | { tag: OneOrMany<string> }
  | { variable: string; is?: OneOrMany<string> }

/** What all rules have. */
export interface RuleBase {
  /** When it is asked. Default `'socket'`. */
  stage?: RuleStage
  /** What must be so. Default: nothing, it always is. */
  when?: RuleCondition
}

/** What a rule does. `accept`, `reject` and `silentDrop` end the list; the others go on with the next rule. */
export type RuleAction =
  | {
      /** The connection goes on; no further rule of this stage is asked. */
      action: 'accept'
    }
  | {
      /** The connection is ended with RST. Source: HP-20. */
      action: 'reject'
    }
  | {
      /** It is ended without telling the peer, as far as the system lets us. Source: HP-22. */
      action: 'silentDrop'
      /** The peer's side is told by an RST that may pass so many routers, 1 to 255. Default: it is not told. */
      resetTtl?: number
    }
  | {
      /** The connection is held, and nothing read of it, before the next rule is asked: a tarpit. */
      action: 'delay'
      /** For how long, 1 to 3 600 000. */
      delayMs: number
    }
  | {
      /** A PROXY header must come: for `acceptProxy({ byRule: true })`. Stage `'socket'` only. Source: HP-55. */
      action: 'expectProxy'
    }
  | {
      /** Counts the connection in an entry of a table, until it ends. Source: HP-58, HP-59. */
      action: 'track'
      /** Where. */
      table: StickTable
      /** Under which key; a connection without that fact is not tracked. Default `'source'`. */
      by?: RuleFact
      /** Of up to three entries which, 0 to 2; where the place is taken nothing happens. Default 0. */
      place?: number
    }
  | {
      /** Gives the connection a name to know it by. */
      action: 'tag'
      /** The name. */
      tag: string
    }
  | {
      /** Sets a variable of the connection. */
      action: 'set'
      /** Its name. */
      variable: string
      /** Its value: text, or something known of the connection. */
      to: RuleFact
    }
  | ({
      /** Adds to a counter of your own, `gpc` or `gpcRate`, or a glitch; of an entry in `place`, or one of the table `in`
       *  where it is there. */
      action: 'count'
      /** How many. Default 1. */
      amount?: number
    } & CounterChoice)
  | {
      /** Sets a tag (`gpt`) of the entry in `place`. */
      action: 'assign'
      /** Which of several. Default 0. */
      index?: number
      /** Place of the tracked entry, 0 to 2. Default 0. */
      place?: number
      /** The tag, 0 to 4 294 967 295. */
      to: number
    }
  | {
      /** Sets the type of service of the socket's packets. Source: IP_TOS, ip(7). */
      action: 'typeOfService'
      /** 0 to 255. */
      to: number
    }
  | {
      /** Marks the socket's packets for routing and firewall. Linux, needs CAP_NET_ADMIN. Source: SO_MARK, socket(7). */
      action: 'mark'
      /** 0 to 4 294 967 295. */
      to: number
    }
  | {
      /**
       * Says whom the connection comes from, or goes to, from now on: for later rules, `connection.marks`, and PROXY headers
       * sent `onBehalfOf` it. It counts above what a PROXY header claims, before and behind it. `remoteAddress` stays.
       * Source: HP-55.
       */
      action: 'setSource' | 'setDestination'
      /** An address, or a fact that is one or its text; where it is none, nothing changes. */
      to: RuleFact
      /** So many leading bits of IPv4 addresses count, the others are 0. Default 32. */
      ipv4Bits?: number
      /** The same for IPv6. Default 128. */
      ipv6Bits?: number
      /** The port. Default: the one it has had. */
      port?: number
    }
  | {
      /** Tells `ruleLog` of the listener's handlers. Nothing is written anywhere. Source: HP-55. */
      action: 'log'
      /** What to say, at most 1 000 characters. */
      text: string
      /** Something known of the connection, told along. */
      value?: RuleFact
    }

/** One rule: when it is asked, what must be so, what it does. */
export type Rule = RuleBase & RuleAction
