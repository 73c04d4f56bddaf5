{
  # Built by node-gyp into build/Release/sluice.node. CMakeLists.txt reads the same list of sources.
  'targets': [{
    'target_name': 'sluice',
    'sources': ["<!@(node tools/sources.mjs --units)"],
    'include_dirs': ['native', "<!@(node tools/sources.mjs --include)"],
    # While a worker thread is being terminated most calls into JavaScript fail; that is no reason to abort the process.
    'defines': [
      'NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    ],
    'cflags!': ['-O3'],
    'cflags': ['-O2', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': ['-std=c++20', '-fno-exceptions', '-fno-rtti', '-fvisibility-inlines-hidden'],
    # A process without OpenSSL loads the addon too, so its functions are looked up when they are called.
    'conditions': [['OS!="mac"', {'ldflags': ['-Wl,-z,lazy']}]],
    'xcode_settings': {
      'MACOSX_DEPLOYMENT_TARGET': '11.0',
      'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
      'CLANG_CXX_LIBRARY': 'libc++',
      'GCC_ENABLE_CPP_EXCEPTIONS': 'NO',
      'GCC_ENABLE_CPP_RTTI': 'NO',
      'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
      'GCC_OPTIMIZATION_LEVEL': '2',
      'WARNING_CFLAGS': ['-Wall', '-Wextra', '-Werror'],
    },
  }],
}
