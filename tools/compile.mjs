// A C++ build in a hundred lines: objects in parallel, rebuilt when a source, a header or the command changed.
// For what node-gyp cannot do and machines without CMake still need: native tests, bench programs, cross-compilation.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { nodeHeaders, packageIncludes, root } from './sources.mjs'

/** Warnings are errors, as in binding.gyp and CMakeLists.txt. */
const warningFlags = ['-Wall', '-Wextra', '-Werror']
const languageFlags = {
  '.cc': ['-std=c++20', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden', '-fvisibility-inlines-hidden'],
  '.c': ['-std=gnu11'],
}

/** Flags for sources that may include node_api.h. */
export function addonFlags() {
  const includes = [nodeHeaders(), ...packageIncludes()]
  return [
    '-DNAPI_VERSION=8',
    '-DNODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
    '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    ...includes.flatMap((dir) => ['-isystem', dir]),
  ]
}

/** Runs a command; resolves with its output, rejects with all it said. */
export function run(command, { cwd = root, env = process.env } = {}) {
  return new Promise((settle, reject) => {
    const child = spawn(command[0], command.slice(1), { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (bytes) => (output += bytes))
    child.stderr.on('data', (bytes) => (output += bytes))
    child.on('error', (error) => reject(new Error(`${command[0]}: ${error.message}`)))
    child.on('close', (code, signal) => {
      if (code === 0) settle(output)
      else reject(new Error(`${command.join(' ')}\n${output}\nended with ${signal ?? code}`))
    })
  })
}

/** Calls `work` for each item, as many at once as there are cores. */
export async function parallel(items, work) {
  const queue = [...items]
  const workers = Array.from({ length: availableParallelism() }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  })
  await Promise.all(workers)
}

/** Compiles `sources` below `folder` and returns the paths of the objects. */
export async function compileObjects({ folder, sources, compiler = defaultCompiler(), flags = [] }) {
  const objects = sources.map((source) => join(folder, 'objects', `${source}.o`))
  await parallel(sources.keys(), async (index) => {
    const [source, object] = [sources[index], objects[index]]
    const language = source.endsWith('.c') ? '.c' : '.cc'
    const command = [...(language === '.c' ? asC(compiler) : compiler), ...languageFlags[language], ...warningFlags]
    command.push('-fPIC', '-pthread', '-Inative', ...flags, '-MMD', '-MF', `${object}.d`, '-c', source, '-o', object)
    if (isCurrent(object, command)) return
    mkdirSync(dirname(object), { recursive: true })
    await run(command)
    writeFileSync(`${object}.command`, command.join(' '))
  })
  return objects
}

/** Links `objects` into `output` when one of them is newer. */
export function link({ output, objects, compiler = defaultCompiler(), flags = [] }) {
  return produce(output, objects, [...compiler, '-pthread', '-o', output, ...objects, ...flags])
}

/** Puts `objects` into the static library `output` when one of them is newer. */
export function archive({ output, objects }) {
  return produce(output, objects, ['ar', 'rcs', output, ...objects])
}

async function produce(output, inputs, command) {
  const built = modifiedAt(output)
  if (inputs.every((input) => modifiedAt(input) <= built) && sameCommand(output, command)) return output
  mkdirSync(dirname(output), { recursive: true })
  rmSync(output, { force: true })
  await run(command)
  writeFileSync(`${output}.command`, command.join(' '))
  return output
}

/** Milliseconds since 1970, or 0 for a file that is not there. */
export function modifiedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function defaultCompiler() {
  return [process.env.CXX ?? 'c++']
}

function asC(compiler) {
  if (compiler[1] === 'c++') return [compiler[0], 'cc', ...compiler.slice(2)]
  return [process.env.CC ?? 'cc']
}

function isCurrent(object, command) {
  if (!sameCommand(object, command) || !existsSync(`${object}.d`)) return false
  const built = modifiedAt(object)
  // A depfile is a make rule: "object: source header \⏎ header …".
  const files = readFileSync(`${object}.d`, 'utf8').replaceAll('\\\n', ' ').split(/\s+/).slice(1).filter(Boolean)
  return files.every((file) => {
    const changed = modifiedAt(resolve(root, file))
    return changed > 0 && changed <= built
  })
}

function sameCommand(output, command) {
  const file = `${output}.command`
  return existsSync(output) && existsSync(file) && readFileSync(file, 'utf8') === command.join(' ')
}
