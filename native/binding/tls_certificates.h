#pragma once

#include <napi.h>

namespace sluice {

/// Adds createCertificate, createCrl, parseCertificate and splitCertificates to the object `tls`.
void addCertificateFunctions(Napi::Object& tls);

}  // namespace sluice
