package main

import (
	"fmt"
	"syscall"
	"time"
)

const (
	readBufferBytes = 256 * 1024
	// How many connections are dialed at once: fewer than a listener's usual backlog.
	dialingMax = 32
	// Errors wait: doubling from the first to the most, so that a server that refuses everything is not
	// drowned, and a failover not made longer by more than a few milliseconds.
	backoffFirst = 2 * time.Millisecond
	backoffMost  = 50 * time.Millisecond
	// How often deadlines, and whether the end has come, are looked at when nothing else is due.
	tick = 50 * time.Millisecond
	// How long answers to what was under way at the end are waited for.
	drainMost = 2 * time.Second
)

// backoff is how long to wait after that many failures in a row.
func backoff(failures int) time.Duration {
	wait := backoffFirst
	for ; failures > 1 && wait < backoffMost; failures-- {
		wait *= 2
	}
	if wait > backoffMost {
		return backoffMost
	}
	return wait
}

// respLoop drives all connections to servers that speak RESP, in one goroutine. When replies arrive
// they are read at once, and as many new requests as they make room for leave in one write.
type respLoop struct {
	options     options
	load        *workload
	recorder    *recorder
	encoder     *respEncoder
	poller      *poller
	addresses   []address
	connections []*respConnection
	buffer      []byte
	started     bool
	draining    bool
	dialing     int
	open        int
	undialed    int      // connections from this one on were never dialed
	scanAtNs    int64    // when the next deadline or back-off may be due
	nextKey     uint64   // of a fill: the first key that was never sent
	again       []uint64 // of a fill: keys whose write failed
	filled      uint64   // of a fill: keys that are written
	lastError   string
}

func newRespLoop(o options, load *workload, r *recorder) (*respLoop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &respLoop{
		options: o, load: load, recorder: r, poller: p,
		encoder: newRespEncoder(load), buffer: make([]byte, readBufferBytes),
	}
	for _, endpoint := range o.endpoints {
		resolved, err := resolve(endpoint)
		if err != nil {
			return nil, err
		}
		l.addresses = append(l.addresses, resolved)
	}
	for i := 0; i < o.connections; i++ {
		l.connections = append(l.connections, &respConnection{
			share: o.share(i), ring: make([]sent, o.share(i)), dice: newDice(o.seed, i),
			index: i, endpoint: i % len(l.addresses), wakeAtNs: noEnd,
		})
	}
	return l, nil
}

// run connects, loads until the window ends or the keys are written, and waits for the last answers.
// Its error says that there was nobody to connect to, or that a fill came to a stand.
func (l *respLoop) run() error {
	begunNs := l.recorder.now()
	l.dialMore(begunNs)
	drainedByNs := noEnd
	for now := begunNs; ; {
		events, err := l.poller.wait(time.Duration(l.scanAtNs - now))
		if err != nil {
			return err
		}
		for _, event := range events {
			l.handle(l.connections[event.Fd], event.Events)
		}
		now = l.recorder.now()
		if now >= l.scanAtNs {
			l.scan(now)
		}
		if !l.started {
			if err := l.startWhenOpen(now, begunNs); err != nil {
				return err
			}
			continue
		}
		if l.options.fill && !l.draining {
			if l.filled == l.load.keys {
				l.recorder.stop()
			} else if now-l.recorder.lastAckNs.Load() > 2*int64(l.options.timeout) {
				return fmt.Errorf("the fill stands still at %d of %d keys: %s", l.filled, l.load.keys, l.lastError)
			}
		}
		if !l.draining && l.recorder.over(now) {
			l.draining = true
			drainedByNs = now + int64(drainMost)
		}
		if l.draining && (now >= drainedByNs || l.unanswered() == 0) {
			return nil
		}
	}
}

// startWhenOpen opens the window and sends the first requests once all connections stand.
func (l *respLoop) startWhenOpen(now, begunNs int64) error {
	switch {
	case l.recorder.over(now):
		return errStoppedEarly
	case l.open == len(l.connections):
		l.started = true
		l.recorder.open(l.options.window())
		for _, c := range l.connections {
			l.refill(c)
		}
	case now-begunNs > int64(l.options.timeout):
		return fmt.Errorf("%d of %d connections stand after %v: %s",
			l.open, len(l.connections), l.options.timeout, l.lastError)
	}
	return nil
}

// unanswered is how many requests wait for an answer.
func (l *respLoop) unanswered() int {
	total := 0
	for _, c := range l.connections {
		total += c.count
	}
	return total
}

// dialMore dials the next connections that never were.
func (l *respLoop) dialMore(now int64) {
	for l.undialed < len(l.connections) && l.dialing < dialingMax {
		l.undialed++
		l.dial(l.connections[l.undialed-1], now)
	}
}

func (l *respLoop) dial(c *respConnection, now int64) {
	fd, err := dialSocket(l.addresses[c.endpoint])
	if err != nil {
		l.fail(c, now, err.Error())
		return
	}
	c.fd, c.state, c.wantWrite = fd, stateDialing, true
	l.dialing++
	l.wakeAt(c, now+int64(l.options.timeout))
	if err := l.poller.add(fd, int32(c.index), true); err != nil {
		l.fail(c, now, err.Error())
	}
}

// handle does what one event asks for.
func (l *respLoop) handle(c *respConnection, events uint32) {
	switch c.state {
	case stateDialing:
		now := l.recorder.now()
		if err := dialResult(c.fd); err != nil {
			l.fail(c, now, err.Error())
			return
		}
		l.dialing--
		l.open++
		c.state = stateOpen
		l.wakeAt(c, noEnd)
		l.dialMore(now)
		l.refill(c)
	case stateOpen:
		if events&syscall.EPOLLOUT != 0 {
			l.flush(c)
		}
		if events&^syscall.EPOLLOUT != 0 && c.state == stateOpen {
			l.receive(c)
		}
	case stateIdle:
		// An event that was under way when the socket was closed.
	}
}

// receive reads once, accounts for the replies, and sends what they make room for.
func (l *respLoop) receive(c *respConnection) {
	count, errno := readSocket(c.fd, l.buffer)
	now := l.recorder.now()
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return
	case errno != 0:
		l.fail(c, now, errno.Error())
		return
	case count == 0:
		l.fail(c, now, "the server closed the connection")
		return
	}
	acknowledged, missed := 0, 0
	var broken error
	for data := l.buffer[:count]; len(data) > 0 && broken == nil; {
		var taken int
		var kind replyKind
		taken, kind, broken = c.replies.next(data)
		data = data[taken:]
		if broken != nil || kind == replyNone {
			continue
		}
		var request sent
		if request, broken = c.pop(); broken != nil {
			continue
		}
		if kind == replyError {
			l.refused(c, request, now)
			continue
		}
		acknowledged++
		if kind == replyNil {
			missed++
		}
		l.recorder.answered(request.startedNs, now)
	}
	l.recorder.acknowledged(now, acknowledged)
	l.recorder.missed(now, missed)
	if acknowledged > 0 {
		c.failures = 0
		l.filled += uint64(acknowledged)
	}
	if broken != nil {
		l.fail(c, now, broken.Error())
		return
	}
	l.refill(c)
}

// refused accounts for an error reply. Its place is held for a while: the cluster is not ready, and to
// ask again at once would only load it. The connection is as good as before.
func (l *respLoop) refused(c *respConnection, request sent, now int64) {
	l.lastError = c.replies.errorText
	l.recorder.failed(now, 1, l.lastError)
	if l.options.fill {
		l.again = append(l.again, request.key)
	}
	if c.held++; c.held == 1 {
		c.failures++
		l.wakeAt(c, now+int64(backoff(c.failures)))
	}
}

// refill adds requests while the connection has room for some, and sends them.
func (l *respLoop) refill(c *respConnection) {
	if !l.started || l.draining || c.state != stateOpen {
		return
	}
	now := l.recorder.now()
	for c.free() > 0 {
		key, write, more := l.choose(c)
		if !more {
			break
		}
		if write {
			c.out = l.encoder.appendSet(c.out, key, &c.dice)
		} else {
			c.out = l.encoder.appendGet(c.out, key)
		}
		c.push(sent{startedNs: now, key: key})
	}
	if !c.wantWrite {
		l.flush(c)
	}
}

// choose is the next operation: its key, and whether it is a write; no more when a fill has sent all.
func (l *respLoop) choose(c *respConnection) (key uint64, write, more bool) {
	if !l.options.fill {
		return c.dice.below(l.load.keys), l.load.isWrite(&c.dice), true
	}
	if last := len(l.again) - 1; last >= 0 {
		key = l.again[last]
		l.again = l.again[:last]
		return key, true, true
	}
	if l.nextKey == l.load.keys {
		return 0, false, false
	}
	l.nextKey++
	return l.nextKey - 1, true, true
}

// flush gives the socket what it takes now, and waits for it to be writable when that is not all.
func (l *respLoop) flush(c *respConnection) {
	if len(c.pending()) > 0 {
		count, errno := writeSocket(c.fd, c.pending())
		if errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR {
			l.fail(c, l.recorder.now(), errno.Error())
			return
		}
		c.took(count)
	}
	if wantWrite := len(c.pending()) > 0; wantWrite != c.wantWrite {
		c.wantWrite = wantWrite
		if err := l.poller.change(c.fd, int32(c.index), wantWrite); err != nil {
			l.fail(c, l.recorder.now(), err.Error())
		}
	}
}

// fail gives a connection up: what was under way on it has failed, and the next endpoint is dialed
// after a short while.
func (l *respLoop) fail(c *respConnection, now int64, text string) {
	switch c.state {
	case stateDialing:
		l.dialing--
	case stateOpen:
		l.open--
	case stateIdle:
	}
	if c.state != stateIdle {
		syscall.Close(c.fd)
		c.state = stateIdle
	}
	l.lastError = fmt.Sprintf("%s: %s", l.addresses[c.endpoint].text, text)
	lost := c.count
	if lost == 0 {
		lost = 1
	}
	l.recorder.failed(now, lost, l.lastError)
	if l.options.fill {
		for ; c.count > 0; c.count-- {
			l.again = append(l.again, c.ring[c.oldest].key)
			c.oldest = (c.oldest + 1) % len(c.ring)
		}
	}
	c.reset()
	c.endpoint = (c.endpoint + 1) % len(l.addresses)
	c.failures++
	l.wakeAt(c, now+int64(backoff(c.failures)))
}

// wakeAt says when the connection has something to do; noEnd for never.
func (l *respLoop) wakeAt(c *respConnection, atNs int64) {
	c.wakeAtNs = atNs
	if atNs < l.scanAtNs {
		l.scanAtNs = atNs
	}
}

// scan does what is due: it dials again, lets go of what was held, and gives up the silent.
func (l *respLoop) scan(now int64) {
	l.scanAtNs = now + int64(tick)
	for _, c := range l.connections {
		switch {
		case c.wakeAtNs <= now && c.state == stateIdle:
			l.wakeAt(c, noEnd)
			if !l.draining {
				l.dial(c, now)
			}
		case c.wakeAtNs <= now && c.state == stateDialing:
			l.fail(c, now, "no connection within "+l.options.timeout.String())
		case c.wakeAtNs <= now:
			l.wakeAt(c, noEnd)
			c.held = 0
			l.refill(c)
		case c.count > 0 && now-c.ring[c.oldest].startedNs > int64(l.options.timeout):
			l.fail(c, now, "no reply within "+l.options.timeout.String())
		case c.wakeAtNs < l.scanAtNs:
			l.scanAtNs = c.wakeAtNs
		}
	}
}
