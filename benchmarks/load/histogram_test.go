package main

import (
	"math"
	"sort"
	"testing"
)

func TestBucketOf_IsWithinOnePercent_WhenDurationsGrow(t *testing.T) {
	previous := -1
	for duration := int64(1); duration < int64(1)<<valueBitsMax; duration += duration/300 + 1 {
		bucket := bucketOf(duration)
		if bucket < previous || bucket >= bucketsTotal {
			t.Fatalf("bucket %d of %d ns comes after bucket %d", bucket, duration, previous)
		}
		previous = bucket
		if wrong := math.Abs(middleOf(bucket)-float64(duration)) / float64(duration); wrong > 0.01 {
			t.Fatalf("%d ns is told as %v", duration, middleOf(bucket))
		}
	}
}

func TestBucketOf_StaysInside_WhenDurationsAreAbsurd(t *testing.T) {
	if bucketOf(-5) != 0 {
		t.Errorf("a negative duration is in bucket %d", bucketOf(-5))
	}
	if bucketOf(math.MaxInt64) != bucketsTotal-1 {
		t.Errorf("the longest duration is in bucket %d", bucketOf(math.MaxInt64))
	}
}

func TestQuantile_AgreesWithSorting_WhenDurationsAreSpread(t *testing.T) {
	var h histogram
	d := newDice(7, 0)
	durations := make([]int64, 20_000)
	sum := 0.0
	for i := range durations {
		// From a microsecond to seconds, evenly in the logarithm.
		durations[i] = int64(1000 * math.Exp(float64(d.below(15_000))/1000))
		h.record(durations[i])
		sum += float64(durations[i])
	}
	sort.Slice(durations, func(i, j int) bool { return durations[i] < durations[j] })
	for _, share := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want := float64(durations[int(share*float64(len(durations)))])
		if got := h.quantile(share); math.Abs(got-want)/want > 0.01 {
			t.Errorf("quantile %v is %v, want %v", share, got, want)
		}
	}
	if longest := float64(durations[len(durations)-1]); h.quantile(1) > longest {
		t.Errorf("quantile 1 is %v, the longest is %v", h.quantile(1), longest)
	}
	if want := sum / float64(len(durations)); math.Abs(h.mean()-want) > 1 {
		t.Errorf("the mean is %v, want %v", h.mean(), want)
	}
}

func TestQuantile_IsZero_WhenNothingWasRecorded(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 || h.mean() != 0 {
		t.Errorf("quantile %v, mean %v", h.quantile(0.5), h.mean())
	}
}
