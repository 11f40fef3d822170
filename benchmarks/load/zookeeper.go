package main

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

// zookeeperParent is the node under which all keys are.
const zookeeperParent = "/bench"

// zookeeperSession is one connection of the library, which finds the next server by itself when one
// goes away, and takes its session along: that is cheaper for the servers than a new session.
type zookeeperSession struct {
	connection *zk.Conn
	fill       bool
}

// dialZookeeper starts to connect, first to the given endpoint, then to the others in turn.
func dialZookeeper(o options, endpoint int) (session, error) {
	// The library gives up a silent connection after two thirds of the session's timeout.
	sessionTimeout := o.timeout * 3 / 2
	buffer := o.valueBytes + 4096
	connection, _, err := zk.Connect(o.endpoints, sessionTimeout,
		zk.WithDialer(func(network, address string, _ time.Duration) (net.Conn, error) {
			return dialZookeeperSocket(network, address, o.timeout)
		}),
		zk.WithHostProvider(&zookeeperHosts{endpoints: o.endpoints, next: endpoint}),
		zk.WithLogger(silentLogger{}),
		zk.WithMaxBufferSize(buffer),
		zk.WithMaxConnBufferSize(buffer))
	if err != nil {
		return nil, err
	}
	return &zookeeperSession{connection: connection, fill: o.fill}, nil
}

// write sets a key that is there, or creates it. A fill begins with the other of the two, because a
// set that finds no key goes through the quorum all the same.
func (s *zookeeperSession) write(_ context.Context, key, value []byte) error {
	path := zookeeperParent + "/" + string(key)
	if s.fill {
		if err := s.create(path, value); err != zk.ErrNodeExists {
			return err
		}
	}
	_, err := s.connection.Set(path, value, -1)
	if err != zk.ErrNoNode {
		return err
	}
	if err = s.create(path, value); err == zk.ErrNodeExists {
		// Another request created it in between.
		_, err = s.connection.Set(path, value, -1)
	}
	return err
}

// create makes a key's node, and the parent of all keys if that is what is missing.
func (s *zookeeperSession) create(path string, value []byte) error {
	_, err := s.connection.Create(path, value, 0, zk.WorldACL(zk.PermAll))
	if err != zk.ErrNoNode {
		return err
	}
	_, err = s.connection.Create(zookeeperParent, nil, 0, zk.WorldACL(zk.PermAll))
	if err != nil && err != zk.ErrNodeExists {
		return err
	}
	_, err = s.connection.Create(path, value, 0, zk.WorldACL(zk.PermAll))
	return err
}

// read is a plain get. The server that is asked answers from what it has: this is not linearizable.
func (s *zookeeperSession) read(_ context.Context, key []byte) (bool, error) {
	_, _, err := s.connection.Get(zookeeperParent + "/" + string(key))
	if err == zk.ErrNoNode {
		return false, nil
	}
	return err == nil, err
}

// syncRead is as near to a linearizable read as ZooKeeper comes: the server catches up with the leader
// first.
func (s *zookeeperSession) syncRead(ctx context.Context, key []byte) (bool, error) {
	if _, err := s.connection.Sync(zookeeperParent + "/" + string(key)); err != nil {
		return false, err
	}
	return s.read(ctx, key)
}

// usable is always true: the library connects again by itself.
func (s *zookeeperSession) usable() bool {
	return true
}

func (s *zookeeperSession) close() {
	s.connection.Close()
}

// zookeeperHosts tells the library where to connect: to the endpoints in their order, beginning with
// the one it was made for, with a short back-off after each failure. The library's own shuffles them,
// and waits a second once all have failed.
type zookeeperHosts struct {
	endpoints []string
	next      int
	failures  atomic.Int32
}

// Init is not needed: the endpoints are known in the order that is wanted.
func (h *zookeeperHosts) Init([]string) error {
	return nil
}

// Len is how many endpoints there are.
func (h *zookeeperHosts) Len() int {
	return len(h.endpoints)
}

// Next is the endpoint to try. It never asks the library to wait: it has waited already.
func (h *zookeeperHosts) Next() (string, bool) {
	if failures := h.failures.Add(1) - 1; failures > 0 {
		time.Sleep(backoff(int(failures)))
	}
	endpoint := h.endpoints[h.next]
	h.next = (h.next + 1) % len(h.endpoints)
	return endpoint, false
}

// Connected ends the row of failures.
func (h *zookeeperHosts) Connected() {
	h.failures.Store(0)
}

// silentLogger drops what the library says: errors that matter come back from calls.
type silentLogger struct{}

func (silentLogger) Printf(string, ...interface{}) {}
