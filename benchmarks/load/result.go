package main

import (
	"math"
	"time"
)

// result is what one run prints. Latencies are null when no operation was acknowledged.
type result struct {
	Target        string     `json:"target"`
	Op            operation  `json:"op"`
	Connections   int        `json:"connections"`
	Outstanding   int        `json:"outstanding"`
	ValueBytes    int        `json:"value_bytes"`
	Keys          uint64     `json:"keys"`
	Seconds       float64    `json:"seconds"`
	Operations    int64      `json:"operations"`
	Errors        int64      `json:"errors"`
	Misses        int64      `json:"misses"`
	Unanswered    int        `json:"unanswered"`
	Rate          float64    `json:"rate"`
	P50Ms         *float64   `json:"p50_ms"`
	P90Ms         *float64   `json:"p90_ms"`
	P99Ms         *float64   `json:"p99_ms"`
	P999Ms        *float64   `json:"p999_ms"`
	MaxMs         *float64   `json:"max_ms"`
	MeanMs        *float64   `json:"mean_ms"`
	GapMs         float64    `json:"gap_ms"`
	FirstError    *string    `json:"first_error"`
	StartedUnixMs int64      `json:"started_unix_ms"`
	CPUSeconds    float64    `json:"generator_cpu_seconds"`
	Timeline      [][2]int64 `json:"timeline,omitempty"`
}

// newResult reads a recorder whose window is closed. The unanswered are requests that nobody answered
// in the time after the window that is there for it: they hang, and no latency tells of them.
func newResult(o options, r *recorder, unanswered int) result {
	seconds := r.secondsMeasured()
	made := result{
		Target:        o.target,
		Op:            o.op,
		Connections:   o.connections,
		Outstanding:   o.outstanding,
		ValueBytes:    o.valueBytes,
		Keys:          o.keys,
		Seconds:       rounded(seconds),
		Operations:    r.operations.Load(),
		Errors:        r.errors.Load(),
		Misses:        r.misses.Load(),
		Unanswered:    unanswered,
		GapMs:         rounded(float64(r.gapNs.Load()) / 1e6),
		FirstError:    r.firstError.Load(),
		StartedUnixMs: r.startedUnixMs(),
		CPUSeconds:    rounded(float64(r.processorUntilNs.Load()-r.processorFromNs.Load()) / 1e9),
	}
	if made.Operations > 0 {
		made.Rate = rounded(float64(made.Operations) / seconds)
		made.P50Ms = inMs(r.latencies.quantile(0.50))
		made.P90Ms = inMs(r.latencies.quantile(0.90))
		made.P99Ms = inMs(r.latencies.quantile(0.99))
		made.P999Ms = inMs(r.latencies.quantile(0.999))
		made.MaxMs = inMs(float64(r.latencies.maxNs.Load()))
		made.MeanMs = inMs(r.latencies.mean())
	}
	if o.timeline {
		made.Timeline = timelineOf(r, seconds)
	}
	return made
}

// timelineOf lists every bucket of the window, the empty ones too: they are what a gap looks like.
func timelineOf(r *recorder, seconds float64) [][2]int64 {
	buckets := int(math.Ceil(seconds * float64(time.Second/timelineBucket)))
	if buckets > len(r.timeline) {
		buckets = len(r.timeline)
	}
	points := make([][2]int64, buckets)
	for i := range points {
		atMs := int64(i) * int64(timelineBucket/time.Millisecond)
		points[i] = [2]int64{atMs, int64(r.timeline[i].Load())}
	}
	return points
}

func inMs(durationNs float64) *float64 {
	ms := rounded(durationNs / 1e6)
	return &ms
}

// rounded keeps four decimals: a tenth of a microsecond, in milliseconds.
func rounded(value float64) float64 {
	return math.Round(value*1e4) / 1e4
}
