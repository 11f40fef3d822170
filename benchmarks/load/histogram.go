package main

import (
	"math/bits"
	"sync/atomic"
)

// A value below 2^subBucketBits nanoseconds has a bucket of its own. Above that every power of two
// is cut into 2^subBucketBits buckets, so that a bucket is at most 1/128 (0.8 %) of its values wide
// and its middle is wrong by at most half of that.
const (
	subBucketBits = 7
	subBuckets    = 1 << subBucketBits
	// Values of 2^valueBitsMax ns (18 minutes) and more are counted in the last bucket.
	valueBitsMax = 40
	bucketsTotal = (valueBitsMax - subBucketBits + 1) * subBuckets
)

// histogram counts durations in fixed logarithmic buckets. It never allocates, and any number of
// goroutines may record at the same time. The zero value is an empty histogram.
type histogram struct {
	counts [bucketsTotal]atomic.Uint64
	total  atomic.Uint64
	sumNs  atomic.Int64
	maxNs  atomic.Int64
}

// bucketOf says which bucket counts a duration; negative durations count as 0.
func bucketOf(durationNs int64) int {
	if durationNs < subBuckets {
		if durationNs < 0 {
			return 0
		}
		return int(durationNs)
	}
	shift := bits.Len64(uint64(durationNs)) - subBucketBits - 1
	bucket := shift*subBuckets + int(durationNs>>shift)
	if bucket >= bucketsTotal {
		return bucketsTotal - 1
	}
	return bucket
}

// middleOf is the duration that stands for a bucket, in ns.
func middleOf(bucket int) float64 {
	if bucket < 2*subBuckets {
		return float64(bucket)
	}
	shift := bucket/subBuckets - 1
	lowest := int64(bucket-shift*subBuckets) << shift
	return float64(lowest) + float64(int64(1)<<shift-1)/2
}

// record counts one duration.
func (h *histogram) record(durationNs int64) {
	h.counts[bucketOf(durationNs)].Add(1)
	h.total.Add(1)
	h.sumNs.Add(durationNs)
	for {
		before := h.maxNs.Load()
		if durationNs <= before || h.maxNs.CompareAndSwap(before, durationNs) {
			return
		}
	}
}

// quantile is the duration in ns that the given share (0 to 1) of the recorded ones do not exceed,
// wrong by less than 1 %, and never above the longest. It is 0 when nothing was recorded.
func (h *histogram) quantile(share float64) float64 {
	total := h.total.Load()
	if total == 0 {
		return 0
	}
	rank := uint64(share * float64(total))
	if rank >= total {
		rank = total - 1
	}
	longest := float64(h.maxNs.Load())
	seen := uint64(0)
	for bucket := range h.counts {
		seen += h.counts[bucket].Load()
		if seen > rank {
			if middle := middleOf(bucket); middle < longest {
				return middle
			}
			return longest
		}
	}
	return longest
}

// mean is the arithmetic mean in ns, exact; 0 when nothing was recorded.
func (h *histogram) mean() float64 {
	total := h.total.Load()
	if total == 0 {
		return 0
	}
	return float64(h.sumNs.Load()) / float64(total)
}
