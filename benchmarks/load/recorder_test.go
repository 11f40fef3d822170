package main

import (
	"bytes"
	"testing"
	"time"
)

const second = int64(time.Second)

// openRecorder has a window from 10 to 20 seconds, which is over.
func openRecorder() *recorder {
	r := newRecorder(10)
	r.origin = r.origin.Add(-time.Minute)
	r.fromNs.Store(10 * second)
	r.untilNs.Store(20 * second)
	r.lastAckNs.Store(10 * second)
	return r
}

func TestGap_IsTheLongestSilence_WhenItIsBetweenAcknowledgements(t *testing.T) {
	r := openRecorder()
	for _, at := range []int64{9, 11, 12, 16, 18, 21} {
		r.acknowledged(at*second, 1)
	}
	r.close()
	if r.operations.Load() != 4 || r.gapNs.Load() != 4*second {
		t.Errorf("%d operations, gap %d ns", r.operations.Load(), r.gapNs.Load())
	}
}

func TestGap_ReachesToTheEnd_WhenNothingCameBack(t *testing.T) {
	r := openRecorder()
	r.acknowledged(12*second, 1)
	r.close()
	if r.gapNs.Load() != 8*second || r.secondsMeasured() != 10 {
		t.Errorf("gap %d ns of %v s", r.gapNs.Load(), r.secondsMeasured())
	}
}

func TestTimeline_HasEveryBucket_WhenSomeAreEmpty(t *testing.T) {
	r := openRecorder()
	r.acknowledged(10*second, 3)
	r.acknowledged(10*second+int64(25*time.Millisecond), 2)
	points := timelineOf(r, 0.04)
	want := [][2]int64{{0, 3}, {10, 0}, {20, 2}, {30, 0}}
	if len(points) != len(want) {
		t.Fatalf("%v, want %v", points, want)
	}
	for i := range want {
		if points[i] != want[i] {
			t.Errorf("%v, want %v", points[i], want[i])
		}
	}
}

func TestFailed_KeepsTheFirstText_WhenMoreFollow(t *testing.T) {
	r := openRecorder()
	r.failed(9*second, 1, "before the window")
	r.failed(11*second, 2, "first")
	r.failed(12*second, 1, "second")
	if r.errors.Load() != 3 || r.firstErrorText() != "first" {
		t.Errorf("%d errors, the first %q", r.errors.Load(), r.firstErrorText())
	}
}

func TestOpen_DoesNotBegin_WhenStoppedBefore(t *testing.T) {
	r := newRecorder(0)
	r.stop()
	r.open(0, 10)
	r.close()
	if !r.over(r.now()) || r.secondsMeasured() != 0 {
		t.Errorf("the window is %v s long", r.secondsMeasured())
	}
}

func TestWorkload_IsTheSame_WhenTheSeedIs(t *testing.T) {
	one, two := newWorkload(opMix, 1000, 16, 5), newWorkload(opMix, 1000, 16, 5)
	first, second, other := newDice(5, 0), newDice(5, 0), newDice(5, 1)
	same, writes := 0, 0
	for i := 0; i < 10_000; i++ {
		key := first.below(one.keys)
		if key != second.below(two.keys) || key >= 1000 {
			t.Fatalf("key %d of operation %d", key, i)
		}
		if key == other.below(one.keys) {
			same++
		}
		if !bytes.Equal(one.value(&first), two.value(&second)) {
			t.Fatalf("value of operation %d", i)
		}
		if one.isWrite(&first) {
			writes++
		}
		two.isWrite(&second)
	}
	if same > 100 || writes < 350 || writes > 650 {
		t.Errorf("%d keys are those of another worker, %d of 10000 operations are writes", same, writes)
	}
}
