/// Command-line options of the form `--name value`, the same for every program in this folder.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// The value given for `--name`, or `otherwise`.
static inline const char* textOption(int argc, char** argv, const char* name, const char* otherwise) {
  for (int i = 1; i + 1 < argc; i += 2)
    if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0) return argv[i + 1];
  return otherwise;
}

/// As textOption(), read as a number. Anything that is no number ends the program with status 2.
static inline double numberOption(int argc, char** argv, const char* name, double otherwise) {
  const char* text = textOption(argc, argv, name, NULL);
  if (text == NULL) return otherwise;
  char* end = NULL;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || value < 0) {
    fprintf(stderr, "--%s: '%s' is not a number of 0 or more\n", name, text);
    exit(2);
  }
  return value;
}
