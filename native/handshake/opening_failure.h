#pragma once

#include <cstdint>
#include <string_view>

namespace sluice {

/// Why a connection did not get as far as its session, as users see it. The first three groups are the reason codes of
/// HAProxy's connection errors (spec 3.3), the others are ours. Stable for ever; new ones go to the end of their group.
/// The list stands once, here.
#define SLUICE_OPENING_FAILURES(X)                                                                   \
  X(none, "NONE", "nothing failed")                                                                  \
  /* PROXY protocol, received. */                                                                    \
  X(prxEmpty, "PRX_EMPTY", "the peer closed before it sent a PROXY header")                          \
  X(prxAbort, "PRX_ABORT", "the connection failed within the PROXY header")                          \
  X(prxTimeout, "PRX_TIMEOUT", "no complete PROXY header came in time")                              \
  X(prxTruncated, "PRX_TRUNCATED", "the peer closed within the PROXY header")                        \
  X(prxNotHdr, "PRX_NOT_HDR", "what came is not a PROXY header")                                     \
  X(prxBadHdr, "PRX_BAD_HDR", "the PROXY header is malformed")                                       \
  X(prxBadProto, "PRX_BAD_PROTO", "the PROXY header names a protocol that does not exist")           \
  /* NetScaler's client-IP header. */                                                                \
  X(cipEmpty, "CIP_EMPTY", "the peer closed before it sent a client-IP header")                      \
  X(cipAbort, "CIP_ABORT", "the connection failed within the client-IP header")                      \
  X(cipTimeout, "CIP_TIMEOUT", "no complete client-IP header came in time")                          \
  X(cipTruncated, "CIP_TRUNCATED", "the peer closed within the client-IP header")                    \
  X(cipBadMagic, "CIP_BAD_MAGIC", "what came does not begin with the agreed magic number")           \
  X(cipBadProto, "CIP_BAD_PROTO", "the client-IP header holds no TCP over IPv4 or IPv6")             \
  /* SOCKS, towards a proxy server. */                                                               \
  X(socks4Send, "SOCKS4_SEND", "the request could not be sent to the SOCKS server")                  \
  X(socks4Recv, "SOCKS4_RECV", "the connection failed before the SOCKS server answered")             \
  X(socks4Deny, "SOCKS4_DENY", "the SOCKS server refused the request")                               \
  X(socks4Abort, "SOCKS4_ABORT", "the SOCKS server closed before it answered")                       \
  X(socks4BadReply, "SOCKS4_BAD_REPLY", "the answer is not one of SOCKS 4")                          \
  X(socks5Send, "SOCKS5_SEND", "the request could not be sent to the SOCKS server")                  \
  X(socks5Recv, "SOCKS5_RECV", "the connection failed before the SOCKS server answered")             \
  X(socks5Deny, "SOCKS5_DENY", "the SOCKS server refused the request")                               \
  X(socks5Abort, "SOCKS5_ABORT", "the SOCKS server closed before it answered")                       \
  X(socks5BadReply, "SOCKS5_BAD_REPLY", "the answer is not one of SOCKS 5")                          \
  X(socks5NoMethod, "SOCKS5_NO_METHOD", "the SOCKS server accepts none of the ways to authenticate") \
  X(socks5AuthDeny, "SOCKS5_AUTH_DENY", "the SOCKS server refused user name and password")           \
  X(socksTimeout, "SOCKS_TIMEOUT", "the SOCKS server did not answer in time")                        \
  /* Sending of a PROXY header. */                                                                   \
  X(prxSend, "PRX_SEND", "the PROXY header could not be sent")                                       \
  /* What kind of protocol it is. */                                                                 \
  X(sniffEmpty, "SNIFF_EMPTY", "the peer closed before its first byte")                              \
  X(sniffAbort, "SNIFF_ABORT", "the connection failed before it was clear what the peer speaks")     \
  X(sniffTimeout, "SNIFF_TIMEOUT", "not enough came in time to tell what the peer speaks")           \
  X(plainRefused, "PLAIN_REFUSED", "the peer does not speak TLS, and plaintext is not served here")  \
  X(sslV2Refused, "SSLV2_REFUSED", "the peer greets in SSL 2")                                       \
  X(noProtocol, "NO_PROTOCOL", "the first bytes belong to no protocol that is served here")          \
  /* Rules. */                                                                                       \
  X(ruleReject, "RULE_REJECT", "a rule rejects the connection")                                      \
  X(ruleSilentDrop, "RULE_SILENT_DROP", "a rule drops the connection without a word")                \
  X(ruleTimeout, "RULE_TIMEOUT", "what the rules wait for did not come in time")                     \
  X(ruleAbort, "RULE_ABORT", "the peer left while the rules waited")                                 \
  /* Answered at once: no failure of the peer, but no session either. */                             \
  X(monitorAnswered, "MONITOR_ANSWERED", "a monitor was answered")                                   \
  X(healthAnswered, "HEALTH_ANSWERED", "a health check was answered")                                \
  /* Steps written in JavaScript. */                                                                 \
  X(stepReject, "STEP_REJECT", "an opening step rejects the connection")                             \
  X(stepError, "STEP_ERROR", "an opening step threw")                                                \
  X(stepTimeout, "STEP_TIMEOUT", "an opening step did not decide in time")                           \
  X(stepAbort, "STEP_ABORT", "the peer left while an opening step waited")                           \
  X(stepTooLong, "STEP_TOO_LONG", "an opening step wants to see more bytes than it may")

enum class OpeningFailure : uint8_t {
#define X(name, reason, text) name,
  SLUICE_OPENING_FAILURES(X)
#undef X
};

/// The reason code, e.g. "PRX_BAD_HDR".
std::string_view openingReason(OpeningFailure failure);
/// For people, e.g. "the PROXY header is malformed".
std::string_view openingText(OpeningFailure failure);

}  // namespace sluice
