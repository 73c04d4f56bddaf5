import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CertificateAndKey } from 'sluice'

/** A private key in PEM, encrypted. */
export function encryptedKey(key: string, passphrase: string): string {
  return createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }) as string
}

/** PKCS#12 of a certificate and its key, made by the openssl command. */
export function pfxOf(pair: CertificateAndKey, passphrase: string): Buffer {
  return withFolder((folder) => {
    const [pemFile, pfxFile] = [join(folder, 'both.pem'), join(folder, 'both.pfx')]
    writeFileSync(pemFile, pair.cert + pair.key)
    execFileSync('openssl', ['pkcs12', '-export', '-in', pemFile, '-out', pfxFile, '-passout', `pass:${passphrase}`])
    return readFileSync(pfxFile)
  })
}

/** Calls `work` with a folder that is gone afterwards. */
export function withFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-tls-'))
  try {
    return work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
