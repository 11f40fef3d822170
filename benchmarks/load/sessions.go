package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// errStoppedEarly says that the run was ended before it began.
var errStoppedEarly = errors.New("stopped before all connections stood")

// session is one connection to a server whose client library answers one call at a time. Any number
// of goroutines use it at once.
type session interface {
	// write stores a value under a key; keys and values may be reused once it has returned.
	write(ctx context.Context, key, value []byte) error
	// read says whether the key exists.
	read(ctx context.Context, key []byte) (bool, error)
	// syncRead is read, after the server has caught up with the leader.
	syncRead(ctx context.Context, key []byte) (bool, error)
	// usable says whether the connection is worth keeping after an error.
	usable() bool
	close()
}

// dialer starts a session with the given one of the options' endpoints. It returns at once; the first
// call waits. Its error says that no endpoint could ever do.
type dialer func(o options, endpoint int) (session, error)

// line is one of the connections, with the session that it has at present.
type line struct {
	index      int
	mutex      sync.Mutex
	session    session
	generation int // how many sessions it has had before this one
}

// current is the session to use, and its generation.
func (l *line) current() (session, int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.session, l.generation
}

// worker is one of the outstanding requests of a line.
type worker struct {
	line      *line
	dice      dice
	startedNs atomic.Int64 // of the call under way; noEnd when there is none
	cancel    atomic.Pointer[context.CancelFunc]
}

// sessionDriver drives servers through their client libraries: a goroutine per outstanding request.
type sessionDriver struct {
	options  options
	load     *workload
	recorder *recorder
	dial     dialer
	lines    []*line
	workers  []*worker
	taken    atomic.Uint64 // of a fill: how many keys workers have taken
	hanging  int           // calls that were not answered in time after the end
}

func newSessionDriver(o options, load *workload, r *recorder, dial dialer) *sessionDriver {
	d := &sessionDriver{options: o, load: load, recorder: r, dial: dial}
	for i := 0; i < o.connections; i++ {
		l := &line{index: i}
		d.lines = append(d.lines, l)
		for j := 0; j < o.share(i); j++ {
			w := &worker{line: l, dice: newDice(o.seed, len(d.workers))}
			w.startedNs.Store(noEnd)
			d.workers = append(d.workers, w)
		}
	}
	return d
}

// run connects, loads until the window ends or the keys are written, and waits for the last answers.
// Its error says that there was nobody to connect to, or that a fill came to a stand.
func (d *sessionDriver) run() error {
	defer d.hangUp()
	if err := d.connect(); err != nil {
		return err
	}
	if d.recorder.over(d.recorder.now()) {
		return errStoppedEarly
	}
	d.recorder.open(d.options.window())
	var running sync.WaitGroup
	for _, w := range d.workers {
		running.Add(1)
		go func(w *worker) {
			defer running.Done()
			d.work(w)
		}(w)
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	return d.watch(done)
}

// connect dials every line, some at a time, and has each answer one read.
func (d *sessionDriver) connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.options.timeout)
	defer cancel()
	results := make(chan error)
	undialed, dialing := 0, 0
	for undialed < len(d.lines) || dialing > 0 {
		if undialed < len(d.lines) && dialing < dialingMax {
			l := d.lines[undialed]
			go func() { results <- d.connectLine(ctx, l) }()
			undialed++
			dialing++
			continue
		}
		if err := <-results; err != nil {
			return err
		}
		dialing--
	}
	return nil
}

// connectLine goes from endpoint to endpoint until one answers.
func (d *sessionDriver) connectLine(ctx context.Context, l *line) error {
	var err error
	if l.session, err = d.dial(d.options, l.index%len(d.options.endpoints)); err != nil {
		return err
	}
	reason := errors.New("no reply")
	for failures := 1; ; failures++ {
		err := firstRead(ctx, l.session)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("connection %d does not stand after %v: %w", l.index, d.options.timeout, reason)
		case d.recorder.over(d.recorder.now()):
			return errStoppedEarly
		}
		reason = err
		time.Sleep(backoff(failures))
		d.redial(l, l.generation, false)
	}
}

// firstRead reads a key, and waits no longer than the context allows, even where the library does.
func firstRead(ctx context.Context, s session) error {
	key := make([]byte, keyBytes)
	putKey(key, 0)
	result := make(chan error, 1)
	go func() {
		_, err := s.read(ctx, key)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// redial gives a line a new session with the next endpoint where the present one is silent or not
// usable, unless another worker has done so since the given generation.
func (d *sessionDriver) redial(l *line, generation int, silent bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.generation != generation || (!silent && l.session.usable()) {
		return
	}
	next, err := d.dial(d.options, (l.index+generation+1)%len(d.options.endpoints))
	if err != nil {
		d.recorder.failed(d.recorder.now(), 1, err.Error())
		return
	}
	go l.session.close()
	l.session = next
	l.generation++
}

// work makes one call after another until the window ends or a fill has no more keys.
func (d *sessionDriver) work(w *worker) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel.Store(&cancel)
	name := make([]byte, keyBytes)
	failures := 0
	for key, write, more := d.choose(w); more && !d.recorder.over(d.recorder.now()); {
		putKey(name, key)
		current, generation := w.line.current()
		started := d.recorder.now()
		w.startedNs.Store(started)
		found, err := d.call(ctx, current, name, write, &w.dice)
		now := d.recorder.now()
		w.startedNs.Store(noEnd)
		if err == nil {
			d.recorder.answered(started, now)
			d.recorder.acknowledged(now, 1)
			if !found {
				d.recorder.missed(now, 1)
			}
			failures = 0
			key, write, more = d.choose(w)
			continue
		}
		if d.recorder.over(now) {
			break
		}
		silent := ctx.Err() != nil
		if silent {
			err = fmt.Errorf("no reply within %v", d.options.timeout)
			ctx, cancel = context.WithCancel(context.Background())
			w.cancel.Store(&cancel)
		}
		d.recorder.failed(now, 1, err.Error())
		failures++
		time.Sleep(backoff(failures))
		d.redial(w.line, generation, silent)
		if !d.options.fill {
			key, write, more = d.choose(w)
		}
	}
	cancel()
}

// call makes one operation; the bool says that the key was there, and is true for writes.
func (d *sessionDriver) call(
	ctx context.Context, s session, key []byte, write bool, random *dice,
) (bool, error) {
	switch {
	case write:
		return true, s.write(ctx, key, d.load.value(random))
	case d.load.op == opSyncRead:
		return s.syncRead(ctx, key)
	default:
		return s.read(ctx, key)
	}
}

// choose is the next operation: its key, and whether it is a write; no more when a fill has no keys
// left.
func (d *sessionDriver) choose(w *worker) (key uint64, write, more bool) {
	if d.options.fill {
		key = d.taken.Add(1) - 1
		return key, true, key < d.load.keys
	}
	return w.dice.below(d.load.keys), d.load.isWrite(&w.dice), true
}

// watch waits until the workers are done; it cancels calls that are silent for too long, and does not
// wait for those that are under way long after the end.
func (d *sessionDriver) watch(done <-chan struct{}) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ticker.C:
		}
		now := d.recorder.now()
		if d.recorder.over(now - int64(drainMost)) {
			for _, w := range d.workers {
				if w.startedNs.Load() != noEnd {
					d.hanging++
				}
			}
			return nil
		}
		if d.options.fill && now-d.recorder.lastAckNs.Load() > 2*int64(d.options.timeout) {
			return errors.New("the fill stands still: " + d.recorder.firstErrorText())
		}
		for _, w := range d.workers {
			if now-w.startedNs.Load() > int64(d.options.timeout) {
				(*w.cancel.Load())()
			}
		}
	}
}

// unanswered is how many calls were under way when watch no longer waited for them.
func (d *sessionDriver) unanswered() int {
	return d.hanging
}

// hangUp closes all sessions, at once, and does not wait for a server that does not answer.
func (d *sessionDriver) hangUp() {
	var closing sync.WaitGroup
	for _, l := range d.lines {
		if current, _ := l.current(); current != nil {
			closing.Add(1)
			go func() {
				defer closing.Done()
				current.close()
			}()
		}
	}
	closed := make(chan struct{})
	go func() {
		closing.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(drainMost):
	}
}
