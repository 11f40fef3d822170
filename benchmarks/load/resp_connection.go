package main

import (
	"errors"
	"strconv"
)

// sent is a request that was handed to the socket and has no answer yet.
type sent struct {
	startedNs int64
	key       uint64
}

// respConnection is one socket's requests: those under way, and their bytes that the socket did not
// take yet. It knows no socket; respLoop reads and writes.
type respConnection struct {
	index     int
	share     int // requests that may be under way
	held      int // of these, how many wait for the back-off after an error to end
	ring      []sent
	oldest    int
	count     int
	out       []byte
	outTaken  int // bytes at the front of out that the socket has taken
	replies   replyReader
	dice      dice
	state     connectionState
	fd        int
	endpoint  int
	failures  int   // in a row, without a reply between them
	wakeAtNs  int64 // when to dial again or to let go of what is held; noEnd for never
	wantWrite bool
}

// connectionState is how far a connection is.
type connectionState int

const (
	stateIdle connectionState = iota
	stateDialing
	stateOpen
)

// respEncoder writes requests. The heads are the same for all, so they are built once.
type respEncoder struct {
	load    *workload
	setHead string
	setTail string
	getHead string
}

func newRespEncoder(load *workload) *respEncoder {
	key := "$" + strconv.Itoa(keyBytes) + "\r\n"
	return &respEncoder{
		load:    load,
		setHead: "*3\r\n$3\r\nSET\r\n" + key,
		setTail: "\r\n$" + strconv.Itoa(load.valueBytes) + "\r\n",
		getHead: "*2\r\n$3\r\nGET\r\n" + key,
	}
}

// appendSet adds SET of a key with a random value.
func (e *respEncoder) appendSet(out []byte, key uint64, d *dice) []byte {
	out = append(out, e.setHead...)
	out = appendKey(out, key)
	out = append(out, e.setTail...)
	out = append(out, e.load.value(d)...)
	return append(out, '\r', '\n')
}

// appendGet adds GET of a key.
func (e *respEncoder) appendGet(out []byte, key uint64) []byte {
	out = append(out, e.getHead...)
	out = appendKey(out, key)
	return append(out, '\r', '\n')
}

func appendKey(out []byte, key uint64) []byte {
	var name [keyBytes]byte
	putKey(name[:], key)
	return append(out, name[:]...)
}

// free is how many requests may be added now.
func (c *respConnection) free() int {
	return c.share - c.held - c.count
}

// push remembers a request that was added to out.
func (c *respConnection) push(request sent) {
	c.ring[(c.oldest+c.count)%len(c.ring)] = request
	c.count++
}

// pop is the request that the next reply answers; an error when the server answered what nobody asked.
func (c *respConnection) pop() (sent, error) {
	if c.count == 0 {
		return sent{}, errors.New("a reply to nothing")
	}
	request := c.ring[c.oldest]
	if c.oldest++; c.oldest == len(c.ring) {
		c.oldest = 0
	}
	c.count--
	return request, nil
}

// pending is what the socket has yet to take.
func (c *respConnection) pending() []byte {
	return c.out[c.outTaken:]
}

// took says that the socket took that many bytes of pending.
func (c *respConnection) took(count int) {
	c.outTaken += count
	switch {
	case c.outTaken == len(c.out):
		c.out, c.outTaken = c.out[:0], 0
	case c.outTaken > len(c.out)/2:
		// What was taken is at least what is left, so moving it costs no more than writing it did.
		c.out = c.out[:copy(c.out, c.out[c.outTaken:])]
		c.outTaken = 0
	}
}

// reset forgets what was under way; the ring keeps its room.
func (c *respConnection) reset() {
	c.oldest, c.count, c.held = 0, 0, 0
	c.out, c.outTaken = c.out[:0], 0
	c.replies = replyReader{}
	c.wantWrite = false
}
