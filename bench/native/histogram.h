/// Counts of durations in log-linear buckets: 64 per power of two, so a value is known to within 1.6 %.
#pragma once

#include <stdint.h>

enum { histogramSteps = 64, histogramBuckets = 59 * histogramSteps };

typedef struct {
  uint64_t counts[histogramBuckets];
  uint64_t total, sum, largest;
} Histogram;

static inline uint32_t histogramBucket(uint64_t value) {
  if (value < histogramSteps) return (uint32_t)value;
  uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - 6;
  return (shift + 1) * histogramSteps + (uint32_t)(value >> shift) - histogramSteps;
}

/// The middle of a bucket.
static inline double histogramValue(uint32_t bucket) {
  if (bucket < histogramSteps) return bucket;
  uint32_t shift = bucket / histogramSteps - 1;
  return ((double)(bucket % histogramSteps) + histogramSteps + 0.5) * (double)(1ull << shift);
}

static inline void histogramAdd(Histogram* histogram, uint64_t value) {
  histogram->counts[histogramBucket(value)]++;
  histogram->total++;
  histogram->sum += value;
  if (value > histogram->largest) histogram->largest = value;
}

/// The smallest value that `share` (0 to 1) of all values do not exceed.
static inline double histogramPercentile(const Histogram* histogram, double share) {
  uint64_t needed = (uint64_t)((double)histogram->total * share + 0.999999), seen = 0;
  if (needed == 0) needed = 1;
  for (uint32_t i = 0; i < histogramBuckets; i++)
    if ((seen += histogram->counts[i]) >= needed) return histogramValue(i);
  return 0;
}
