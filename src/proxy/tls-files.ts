import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expected } from '../options.js'
import { createSelfSigned } from '../tls/self-signed.js'

type Options = Readonly<Record<string, unknown>>

const fileOptions = { certFile: 'cert', keyFile: 'key', caFile: 'ca', crlFile: 'crl' } as const

/**
 * Options of TLS with what its files hold in place of their names.
 *
 * @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` naming the option and the file.
 */
export function withFiles(input: unknown, within: string, folder: string): Record<string, unknown> {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    throw expected('options of TLS', input, within)
  const { selfSigned, sni, ...given } = input as Options
  const options: Record<string, unknown> = { ...given }
  for (const [file, option] of Object.entries(fileOptions)) {
    const named = options[file]
    delete options[file]
    if (named === undefined) continue
    if (options[option] !== undefined) throw expected(`absent beside "${within}.${file}"`, '…', `${within}.${option}`)
    options[option] = read(named, `${within}.${file}`, folder)
  }
  if (selfSigned !== undefined && selfSigned !== false)
    Object.assign(options, selfSignedBy(selfSigned, options, within))
  if (sni !== undefined) {
    if (typeof sni !== 'object' || sni === null || Array.isArray(sni))
      throw expected('options of TLS, by name', sni, `${within}.sni`)
    options.sni = Object.fromEntries(
      Object.entries(sni).map(([name, each]) => [
        name,
        withFiles(each, `${within}.sni[${JSON.stringify(name)}]`, folder),
      ]),
    )
  }
  return options
}

function read(value: unknown, option: string, folder: string): Buffer | Buffer[] {
  const files = Array.isArray(value) ? value : [value]
  const contents = files.map((file, i) => {
    const name = Array.isArray(value) ? `${option}[${i}]` : option
    if (typeof file !== 'string' || file === '') throw expected('the name of a file', file, name)
    const path = resolve(folder, file)
    try {
      return readFileSync(path)
    } catch (error) {
      throw expected(`a file that can be read (${(error as NodeJS.ErrnoException).code})`, path, name)
    }
  })
  return Array.isArray(value) ? contents : contents[0]!
}

function selfSignedBy(value: unknown, options: Options, within: string): { cert: string; key: string } {
  const other = ['cert', 'key', 'pfx'].find((name) => options[name] !== undefined)
  if (other !== undefined) throw expected(`absent beside "${within}.${other}"`, value, `${within}.selfSigned`)
  const isNames = Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === 'string' && name)
  if (value !== true && !isNames) throw expected('true, or a list of names', value, `${within}.selfSigned`)
  const { cert, key } = createSelfSigned(isNames ? { names: value as string[] } : undefined)
  return { cert, key }
}
