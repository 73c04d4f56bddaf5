import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyType } from './cases.js'

/** Files in PEM: what a server is, and what its clients trust. */
export interface IdentityFiles {
  readonly cert: string
  readonly key: string
}

/** Certificates for the servers under test, made when they are first asked for, in a folder of their own. */
export class Identities {
  readonly #made = new Map<KeyType, IdentityFiles>()
  #folder: string | undefined

  /** A certificate for localhost with a key of this type. */
  of(keyType: KeyType): IdentityFiles {
    const made = this.#made.get(keyType) ?? this.#make(keyType)
    this.#made.set(keyType, made)
    return made
  }

  /** Removes the files. */
  remove(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true })
    this.#folder = undefined
    this.#made.clear()
  }

  #make(keyType: KeyType): IdentityFiles {
    const { createSelfSigned } = require('sluice') as typeof import('sluice')
    const { cert, key } = createSelfSigned({ keyType })
    this.#folder ??= mkdtempSync(join(tmpdir(), 'sluice-bench-'))
    const files = { cert: join(this.#folder, `${keyType}.crt`), key: join(this.#folder, `${keyType}.key`) }
    writeFileSync(files.cert, cert)
    writeFileSync(files.key, key, { mode: 0o600 })
    return files
  }
}
