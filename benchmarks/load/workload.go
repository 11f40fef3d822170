package main

import "math/bits"

const (
	// A value is a slice of one pool of random bytes, at one of this many offsets: as good as random
	// to a server, and nothing to generate or to copy.
	valueOffsets = 16 * 1024
	// Of a hundred operations of a mix, this many are writes.
	mixWritePercent = 5
	keyBytes        = 13
	keysMax         = 1_000_000_000_000
	printable       = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
)

// operation is what a run does: one kind, or a mix.
type operation string

const (
	opWrite    operation = "write"
	opRead     operation = "read"
	opMix      operation = "mix"
	opSyncRead operation = "syncread"
)

// dice is a splitmix64 generator: eight bytes of state, a few instructions per number.
type dice uint64

// newDice makes the generator of one worker. Workers of one seed get sequences of their own.
func newDice(seed uint64, worker int) dice {
	d := dice(seed)
	start := d.next()
	return dice(start ^ uint64(worker+1)*0x9e3779b97f4a7c15)
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// below is a uniform number from 0 to limit-1. The bias of the multiplication is under 2^-24 for the
// limits used here.
func (d *dice) below(limit uint64) uint64 {
	high, _ := bits.Mul64(d.next(), limit)
	return high
}

// workload is what all workers of a run share and none changes.
type workload struct {
	op         operation
	keys       uint64
	valueBytes int
	pool       []byte
}

// newWorkload draws the values' bytes from the seed.
func newWorkload(op operation, keys uint64, valueBytes int, seed uint64) *workload {
	w := &workload{op: op, keys: keys, valueBytes: valueBytes}
	w.pool = make([]byte, valueBytes+valueOffsets)
	d := newDice(seed, -2)
	for i := range w.pool {
		w.pool[i] = printable[d.next()>>58]
	}
	return w
}

// value is random printable bytes; they are shared and must not be written to.
func (w *workload) value(d *dice) []byte {
	offset := d.below(valueOffsets)
	return w.pool[offset : offset+uint64(w.valueBytes)]
}

// isWrite says whether the next operation is a write.
func (w *workload) isWrite(d *dice) bool {
	switch w.op {
	case opWrite:
		return true
	case opMix:
		return d.below(100) < mixWritePercent
	default:
		return false
	}
}

// putKey writes the name of a key, "k" and twelve digits, to the front of a buffer of keyBytes.
func putKey(into []byte, key uint64) {
	_ = into[keyBytes-1]
	into[0] = 'k'
	for i := keyBytes - 1; i > 0; i-- {
		into[i] = byte('0' + key%10)
		key /= 10
	}
}
