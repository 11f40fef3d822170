package main

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
)

// timelineBucket is how much time one entry of the timeline covers.
const timelineBucket = 10 * time.Millisecond

// noEnd is the end of a window that closes when the work is done, not at a time.
const noEnd = int64(1) << 62

// recorder keeps what the measured window saw. Times are ns since the recorder was made, from the
// monotonic clock. Any number of goroutines may use it at once.
//
// What is answered outside the window (before it, while the servers warm up, or after it, while the
// last requests drain) leaves no trace.
type recorder struct {
	origin     time.Time
	fromNs     atomic.Int64
	untilNs    atomic.Int64
	latencies  histogram
	operations atomic.Int64
	errors     atomic.Int64
	misses     atomic.Int64
	lastAckNs  atomic.Int64
	gapNs      atomic.Int64
	firstError atomic.Pointer[string]
	timeline   []atomic.Uint32

	processorFromNs, processorUntilNs atomic.Int64
}

// newRecorder makes a recorder whose window is not open yet. timelineSeconds is how long a timeline
// it keeps; 0 for none.
func newRecorder(timelineSeconds float64) *recorder {
	r := &recorder{origin: time.Now()}
	if timelineSeconds > 0 {
		buckets := int(timelineSeconds*float64(time.Second/timelineBucket)) + 1
		r.timeline = make([]atomic.Uint32, buckets)
	}
	r.fromNs.Store(noEnd)
	r.untilNs.Store(noEnd)
	return r
}

// now is the time in ns since the recorder was made.
func (r *recorder) now() int64 {
	return int64(time.Since(r.origin))
}

// open sets the window: it begins warmup from now and lasts for seconds; with seconds 0 it lasts
// until stop is called.
func (r *recorder) open(warmup, seconds float64) {
	from := r.now() + int64(warmup*1e9)
	r.lastAckNs.Store(from)
	if seconds > 0 {
		// Who was told to stop in the meantime has ended already.
		r.untilNs.CompareAndSwap(noEnd, from+int64(seconds*1e9))
	}
	r.fromNs.Store(from)
	time.AfterFunc(time.Duration(warmup*1e9), func() { r.processorFromNs.Store(processorNs()) })
}

// stop ends the window now, unless it has ended already.
func (r *recorder) stop() {
	now := r.now()
	if now < r.untilNs.Load() {
		r.untilNs.Store(now)
	}
}

// over says whether the window has ended at the given time.
func (r *recorder) over(nowNs int64) bool {
	return nowNs >= r.untilNs.Load()
}

// measuring says whether the window is open at the given time.
func (r *recorder) measuring(nowNs int64) bool {
	return nowNs >= r.fromNs.Load() && nowNs < r.untilNs.Load()
}

// answered records one latency; acknowledged must be called as well, once for all those that were
// answered at the same time.
func (r *recorder) answered(startedNs, nowNs int64) {
	if r.measuring(nowNs) {
		r.latencies.record(nowNs - startedNs)
	}
}

// acknowledged counts operations that succeeded at the given time.
func (r *recorder) acknowledged(nowNs int64, operations int) {
	if operations == 0 || !r.measuring(nowNs) {
		return
	}
	r.operations.Add(int64(operations))
	r.widenGap(nowNs - r.lastAckNs.Swap(nowNs))
	if r.timeline != nil {
		bucket := int((nowNs - r.fromNs.Load()) / int64(timelineBucket))
		if bucket < len(r.timeline) {
			r.timeline[bucket].Add(uint32(operations))
		}
	}
}

// missed counts reads that found no such key. They are operations all the same, but cheap ones: a
// comparison of reads in which they are many is none.
func (r *recorder) missed(nowNs int64, operations int) {
	if operations != 0 && r.measuring(nowNs) {
		r.misses.Add(int64(operations))
	}
}

// failed counts operations that got an error or lost their connection, and keeps the first text.
func (r *recorder) failed(nowNs int64, operations int, text string) {
	if operations == 0 || !r.measuring(nowNs) {
		return
	}
	r.errors.Add(int64(operations))
	if r.firstError.Load() == nil {
		r.firstError.CompareAndSwap(nil, &text)
	}
}

// firstErrorText is the first error's text; empty when there was none.
func (r *recorder) firstErrorText() string {
	if text := r.firstError.Load(); text != nil {
		return *text
	}
	return ""
}

func (r *recorder) widenGap(gapNs int64) {
	for {
		widest := r.gapNs.Load()
		if gapNs <= widest || r.gapNs.CompareAndSwap(widest, gapNs) {
			return
		}
	}
}

// close ends the window where it has not ended, and counts the silence before its end as a gap: a
// server that never came back must not look like one that never went away.
func (r *recorder) close() {
	r.stop()
	r.widenGap(r.untilNs.Load() - r.lastAckNs.Load())
	r.processorUntilNs.Store(processorNs())
}

// secondsMeasured is how long the window was; valid after close. It is 0 when it ended in the warm-up.
func (r *recorder) secondsMeasured() float64 {
	return math.Max(0, float64(r.untilNs.Load()-r.fromNs.Load())/1e9)
}

// processorNs is how much processor time this process has used.
func processorNs() int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// startedUnixMs is the wall clock's time at which the window began; valid after open.
func (r *recorder) startedUnixMs() int64 {
	return r.origin.Add(time.Duration(r.fromNs.Load())).UnixMilli()
}
