/// load_tls --ca file [--resume yes] …
///
/// As load.c says, over TLS 1.3.
#define _GNU_SOURCE
#include "load_tls.h"

#include "load_main.h"
