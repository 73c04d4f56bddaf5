/** Rows of the error table that steps of `handshake` tell; handshake-error.ts has what native code calls them. */
export const handshakeErrors = {
  PROXY_EMPTY: {
    meaning: 'the peer closed before it sent a PROXY header',
    advice: 'Health checks of a proxy do this. Nothing is wrong here; `monitor()` answers them.',
  },
  PROXY_ABORTED: {
    meaning: 'the connection failed within the PROXY header',
    advice: 'The proxy gave up, or the network did.',
  },
  PROXY_TIMEOUT: {
    meaning: 'no complete PROXY header came in time',
    advice: '`handshakeTimeoutMs` bounds all steps together. Perhaps the peer is no proxy, and waits for us to speak.',
  },
  PROXY_TRUNCATED: {
    meaning: 'the peer closed within the PROXY header',
    advice: 'The proxy gave up, or what it sent is no PROXY header after all.',
  },
  PROXY_MISSING: {
    meaning: 'what came is not a PROXY header',
    advice: 'Have the proxy send one, or list in `from` those that do.',
  },
  PROXY_INVALID: {
    meaning: 'the PROXY header is malformed',
    advice: 'The text says how. It may also be longer than `maxHeaderBytes`, or one of its parts than `maxTlvBytes`.',
  },
  PROXY_BAD_PROTOCOL: {
    meaning: 'the PROXY header names a protocol that does not exist',
    advice: 'The proxy is broken, or somebody tries things.',
  },
  PROXY_NOT_SENT: {
    meaning: 'the PROXY header could not be sent',
    advice: 'The peer was gone already.',
  },
  NETSCALER_EMPTY: {
    meaning: 'the peer closed before it sent a client-IP header',
    advice: 'Health checks of a NetScaler do this. Nothing is wrong here.',
  },
  NETSCALER_ABORTED: {
    meaning: 'the connection failed within the client-IP header',
    advice: 'The NetScaler gave up, or the network did.',
  },
  NETSCALER_TIMEOUT: {
    meaning: 'no complete client-IP header came in time',
    advice: '`handshakeTimeoutMs` bounds all steps together.',
  },
  NETSCALER_TRUNCATED: {
    meaning: 'the peer closed within the client-IP header',
    advice: 'The NetScaler gave up, or what it sent is no such header after all.',
  },
  NETSCALER_MISSING: {
    meaning: 'what came does not begin with the agreed magic number',
    advice: 'Compare `magic` with what the NetScaler is set to.',
  },
  NETSCALER_BAD_PROTOCOL: {
    meaning: 'the client-IP header holds no TCP over IPv4 or IPv6',
    advice: 'The NetScaler is set to something else.',
  },
  SOCKS_NOT_SENT: {
    meaning: 'the request could not be sent to the SOCKS server',
    advice: 'The server was gone already.',
  },
  SOCKS_FAILED: {
    meaning: 'the connection failed before the SOCKS server answered',
    advice: 'Look at the log of the server.',
  },
  SOCKS_DENIED: {
    meaning: 'the SOCKS server refused the request',
    advice: 'The text says why, as far as the server does: its rules, or the target cannot be reached.',
  },
  SOCKS_ABORTED: {
    meaning: 'the SOCKS server closed before it answered',
    advice: 'Perhaps it speaks another version, or none.',
  },
  SOCKS_BAD_REPLY: {
    meaning: 'the answer is not one of SOCKS',
    advice: 'Perhaps it speaks another version, or something else altogether.',
  },
  SOCKS_NO_METHOD: {
    meaning: 'the SOCKS server accepts none of the ways to authenticate',
    advice: 'It wants `user` and `password`, or something that RFC 1929 does not know.',
  },
  SOCKS_AUTH_DENIED: {
    meaning: 'the SOCKS server refused user name and password',
    advice: 'Check `user` and `password`.',
  },
  SOCKS_TIMEOUT: {
    meaning: 'the SOCKS server did not answer in time',
    advice: '`handshakeTimeoutMs` bounds all steps together; the server may be waiting for the target.',
  },
  SNIFF_EMPTY: {
    meaning: 'the peer closed before its first byte',
    advice: 'Health checks and port scans do this. Nothing is wrong here.',
  },
  SNIFF_ABORTED: {
    meaning: 'the connection failed before it was clear what the peer speaks',
    advice: 'The peer gave up, or the network did.',
  },
  SNIFF_TIMEOUT: {
    meaning: 'not enough came in time to tell what the peer speaks',
    advice: 'Who waits for the server to begin is served with `plainAfterMs` of `sniff()`.',
  },
  PLAINTEXT_REFUSED: {
    meaning: 'the peer does not speak TLS, and plaintext is not served here',
    advice: "`sniff({ plain: 'allow' })` serves it.",
  },
  SSLV2_REFUSED: {
    meaning: 'the peer greets in SSL 2',
    advice: 'It is from the last century, or scans for servers that are. Nobody should serve it.',
  },
  PROTOCOL_UNKNOWN: {
    meaning: 'the first bytes belong to no protocol that is served here',
    advice: 'Add a step for it, or leave it refused.',
  },
  RULE_REJECTED: {
    meaning: 'a rule rejects the connection',
    advice: 'A rule of `rules()` says so; `error.step` names the step.',
  },
  RULE_DROPPED: {
    meaning: 'a rule drops the connection without a word',
    advice: 'A rule of `rules()` says so.',
  },
  RULE_TIMEOUT: {
    meaning: 'what the rules wait for did not come in time',
    advice: '`handshakeTimeoutMs` bounds all steps together, the delays of rules included.',
  },
  RULE_ABORTED: {
    meaning: 'the peer left while the rules waited',
    advice: 'It did not like to be kept waiting.',
  },
  STEP_REJECTED: {
    meaning: 'an opening step rejects the connection',
    advice: 'The text is what the step said.',
  },
  STEP_THREW: {
    meaning: 'an opening step threw',
    advice: '`cause` is what it threw. Only its own connection was ended.',
  },
  STEP_TIMEOUT: {
    meaning: 'an opening step did not decide in time',
    advice: '`handshakeTimeoutMs` bounds all steps together.',
  },
  STEP_ABORTED: {
    meaning: 'the peer left while an opening step waited',
    advice: 'The step waited for more bytes, or for a promise.',
  },
  STEP_TOO_LONG: {
    meaning: 'an opening step wants to see more bytes than it may',
    advice: '`maxBytes` of the step is the bound.',
  },
} as const
